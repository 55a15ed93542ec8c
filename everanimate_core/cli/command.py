"""A command while it runs: what it says, and what is said when it is stopped."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any


@dataclass
class Command:
    """kept: what is there after Ctrl-C. to_go_on: what the same arguments need in addition to go on with it.

    aside: keeps a progress bar out of the way while a line is printed.
    """

    kept: str = "nothing was written"
    to_go_on: tuple[str, ...] = ()
    aside: Callable[[], AbstractContextManager[Any]] = nullcontext

    def say(self, line: str) -> None:
        """Print a line at once: a log in a file or behind a pipe shows each chunk when it is finished."""
        with self.aside():
            print(line, flush=True)

    def note(self, line: str) -> None:
        """Print a line that is no part of the result, at once, to stderr."""
        with self.aside():
            print(line, file=sys.stderr, flush=True)
