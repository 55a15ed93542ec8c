"""Saying how far long work is, without a line for each step."""

from collections.abc import Callable


def every_tenth(say: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """A function (done, total) that calls `say` with both, each time another tenth of the work is done."""
    said = 0

    def on_step(done: int, total: int) -> None:
        nonlocal said
        if done * 10 // total > said:
            said = done * 10 // total
            say(done, total)

    return on_step
