"""Folders of diffusers' and transformers' format, from strangers: looked through before those libraries see them.

Weights are safetensors files inside the folder. No pickle is opened, no code of the folder runs, no hub is asked.
"""

from pathlib import Path
from typing import Any

from ..errors import InputError, one_line, shown
from ..json_files import Refuse, check_fields, read_json
from ..tensor_files import open_tensors, weight_files

# For every loader of transformers. A config can name attention code on the hub too, see _check_own_code.
LOCAL = {"local_files_only": True, "trust_remote_code": False}
SAFE = {**LOCAL, "use_safetensors": True}
# Sizes beyond those of any Wan part: tables of that size would fill the memory.
MOST = 2**20
_LAYERS = ("num_layers", "num_hidden_layers", "num_decoder_layers", "num_res_blocks")
_HEADS = ("num_heads", "num_attention_heads")


def read_config(folder: Path, name: str, file: str = "config.json") -> dict[str, Any]:
    """A JSON object in a folder; ValueError, in the name of the part `name`, for anything else."""

    def refuse(got: str) -> InputError:
        return InputError(name, f"must have a JSON object of settings as {file}", "", f"{got} in {one_line(folder)}")

    return check_fields(read_json(folder / file, refuse), {}, refuse, others=True)


def check_counts(config: dict[str, Any], tensors: int, refuse: Refuse) -> None:
    """Refuse numbers of layers below 1, and sizes that are too large for a network of so many tensors."""
    values = [config]
    while values:
        value = values.pop()
        if isinstance(value, dict | list):
            values += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int) and abs(value) > MOST:
            raise refuse(f"a size of {value}")
    for name in (*_LAYERS, *_HEADS):
        if isinstance(config.get(name), int) and config[name] < 1:
            raise refuse(f"{name} {config[name]}")
    for name in _LAYERS:
        if isinstance(config.get(name), int) and config[name] > tensors:
            raise refuse(f"{name} {config[name]} for {tensors} tensors")


def check_model(folder: str | Path, kinds: tuple[str, ...], name: str) -> None:
    """Raise ValueError unless a folder of transformers' format holds a whole model of one of `kinds` (model_type).

    What is seen without loading it: settings, that none of them asks for code, which files there are, their headers.
    """
    folder = Path(folder)
    where = one_line(folder)
    if not (folder / "config.json").is_file():
        raise InputError(name, "must be a folder with config.json and weights in it", "", where)
    config = read_config(folder, name)
    if config.get("model_type") not in kinds:
        raise InputError(
            name, f"must be a model of type {' or '.join(kinds)}", "", f"{shown(config.get('model_type'))} in {where}"
        )
    _check_own_code(folder, config, name)
    tensors = 0
    for path in weight_files(folder, "model", name):

        def refuse_file(wrong: str, path: Path = path) -> InputError:
            return InputError(name, "must have whole .safetensors files", "", f"{one_line(path)}, {wrong}")

        with open_tensors(path, refuse_file) as file:
            tensors += len(file.names)

    def refuse_size(got: str) -> InputError:
        return InputError(name, "must have sizes that fit its weights", "", f"{got} in {where}")

    check_counts(config, tensors, refuse_size)


def _check_own_code(folder: Path, config: dict[str, Any], name: str) -> None:
    """Raise ValueError for settings by which transformers would fetch code, or other weights, by itself."""
    own: dict[str, tuple[str | None, ...]]
    own = {"attn_implementation": (None, "eager", "sdpa"), "_attn_implementation": (None, "eager", "sdpa")}
    own |= {"quantization_config": (None,), "experts_implementation": (None,)}
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    odd = [key for part in parts for key, allowed in own.items() if part.get(key) not in allowed]
    if (folder / "adapter_config.json").exists():
        odd.append("adapter_config.json")
    if odd:
        raise InputError(
            name,
            "must be a plain model, without quantisation, adapters and code from elsewhere",
            "",
            f"{odd[0]} in {one_line(folder)}",
        )


def load_model(model: type[Any], folder: str | Path, name: str, **options: Any):
    """A model of transformers from a folder that `check_model` lets pass; ValueError unless it gets all its weights.

    options: as `from_pretrained` takes them.
    """
    got = one_line(folder)
    try:
        loaded, found = model.from_pretrained(folder, output_loading_info=True, **SAFE, **options)
    except Exception as error:
        # Settings of a stranger can make it stumble anywhere.
        got += f", of which none can be made ({type(error).__name__}: {one_line(error, 200)})"
        raise InputError(name, f"must hold a whole {model.__name__}", "", got) from error
    odd = [*found["missing_keys"], *found["mismatched_keys"]]
    if odd:
        # transformers gives them random values, and says so in a log line only.
        got += f", where {len(odd)} weights are missing or of another size ({shown(sorted(map(str, odd))[0])})"
        raise InputError(name, f"must hold a whole {model.__name__}", "", got)
    return loaded
