"""`everanimate train-toy`: the networks of the embedded toy."""

from dataclasses import dataclass
from pathlib import Path

from ..toy.learning.train_dit import train_toy
from .command import Command
from .options import option, several


@dataclass(frozen=True)
class Options:
    """Train the embedded toy's networks."""

    out: option(Path, "Folder of the training; one that is there goes on.", "DIR")
    seed: option(int, "Seed of weights, films and noise.", "N", 0) = 0
    minutes: option(float | None, "Stop after so many; the same command goes on.", "MINUTES", "no limit") = None
    only: option(several(str), "These networks alone.", "NAME [NAME ...]", "all") = ()
    compile: option(bool, "Faster, where torch finds a C++ compiler.", None, False) = False


def main(options: Options, command: Command) -> None:
    """Train the networks."""
    command.kept = "what was saved is kept"
    train_toy(options.out, options.seed, options.minutes, options.compile, options.only)
