"""Takes of a colouring: the same as for an animation, with windows that hand on the ends of their late steps."""

import pytest
import torch
from colour_runs import TOTAL, WINDOWS, colour_job, exact_window
from run_parts import Place, refused
from safetensors.torch import load


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "out")


def handed(place, index, number):
    tensors = load(place.chunk_path(index, number).read_bytes())
    return {name: tensor for name, tensor in tensors.items() if name != "latents"}


@pytest.mark.parametrize("index", range(WINDOWS))
def test_one_window_alone(place, index):
    place.start(colour_job(), exact_window)
    before, first = place.files(number=1), place.latents()
    place.start(colour_job(seed=7), exact_window, only_chunk=index)
    assert (place.made, place.seeds) == ([index], [7])
    assert place.files(number=1) == before
    keys = [[chunk.key for chunk in place.take(number).chunks] for number in (1, 2)]
    assert [one == other for one, other in zip(*keys, strict=True)] == [other != index for other in range(WINDOWS)]
    again = place.latents()[index]
    assert not torch.equal(again, first[index])
    if index < WINDOWS - 1:
        # The nine frames that the next window shares, and the ends of the late steps that it was blended with.
        assert torch.equal(again[:, :, -2:], first[index][:, :, -2:])
        old, new = (handed(place, index, number) for number in (1, 2))
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_from_a_window_on_and_back(place):
    place.start(colour_job(), exact_window)
    place.start(colour_job(seed=7), exact_window, from_chunk=2)
    assert (place.made, place.take().number) == ([2, 3], 2)
    place.start(colour_job(), exact_window)
    assert (place.made, place.take().chunks) == ([], place.take(1).chunks)


def test_a_longer_one_and_another_strength(place):
    place.start(colour_job(), exact_window)
    place.start(colour_job(TOTAL + 8), exact_window)
    assert (place.made, place.said) == ([WINDOWS], [f"take 2 is opened: total_frames was {TOTAL} and is {TOTAL + 8}"])
    assert refused(place.start, colour_job(TOTAL + 8, strength=0.7), exact_window, on_change="stop").endswith(
        "got strength was 0.5 and is 0.7."
    )
