"""The colouring toy's memory of the video: a small Video-XL, and the DGLM that reads what it keeps.

Layout and code are those of the large ones (`longanimation.video_memory`, `longanimation.dglm`). Of the DGLM's feed
forward, which is four times as wide as its input, the toy uses a quarter; the file leaves the zeros of the rest out.
"""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import InputError, one_line
from ...longanimation.beacon import BeaconSettings
from ...longanimation.dglm import LAYERS, DglmSizes, GlobalLocalMemory
from ...longanimation.settings import MemorySettings
from ...longanimation.video_memory import Held, MemoryOfVideo, VideoModel, VideoSettings, chosen
from ...longanimation.vision import VisionSettings
from ...tensor_files import check_shapes
from .colour_state import SKETCH_SIZES
from .state import FOLDER, read_packed, write_packed

WEIGHTS = FOLDER / "colour_memory.safetensors"
# What is looked at of a frame, from this row and column, in pixels: most of the figure, wherever it goes. 16 tokens and
# two beacons stand for it.
EDGE, SIDE = 12, 40
# The global memory is of 24 frames at equal distances, which is a window of the video model.
SETTINGS = MemorySettings(memory_frames=24)
VIDEO = VideoSettings(
    VisionSettings(width=64, inner=128, heads=1, blocks=1, image=SIDE, patch=5, out=96),
    BeaconSettings(
        96,
        128,
        3,
        3,
        layers=4,
        window=SETTINGS.memory_frames * 16,
        rope_theta=1e4,
        norm_eps=1e-6,
        read_layers=(-3, -2, -1),
    ),
)
DGLM = DglmSizes(width=SKETCH_SIZES.width, kv=VIDEO.language.kv_width, narrow=64, wide=96, inner=96)
# How many of the units between the two layers of each feed forward are used.
USED = DGLM.width
_FIRST, _SECOND = ([f"dglm.layers.{layer}.1.{place}.weight" for layer in range(LAYERS)] for place in (1, 3))
# Of embeddings at the start; torch's own would drown the colours.
_SPREAD = 0.1


class ToyVideoModel(VideoModel):
    """A video model that looks at the middle of frames [n, 64, 64, 3], as it is."""

    def crops(self, frames: Tensor) -> Tensor:
        """[n, SIDE, SIDE, 3] uint8 on the CPU."""
        return super().crops(looked_at(frames))


def looked_at(frames: Tensor) -> Tensor:
    """The middle [n, SIDE, SIDE, 3] of frames [n, 64, 64, 3]."""
    return frames[:, EDGE : EDGE + SIDE, EDGE : EDGE + SIDE]


class ColourMemory(nn.Module):
    """The video model, and the DGLM that reads it."""

    def __init__(self):
        super().__init__()
        self.video, self.dglm = ToyVideoModel(VIDEO), GlobalLocalMemory(DGLM)


def new_memory(seed: int) -> ColourMemory:
    """An untrained one, which leaves every control as it is."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        memory = ColourMemory()
        tower = memory.video.vision.tower.embeddings
        words = memory.video.language.embed_tokens, memory.video.language.beacon_embed_tokens
        with torch.no_grad():
            for value in (tower.class_embedding, tower.position_embedding.weight, *(each.weight for each in words)):
                value.normal_(0, _SPREAD)
            for first, second in zip(_FIRST, _SECOND, strict=True):
                # Where both are zero, neither has a gradient.
                memory.get_parameter(first)[USED:] = 0
                memory.get_parameter(second)[:, USED:] = 0
    return memory


def write_memory(path: Path, memory: ColourMemory) -> None:
    """Write its weights, packed, without what is not used."""
    state = dict(memory.state_dict())
    for first, second in zip(_FIRST, _SECOND, strict=True):
        state[first], state[second] = state[first][:USED], state[second][:, :USED].contiguous()
    write_packed(path, state)


def load_memory(path: str | PathLike = WEIGHTS) -> ColourMemory:
    """The trained networks on the CPU, in float32, frozen; InputError for a file of something else."""

    def refuse(wrong: str) -> InputError:
        rule = "must be a .safetensors file of the colouring toy's memory"
        return InputError("the toy's weights", rule, WEIGHTS.name, f"{one_line(path)}, {wrong}")

    state, memory = read_packed(path, "the colouring toy's memory", WEIGHTS.name), ColourMemory()
    for first, second in zip(_FIRST, _SECOND, strict=True):
        for name, axis in ((first, 0), (second, 1)):
            cut = state.get(name)
            if cut is not None and cut.ndim == 2 and cut.shape[axis] == USED:
                state[name] = torch.cat([cut, cut.new_zeros(cut.shape).repeat_interleave(3, axis)], axis)
    check_shapes(
        {name: tuple(value.shape) for name, value in state.items()},
        {name: tuple(value.shape) for name, value in memory.state_dict().items()},
        refuse,
    )
    memory.load_state_dict(state)
    return memory.eval().requires_grad_(False)


@dataclass(frozen=True)
class MemoryOfToy(MemoryOfVideo):
    """The toy's memory of a video, in which the local part is of the last frames themselves, as the paper has it, also
    where the global part leaves frames out."""

    settings: MemorySettings = SETTINGS

    @torch.no_grad()
    def remember(self, crops: Tensor, held: Held | None = None) -> tuple[Tensor, Held | None]:
        """See MemoryOfVideo; nothing is held, as few frames are read."""
        most, local = self.settings.memory_frames, self.settings.local_frames
        parts = [crops[chosen(len(crops), most)]] if most else []
        parts += [crops[-local:]] if local else []
        return torch.cat([self.model.memory(part) for part in parts], 2).cpu(), None
