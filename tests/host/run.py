"""Runs the host tests in ComfyUIs of their own: for each version a clone and a virtual environment under .hosts/.

    python tests/host/run.py                                     all versions in versions.txt
    python tests/host/run.py --versions 0.33.0 -- tests/host/test_lora.py -x

What follows `--` is for pytest. What is there already is used again. With COMFYUI_PATH, and COMFYUI_PYTHON for its
interpreter, the tests run there instead, and nothing is cloned or installed. Needs Python and git, and nothing else.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
HOSTS = REPOSITORY / ".hosts"
VERSIONS = (HERE / "versions.txt").read_text(encoding="utf-8").split()
COMFYUI = "https://github.com/comfyanonymous/ComfyUI.git"
# What the tests import, and neither ComfyUI nor this pack brings.
FOR_TESTS = [
    "pytest",
    "diffusers",
    "transformers",
    "scikit-image",
    "torchmetrics",
    "matplotlib",
    "tyro",
    "websocket-client",
]
PRINT_TORCH = """
from importlib.metadata import version
for name in ("torch", "torchvision", "torchaudio"):
    print(f"{name}=={version(name)}")
"""


def run(*command):
    print("+", shlex.join(map(str, command)), flush=True)
    subprocess.run(command, check=True)


def clone(git, version, folder):
    """Put ComfyUI's files of this version into the folder, from the git address. Can be stopped and called again."""
    tag = f"v{version}"
    # --git-dir: in a folder that is no repository yet, git would find ours above it.
    there = subprocess.run(
        ["git", "--git-dir", folder / ".git", "describe", "--tags", "--exact-match"], capture_output=True, text=True
    )
    if there.stdout.strip() == tag:
        return
    run("git", "init", "--quiet", folder)
    run("git", "-C", folder, "fetch", "--quiet", "--depth=1", git, f"refs/tags/{tag}:refs/tags/{tag}")
    run("git", "-C", folder, "checkout", "--quiet", "--force", tag)


def install(torch, comfyui, venv):
    """Make the virtual environment in which this ComfyUI, the pack and the tests run; its interpreter.

    `torch` is what pip is told to install torch. It is made anew when anything that is asked for has changed.
    """
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    lists = [comfyui / "requirements.txt", REPOSITORY / "requirements.txt"]
    asked = "\n".join([torch, *(path.read_text(encoding="utf-8") for path in lists), *FOR_TESTS])
    installed = venv / "installed.txt"
    if installed.is_file() and installed.read_text(encoding="utf-8") == asked:
        return python
    run(sys.executable, "-m", "venv", "--clear", venv)
    pip = (python, "-m", "pip", "install", "--quiet")
    # All three at once, and held from then on: their compiled parts fit no other torch.
    run(*pip, *shlex.split(torch), "torchvision", "torchaudio")
    constraints = venv / "constraints.txt"
    constraints.write_text(subprocess.check_output([python, "-c", PRINT_TORCH], text=True), encoding="utf-8")
    run(*pip, "-c", constraints, *(part for path in lists for part in ("-r", path)), *FOR_TESTS)
    installed.write_text(asked, encoding="utf-8")
    return python


def tests_pass(python, comfyui, arguments):
    """Run pytest in this interpreter, with this ComfyUI."""
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui)}
    environment.pop("COMFYUI_PYTHON", None)  # it is the one that pytest runs in
    command = [str(python), "-m", "pytest", *arguments]
    print("+", f"COMFYUI_PATH={comfyui}", shlex.join(command), flush=True)
    return subprocess.run(command, cwd=REPOSITORY, env=environment).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", nargs="+", default=VERSIONS, help=f"of ComfyUI (default: {' '.join(VERSIONS)})")
    parser.add_argument("--git", default=COMFYUI, help="address to clone ComfyUI from (default: %(default)s)")
    parser.add_argument("--torch", default="torch", help="what pip installs as torch; may hold options of pip, which "
                        "then go for torchvision and torchaudio too (default: %(default)s)")  # fmt: skip
    parser.add_argument("pytest", nargs="*", default=["tests/host", "--durations=5"], help="arguments of pytest")
    options = parser.parse_args()

    path = os.environ.get("COMFYUI_PATH")
    if path:
        python = os.environ.get("COMFYUI_PYTHON") or sys.executable
        sys.exit(not tests_pass(python, Path(path).resolve(), options.pytest))
    failed = []
    for version in options.versions:
        print(f"\nComfyUI {version}", flush=True)
        comfyui, venv = HOSTS / version / "ComfyUI", HOSTS / version / "venv"
        try:
            clone(options.git, version, comfyui)
            python = install(options.torch, comfyui, venv)
        except subprocess.CalledProcessError:
            sys.exit(f"ComfyUI {version} could not be set up, see above")
        if not tests_pass(python, comfyui, options.pytest):
            failed.append(version)
    if failed:
        sys.exit(f"the host tests failed in ComfyUI {', '.join(failed)}, see above")


if __name__ == "__main__":
    main()
