"""`everanimate takes`: the takes of a run side by side; and the one command that deletes some."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from ..errors import InputError
from ..runs.listing import amount, list_takes, prune, run_of, to_prune
from ..runs.ownership import OwnershipLost
from ..runs.store import ONE_WRITER, RunFailed
from .command import Command
from .options import option, several


@dataclass(frozen=True)
class Options:
    """List the takes of a run: what differs, their length, their drift and what they need on disk.

    A take is one version of the animation. A changed setting or input opens a new one; older ones stay.
    """

    run: tyro.conf.Positional[
        option(Path, "The run's folder (output/everanimate/NAME of ComfyUI), or a video made by this command.", "RUN")
    ]
    prune: option(
        several(int),
        "Keep these takes with their chunks, and delete other takes and all chunks that only these have. Videos that "
        "are written stay. Asks first.",
        "TAKE [TAKE ...]",
        "delete nothing",
    ) = None
    yes: option(bool, "Delete without asking first.", None, False) = False


def main(options: Options, command: Command) -> None:
    """List or prune. Raises InputError for a run or a take that there is not, RunFailed where another program took
    over."""
    store = run_of(options.run)
    if options.prune is None:
        for listed in list_takes(store):
            command.say(str(listed))
        return
    with store.locked():
        pruned = to_prune(store, options.prune)
        if not pruned.files:
            command.say("There is nothing to delete.")
            return
        takes, chunks = len(pruned.takes), len(pruned.chunks)
        which = f"take{'' if takes == 1 else 's'} {', '.join(map(str, pruned.takes))}" if takes else "no take"
        own = f"{chunks} chunk{'' if chunks == 1 else 's'} that no other take has"
        told = f"{which} and {own}, {amount(pruned.size)}"
        if not options.yes and not _agreed(f"Delete {told}? [y/N] "):
            command.say("Nothing was deleted.")
            return
        try:
            prune(pruned, store.check_owner)
        except OwnershipLost:
            lost = f"another one took over {store.folder} while this one was paused. Not everything was deleted."
            raise RunFailed(f"a run {ONE_WRITER}; {lost}") from None
        command.say(f"Deleted {told}.")


def _agreed(question: str) -> bool:
    """The answer of whoever sits there; InputError where nobody does."""
    if not sys.stdin.isatty():
        raise InputError("prune", "asks before it deletes", "--yes where nobody can answer", "no terminal")
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False
