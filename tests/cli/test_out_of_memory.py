"""`everanimate animate` where memory runs out: what is said, and the next start goes on."""

import pytest
import torch
from cli_parts import CHUNKS, animate, place_of, result
from run_parts import assert_same_result

from everanimate_core.backends.diffusers_wan import DiffusersWan
from everanimate_core.toy.network.vae import ToyVae

# What the command line does: the method of a network, what it is called, and what needs less.
STAGES = {
    "sample": (
        DiffusersWan,
        "sample_chunk",
        "sampling",
        "a smaller --width or a smaller --height or a smaller --chunk-frames",
    ),
    "encode": (ToyVae, "normalised", "encoding frames", "a smaller --width or a smaller --height"),
    "decode": (
        ToyVae,
        "from_normalised",
        "decoding latents",
        "a smaller --width or a smaller --height",
    ),
}


def asking_for_too_much(method, calls):
    """The method, until it is called once more: then it asks for more memory than any machine has."""
    left = [calls]

    def call(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            torch.empty(2**50)
        return method(*arguments, **named)

    return call


@pytest.mark.parametrize("at", STAGES)
def test_what_is_said_and_the_next_start(tmp_path, monkeypatch, uninterrupted, command, at):
    holder, name, doing, less = STAGES[at]
    # Of chunk 0: the reference, the pose, and three keyframes that are chosen; and chunk 1's pose.
    calls = {"sample": 2, "decode": 2, "encode": 6}[at]
    out = tmp_path / "dance.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(holder, name, asking_for_too_much(getattr(holder, name), calls))
        code, _, complaints = command(animate(out))
    assert code == 1
    assert complaints.startswith(f"out of memory (RAM) while {doing} in chunk 2; got ")
    ways = f"With --beside files, network and VAE take turns. It needs less with {less} (all chunks are made anew then)"
    assert f"Close other programs that use it. {ways}" in complaints
    assert complaints.endswith(
        f"2 finished chunks are kept in {out.with_suffix('.run')}; the same run goes on from there.\n"
    )
    assert len(place_of(out).take().chunks) == 2
    code, said, complaints = command(animate(out))
    assert (code, complaints, said.count(", kept, ")) == (0, "", 2)
    assert len(place_of(out).take().chunks) == CHUNKS
    assert_same_result(result(out), result(uninterrupted[0]))


def test_a_network_that_does_not_fit(tmp_path, monkeypatch, command):
    """On a card: torch's own error, raised while the network is loaded."""

    def load(*arguments, **named):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 32.00 GiB.")

    monkeypatch.setattr("everanimate_core.cli.animate.load_animator", load)
    code, said, complaints = command(animate(tmp_path / "dance.mp4"))
    assert (code, said) == (1, "")
    assert complaints == (
        "out of GPU memory while loading the network; got CUDA out of memory. Tried to allocate 32.00 GiB. Close other "
        "programs that use it. Here, a network is on the device as a whole; ComfyUI, with our nodes, can leave a part "
        "of it in RAM.\n"
    )
    assert not list(tmp_path.iterdir())
