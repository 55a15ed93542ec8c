"""Peak memory of a long run without a host, chunk by chunk, on the toy. For Linux.

    python tests/benchmarks/bench_memory.py [--chunks 6 100 200 300 500 600]

Starts `everanimate animate` with the embedded toy in a process of its own, and prints the largest memory that this
process has had when each of these chunks is finished.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "tests" / "data"
# Frames of the first chunk, and those that each later one adds.
FIRST, MORE = 33, 29


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[6, 100, 200, 300, 500, 600])
    chunks = parser.parse_args().chunks
    frames = FIRST + MORE * (max(chunks) - 1)
    inputs = ["--reference", DATA / "reference.jpg", "--pose", DATA / "pose.mp4", "--frames", str(frames)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "everanimate_core", "animate", *inputs, "--out", Path(folder) / "out.mp4"]
        run = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True)
        for line in run.stdout:
            done = re.match(r"chunk (\d+)/", line)
            if done and int(done.group(1)) in chunks:
                status = Path(f"/proc/{run.pid}/status").read_text()
                peak = int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024
                print(f"chunk {done.group(1)}: {peak:.1f} MiB", flush=True)
        sys.exit(run.wait())


if __name__ == "__main__":
    main()
