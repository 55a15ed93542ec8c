"""A ComfyUI of one's own, by a program in its place that answers as much as is asked. tests/batch/test_graphs.py starts
a real one."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cli_parts import ROOT
from refusals import refusal
from run_parts import posix_only

from everanimate_core.remote.headless import Headless, Host
from everanimate_core.runs.store import RunFailed

# Answers everything with its arguments and environment, and says so.
ANSWERS = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        told = json.dumps({"arguments": sys.argv, "environment": dict(os.environ), "pid": os.getpid()}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_):
        pass

print("I am up", flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Answer).serve_forever()
"""


@pytest.fixture
def started(tmp_path):
    """started(program, **host) -> a Headless whose main.py is that program."""
    living = []

    def call(program, **host):
        (tmp_path / "main.py").write_text(program, encoding="utf-8")
        living.append(
            Headless(Host(tmp_path, sys.executable, **host), tmp_path / "out", tmp_path / "in", tmp_path / "log")
        )
        return living[-1]

    yield call
    for headless in living:
        headless.close()


def lives(pid):
    """Whether there is a process, and not only what is left of one."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone(pid):
    for _ in range(600):
        if not lives(pid):
            return True
        time.sleep(0.05)
    return False


def test_it_is_started_watched_and_ended(started, tmp_path):
    headless = started(ANSWERS, arguments=("--cpu", "--base-directory", "/a b"), threads="3")
    headless.wait()
    told = headless.server.ask("/system_stats")
    arguments = told["arguments"]
    for option, value in {"--output-directory": "out", "--input-directory": "in"}.items():
        assert arguments[arguments.index(option) + 1] == str(tmp_path / value)
    assert arguments[-3:] == ["--cpu", "--base-directory", "/a b"]
    assert told["environment"]["OMP_NUM_THREADS"] == "3"
    own = Path(headless.own.name)
    assert str(own) in arguments and own.is_dir()
    assert headless.alive and headless.last_line() == "I am up"
    headless.close()
    assert not headless.alive and not own.exists()


def test_what_a_worker_sets_for_itself_is_not_handed_on(started, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    headless = started(ANSWERS)
    headless.wait()
    assert not {"OMP_NUM_THREADS", "PYTHONPATH"} & headless.server.ask("/")["environment"].keys()


def test_two_have_ports_and_folders_of_their_own(started):
    one, other = started(ANSWERS), started(ANSWERS)
    one.wait(), other.wait()
    first, second = (headless.server.ask("/")["arguments"] for headless in (one, other))
    assert one.server.url != other.server.url
    for option in ("--port", "--temp-directory", "--user-directory", "--database-url"):
        assert first[first.index(option) + 1] != second[second.index(option) + 1]


def test_one_that_ends_at_once_says_why(started, tmp_path):
    headless = started("print('first'); raise SystemExit('no module named torch')")
    assert refusal(headless.wait, kind=RunFailed) == (
        f"ComfyUI must start; it ended with: no module named torch (all of it is in {tmp_path / 'log'})"
    )


def test_one_that_never_answers_is_not_waited_for_without_end(started):
    headless = started("import time; time.sleep(1000)")
    with pytest.raises(RunFailed, match=r"^ComfyUI must answer within 1 seconds of its start; its log is "):
        headless.wait(1)
    assert headless.alive


@posix_only
def test_one_that_is_killed_is_dead(started):
    headless = started(ANSWERS)
    headless.wait()
    os.kill(headless.server.ask("/")["pid"], signal.SIGKILL)
    headless.process.wait(30)
    assert not headless.alive
    with pytest.raises(ConnectionError):
        headless.server.ask("/")


# Starts one, says its process, and is killed.
OWNER = """
import json, os, signal, sys
from pathlib import Path
from everanimate_core.remote.headless import Headless, Host

folder = Path(sys.argv[1])
headless = Headless(Host(folder, sys.executable), folder / "out", folder / "in", folder / "log")
headless.wait()
print(json.dumps(headless.server.ask("/")["pid"]), flush=True)
if sys.argv[2] == "with its child":
    os.kill(headless.process.pid, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("how", ["alone", "with its child"])  # as Ray kills a worker that ends
def test_it_ends_with_a_worker_that_is_killed(tmp_path, how):
    (tmp_path / "main.py").write_text(ANSWERS, encoding="utf-8")
    owner = subprocess.run([sys.executable, "-c", OWNER, str(tmp_path), how], cwd=ROOT, capture_output=True, text=True)
    assert owner.returncode == -signal.SIGKILL, owner.stderr
    assert gone(json.loads(owner.stdout))
