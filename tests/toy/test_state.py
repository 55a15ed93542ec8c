"""The weight files: what they leave out, and how large they are."""

import pytest
import torch
from safetensors.torch import load_file

from everanimate_core.toy.state import BASELINE, FOLDER, LAYERS, MEMORY, TEXT_DIM, complete, read_state


@pytest.mark.parametrize("path", [BASELINE, MEMORY])
def test_files_hold_half_precision_and_no_zeros(path):
    stored = load_file(path)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert all(value.any() for value in stored.values())
    assert len(stored) == 13 + 16 * LAYERS


def test_all_weights_together_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 24e6


def test_what_was_left_out_comes_back_as_zeros():
    stored, whole = load_file(MEMORY), read_state()
    added = set(whole) - set(stored)
    assert all(not whole[name].any() for name in added)
    assert all(torch.equal(whole[name], stored[name].float()) for name in stored)
    # Of every block: q, k, v of the cross-attention with biases, o's weight, three norms of which one has a bias.
    assert len(added) == 4 + LAYERS * (6 + 1 + 4)
    assert whole["text_embedding.0.weight"].shape[1] == TEXT_DIM


def test_stored_weights_win_over_zeros():
    bias = torch.ones(256)
    assert complete({"blocks.0.cross_attn.o.bias": bias})["blocks.0.cross_attn.o.bias"] is bias
