"""The script in CONTRIBUTING.md, as it stands there, against a real server."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOY_WORLD = str(ROOT / "workflows" / "api" / "toy_world.json")


@pytest.fixture
def run_api(server, tmp_path):
    """Run the script with some arguments; what it leaves."""
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    assert 'HOST = "http://127.0.0.1:8188"' in text
    script = tmp_path / "run_api.py"
    script.write_text(text.replace("http://127.0.0.1:8188", server.url))

    def run(*arguments):
        return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=300)

    return run


def test_it_runs_a_graph_with_other_inputs_and_names_the_files(run_api, server):
    changes = ["EverAnimateLoadToy.frames=20", "EverAnimateAnimate.run_name=by_the_script"]
    done = run_api(TOY_WORLD, *changes)
    assert (done.returncode, done.stderr) == (0, "")
    status, *files = done.stdout.splitlines()
    assert status == "success"
    assert "output/everanimate/by_the_script.mp4" in files
    assert (server.output / "everanimate" / "by_the_script.mp4").is_file()


def test_it_says_what_the_server_refuses(run_api):
    refused = run_api(TOY_WORLD, "EverAnimateLoadToy.frames=-1")
    assert refused.returncode == 1
    assert "frames" in refused.stderr and "min" in refused.stderr
