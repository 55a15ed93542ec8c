"""Wan2.2-Animate-14B at its real size without its weights: time, memory and what must hold, ours beside the core nodes.

    COMFYUI_PATH=/path/to/ComfyUI python tests/benchmarks/bench_real_size.py [--budget SECONDS] [--out DIR]

Run it with ComfyUI's own interpreter on a machine with a GPU; with --tiny on any. The networks have their true shapes
and random weights; the text encoder and CLIP vision are stood in for by fixed features. A row is printed and written to
DIR (`table.md`, `rows.jsonl`) as soon as it is measured, the most telling ones first: what a killed run has measured
stays, and another start with the same DIR goes on. With --budget, a row is left for another start, and that is said,
when it would probably take longer than the seconds that are left.

Seconds outside the network are those of a later chunk that are spent in no model call: encoding, decoding, and moving
models to and from the card. Where a small card is simulated, a limit is set on what torch may allocate on this one, and
the host is told to leave the rest free: memory is that of the small card, speed that of this one. Our chunk graph has
Restorative Sampler at its default strength. Its videos are not written, and neither are those of the core nodes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from real_size_chains import Case
from real_size_report import Budget, Report, named

HD = {"width": 1280, "height": 720}
FP8 = "fp8_scaled"
# In the order of their worth; of each, the second chunk counts.
CASES = [
    Case(),
    Case("stock"),
    Case(weights=FP8),
    Case(weights=FP8, card=16),
    Case(weights=FP8, card=24),
    Case(weights=FP8, card=12),
    Case(**HD),
    Case(tiled=True),
    Case(face=True),
    Case("stock", **HD),
    Case("stock", face=True),
    Case(steps=20),
    Case("stock", steps=20),
    Case(**HD, tiled=True),
    Case(**HD, face=True),
    Case(**HD, steps=20),
]
# Behind which of them the checks are made.
CHECKS_AFTER = 2
CHECKS = {"survival", "layouts", "diffusers"}
TINY = {"width": 64, "height": 64, "frames": 9}


def options_of(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--comfyui", default=os.environ.get("COMFYUI_PATH"), help="folder with main.py; default: COMFYUI_PATH")
    add("--tiny", action="store_true", help="tiny networks, 64x64 and 9 frames: that it runs, not how fast")
    add("--budget", type=float, help="seconds in which to be done; default: no limit")
    add("--out", type=Path, default=Path("build/real_size"), help="folder of the results; default: build/real_size")
    add("--cases", type=int, help="how many of the cases to measure, the first ones; default: all")
    add("--host-args", default="", help='options of ComfyUI, as "--disable-dynamic-vram --reserve-vram 4"')
    add("--on-card", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not options.comfyui:
        parser.error("--comfyui or COMFYUI_PATH must name the folder with main.py of ComfyUI")
    return options


def main():
    options = options_of()
    budget = Budget(options.budget)
    from real_size_host import Host

    host = Host(options.comfyui, options.host_args.split())
    import torch

    with torch.inference_mode():
        if options.on_card:
            on_this_card(host, options)
        else:
            everything(host, options, budget)


def everything(host, options, budget):
    """All cases and checks that are not there yet, the most telling first."""
    import torch

    # Faces in bf16 take a CPU six seconds a frame.
    cases = [case for case in CASES if host.cuda or not case.face]
    cases = list(dict.fromkeys(replace(case, **TINY) if options.tiny else case for case in cases))[: options.cases]
    where = torch.cuda.get_device_name() if host.cuda else "a CPU"
    size = "Tiny networks, which say nothing of speed," if options.tiny else "Networks of real size"
    room = f"ComfyUI {host.version} finds room {host.offloads}"
    args = f", with {options.host_args}" if options.host_args else ""
    report = Report(options.out, f"{size} with random weights, on {where}, torch {torch.__version__}. {room}{args}.")
    networks, given = Networks(host, options.tiny, report), inputs(options.tiny)
    for number, case in enumerate(cases, 1):
        if case not in report.cases:
            if budget.expected(case) <= budget.left:
                one(host, networks, given, case, report, budget, options)
            else:
                seconds = f"about {budget.expected(case):.0f} s, and {max(0, budget.left):.0f} s are left"
                report.note(f"{named(case)}: left for another start, it would take {seconds}")
        else:
            budget.learn(case, report.cases[case])
        if number == min(CHECKS_AFTER, len(cases)) and report.checked != CHECKS:
            checks(host, networks.of("bf16"), given, cases[0], report)


def inputs(tiny):
    """What every case is given beside the network: VAE, CLIP vision and the prompt."""
    from real_size_networks import FixedLook, load_vae, text

    return load_vae(tiny), FixedLook(), text()


class Networks:
    """The network in one kind of weights at a time: two do not fit into most machines."""

    def __init__(self, host, tiny, report):
        self.host, self.tiny, self.report, self.kind, self.model = host, tiny, report, None, None

    def of(self, kind):
        """The MODEL with weights of that kind."""
        from real_size_networks import load_animate, sizes

        if kind != self.kind:
            self.release()
            begun = time.monotonic()
            self.model, count = load_animate(sizes(self.tiny), kind, self.host.device)
            self.kind = kind
            self.report.note(f"{count / 1e9:.2f} G parameters in {kind}, built in {time.monotonic() - begun:.0f} s")
        return self.model

    def release(self):
        """Let go of it."""
        self.kind = self.model = None
        self.host.release()


def one(host, networks, given, case, report, budget, options):
    """Measure a case; what fails is a note, and the next one is measured."""
    from real_size_chains import measure

    try:
        if case.card:
            networks.release()
            figures = on_card(case, options, budget)
        else:
            figures = measure(host, networks.of(case.weights), *given, case)
    except Exception as error:
        report.note(f"{named(case)}: {type(error).__name__}: {str(error)[:300]}")
        host.release()
        return
    budget.learn(case, figures)
    report.case(case, figures)


def checks(host, model, given, case, report):
    """What must hold, each by itself: one that fails is told, and the next one is made."""
    from real_size_checks import diffusers, layouts, survival

    vae, look, text = given
    short = replace(case, frames=5, face=host.cuda, width=64, height=64)
    made = {
        "survival": lambda: survival(host, model, vae, look, text, case),
        "layouts": lambda: layouts(host, model, vae, look, text, replace(case, face=host.cuda)),
        "diffusers": lambda: diffusers(host, vae, look, text, short),
    }
    for group in [group for group in made if group not in report.checked]:
        try:
            for row in made[group]():
                report.check(*row)
            report.all_checked(group)
        except Exception as error:
            report.check(f"{group}: it ended early", f"{type(error).__name__}: {str(error)[:300]}", False)
            host.release()


def on_card(case, options, budget):
    """The figures of a smaller card, measured in a process of its own: the host reads its options once."""
    import torch

    free = torch.cuda.mem_get_info()[0] / 2**30 if torch.cuda.is_available() else None
    if free is not None and free <= case.card:
        raise RuntimeError(f"this card has {free:.1f} GiB free, which is no more")
    command = [sys.executable, __file__, "--comfyui", options.comfyui, "--on-card", json.dumps(asdict(case))]
    command += ["--tiny"] if options.tiny else []
    small = [options.host_args, *_small(case.card, free, options.comfyui)]
    command += [f"--host-args={' '.join(small).strip()}"]
    seconds = None if budget.end is None else max(1, budget.left)
    run = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    try:
        return json.loads(run.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise RuntimeError(run.stderr.strip().splitlines()[-1]) from None


def _small(card, free, comfyui):
    """Options with which the host has a card of that many GB, by estimates: what it holds stays below them."""
    if free is None:
        return []
    knows = "--disable-dynamic-vram" in (Path(comfyui) / "comfy" / "cli_args.py").read_text(encoding="utf-8")
    # It would leave 0.4 GB free by itself.
    reserved = f"{free - card + 0.4:.1f}"
    return [*(["--disable-dynamic-vram"] if knows else []), "--lowvram", "--reserve-vram", reserved]


def on_this_card(host, options):
    """A case of a smaller card, in this process; prints its figures as JSON."""
    import torch
    from real_size_chains import measure
    from real_size_networks import load_animate, sizes

    case = Case(**options.on_card)
    model, _ = load_animate(sizes(options.tiny), case.weights, host.device)
    if host.cuda:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(case.card * 2**30 / torch.cuda.mem_get_info()[1])
    print(json.dumps(measure(host, model, *inputs(options.tiny), case)))


if __name__ == "__main__":
    main()
