"""The committed cuts of object_info, against which CI checks the graphs, are what the server answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CUTS = Path(__file__).resolve().parents[1] / "data" / "object_info"


def test_the_committed_cut_is_what_this_server_answers(server):
    version = server.get("/system_stats")["system"]["comfyui_version"]
    file = CUTS / f"{version}.json"
    if not file.is_file():
        pytest.skip(f"no cut of ComfyUI {version} is committed: {', '.join(path.stem for path in CUTS.glob('*.json'))}")
    command = [sys.executable, str(CUTS / "cut.py"), server.url]
    answered = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    kept = json.loads(file.read_text(encoding="utf-8"))
    changed = sorted(name for name in answered.keys() | kept.keys() if answered.get(name) != kept.get(name))
    assert not changed, (
        f"{', '.join(changed)}: start ComfyUI {version} and renew with "
        f"`python tests/data/object_info/cut.py URL > tests/data/object_info/{version}.json`"
    )
