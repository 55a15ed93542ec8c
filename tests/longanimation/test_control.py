"""Where line art steers the network, and that it leaves no trace."""

import pytest
import torch
from refusals import refusal

from everanimate_core.longanimation.control import check_blocks, chosen_blocks, controlled


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("skip-layer", list(range(0, 42, 2))),
        ("full", list(range(42))),
        ("former half", list(range(21))),
        ("latter half", list(range(21, 42))),
        ("0-40:2", list(range(0, 41, 2))),
        ("3", [3]),
        ("7,3, 5-6", [3, 5, 6, 7]),
        ("0-2,1-3", [0, 1, 2, 3]),
    ],
)
def test_patterns_and_lists(pattern, expected):
    check_blocks(pattern)
    assert chosen_blocks(pattern, 42) == expected


@pytest.mark.parametrize("pattern", ["", "skip", "1-", "a", "-1", "1:0", "1.5", "2-1", ",", "1--2", "99999", "1:2:3"])
def test_other_lists_are_refused(pattern):
    assert refusal(check_blocks, pattern).startswith("blocks must ")
    assert refusal(chosen_blocks, pattern, 42).startswith("blocks must ")


def test_blocks_that_the_network_does_not_have_are_refused():
    message = "blocks must lie between 0 and 5 in this network (0-5:2); got 0,6."
    assert refusal(chosen_blocks, "0,6", 6) == message


class Block(torch.nn.Module):
    def forward(self, hidden, text):
        return 2 * hidden, text + 1


def run(blocks):
    hidden, text = torch.ones(1, 3, 2), torch.zeros(1, 1, 2)
    for block in blocks:
        hidden, text = block(hidden, text)
    return hidden[0, 0, 0].item(), text[0, 0, 0].item()


def test_control_is_added_behind_the_chosen_blocks_to_the_video_alone():
    blocks = [Block() for _ in range(3)]
    assert run(blocks) == (8, 3)
    with controlled(blocks, [0, 2], torch.full((1, 3, 2), 10.0), 0.5):
        # ((1 * 2 + 5) * 2) * 2 + 5
        assert run(blocks) == (33, 3)
    assert run(blocks) == (8, 3)


def test_an_error_leaves_no_trace():
    blocks = [Block()]
    with pytest.raises(KeyError), controlled(blocks, [0], torch.ones(1, 3, 2), 1.0):
        raise KeyError
    assert run(blocks) == (2, 1)
