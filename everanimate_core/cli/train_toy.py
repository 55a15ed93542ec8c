"""`everanimate train-toy`: the networks of the embedded toy."""

from dataclasses import dataclass
from pathlib import Path

from ..toy.learning.train_dit import train_toy
from .command import Command
from .options import option, several


@dataclass(frozen=True)
class Options:
    """Train the embedded toy's networks. The same command goes on where it was stopped."""

    out: option(Path, "Folder of the training. One that is there goes on.", "DIR")
    seed: option(int, "Seed of weights, films and noise.", "N", 0) = 0
    minutes: option(float | None, "Stop after so many minutes.", "MINUTES", "no limit") = None
    only: option(
        several(str), "These networks alone. A wrong name gets the list of all.", "NAME [NAME ...]", "all"
    ) = ()
    compile: option(bool, "Compile the networks: faster, where torch finds a C++ compiler.", None, False) = False


def main(options: Options, command: Command) -> None:
    """Train the networks."""
    command.kept = "what was saved is kept"
    train_toy(options.out, options.seed, options.minutes, options.compile, options.only)
