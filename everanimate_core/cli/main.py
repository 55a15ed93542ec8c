"""The `everanimate` command: the same engine without ComfyUI.

Exit codes: 0 done; 1 the run failed or was stopped (the message says what was kept); 2 bad arguments or inputs.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import getdoc
from io import TextIOWrapper
from itertools import takewhile
from subprocess import list2cmdline
from typing import Any

from safetensors import SafetensorError

from ..errors import InputError, one_line
from ..runs.stages import OutOfMemory
from ..runs.store import RunFailed
from .command import Command

DONE, FAILED, REFUSED = 0, 1, 2
_MEMORY_HELP = "Here, a network is on the device as a whole; ComfyUI, with our nodes, can leave a part of it in RAM."
COMMANDS = {
    "animate": "animate a person by a pose video, or by any video of a person",
    "prepare": "make the videos that drive an animation from any video of a person",
    "colour": "colour a line-art animation like a reference picture",
    "takes": "list the versions of an animation that a run has kept, or delete some",
    "evaluate": "measure how well a video keeps its colours, sharpness and identity",
    "demo": "60 seconds of animation with the embedded toy, nothing to download",
    "batch": "many animations, on all GPUs of a machine or of a Ray cluster",
    "batch status": "how far a batch is, while it runs and afterwards",
    "post": "run a graph on a ComfyUI that is up",
    "lora inspect": "what is in a LoRA, as JSON",
    "lora convert": "write a LoRA under other layer names",
    "longanimation convert": "write published files of LongAnimation as ComfyUI loads them",
    "train precompute": "make a training set from films",
    "train": "train a LoRA: the memory (stage 1), then restoration (stage 2)",
    "train-toy": "train the networks of the embedded toy",
    "ablate": "the paper's ablation on the toy world",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Raises SystemExit for help and for options that do not parse."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A name that the encoding of a terminal or log file does not have must not end a run.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # The longest: `batch status` begins as `batch` does.
    name = max((name for name in COMMANDS if arguments[: len(name.split())] == name.split()), key=len, default=None)
    if name is None:
        return _overview(arguments)
    command, options = Command(), None
    try:
        _check_tyro()
        module = import_module(f".{name.replace(' ', '_').replace('-', '_')}", __package__)
        try:
            options = parse(module.Options, name, arguments[len(name.split()) :])
        except SystemExit as ended:
            # Printed here, as it is: tyro would wrap the lines of an example.
            if ended.code == DONE and hasattr(module, "BELOW_HELP"):
                print(f"\n\n{module.BELOW_HELP}", end="")
            raise
        module.main(options, command)
    except KeyboardInterrupt:
        join = list2cmdline if os.name == "nt" else shlex.join
        again = join([*arguments, *command.to_go_on])
        print(f"Stopped; {command.kept}. Go on with: everanimate {again}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # `everanimate ... | head`. Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _complain(f"Stopped, as nobody reads what is printed any more; {command.kept}.")
        return FAILED
    except (ValueError, FileNotFoundError, IsADirectoryError, ImportError) as error:
        _complain(_said(error, options))
        return REFUSED
    except OutOfMemory as error:
        _complain(error.told(lambda field: _option(field, options) or field, host=_MEMORY_HELP))
        return FAILED
    except (RunFailed, OSError, SafetensorError) as error:
        _complain(str(error))
        return FAILED
    return DONE


def _overview(arguments: Sequence[str]) -> int:
    """Say which commands there are; the exit code is that of help, or of a command that there is not."""
    words = list(takewhile(lambda word: not word.startswith("-"), arguments))
    begun = [name for name in COMMANDS if name.split()[: len(words)] == words]
    offered = begun or list(COMMANDS)
    asked = bool(begun) and arguments[len(words) : len(words) + 1] in (["-h"], ["--help"])
    width = max(map(len, COMMANDS))
    what = "Animates a person for minutes, chunk by chunk, with a memory against drift."
    lines = ["usage: everanimate COMMAND [OPTIONS]", "", what, ""]
    lines += [f"  {name:{width}}  {COMMANDS[name]}" for name in offered]
    lines += ["", "`everanimate COMMAND --help` says its options."]
    if not asked:
        got = one_line(" ".join(arguments), 40) or "none"
        lines += ["", f"COMMAND must be one of these ({offered[0]}); got {got}."]
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    return DONE if asked else REFUSED


def _check_tyro() -> None:
    """Raise ImportError, which says how to install it, where what reads the options is not there."""
    try:
        import_module("tyro")
    except ImportError as error:
        raise ImportError(f"the command line needs tyro (pip install 'everanimate[cli]'); got {error}.") from error


def parse(options: type, name: str, arguments: Sequence[str]) -> Any:
    """The options of a command; SystemExit(2) where they are not what the command takes."""
    import tyro

    return tyro.cli(options, prog=f"everanimate {name}", args=list(arguments), description=getdoc(options))


def _said(error: Exception, options: Any) -> str:
    """What is wrong; where options are, by their names."""
    if not isinstance(error, InputError) or options is None:
        return str(error)
    from .options import as_options, called

    kind = type(options)
    name = called(kind, error.field)
    return as_options(f"{name}: {error.said}" if name else str(error), lambda field: called(kind, field))


def _option(field: str, options: Any) -> str | None:
    """What the command line calls a field; None where none of these options is meant."""
    if options is None:
        return None
    from .options import called

    return called(type(options), field)


def _complain(message: str) -> None:
    """Print a message, with control characters, which names of files may hold, escaped."""
    print("\n".join(map(one_line, message.split("\n"))), file=sys.stderr)
