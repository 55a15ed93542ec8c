"""Runs this folder in ComfyUI's interpreter when the tests were started from another one."""

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.skipif(
    not os.environ.get("COMFYUI_PATH"),
    reason="host tests skipped: set COMFYUI_PATH (folder with main.py) and COMFYUI_PYTHON (its interpreter)",
)
def test_host_suite_in_comfyui_python(capfd):
    python = os.environ["COMFYUI_PYTHON"]
    has_pytest = subprocess.run([python, "-c", "import pytest"], capture_output=True).returncode == 0
    assert has_pytest, f"pytest is missing there: {python} -m pip install pytest"
    environment = {name: value for name, value in os.environ.items() if name != "COMFYUI_PYTHON"}
    command = [python, "-m", "pytest", str(HERE), "--durations=5"]
    with capfd.disabled():
        print(f"\n{' '.join(command)}", flush=True)
        result = subprocess.run(command, cwd=HERE.parents[1], env=environment)
    assert result.returncode == 0, f"the host tests failed in {python}, see above"
