"""The embedded toy: a small trained Wan-Animate, its VAE, and a world to animate, for a graph that runs anywhere."""

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from comfy.ldm.wan.model_animate import AnimateWanModel
from comfy.taesd.taesd import TAESD
from comfy_api.latest import io
from torch import Tensor

from ..everanimate_core.everanimate.geometry import LATENT_CHANNELS
from ..everanimate_core.latents import SPATIAL_FACTOR
from ..everanimate_core.plan import TEMPORAL_FACTOR, latent_frames, pixel_frames
from ..everanimate_core.toy.network.previews import ANIMATE, read_preview_map
from ..everanimate_core.toy.network.state import DIM, FFN, HEADS, LAYERS, TEXT_DIM, TOY, TOYS, read_state
from ..everanimate_core.toy.network.vae import load_vae
from ..everanimate_core.toy.world.scene import LIGHTS, Scene
from ..everanimate_core.toy.world.world import World
from . import widgets
from .alignment import align_model
from .node import in_its_name

# Worlds from here on were used in training.
MAX_SEED = 997_999
MAX_FRAMES = 1_000_000
# What the host keeps free for a pixel of a frame, in bytes: some ten times what the VAE's widest layer holds of it.
_BYTES_PER_PIXEL = 200


class EverAnimateLoadToy(io.ComfyNode):
    """Everything that a graph needs, at toy size."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateLoadToy",
            display_name="Load Toy World",
            category=widgets.CATEGORY,
            description="A small trained model, its VAE and a world of 64x64 pixels to animate, with the truth to "
            "compare with. Ships with the pack and runs on a CPU: nothing to download. Use chunk_frames 33 and 4 "
            "steps; text, face and CLIP vision have no effect on it.",
            inputs=[
                *world_inputs("pose and truth"),
                io.Combo.Input(
                    "network",
                    options=list(TOYS),
                    default=TOY,
                    optional=True,
                    tooltip="toy: reads EverAnimate's memory, and has seen even light alone. toy-baseline: works like "
                    "Wan-Animate without EverAnimate, and drifts. toy-memory: reads EverAnimate's memory, and is "
                    "trained on the same films as toy-baseline. toy-full: trained on, so that it brings a drifted "
                    "memory back. toy-even-baseline: like Wan-Animate, and has seen even light alone.",
                ),
                io.Combo.Input(
                    "light",
                    options=list(LIGHTS),
                    default=LIGHTS[0],
                    optional=True,
                    tooltip="Light of reference and truth. off: even light. wandering: it changes slowly, as in real "
                    "footage. constant: that of the first frame of wandering light, kept. The pose never shows it.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The toy's Wan-Animate, aligned to the memory."),
                io.Vae.Output(
                    display_name="vae", tooltip="The toy's VAE; it reads and writes no other model's latents."
                ),
                io.Conditioning.Output(display_name="positive", tooltip="An empty prompt: the toy reads no text."),
                io.Conditioning.Output(display_name="negative", tooltip="An empty prompt."),
                io.Image.Output(display_name="reference", tooltip="The figure from the front, 64x64."),
                io.Image.Output(display_name="pose", tooltip="The driving pose maps, one per frame."),
                io.Image.Output(display_name="truth", tooltip="What a perfect model would make of them."),
            ],
        )

    @classmethod
    @in_its_name
    def execute(cls, seed, frames, network=TOY, light=LIGHTS[0]) -> io.NodeOutput:
        world = World(seed, scene=Scene(light=light))
        shown = range(frames)
        empty = [[torch.zeros(1, 1, TEXT_DIM), {}]]
        return io.NodeOutput(
            align_model(toy_model(network)),
            toy_vae(),
            empty,
            empty,
            world.reference()[None],
            world.pose(shown),
            world.frames(shown),
        )


def world_inputs(shown: str) -> list[io.Input]:
    """Which world, and how long. shown: what there are so many frames of."""
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=MAX_SEED,
            # Another world after every run would be another run each time.
            control_after_generate=False,
            tooltip="The world: figure, background and motion.",
        ),
        io.Int.Input("frames", default=250, min=1, max=MAX_FRAMES, tooltip=f"Frames of {shown} (25 are a second)."),
    ]


def toy_model(network: str = TOY):
    """One of the toy's transformers, by its name in TOYS, as the host's stock Wan-Animate, a MODEL in float32."""
    state = read_state(TOYS[network])
    with torch.device("meta"):
        stock = AnimateWanModel(
            in_dim=36,
            dim=DIM,
            ffn_dim=FFN,
            num_heads=HEADS,
            num_layers=LAYERS,
            text_dim=TEXT_DIM,
            dtype=torch.float32,
            operations=comfy.ops.disable_weight_init,
        )
    # Face path and image tokens were not trained: as zeros they add nothing.
    state |= {name: torch.zeros(value.shape) for name, value in stock.state_dict().items() if name not in state}
    model = comfy.sd.load_diffusion_model_state_dict(state, model_options={"dtype": torch.float32})
    # With it, CLIP vision would be asked for.
    model.model.diffusion_model.img_emb = None
    show_in_true_colours(model, ANIMATE)
    return model


def show_in_true_colours(model, name: str) -> None:
    """Have the host preview a toy's MODEL by the map of that name, instead of that of the large network's VAE."""
    latent_format = model.model.latent_format
    latent_format.latent_rgb_factors, latent_format.latent_rgb_factors_bias = read_preview_map(name)
    # Who has Wan's tiny decoder would see the toy's latents through it.
    latent_format.taesd_decoder_name = None


def toy_vae() -> comfy.sd.VAE:
    """The toy's VAE as the host's own VAE object, in float32, with the compression of Wan 2.1's."""
    return host_vae(load_vae())


def host_vae(network: torch.nn.Module) -> comfy.sd.VAE:
    """A small video VAE as the host's own VAE object, in float32: 16 channels, 4 frames and 8 x 8 pixels in a latent.

    network: answers `encode` (video [B, 3, F, H, W] in -1..1) and `decode`.
    """
    # The host's constructor only takes what it knows. It sets all that it will ask for on one of its tiny ones.
    vae = comfy.sd.VAE(sd=TAESD(latent_channels=LATENT_CHANNELS).state_dict())
    vae.first_stage_model = network
    vae.vae_dtype = torch.float32
    vae.working_dtypes = [torch.float32]
    vae.latent_channels, vae.latent_dim = LATENT_CHANNELS, 3
    vae.downscale_ratio = (latent_frames, SPATIAL_FACTOR, SPATIAL_FACTOR)
    vae.upscale_ratio = (pixel_frames, SPATIAL_FACTOR, SPATIAL_FACTOR)
    vae.downscale_index_formula = vae.upscale_index_formula = (TEMPORAL_FACTOR, SPATIAL_FACTOR, SPATIAL_FACTOR)
    vae.process_input = lambda image: image * 2 - 1
    vae.process_output = _to_image
    vae.memory_used_encode = lambda shape, dtype: _BYTES_PER_PIXEL * shape[2] * shape[3] * shape[4]
    vae.memory_used_decode = lambda shape, dtype: _BYTES_PER_PIXEL * pixel_frames(shape[2]) * shape[3] * shape[4] * 64
    vae.patcher = comfy.model_patcher.ModelPatcher(
        vae.first_stage_model,
        load_device=vae.device,
        offload_device=comfy.model_management.vae_offload_device(),
    )
    return vae


def _to_image(video: Tensor) -> Tensor:
    # In place: newer hosts look at the tensor that they handed in, older ones at what comes back.
    return video.add_(1).div_(2).clamp_(0, 1)
