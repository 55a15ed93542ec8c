"""Tests against a real ComfyUI.

COMFYUI_PATH names the folder with its main.py and COMFYUI_PYTHON the interpreter that it runs in (default: this one).
Without COMFYUI_PATH the folder is one skipped test; with another interpreter, one test that runs the folder there.
Test modules import nothing of ComfyUI at their top level: the `comfy` fixture must choose the CPU first.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
DELEGATE = HERE / "test_in_host_interpreter.py"


def _mode():
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        return "absent"
    if not (Path(path) / "main.py").is_file():
        raise pytest.UsageError(f"COMFYUI_PATH={path} has no main.py")
    python = os.environ.get("COMFYUI_PYTHON")
    if python:
        # Virtual environments share one executable: only the prefix tells them apart.
        identity = [python, "-c", "import sys; print(sys.prefix, sys.version, end='')"]
        if subprocess.run(identity, capture_output=True, text=True, check=True).stdout != f"{sys.prefix} {sys.version}":
            return "delegate"
    return "inside"


MODE = _mode()

if MODE == "inside":
    # ComfyUI first, so that its nodes.py wins over our nodes/; the repository last, for everanimate_core.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != REPOSITORY]
    sys.path.insert(0, str(Path(os.environ["COMFYUI_PATH"]).resolve()))
    sys.path += [str(REPOSITORY), str(HERE)]


def pytest_ignore_collect(collection_path):
    if collection_path.name.startswith("test_") and (collection_path == DELEGATE) == (MODE == "inside"):
        return True
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if server and report.when == "call" and report.failed:
        report.sections.append(("ComfyUI server log", server.log()[-8000:]))
    return report


@pytest.fixture(autouse=True)
def _inference_mode():
    """The host runs every node in inference mode, and its tensors do not mix with autograd's."""
    import torch

    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    """The host in this process: `call(node_id, **inputs)`, `nodes`, `load_model()`, `load_vae()`, `clip_vision()`,
    `conditioning(seed)`, `module(pack, name)`."""
    import tiny_models
    from base_folder import make_base_folder
    from in_process import InProcessHost

    base = make_base_folder(tmp_path_factory.mktemp("in_process"))
    for name in ("diffusion_models", "vae", "loras"):
        (base / "models" / name).mkdir(parents=True)
    host = InProcessHost(base)
    tiny_models.write_animate(base / "models")
    if "WanAnimate2ToVideo" in host.nodes:
        tiny_models.write_bases(base / "models")
    yield host
    shutil.rmtree(base / "models")  # pytest keeps the folders of three sessions, and these are large


@pytest.fixture(scope="session")
def server(comfy, tmp_path_factory):
    """The host as a server with the same models: `run(prompt, timeout, on_event)`, `interrupt()`, `log()`."""
    from base_folder import make_base_folder
    from server_process import ComfyServer

    base = make_base_folder(tmp_path_factory.mktemp("server"))
    (base / "models").symlink_to(comfy.base / "models", target_is_directory=True)
    server = ComfyServer(Path(os.environ["COMFYUI_PATH"]), base)
    yield server
    server.close()
