"""The `everanimate` command: the same engine without ComfyUI.

Exit codes: 0 done; 1 the run failed or was stopped (the message says what was kept); 2 bad arguments or inputs.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path

from safetensors import SafetensorError

from .flow import SEED_MODES
from .frames import FIT_POLICIES
from .lora import FORMATS, convert, describe, read_lora
from .memory import KEYFRAMES
from .plan import CONTINUATIONS
from .propagation import CLIP_SOURCES
from .run import RunFailed

DONE, FAILED, REFUSED = 0, 1, 2
RANDOM = "random"
MAX_FPS = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args(arguments)
    try:
        options.command(options)
    except KeyboardInterrupt:
        again = shlex.join([*arguments, *options.to_go_on])
        print(f"Stopped; finished chunks are kept. Go on with: everanimate {again}", file=sys.stderr)
        return FAILED
    except (ValueError, FileNotFoundError, IsADirectoryError, ImportError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    except (RunFailed, OSError, SafetensorError) as error:
        print(error, file=sys.stderr)
        return FAILED
    return DONE


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="everanimate", description="Minute-scale human animation that does not drift.")
    # What has to be added to the arguments when the same command is to go on with what it began.
    top.set_defaults(to_go_on=())
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_animate(commands.add_parser("animate", help="animate a person by a pose video"))
    _add_demo(commands.add_parser("demo", help="the main job on stand-in weights, nothing to download"))
    lora = commands.add_parser("lora", help="look at LoRA files, change their naming")
    _add_lora(lora.add_subparsers(required=True, metavar="COMMAND"))
    return top


def _add_animate(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--reference", required=True, nargs="+", type=Path, metavar="IMAGE", help="the person, usually one picture")
    add("--pose", required=True, type=Path, metavar="VIDEO", help="the pose video (skeletons on black)")
    add("--out", required=True, type=Path, metavar="VIDEO", help="the result")
    add("--face", type=Path, metavar="VIDEO", help="the driving face, cropped")
    add("--background", type=Path, metavar="VIDEO", help="replacement: the scene that stays (with --mask)")
    add("--mask", type=Path, metavar="VIDEO", help="replacement: white where the new person is drawn")
    add("--model", required=True, metavar="PATH", help=f"diffusers folder, transformer file, or {RANDOM!r} (stand-in)")
    add("--parts", type=Path, metavar="DIR", help="diffusers folder for all but the transformer, if that is a file")
    add("--lora", type=Path, metavar="FILE", help="the EverAnimate LoRA")
    add("--lora-strength", type=float, default=1.0)
    prompt = command.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", default="", help="what is to be seen")
    prompt.add_argument("--prompts", type=Path, metavar="FILE", help="prompts that change: lines of `frame: prompt`")
    add("--negative-prompt", default="", help="what is not, if --cfg is not 1")
    add("--width", type=int, default=832)
    add("--height", type=int, default=480)
    add("--frames", type=int, default=0, help="frames to make (0: as many as the pose video has)")
    add("--fps", type=_fps, help="frames per second: 25, 23.976, 30000/1001 (default: the pose video's)")
    add("--steps", type=int, default=20)
    add("--shift", type=float, default=5.0)
    add("--cfg", type=float, default=1.0)
    add("--seed", type=_seed, default=0)
    add("--seed-mode", choices=SEED_MODES, default=SEED_MODES[0])
    add("--identity-latents", type=int, default=4)
    add("--motion-latents", type=int, default=1)
    add("--chunk-frames", type=int, default=77)
    add("--overlap", type=int, default=4)
    add("--continuation", choices=CONTINUATIONS, default=CONTINUATIONS[0])
    add("--keyframes", choices=KEYFRAMES, default=KEYFRAMES[0])
    add("--clip-source", choices=CLIP_SOURCES, default=CLIP_SOURCES[0])
    add("--fit", choices=FIT_POLICIES, default=FIT_POLICIES[0])
    add("--tiled", action="store_true", help="decode in tiles: less memory")
    add("--latent-context", action="store_true", help="decode every chunk behind the last latents of the one before")
    add("--device", help="where the network runs (default: the accelerator, if there is one)")
    add("--dtype", choices=("bfloat16", "float32"), help="of the network (default: float32 on a CPU, else bfloat16)")
    add("--run", type=Path, metavar="DIR", help="where finished chunks are kept (default: OUT without suffix + .run)")
    add("--from-chunk", type=int, default=0, metavar="K", help="make chunk K and all after it again")
    add(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with an earlier run (the default), or start anew and set it aside",
    )
    command.set_defaults(command=_animate)


def _fps(text: str) -> Fraction:
    """Frames per second, above 0 and up to MAX_FPS; exact for denominators up to 1001."""
    # ZeroDivisionError: "1/0".
    with suppress(ValueError, ZeroDivisionError):
        fps = Fraction(text).limit_denominator(1001)
        if 0 < fps <= MAX_FPS:
            return fps
    raise argparse.ArgumentTypeError(f"must be above 0 and at most {MAX_FPS} (25, 30000/1001); got {text}.")


def _seed(text: str) -> int:
    """A seed that every generator takes."""
    with suppress(ValueError):
        if 0 <= int(text) < 2**64:
            return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number between 0 and 2^64 - 1 (42); got {text}.")


def _animate(options: argparse.Namespace) -> None:
    from .cli_animate import animate_files

    # Flushed: a log in a file or behind a pipe shows each chunk when it is finished.
    print(f"Wrote {animate_files(options, partial(print, flush=True))}")


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR")
    command.add_argument("--seconds", type=float, default=60.0)
    command.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> None:
    import torch

    from .demo import DEMO_SETTINGS, write_inputs

    # A network this small gains nothing from threads, and loses a lot where other programs want the cores.
    torch.set_num_threads(1)

    print(
        "Until a trained model is embedded the demo runs on random weights: its pictures are noise, its engine is real."
    )
    reference, pose = write_inputs(options.out, options.seconds)
    files = ["--reference", str(reference), "--pose", str(pose), "--out", str(options.out / "animation.mp4")]
    _animate(parser().parse_args(["animate", *files, "--model", RANDOM, *DEMO_SETTINGS]))


def _add_lora(commands) -> None:
    inspect = commands.add_parser("inspect", help="what is in a LoRA, as JSON")
    inspect.add_argument("file", type=Path)
    inspect.set_defaults(command=lambda options: print(json.dumps(describe(read_lora(options.file)), indent=1)))
    change = commands.add_parser("convert", help="write a LoRA under other layer names")
    change.add_argument("source", type=Path)
    change.add_argument("destination", type=Path)
    change.add_argument("--format", choices=FORMATS, default="comfyui", help="layer names to write (default: comfyui)")
    change.set_defaults(command=lambda options: convert(options.source, options.destination, options.format) and None)
