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
TINY = {"width": 64, "height": 64, "frames": 9}
HEAD = ("chain", "weights", "size", "steps", "face", "tiled", "card", "s/step", "s/chunk", "s outside")
HEAD += ("share outside", "peak GiB (torch)", "peak GiB (card)")
# Which columns of a row are figures, and how they are written.
FIGURES = {"step_s": "{:.2f}", "chunk_s": "{:.2f}", "outside_s": "{:.2f}", "outside_share": "{:.0%}"}
FIGURES |= {"peak_gib": "{:.1f}", "card_gib": "{:.1f}"}
_HOLDS = {True: "yes", False: "NO", None: "-"}


class Report:
    """Rows as they come: on stdout, in `rows.jsonl`, and all so far in `table.md`.

    What an earlier start with the same heading has measured is there already; with another one it is put aside.
    """

    def __init__(self, folder, heading):
        self.folder, self.heading = folder, heading
        self.cases, self.checks, self.notes = {}, {}, []
        self.file = folder / "rows.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        earlier = [json.loads(line) for line in self.file.read_text("utf-8").splitlines()] if self.file.exists() else []
        if earlier and earlier[0] != {"heading": heading}:
            self.file.replace(folder / f"rows_before_{time.strftime('%Y%m%d_%H%M%S')}.jsonl")
            earlier = []
        if not earlier:
            self.write({"heading": heading})
        print(f"{heading}\n\n{_row(HEAD)}\n{_rule(HEAD)}", flush=True)
        for row in earlier:
            if "case" in row:
                self.cases[Case(**row["case"])] = row
                print(self.told(row), flush=True)
            if "check" in row:
                self.checks[row["check"]] = row

    def case(self, case, figures):
        """A case was measured."""
        row = self.cases[case] = {"case": asdict(case), **figures}
        self.write(row)
        print(self.told(row), flush=True)

    def told(self, row):
        """A case as a row of the table."""
        case = Case(**row["case"])
        told = [case.chain, case.weights, f"{case.width}x{case.height}", str(case.steps)]
        told += ["yes" if case.face else "no", "yes" if case.tiled else "no"]
        told += [f"{case.card} GB" if case.card else "whole"]
        return _row(told + ["-" if row[name] is None else form.format(row[name]) for name, form in FIGURES.items()])

    def check(self, what, found, holds):
        """A check was made. holds: None where it could not be."""
        row = self.checks[what] = {"check": what, "found": found, "holds": holds}
        self.write(row)
        print(f"- {what}: {found} ({_HOLDS[holds]})", flush=True)

    def note(self, text):
        """What is to be known of this start, and what it did not measure."""
        self.notes.append(f"- {text}")
        self.write({"note": text})
        print(self.notes[-1], flush=True)

    def write(self, row):
        """Put a row into the files."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        parts = [self.heading, "\n".join([_row(HEAD), _rule(HEAD), *map(self.told, self.cases.values())])]
        if self.checks:
            head = ("check", "found", "holds")
            rows = [_row([row["check"], row["found"], _HOLDS[row["holds"]]]) for row in self.checks.values()]
            parts.append("\n".join([_row(head), _rule(head), *rows]))
        if self.notes:
            parts.append("\n".join(self.notes))
        (self.folder / "table.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _row(cells):
    return "| " + " | ".join(cells) + " |"


def _rule(cells):
    return "|" + "---|" * len(cells)


class Budget:
    """Seconds that are left, and about how long a case takes, by those that were measured."""

    def __init__(self, seconds):
        self.end, self.measured = None if seconds is None else time.monotonic() + seconds, {}

    @property
    def left(self):
        """Seconds."""
        return float("inf") if self.end is None else self.end - time.monotonic()

    def learn(self, case, figures):
        """What a case took."""
        if not case.card and not case.face:
            self.measured[case.pixels] = figures["step_s"], figures["outside_s"]

    def expected(self, case):
        """Seconds of a case: one step of the first chunk and all of the second, twice what is outside. A step takes
        more than in proportion to the pixels, for attention takes their square. A simulated card is a process of its
        own, which takes a minute to start, and moves weights at every step."""
        if not self.measured:
            return 0.0
        pixels = min(self.measured, key=lambda known: abs(known - case.pixels))
        step, outside = self.measured[pixels]
        ratio = case.pixels / pixels
        seconds = (case.steps + 1) * step * ratio**1.6 + 2 * outside * ratio
        return 60 + 2 * seconds if case.card else seconds


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
                report.note(f"{_named(case)}: left for another start, it would take {seconds}")
        else:
            budget.learn(case, report.cases[case])
        if number == min(CHECKS_AFTER, len(cases)) and not report.checks:
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
        report.note(f"{_named(case)}: {type(error).__name__}: {str(error)[:300]}")
        host.release()
        return
    budget.learn(case, figures)
    report.case(case, figures)


def checks(host, model, given, case, report):
    """What must hold, each by itself: one that fails is told, and the next one is made."""
    from real_size_checks import diffusers, layouts, survival

    vae, look, text = given
    short = replace(case, frames=5, face=host.cuda, width=64, height=64)
    for check in (
        lambda: survival(host, model, vae, look, text, case),
        lambda: layouts(host, model, vae, look, text, replace(case, face=host.cuda)),
        lambda: diffusers(host, vae, look, text, short),
    ):
        try:
            for row in check():
                report.check(*row)
        except Exception as error:
            report.check("a check that ended", f"{type(error).__name__}: {str(error)[:300]}", False)
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


def _named(case):
    """A case in a line."""
    parts = [case.chain, case.weights, f"{case.width}x{case.height}", f"{case.steps} steps"]
    parts += [word for word, there in (("face", case.face), ("tiled", case.tiled)) if there]
    return ", ".join(parts + ([f"a card of {case.card} GB"] if case.card else []))


if __name__ == "__main__":
    main()
