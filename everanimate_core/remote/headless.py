"""A ComfyUI of one's own, without a window: started on a free port, watched, and ended with whoever started it."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from ..errors import one_line
from ..runs.store import RunFailed
from .server import Server

# Seconds that it may take until it answers: other packs load a lot.
START = 600.0
# Seconds that it has to end by itself.
END = 15.0
# Runs a program and ends it as soon as nobody holds the other end of its standard input: a program that is killed, as
# workers are, cannot end what it started.
_GUARD = """
import os, subprocess, sys, threading
program = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
def end():
    # Not by sys.stdin: Python stumbles at its end over a thread that waits there.
    while os.read(0, 64):
        pass
    program.terminate()
    try:
        program.wait(float(sys.argv[1]))
    except subprocess.TimeoutExpired:
        program.kill()
threading.Thread(target=end, daemon=True).start()
sys.exit(1 if program.wait() else 0)
"""
# Runs the guard, and stands between it and the worker: Ray kills the children of a worker that ends, though not theirs.
_BETWEEN = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', *sys.argv[1:]]))"


@dataclass(frozen=True)
class Host:
    """How a ComfyUI is started. folder: with main.py. python: that it runs in. arguments: more of them. threads: of a
    network on the CPU, None for as many as it likes."""

    folder: Path
    python: str
    arguments: tuple[str, ...] = ()
    threads: str | None = None

    def environment(self) -> dict[str, str]:
        """The one of this process, without what a worker sets for itself."""
        others = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PYTHONPATH")}
        return others if self.threads is None else {**others, "OMP_NUM_THREADS": self.threads}

    def command(self, port: int, output: Path, inputs: Path, own: Path) -> list[str]:
        """The program and its arguments. output, inputs: its folders. own: a folder for what no other may write."""
        return [
            *(self.python, "main.py", "--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"),
            *("--output-directory", str(output), "--input-directory", str(inputs)),
            *("--temp-directory", str(own), "--user-directory", str(own / "user")),
            *("--database-url", f"sqlite:///{own / 'comfyui.db'}"),
            *self.arguments,
        ]


class Headless:
    """A ComfyUI that is up, or will be when it answers. log: the file of what it says, behind what is there."""

    def __init__(self, host: Host, output: Path, inputs: Path, log: Path):
        # Of its own, as several share a machine.
        self.own = tempfile.TemporaryDirectory(prefix="everanimate-comfyui-", ignore_cleanup_errors=True)
        own = Path(self.own.name)
        (own / "user").mkdir()
        self.log = log
        port = free_port()
        self.server = Server(f"http://127.0.0.1:{port}")
        command = host.command(port, output, inputs, own)
        with log.open("ab") as file:
            # Its own group: Ctrl+C in a terminal goes to whoever started it, who then ends it.
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BETWEEN, _GUARD, str(END), *command],
                cwd=host.folder,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=host.environment(),
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether the program is still there."""
        return self.process.poll() is None

    def wait(self, seconds: float = START) -> None:
        """Until it answers. Raises RunFailed, with the last line that it said, where it ends before, or is too slow."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self.alive:
                raise RunFailed(f"ComfyUI must start; it ended with: {self.last_line()} (all of it is in {self.log})")
            with suppress(ConnectionError):
                self.server.ask("/system_stats")
                return
            time.sleep(0.2)
        raise RunFailed(f"ComfyUI must answer within {seconds:.0f} seconds of its start; its log is {self.log}")

    def last_line(self) -> str:
        """The last that it said."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return one_line(next((line for line in reversed(lines) if line.strip()), "nothing"), 300)

    def close(self) -> None:
        """End it."""
        with suppress(OSError):
            cast(IO[bytes], self.process.stdin).close()
        try:
            self.process.wait(2 * END)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.own.cleanup()


def free_port() -> int:
    """A port on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
