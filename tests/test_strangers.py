"""Files of strangers, changed at random: what is wrong with one is said in a line of ours, or it is read."""

import json
import random
import struct
from functools import partial

import pytest
import torch
from driving.bodies import keypoints, standing
from mutations import mutations
from safetensors.torch import save

from everanimate_core.backends.model_folders import check_model
from everanimate_core.driving.pose_keypoint import as_pose_keypoint, load_pose_keypoint, read_pose_keypoint
from everanimate_core.errors import InputError
from everanimate_core.lora.files import lora_from_tensors, read_lora
from everanimate_core.lora.names import LoraError
from everanimate_core.runs.prompts import read_prompts
from everanimate_core.tensor_files import weight_files
from everanimate_core.toy.network.state import read_state

ROUNDS = mutations(60)
ODD = [
    *(None, True, False, 0, -1, 1.5, 10**9, 2**63, 10**30, "", "x", "\n\x1b[31m", "é\u202e", [], {}, [[]], [1, "a"]),
    *({"a": {}}, "../x.safetensors", "/x.safetensors", float("nan"), float("inf"), "\udc80", "9" * 5000),
]
Q = "blocks.0.self_attn.q"
PAIR = {f"{Q}.lora_A.weight": torch.ones(2, 6), f"{Q}.lora_B.weight": torch.ones(6, 2), f"{Q}.alpha": torch.tensor(2.0)}


def changed_value(value, random):
    """`value` with one part of it, at any depth, replaced, renamed, taken away or doubled."""
    if random.random() < 0.25 or not isinstance(value, dict | list) or not value:
        return random.choice(ODD)
    if isinstance(value, list):
        place = random.randrange(len(value))
        return [*value[:place], changed_value(value[place], random), *value[place + random.randrange(2) :]]
    name = random.choice(list(value))
    rest = {other: part for other, part in value.items() if other != name}
    if random.random() < 0.3:
        return rest if random.random() < 0.5 else {**rest, str(random.choice(ODD)): value[name]}
    return {**value, name: changed_value(value[name], random)}


def changed_bytes(content, random):
    """`content` with some bytes replaced, cut off, put in or repeated."""
    place, length = random.randrange(len(content) + 1), random.choice([1, 1, 4, 64])
    filler = random.choice([b"\0", b"\xff", b"[", b'"', b"9" * 5000, b"\n", b"\xef\xbb\xbf", random.randbytes(length)])
    return random.choice(
        [
            content[:place],
            content[:place] + filler + content[place:],
            content[:place] + filler + content[place + length :],
            content[:place] + content[place + length :],
            content[place:] + content[:place],
        ]
    )


def json_text(value):
    return json.dumps(value).encode()


def changed_json(content, random):
    nested = b"[" * 3000 + b"]" * 3000
    if random.random() < 0.1:
        return random.choice([nested, b'{"a":' * 3000, b"9" * 5000, b"1e999", b"", b"\xef\xbb\xbf{}", b"{}\0"])
    if random.random() < 0.4:
        return changed_bytes(content, random)
    return json_text(changed_value(json.loads(content), random))


def changed_tensors(content, random):
    """A safetensors file with a changed header in front of its tensors, or changed bytes."""
    if random.random() < 0.4:
        return changed_bytes(content, random)
    length = struct.unpack("<Q", content[:8])[0]
    header = changed_json(content[8 : 8 + length], random)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


@pytest.fixture
def files(tmp_path):
    """{name: (the file that is changed, its right content, how it is changed, how it is read, the errors' class and
    what their messages start with)}"""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(save({"a": torch.ones(2)}))
    index = json_text({"metadata": {"total_size": 8}, "weight_map": {"a": "a.safetensors"}})
    config = json_text({"model_type": "umt5", "d_model": 16, "num_layers": 1, "dense": {"x": [1]}})
    (folder / "config.json").write_bytes(config)
    (folder / "model.safetensors.index.json").write_bytes(index)
    alone = tmp_path / "peft"
    alone.mkdir()
    (alone / "adapter_model.safetensors").write_bytes(save(dict(list(PAIR.items())[:2])))
    settings = json_text({"lora_alpha": 8, "use_rslora": False, "alpha_pattern": {}, "target_modules": ["q"]})
    lora = (LoraError, "")
    model = partial(check_model, folder, ("umt5",), "text_encoder")
    return {
        "lora": (tmp_path / "lora.safetensors", save(PAIR, {"a": "b"}), changed_tensors, read_lora, lora),
        "lora settings": (
            alone / "adapter_config.json",
            settings,
            changed_json,
            lambda _: read_lora(alone / "adapter_model.safetensors"),
            lora,
        ),
        "lora metadata": (
            tmp_path / "text",
            settings,
            changed_json,
            lambda path: lora_from_tensors(
                dict(list(PAIR.items())[:2]), {"lora_adapter_metadata": path.read_text(errors="surrogateescape")}
            ),
            lora,
        ),
        "toy": (
            tmp_path / "toy.safetensors",
            save(PAIR),
            changed_tensors,
            read_state,
            (InputError, "the toy's weights must be "),
        ),
        "keypoints": (
            tmp_path / "openpose.json",
            json_text(as_pose_keypoint(keypoints(standing()))),
            changed_json,
            lambda path: read_pose_keypoint(load_pose_keypoint(path), 480, 832),
            (InputError, "keypoints must "),
        ),
        "prompts": (
            tmp_path / "prompts.txt",
            b"0: a woman dances\n75: she turns\n",
            changed_bytes,
            read_prompts,
            (InputError, "prompts must "),
        ),
        "config": (folder / "config.json", config, changed_json, lambda _: model(), (InputError, "text_encoder must ")),
        "index": (
            folder / "model.safetensors.index.json",
            index,
            changed_json,
            lambda _: weight_files(folder, "model", "vae"),
            (InputError, "vae must "),
        ),
    }


KINDS = ("lora", "lora settings", "lora metadata", "toy", "keypoints", "prompts", "config", "index")


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_read_or_refused_in_a_line_of_ours(files, kind):
    path, right, change, read, (kind_of_error, start) = files[kind]
    path.write_bytes(right)
    read(path)
    refused = 0
    for seed in range(ROUNDS):
        chance = random.Random(f"{kind} {seed}")
        content = change(right, chance)
        for _ in range(chance.randrange(3)):
            content = changed_bytes(content, chance)
        path.write_bytes(content)
        try:
            read(path)
        except ValueError as error:
            message = str(error)
            assert type(error) is kind_of_error and message.startswith(start), (seed, message)
            assert message.isprintable(), (seed, message)
            refused += 1
    assert refused > ROUNDS / 4
