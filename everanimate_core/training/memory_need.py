"""What one training step of a Wan-Animate transformer needs of memory, by arithmetic: nothing is loaded.

Bytes of tensors, at the moment when they are most. What a device's allocator wastes, its own libraries and its context
come on top; a card should have 15 % to spare. The terms follow the order in which a block computes; those of gradients
on their way are counted on tiny networks (tests/training/test_memory_need.py).
"""

import re
from dataclasses import dataclass

from torch import nn

from ..everanimate.geometry import LATENT_CHANNELS, ChunkGeometry
from ..latents import SPATIAL_FACTOR
from .network import TARGETS
from .quantised import quantised_layers

FLOAT32, HALF = 4, 2
TEXT_TOKENS, CLIP_TOKENS = 512, 257
# AdamW's two moments of every trained number.
MOMENTS = 2
# FSDP holds this block and gathers the next one.
GATHERED_BLOCKS = 2
# Parameters of the Wan VAE of 2.1, and values that its encoder holds at once for each value of its widest layer.
VAE_PARAMETERS, VAE_WIDTH, VAE_FRAMES, VAE_HELD = 126_892_531, 96, 4, 9.3


@dataclass(frozen=True)
class Step:
    """What decides the memory of a step.

    outline: the transformer without weights (`outline_transformer`). geometry, width, height: of a chunk, pixels.
    faces: whether samples have a face. samples: that a process takes at once. half: whether the network computes in
    bfloat16 (else float32). rank: of the LoRA. checkpointing, offload, quantised, ema: see Pace and Recipe.
    encodes: whether the VAE is there (stage 2, or a perturbed motion memory). shards: processes that share out all
    weights (FSDP), 1 for none. offload_weights: whether their shares wait in main memory.
    """

    outline: nn.Module
    geometry: ChunkGeometry
    width: int
    height: int
    faces: bool = True
    samples: int = 1
    half: bool = True
    rank: int = 32
    checkpointing: bool = True
    offload: bool = False
    quantised: bool = False
    ema: bool = False
    encodes: bool = False
    shards: int = 1
    offload_weights: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of a sample: patches of 1x2x2 latents, those of the anchors too."""
        geometry = self.geometry
        frames = geometry.anchors + geometry.latents
        return frames * (self.height // (2 * SPATIAL_FACTOR)) * (self.width // (2 * SPATIAL_FACTOR))

    @property
    def size(self) -> int:
        """Bytes of a number that the network computes with."""
        return HALF if self.half else FLOAT32


@dataclass(frozen=True)
class Need:
    """Bytes, by part. device: on the GPU of each process. main: in the main memory of each process, beside it."""

    device: dict[str, int]
    main: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes on the GPU."""
        return sum(self.device.values())


def step_need(step: Step) -> Need:
    """The memory of one step."""
    base, gathered = _weights(step)
    lora = trained_parameters(step.outline, step.rank) * FLOAT32
    states = {"base": base, "LoRA": lora, "gradients": lora, "optimiser": MOMENTS * lora, "EMA": lora * step.ema}
    device = {"inputs": _inputs(step)}
    main: dict[str, int] = {}
    if step.offload_weights:
        main |= {name: size // step.shards for name, size in states.items()}
    else:
        device |= {name: size // step.shards for name, size in states.items()}
    if step.shards > 1 or step.offload_weights:
        device["gathered weights"] = gathered
    kept, working = _activations(step)
    if step.checkpointing and step.offload:
        main["activations"] = kept["checkpoints"]
        kept["checkpoints"] = 0
    device["activations"] = sum(kept.values())
    device["working"] = working
    if step.encodes:
        device["VAE"] = VAE_PARAMETERS * step.size
        # What it encodes comes before the step's own activations: what counts is the larger of both.
        held = int(VAE_HELD * VAE_WIDTH * VAE_FRAMES * step.width * step.height * step.size)
        device["VAE's working"] = max(0, held - device["activations"] - working)
    return Need(
        {name: size for name, size in device.items() if size}, {name: size for name, size in main.items() if size}
    )


def operations(step: Step) -> float:
    """Multiplications and additions that one sample takes: forward pass, backward pass to what is not frozen, and, with
    checkpointing, the forward pass again. Of linear layers and attention of the blocks, which is nearly all."""
    config = step.outline.config
    width = config.num_attention_heads * config.attention_head_dim
    linear = 2.0 * step.tokens * sum(_linear_parameters(block) for block in step.outline.blocks)
    attention = 4.0 * step.tokens**2 * width * len(step.outline.blocks)
    return (linear + attention) * (1 + step.checkpointing) + linear + 2 * attention


def trained_parameters(outline: nn.Module, rank: int) -> int:
    """Numbers in the LoRA of that rank."""
    layers = [layer for name, layer in outline.named_modules() if re.fullmatch(TARGETS, name)]
    return sum(rank * (layer.in_features + layer.out_features) for layer in layers)


def _weights(step: Step) -> tuple[int, int]:
    """Bytes of the base, and of what FSDP has gathered of it at a time."""
    float32 = set(step.outline._keep_in_fp32_modules)
    eight_bits = {f"{name}.weight" for name in quantised_layers(step.outline)} if step.quantised else set()
    base = root = blocks = 0
    for name, value in step.outline.named_parameters():
        kept = FLOAT32 if float32.intersection(name.split(".")) else step.size
        base += value.numel() * (1 if name in eight_bits else kept)
        if name.startswith("blocks."):
            blocks += value.numel()
        elif not name.startswith("face_adapter."):
            root += value.numel()
    # The root stays gathered. A face adapter is a unit of its own, smaller than a block.
    return base, (root + GATHERED_BLOCKS * blocks // len(step.outline.blocks)) * step.size


def _inputs(step: Step) -> int:
    """Bytes of a batch, and of what is made of it before the first block."""
    config = step.outline.config
    latents = step.samples * step.tokens * 4 * FLOAT32  # of one channel
    # Clean, noise, state and target; drifted and pose, without the anchors at most as large; context.
    held = 6 * LATENT_CHANNELS * latents + (4 + LATENT_CHANNELS) * latents
    if step.faces:
        held += step.samples * step.geometry.frames * 3 * config.motion_encoder_size**2 * FLOAT32
    clip = CLIP_TOKENS * config.image_dim if config.image_dim else 0
    return held + step.samples * (TEXT_TOKENS * config.text_dim + clip) * FLOAT32


def _activations(step: Step) -> tuple[dict[str, int], int]:
    """Bytes that wait for the backward pass, by kind, and those of work in progress when they are most."""
    config, tokens = step.outline.config, step.samples * step.tokens
    width, heads = config.num_attention_heads * config.attention_head_dim, config.num_attention_heads
    clip = CLIP_TOKENS if config.image_dim else 0
    adapters = len(step.outline.face_adapter) if step.faces else 0
    layers, wide = len(step.outline.blocks), config.ffn_dim / width

    row = tokens * width * step.size  # one number of that size for each token and channel
    float_row = tokens * width * FLOAT32
    text = step.samples * (TEXT_TOKENS + clip) * width * step.size
    # Norms keep what they take in, as float32: three of layers, three of queries and keys. Then what queries, keys,
    # values and LoRAs take in, what attention gives, both sides of the feed-forward's activation.
    block = 6 * float_row + int((11 + 2 * wide) * row)
    block += (6 + 3) * tokens * FLOAT32 + 3 * tokens * heads * FLOAT32 + 8 * tokens * step.rank * step.size
    # Keys of the text before their norm, keys and values of text and picture, what LoRAs of the text make.
    block += (
        step.samples * TEXT_TOKENS * width * FLOAT32 + 2 * text + 2 * step.samples * TEXT_TOKENS * step.rank * step.size
    )
    adapter = 2 * float_row + 2 * row + tokens * heads * FLOAT32
    if step.quantised:
        # The weights of a layer are multiplied out, and kept for its backward pass.
        block += step.size * _linear_parameters(step.outline.blocks[0])
        adapter += step.size * _linear_parameters(step.outline.face_adapter[0]) if adapters else 0

    kept = {
        "shared": text + 2 * tokens * config.attention_head_dim * FLOAT32,
        "head": float_row + tokens * 4 * LATENT_CHANNELS * FLOAT32,
    }
    # Gradients on their way: of tokens, in float32 where they pass a norm, and of both sides of the feed-forward.
    backward = int(max(7, 2 * wide) * row) if step.half else int(max(3, 2 * wide - 1.2) * row)
    if step.checkpointing:
        kept["checkpoints"] = (layers + adapters) * row
        return kept, block + backward
    kept["blocks"] = layers * block + adapters * adapter
    if step.half:
        kept["LoRA as bfloat16"] = trained_parameters(step.outline, step.rank) * HALF
    # At the end of the forward pass: the head's work in float32, and the loss.
    forward = (9 if step.half else 4) * row + 3 * tokens * 4 * LATENT_CHANNELS * FLOAT32
    return kept, forward


def _linear_parameters(part: nn.Module) -> int:
    return sum(layer.weight.numel() for layer in part.modules() if isinstance(layer, nn.Linear))
