"""The weight files: what they leave out, and how large they are."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from everanimate_core.cli import main as cli
from everanimate_core.cli.train import Options, chosen_recipe
from everanimate_core.cli.train_precompute import Options as PrecomputeOptions
from everanimate_core.digests import weights_digest
from everanimate_core.lora.files import read_lora
from everanimate_core.lora.fit import check_coverage
from everanimate_core.toy.network.dit import load_dit
from everanimate_core.toy.network.state import (
    FOLDER,
    FULL_LORA,
    LAYERS,
    MEMORY_LORA,
    MEMORY_WEIGHTS,
    TEXT_DIM,
    TOYS,
    complete,
    read_state,
    write_packed,
)


def test_the_first_network_is_stored_in_half_precision_without_zeros():
    stored = load_file(MEMORY_WEIGHTS)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert all(value.any() for value in stored.values())
    assert len(stored) == 13 + 16 * LAYERS


def test_matrices_are_stored_in_8_bits_with_a_scale_for_each_row(tmp_path):
    path, state = tmp_path / "w.safetensors", {name: value.float() for name, value in load_file(MEMORY_WEIGHTS).items()}
    state["blocks.1.ffn.0.weight"][3] = 0
    write_packed(path, state)
    stored, read = load_file(path), read_state(path)
    assert stored["blocks.1.ffn.0.weight"].dtype == torch.int8
    assert path.stat().st_size < 0.55 * MEMORY_WEIGHTS.stat().st_size
    assert read.keys() == complete(state).keys()
    for name, value in state.items():
        if value.ndim < 2:
            assert torch.equal(read[name], value.half().float()), name
        else:
            # Half a step of 127 to the largest of a row.
            rows = value.flatten(1)
            off = (read[name].flatten(1) - rows).abs().amax(dim=1)
            assert (off <= rows.abs().amax(dim=1) * (0.5 / 127) * 1.001 + 1e-12).all(), name
    assert not read["blocks.1.ffn.0.weight"][3].any()
    # What was read is written again as it is.
    write_packed(tmp_path / "again.safetensors", read)
    assert all(torch.equal(value, read[name]) for name, value in read_state(tmp_path / "again.safetensors").items())


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"head.head.weight.scale": None}, "'head.head.weight' holds no finite numbers"),
        ({"head.head.weight.scale": torch.ones(3)}, "'head.head.weight' holds no finite numbers"),
        ({"head.head.weight.scale": torch.full((64,), float("nan"))}, "'head.head.weight' holds no finite numbers"),
        ({"head.head.bias": torch.ones(64, dtype=torch.int8)}, "'head.head.bias' holds no finite numbers"),
    ],
)
def test_scales_that_are_none_are_refused(tmp_path, change, wrong):
    path = tmp_path / "w.safetensors"
    write_packed(path, read_state(MEMORY_WEIGHTS))
    tensors = {name: value for name, value in (load_file(path) | change).items() if value is not None}
    save_file(tensors, path)
    with pytest.raises(ValueError, match=wrong):
        read_state(path)


def test_all_weights_together_are_small():
    # The first toy is in half precision: runs of 0.1.0 know it by its weights.
    colouring = {path for path in FOLDER.iterdir() if path.name.startswith("colour")}
    assert sum(path.stat().st_size for path in colouring) < 10e6
    assert sum(path.stat().st_size for path in FOLDER.glob("*.safetensors")) < 36.5e6


@pytest.mark.parametrize("path", TOYS.values(), ids=TOYS)
def test_every_network_that_a_command_can_name_is_shipped(path):
    assert read_state(path).keys() == read_state(MEMORY_WEIGHTS).keys()


@pytest.mark.parametrize("path", [MEMORY_LORA, FULL_LORA], ids=lambda path: path.stem)
def test_the_loras_are_of_the_baseline_and_of_the_commands_beside_them(path):
    drifting = TOYS["toy-baseline"]
    lora, network = read_lora(path), load_dit(drifting)
    assert check_coverage(lora, read_state(drifting)).matched == 10 * LAYERS
    assert lora.metadata["network"] == weights_digest(network.state_dict().items())
    precompute, *_, train, convert = json.loads(path.with_suffix(".json").read_text())["commands"]
    # Trained as a roll-out has it: a reference from another moment, behind views of the first chunk.
    made = cli.parse(PrecomputeOptions, "train precompute", precompute.split()[3:])
    assert (made.data, made.model, made.reference, made.anchors) == ("toy-lit", "toy-baseline", "own", "roll-out")
    options = cli.parse(Options, "train", train.split()[2:])
    assert options.model == "toy-baseline" and made.motion_pixels >= bool(options.learning.perturbed_motion)
    recipe = chosen_recipe(options)
    assert {name: lora.metadata[name] for name in recipe.facts()} == {
        name: str(value) for name, value in recipe.facts().items()
    }
    assert int(lora.metadata["step"]) == options.pace.steps
    assert convert.split()[4:] == [path.name, "--format", "released", "--dtype", "float16"]


def test_what_was_left_out_comes_back_as_zeros():
    stored, whole = load_file(MEMORY_WEIGHTS), read_state()
    added = set(whole) - set(stored)
    assert all(not whole[name].any() for name in added)
    assert all(torch.equal(whole[name], stored[name].float()) for name in stored)
    # Of every block: q, k, v of the cross-attention with biases, o's weight, three norms of which one has a bias.
    assert len(added) == 4 + LAYERS * (6 + 1 + 4)
    assert whole["text_embedding.0.weight"].shape[1] == TEXT_DIM


def test_stored_weights_win_over_zeros():
    bias = torch.ones(256)
    assert complete({"blocks.0.cross_attn.o.bias": bias})["blocks.0.cross_attn.o.bias"] is bias
