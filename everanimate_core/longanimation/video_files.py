"""Files of Video-XL: from its published folder to one file with what its memory needs, and that file read again.

Of a published checkpoint no more is kept than what is computed: the layers up to the last one that is read, the rows of
the prompt's words, beacons, projector, and the vision tower up to the block that is looked at.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, fields
from math import isqrt
from os import PathLike
from pathlib import Path
from typing import Any, cast, get_args, get_origin

import torch
from torch import Tensor

from ..errors import InputError, one_line, shown
from ..json_files import Refuse, check_fields, is_kind, parse_json, read_json
from ..tensor_files import TensorFile, check_numbers, check_shapes, open_tensors, weight_files, write_tensors
from .beacon import BeaconSettings
from .files import check_destination
from .prompt import PREFIX, SUFFIX
from .video_memory import VideoModel, VideoSettings
from .vision import HEAD_DIM, STRIDE, VisionSettings

VIDEO_XL = "Video-XL"
# In a written file's metadata, as JSON.
METADATA = "video_xl"
# Our names begin otherwise than the published ones.
_PREFIXES = {
    "language.": "model.",
    "vision.projector.": "model.mm_projector.",
    "vision.tower.": "model.vision_tower.vision_tower.vision_model.",
}
_EMBEDDING = "language.embed_tokens.weight"
# What a config must say, and what it means where it says nothing; all else would be another network.
_ONLY: dict[str, tuple[Any, Any]] = {
    "hidden_act": ("silu", "silu"),
    "beacon_pos": ("interleave", "interleave"),
    "beacon_attn": ("full-coverage", "full-coverage"),
    "beacon_sink_size": (0, 0),
    "beacon_parallel_window": (1, 1),
    "beacon_accum": (True, True),
    "mm_projector_type": ("mlp2x_gelu", "linear"),
    "mm_vision_select_feature": ("patch", "patch"),
    "mm_spatial_pool_stride": (STRIDE, None),
    "s2": (False, False),
}
_SIZES = {
    "hidden_size": int,
    "intermediate_size": int,
    "num_attention_heads": int,
    "num_key_value_heads": int,
    "num_hidden_layers": int,
    "rope_theta": float,
    "rms_norm_eps": float,
    "beacon_window": int,
    "beacon_stride": int,
    "beacon_param": list,
    "mm_vision_select_layer": int,
    "mm_spatial_pool_mode": str,
}


def published_name(name: str) -> str:
    """Video-XL's own name of a weight."""
    own, published = next((own, other) for own, other in _PREFIXES.items() if name.startswith(own))
    return published + name.removeprefix(own)


def video_shapes(settings: VideoSettings) -> dict[str, tuple[int, ...]]:
    """The shape of every weight of a VideoModel."""
    return {name: tuple(value.shape) for name, value in VideoModel(settings, device="meta").state_dict().items()}


def read_video_model(path: str | PathLike, field: str = "file") -> tuple[dict[str, Tensor], VideoSettings]:
    """The weights of a VideoModel and what it is, from a file that `convert_video_model` wrote.

    Raises InputError, which calls it `field`, for any other file, and for a weight that is missing, foreign, of another
    shape or no number by itself.
    """

    def refuse(wrong: str) -> InputError:
        way = "make it with `everanimate longanimation convert --video-xl`"
        return InputError(field, f"must be {VIDEO_XL}, converted", way, f"{one_line(path)}, {wrong}")

    with open_tensors(path, refuse) as file:
        if METADATA not in file.metadata:
            raise refuse(f"which says nothing of {METADATA!r}")
        settings = _settings(file.metadata[METADATA], refuse)
        check_shapes({name: file.shape(name) for name in file.names}, video_shapes(settings), refuse)
        state = {name: file.read(name) for name in file.names}
    check_numbers(state, refuse)
    return state, settings


def write_video_model(path: str | PathLike, state: Mapping[str, Tensor], settings: VideoSettings) -> None:
    """Write the weights of a VideoModel as one file that `read_video_model` reads."""
    write_tensors(path, state, {METADATA: json.dumps(asdict(settings))})


def convert_video_model(
    folder: Path,
    destination: Path,
    dtype: torch.dtype | None = None,
    read_layers: tuple[int, ...] = BeaconSettings.read_layers,
) -> None:
    """Write what the memory needs of a published Video-XL as one file.

    folder: config.json, and model.safetensors or its parts with their index. dtype: of the weights, None for what they
    are. Raises InputError for anything else: other networks, pickles, weights that are missing or of another shape.
    """
    where = one_line(folder)

    def refuse(wrong: str) -> InputError:
        return InputError("source", f"must be {VIDEO_XL}", "the folder with its config.json", f"{where}, {wrong}")

    if not (folder / "config.json").is_file():
        raise refuse("which has no config.json")
    with ExitStack() as stack:
        files: dict[str, TensorFile] = {}
        paths = weight_files(folder, "model", "source")
        check_destination(destination, paths, "video_xl.safetensors")
        for path in paths:

            def refuse_file(wrong: str, path: Path = path) -> InputError:
                return InputError("source", "must have whole .safetensors files", "", f"{one_line(path)}, {wrong}")

            opened = stack.enter_context(open_tensors(path, refuse_file))
            files |= dict.fromkeys(opened.names, opened)
        settings = _published_settings(folder / "config.json", files, read_layers, refuse)
        names = {name: published_name(name) for name in video_shapes(settings)}
        _check_published(files, names, settings, refuse)
        state: dict[str, Tensor] = {}
        for name, published in names.items():
            value = files[published].read(published)
            value = value[list(PREFIX + SUFFIX)] if name == _EMBEDDING else value
            state[name] = value if dtype is None else value.to(dtype)
        check_numbers({names[name]: value for name, value in state.items()}, refuse)
        write_video_model(destination, state, settings)


def _check_published(
    files: Mapping[str, TensorFile], names: Mapping[str, str], settings: VideoSettings, refuse: Refuse
) -> None:
    """Refuse a checkpoint where a weight is missing or of another shape; others it may have."""
    expected = {names[name]: shape for name, shape in video_shapes(settings).items() if name != _EMBEDDING}
    check_shapes({name: files[name].shape(name) for name in expected if name in files}, expected, refuse)
    words = names[_EMBEDDING]
    shape = files[words].shape(words) if words in files else None
    if shape is None:
        raise refuse(f"which has no {words}")
    if len(shape) != 2 or shape[0] <= max(PREFIX + SUFFIX) or shape[1] != settings.language.width:
        wanted = f"at least {max(PREFIX + SUFFIX) + 1} words of {settings.language.width}"
        raise refuse(f"whose {words} is of shape {list(shape)} instead of {wanted}")


def _published_settings(
    config_file: Path, files: Mapping[str, TensorFile], read_layers: tuple[int, ...], refuse: Refuse
) -> VideoSettings:
    """What a published checkpoint is, by its config and, for the vision tower, by its shapes."""

    def refuse_config(got: str) -> Exception:
        return refuse(f"whose config.json is not of {VIDEO_XL}: {got}")

    config = check_fields(read_json(config_file, refuse_config), _SIZES, refuse_config, others=True)
    for name, (only, unsaid) in _ONLY.items():
        value = config.get(name, unsaid)
        if value != only:
            raise refuse_config(f"{name!r} {shown(value)} instead of {shown(only)}")
    if config["beacon_stride"] != config["beacon_window"]:
        raise refuse_config(f"'beacon_stride' {config['beacon_stride']} instead of that of 'beacon_window'")
    if not all(isinstance(part, str) for part in config["beacon_param"]):
        raise refuse_config(f"'beacon_param' {shown(config['beacon_param'])}")
    language = _made(
        BeaconSettings,
        refuse_config,
        width=config["hidden_size"],
        inner=config["intermediate_size"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        layers=config["num_hidden_layers"],
        window=config["beacon_window"],
        rope_theta=config["rope_theta"],
        norm_eps=config["rms_norm_eps"],
        beacon_parts=tuple(config["beacon_param"]),
        read_layers=read_layers,
    )
    vision = _vision_settings(config, files, refuse)
    return _made(VideoSettings, refuse, vision=vision, language=language)


def _vision_settings(config: Mapping[str, Any], files: Mapping[str, TensorFile], refuse: Refuse) -> VisionSettings:
    def shape(name: str, axes: int) -> tuple[int, ...]:
        full = published_name(f"vision.{name}")
        if full not in files:
            raise refuse(f"which has no {full}")
        if len(found := files[full].shape(full)) != axes:
            raise refuse(f"whose {full} is of shape {list(found)}")
        return found

    start = published_name("vision.tower.encoder.layers.")
    blocks = {name.removeprefix(start).split(".")[0] for name in files if name.startswith(start)}
    if not blocks:
        raise refuse("which has no vision tower (model.vision_tower...): it was saved without it")
    width, _, patch, _ = shape("tower.embeddings.patch_embedding.weight", 4)
    places, _ = shape("tower.embeddings.position_embedding.weight", 2)
    # States before the first block and behind each.
    layer, states = config["mm_vision_select_layer"], len(blocks) + 1
    if not -states <= layer < states:
        raise refuse(f"which looks at block {layer} of a vision tower of {len(blocks)}")
    return _made(
        VisionSettings,
        refuse,
        width=width,
        inner=shape("tower.encoder.layers.0.mlp.fc1.weight", 2)[0],
        heads=width // HEAD_DIM,
        blocks=layer % states,
        image=isqrt(places - 1) * patch,
        patch=patch,
        out=shape("projector.0.weight", 2)[0],
        pool=config["mm_spatial_pool_mode"],
    )


def _settings(text: str, refuse: Refuse) -> VideoSettings:
    """The settings in a file's metadata."""

    def refuse_text(got: str) -> Exception:
        return refuse(f"whose metadata are wrong: {got}")

    def part(kind: type, value: Any) -> Any:
        # In JSON, tuples are lists.
        lists = {own.name: get_args(own.type)[0] for own in fields(kind) if get_origin(own.type) is tuple}
        kinds = {own.name: list if own.name in lists else own.type for own in fields(kind)}
        found = check_fields(value, cast(Any, kinds), refuse_text)
        for name, item in lists.items():
            if not all(is_kind(each, item) for each in found[name]):
                raise refuse_text(f"{name!r} {shown(found[name])}")
        return _made(kind, refuse_text, **found | {name: tuple(found[name]) for name in lists})

    value = check_fields(parse_json(text, refuse_text), {"vision": dict, "language": dict}, refuse_text)
    parts = {"vision": part(VisionSettings, value["vision"]), "language": part(BeaconSettings, value["language"])}
    return _made(VideoSettings, refuse_text, **parts)


def _made(kind: type, refuse: Refuse, **values: Any) -> Any:
    """Settings; refuses those that cannot be."""
    try:
        return kind(**values)
    except InputError as error:
        raise refuse(str(error).removesuffix(".")) from error
