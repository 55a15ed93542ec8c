"""All figures of MEASUREMENTS.md that need no training and no GPU, made again, one command after another.

    python tests/benchmarks/figures.py [NAME ...] [--out build/figures]

What a command prints lies in OUT/NAME.txt once it has ended well, and is not made again. Begin a new OUT for another
commit. On one core they take hours; two calls with different names share the work. Those of QUIET measure time or
memory, and want a machine without other work. Those of HOST run in the ComfyUI that COMFYUI_PATH names, by
COMFYUI_PYTHON if it has an interpreter of its own. Some commands of MEASUREMENTS.md need downloads or a checkout, and
are not here.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Roll-outs that one command has made, another one uses.
ABLATE = "-m everanimate_core ablate --out OUT/ablation"
PROBE = f"{ABLATE} --worlds 4 --noises 1"
RESTORED = '"baseline+restore, low frequency"'
# Section 10: what drifts, with each strength.
STRENGTHS = [
    *((strength, "gaussian", "statistics") for strength in (0.5, 1, 2, 4)),
    *((1, schedule, "statistics") for schedule in ("sigma_ramp", "fixed")),
    (0.5, "exact", "statistics"),
    *((strength, "gaussian", "low_frequency") for strength in (1, 2)),
]
# Section 7, "also tried", of the memory.
TRIED = [
    *(f"identity_latents={count}" for count in (1, 2, 3, 6, 8)),
    *(f"keyframes={name}" for name in ("uniform", "first", "pose")),
    *(f"chunk_frames={length}" for length in (17, 25, 49)),
]
KILLS = "-m pytest -q tests/cli/test_animate_kills.py -k"
# {section, name: what Python runs}; OUT stands for the folder.
FIGURES = {
    "0_lpips": "-m everanimate_core evaluate --fetch-lpips",
    "3_kills": f"{KILLS} killed_at_any_moment",
    "3_kills_in_checks": f"{KILLS} killed_in_its_checks",
    "5_joins": "tests/benchmarks/bench_joins.py",
    "6_toy": "tests/benchmarks/score_toy.py",
    "7_drift": f"{ABLATE}",
    "7_drift_low_frequency": f"{ABLATE} --rows {RESTORED}",
    "7_steps": f"{PROBE} --rows baseline baseline+restore full --set steps=20",
    "7_seconds": f"{PROBE} --seconds 90",
    "7_recovery": f"{ABLATE} --noises 1 --seconds 17.5 --planted --rows baseline baseline+restore {RESTORED}"
    ' memory memory+restore full full+restore "full+restore, low frequency"',
    "7_memory": f'{PROBE} --rows memory "memory, identity re-taken" "memory, identity re-taken, +restore"',
    "7_identity_of_full": f'{PROBE} --rows "full, identity re-taken"',
    "7_prop": f'{PROBE} --scene prop --rows memory "memory, reference alone"',
    **{f"7_{tried.replace('=', '_')}": f"{PROBE} --rows memory --set {tried}" for tried in TRIED},
    "7_tries": "tests/benchmarks/bench_tries.py",
    "8_even": f'{PROBE} --rows even_baseline "even_baseline, latent carry" even_memory',
    "10_none": f"{PROBE} --rows baseline",
    **{
        f"10_{target}_{schedule}_{strength}": f"{PROBE} --rows baseline --set restore_strength={strength}"
        f" restore_schedule={schedule} restore_target={target}"
        for strength, schedule, target in STRENGTHS
    },
    "10_pan": f"{PROBE} --scene pan --rows baseline baseline+restore full full+restore",
    "10_tint": "tests/benchmarks/bench_restoration.py --schedules gaussian exact",
    "12_colour": f"{PROBE} --method colour --seconds 20 --rows skip-layer autoregressive 'without fusion'",
    "12_memory": f"{ABLATE} --method colour --memory --worlds 4",
    "14_score": "tests/benchmarks/bench_colour_score.py --worlds 6 --first-world 110",
    "15_batch": "tests/benchmarks/bench_batch.py",
    "18_training": "tests/benchmarks/bench_training_memory.py",
}
HOST = {
    "4_length": "tests/benchmarks/bench_length.py",
    "20_chains": "tests/benchmarks/bench_chains.py",
}
QUIET = {
    "4_memory": "tests/benchmarks/bench_memory.py",
    "11_set": "-m everanimate_core train precompute --data toy --films 256 --model toy --out OUT/set",
    "11_stages": "tests/benchmarks/bench_stages.py --data OUT/set",
    "14_memory": "tests/benchmarks/bench_video_memory.py",
    "19_beside": "tests/benchmarks/bench_beside.py",
}


def made(name, command, out, python):
    """Run one command; whether its figures are there."""
    path = out / f"{name}.txt"
    if path.is_file():
        return True
    start = time.monotonic()
    call = [python, *(part.replace("OUT", str(out)) for part in shlex.split(command))]
    kills = {"EVERANIMATE_KILLS": "10" if "checks" in name else "50"} if "kills" in name else {}
    # Those that may share the machine are given one core each.
    threads = {"OMP_NUM_THREADS": "1"} if name in FIGURES else {}
    with path.with_suffix(".part").open("w") as file:
        print(f"$ python {command}", file=file, flush=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1", **threads, **kills}
        code = subprocess.run(call, cwd=ROOT, env=environment, stdout=file, stderr=file).returncode
    print(f"{name}: exit code {code}, {time.monotonic() - start:.0f} s", flush=True)
    if code == 0:
        path.with_suffix(".part").rename(path)
    return code == 0


def main():
    host = os.environ.get("COMFYUI_PATH")
    commands = FIGURES | (HOST if host else {}) | QUIET
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*commands, []], help=f"of {', '.join(commands)}")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "figures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    of_host = os.environ.get("COMFYUI_PYTHON", sys.executable)
    results = [
        made(name, commands[name], options.out.resolve(), of_host if name in HOST else sys.executable)
        for name in options.names or commands
    ]
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
