"""How line art steers the network: what SketchDiT says of it is added to the state behind some of the blocks.

Skip-layer control of the supplement of arXiv 2507.01945: the same control is added behind every second block.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..errors import InputError

PATTERNS: dict[str, Callable[[int], range]] = {
    "skip-layer": lambda count: range(0, count, 2),
    "full": lambda count: range(count),
    "former half": lambda count: range(count // 2),
    "latter half": lambda count: range(count // 2, count),
}
# Far more blocks than any network has.
_MOST_BLOCKS = 1000


def check_blocks(pattern: str) -> None:
    """Raise InputError unless `pattern` is one of PATTERNS or a list of blocks."""
    if pattern not in PATTERNS:
        _listed(pattern)


def chosen_blocks(pattern: str, count: int) -> list[int]:
    """Behind which of `count` blocks control is added, rising, by number.

    pattern: one of PATTERNS, or a list as `0,2,4`, `0-40` or `0-40:2` (every second). InputError for another one, and
    for blocks that the network does not have.
    """
    if pattern in PATTERNS:
        return list(PATTERNS[pattern](count))
    chosen = _listed(pattern)
    if chosen[-1] >= count:
        raise InputError("blocks", f"must lie between 0 and {count - 1} in this network", f"0-{count - 1}:2", pattern)
    return chosen


def _listed(pattern: str) -> list[int]:
    chosen: set[int] = set()
    for part in pattern.split(","):
        numbers, colon, step = part.partition(":")
        first, dash, last = numbers.partition("-")
        words = [first, *([last] if dash else []), *([step] if colon else [])]
        if not all(word.strip().isdecimal() and len(word) < 5 for word in words) or (colon and not int(step)):
            raise InputError("blocks", f"must be {', '.join(PATTERNS)}, or a list of numbers", "0-40:2", repr(pattern))
        chosen |= set(range(int(first), min(int(last or first), _MOST_BLOCKS) + 1, int(step or 1)))
    if not chosen:
        raise InputError("blocks", "must name at least one block", "0-40:2", repr(pattern))
    return sorted(chosen)


@contextmanager
def controlled(blocks: Sequence[nn.Module], chosen: Sequence[int], control: Tensor, strength: float) -> Iterator[None]:
    """Add strength * control [B, tokens, dim] to the video tokens behind the chosen blocks; text tokens stay.

    blocks: of CogVideoX, in diffusers' class or a host's: each answers (video tokens, text tokens).
    """

    def add(_: nn.Module, __: Any, answer: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        hidden, text = answer
        return hidden + strength * control, text

    hooks = [blocks[number].register_forward_hook(add) for number in chosen]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
