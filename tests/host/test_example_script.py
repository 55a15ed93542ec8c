"""The example in plain Python of `everanimate post --help`, as it stands there, against a real server."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tyro", reason="needs tyro in COMFYUI_PYTHON")
pytest.importorskip("websocket", reason="needs websocket-client in COMFYUI_PYTHON")

ROOT = Path(__file__).resolve().parents[2]
TOY_WORLD = str(ROOT / "workflows" / "api" / "toy_world.json")


@pytest.fixture
def example(server, tmp_path, capsys):
    """Run the example with some arguments; what it leaves."""
    from everanimate_core.cli.main import main

    with pytest.raises(SystemExit):
        main(["post", "--help"])
    text = capsys.readouterr().out
    text = text[text.index("import json") :]
    assert '"127.0.0.1:8188"' in text
    script = tmp_path / "run.py"
    script.write_text(text.replace("127.0.0.1:8188", server.url.removeprefix("http://")))

    def run(*arguments):
        return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=300)

    return run


def test_it_runs_a_graph_with_other_inputs_and_names_the_files(example, server):
    done = example(TOY_WORLD, "1.frames=20", "2.run_name=by_the_example")
    assert done.returncode == 0, done.stderr
    assert "executing 2\n" in done.stderr
    assert "everanimate/by_the_example_00001_.mp4" in done.stdout.splitlines()
    assert (server.output / "everanimate" / "by_the_example_00001_.mp4").is_file()


def test_it_says_what_the_server_refuses(example):
    refused = example(TOY_WORLD, "1.frames=-1")
    assert refused.returncode == 1
    assert "frames" in refused.stderr and "min" in refused.stderr


def test_it_says_what_fails(example):
    failed = example(TOY_WORLD, "2.from_chunk=5", "2.run_name=fails_too")
    assert failed.returncode == 1
    assert "from_chunk must be a finished chunk" in failed.stderr
