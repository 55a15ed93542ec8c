"""Files of CogVideoX I2V, SketchDiT and DGLM: read under any names, checked weight by weight, written as native.

A weight that is missing, foreign or of another shape is an error that names it: a network with a few random weights
would sample, and show it nowhere but in the picture.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError, one_line
from ..json_files import Refuse
from ..tensor_files import DIFFUSERS_WEIGHTS, check_numbers, check_shapes, open_tensors, weight_files, write_tensors
from .dglm import DGLM, DglmSizes
from .dglm import HEAD_DIM as MEMORY_HEAD_DIM
from .names import native_name

BASE, SKETCH = "CogVideoX1.5 I2V", "SketchDiT"
INDEX_SUFFIX = ".safetensors.index.json"
# Every head is as wide in all CogVideoX; a patch is 2 x 2 x 2 latents of 16 channels, state and reference.
HEAD_DIM, PATCH_VALUES, LATENT_CHANNELS = 64, 8, 16
IN_CHANNELS = 2 * LATENT_CHANNELS
# In a written file's metadata, as JSON.
METADATA = "longanimation"

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class CogSizes:
    """Sizes of a network, read from the shapes of its weights. ofs: what CogVideoX1.5 is told beside the timestep."""

    width: int
    blocks: int
    time: int
    ofs: int
    text: int

    @property
    def heads(self) -> int:
        """How many heads of HEAD_DIM."""
        return self.width // HEAD_DIM

    def shapes(self, sketch: bool) -> Shapes:
        """The shape of every weight under its native name. sketch: of a SketchDiT, which has no head."""
        width, time, ofs = self.width, self.time, self.ofs

        def linear(name: str, inputs: int, outputs: int) -> Shapes:
            return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

        def norm(name: str, size: int = width) -> Shapes:
            return {f"{name}.weight": (size,), f"{name}.bias": (size,)}

        found = {
            **linear("patch_embed.proj", IN_CHANNELS * PATCH_VALUES, width),
            **linear("patch_embed.text_proj", self.text, width),
            **linear("time_embedding_linear_1", width, time),
            **linear("time_embedding_linear_2", time, time),
            **linear("ofs_embedding_linear_1", ofs, ofs),
            **linear("ofs_embedding_linear_2", ofs, ofs),
        }
        for number in range(self.blocks):
            block = f"blocks.{number}"
            for part in ("norm1", "norm2"):
                found |= linear(f"{block}.{part}.linear", time, 6 * width) | norm(f"{block}.{part}.norm")
            for part in ("q", "k", "v", "attn_out"):
                found |= linear(f"{block}.{part}", width, width)
            for part in ("norm_q", "norm_k"):
                found |= norm(f"{block}.{part}", HEAD_DIM)
            found |= linear(f"{block}.ff_proj", width, 4 * width) | linear(f"{block}.ff_out", 4 * width, width)
        if sketch:
            return {**found, "zero_conv.weight": (width, width)}
        return {
            **found,
            **norm("norm_final"),
            **linear("norm_out.linear", time, 2 * width),
            **norm("norm_out.norm"),
            **linear("proj_out", width, LATENT_CHANNELS * PATCH_VALUES),
        }


def read_base(path: str | PathLike, field: str = "model") -> tuple[dict[str, Tensor], CogSizes]:
    """CogVideoX1.5 I2V under native names, and its sizes.

    path: a .safetensors file or the index of a sharded one (`...safetensors.index.json`), in diffusers' names or
    native ones. Raises InputError, which calls it `field`, for anything else, and for a weight that is missing, foreign
    or of another shape.
    """
    return _read(path, BASE, field)


def read_sketch(path: str | PathLike) -> tuple[dict[str, Tensor], CogSizes]:
    """SketchDiT under native names, and its sizes, from `control_module.safetensors` or what `convert` made of it."""
    return _read(path, SKETCH, "sketch_file")


def read_memory(path: str | PathLike) -> tuple[dict[str, Tensor], DglmSizes]:
    """DGLM and its sizes, from `glm_module.safetensors` as it is published.

    Raises InputError, as `read_base` does, for anything else.
    """

    def refuse(wrong: str) -> InputError:
        return InputError("memory_file", f"must be {DGLM}", "glm_module.safetensors", f"{one_line(path)}, {wrong}")

    with open_tensors(path, refuse) as opened:
        state = {name: opened.read(name) for name in opened.names}
    sizes = dglm_sizes({name: tuple(value.shape) for name, value in state.items()}, refuse)
    check_numbers(state, refuse)
    return state, sizes


def check_fit(sketch: CogSizes, base: CogSizes, field: str = "sketch_file") -> None:
    """Raise InputError, which calls the SketchDiT `field`, unless it can steer this base: all but the number of blocks
    is the same."""
    for part in ("width", "time", "ofs", "text"):
        mine, wanted = getattr(sketch, part), getattr(base, part)
        if mine != wanted:
            raise InputError(field, f"must be of the model's {part}, {wanted}", "", mine)


def write_native(path: str | PathLike, state: Mapping[str, Tensor], sizes: CogSizes) -> None:
    """Write a network that `read_base` or `read_sketch` read as one file with native names."""
    write_tensors(path, state, {METADATA: json.dumps(asdict(sizes))})


def convert(source: Path, destination: Path, dtype: torch.dtype | None = None) -> str:
    """Write a base or a SketchDiT as one file with native names; which of both it is.

    source: a file or an index, see `read_base`, or a diffusers folder (with `transformer/` in it, or that one itself).
    dtype: of the weights, None for what they are. Raises InputError for anything else.
    """
    source = network_file(source)
    check_destination(destination, [source], "cogvideox1.5_i2v.safetensors")
    kind = SKETCH if _has_zero_conv(source) else BASE
    state, sizes = _read(source, kind, "source")
    write_native(
        destination, state if dtype is None else {name: value.to(dtype) for name, value in state.items()}, sizes
    )
    return kind


def check_destination(destination: Path, sources: Sequence[Path], example: str) -> None:
    """Raise InputError unless a converted file can be written to `destination`: a safetensors file, no source of it."""
    if destination.suffix != ".safetensors" or destination.is_dir():
        raise InputError("destination", "must be a .safetensors file", example, destination)
    if destination.resolve() in [source.resolve() for source in sources]:
        raise InputError("destination", "must be another file than the source, which it would replace", "", destination)


def network_file(path: Path) -> Path:
    """The file, or the index, of a base's weights: `path` itself, or what lies in a diffusers folder."""
    if not path.is_dir():
        return path
    folder = path / "transformer" if (path / "transformer").is_dir() else path
    files = weight_files(folder, DIFFUSERS_WEIGHTS, "model")
    return files[0] if len(files) == 1 else folder / f"{DIFFUSERS_WEIGHTS}{INDEX_SUFFIX}"


def _has_zero_conv(path: Path) -> bool:
    def refuse(wrong: str) -> InputError:
        return InputError("source", f"must be {BASE} or {SKETCH}", "", f"{one_line(path)}, {wrong}")

    for file in _files(path, "source"):
        with open_tensors(file, refuse) as opened:
            if "zero_conv.weight" in map(native_name, opened.names):
                return True
    return False


def _read(path: str | PathLike, kind: str, field: str) -> tuple[dict[str, Tensor], CogSizes]:
    def refuse(wrong: str) -> InputError:
        example = "control_module.safetensors" if kind == SKETCH else "CogVideoX1.5-5B-I2V, its transformer"
        return InputError(field, f"must be {kind}", example, f"{one_line(path)}, {wrong}")

    state: dict[str, Tensor] = {}
    for file in _files(Path(path), field):
        with open_tensors(file, refuse) as opened:
            for name in opened.names:
                native = native_name(name)
                if native in state:
                    raise refuse(f"which has {one_line(native)} twice")
                state[native] = opened.read(name)
    sizes = cog_sizes({name: tuple(value.shape) for name, value in state.items()}, kind, refuse)
    check_numbers(state, refuse)
    return state, sizes


def _files(path: Path, field: str) -> list[Path]:
    if not path.name.endswith(INDEX_SUFFIX):
        return [path]
    return weight_files(path.parent, path.name.removesuffix(INDEX_SUFFIX), field)


def cog_sizes(shapes: Mapping[str, tuple[int, ...]], kind: str, refuse: Refuse) -> CogSizes:
    """The sizes of a network of that kind from the shapes of its weights, by native name; what `refuse` makes for
    another network, and for a weight that is missing, foreign or of another shape."""

    size = partial(_size, shapes, refuse)
    if "blocks.0.norm1.linear.weight" not in shapes:
        raise refuse("which is another network" if shapes else "which holds nothing")
    if len(shapes.get("patch_embed.proj.weight", ())) == 4:
        raise refuse("which is CogVideoX 1.0: its patches have no time")
    inputs = size("patch_embed.proj.weight", 1)
    if inputs != IN_CHANNELS * PATCH_VALUES:
        raise refuse(f"which takes {inputs / PATCH_VALUES:g} channels instead of {IN_CHANNELS}: another CogVideoX")
    if kind == BASE and "zero_conv.weight" in shapes:
        raise refuse(f"which is {SKETCH}")
    if kind == SKETCH and "zero_conv.weight" not in shapes:
        raise refuse("which has no zero_conv.weight")
    numbers = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    sizes = CogSizes(
        width=size("patch_embed.proj.weight", 0),
        blocks=len(numbers),
        time=size("blocks.0.norm1.linear.weight", 1),
        ofs=size("ofs_embedding_linear_1.weight", 1),
        text=size("patch_embed.text_proj.weight", 1),
    )
    check_shapes(shapes, sizes.shapes(kind == SKETCH), refuse)
    return sizes


def dglm_sizes(shapes: Mapping[str, tuple[int, ...]], refuse: Refuse) -> DglmSizes:
    """The sizes of a DGLM from the shapes of its weights; what `refuse` makes for another network, and for a weight
    that is missing, foreign or of another shape."""
    if "key_mapping_0.0.weight" not in shapes:
        raise refuse("which is another network" if shapes else "which holds nothing")
    size = partial(_size, shapes, refuse)
    sizes = DglmSizes(
        width=size("key_mapping_0.6.weight", 0),
        kv=size("key_mapping_0.0.weight", 1),
        narrow=size("key_mapping_0.0.weight", 0),
        wide=size("key_mapping_0.3.weight", 0),
        inner=size("layers.0.0.to_q.weight", 0),
    )
    if sizes.inner % MEMORY_HEAD_DIM:
        raise refuse(f"whose heads are {sizes.inner} wide together, which is no multiple of {MEMORY_HEAD_DIM}")
    check_shapes(shapes, sizes.shapes(), refuse)
    return sizes


def _size(shapes: Mapping[str, tuple[int, ...]], refuse: Refuse, name: str, axis: int) -> int:
    shape = shapes.get(name)
    if shape is None or len(shape) != 2 or 0 in shape:
        raise refuse(f"which has no {name}" if shape is None else f"whose {name} is of shape {list(shape)}")
    return shape[axis]
