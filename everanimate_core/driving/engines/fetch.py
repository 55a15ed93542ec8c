"""Getting what the engine litert needs: MediaPipe's networks, which are in its wheel on PyPI, and ai-edge-litert.

Only where the user asks for it: no work fetches or installs anything by itself.
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from ...downloads import Download, cache_folder, fetch

# The last release with the networks in it; they are the same in the wheels of all platforms.
WHEEL = Download(
    "https://files.pythonhosted.org/packages/9f/99/5da7ae7f7e25847383bc2fe5a9adc7ce150dd371682f486c0666b407cad7/"
    "mediapipe-0.10.21-cp312-cp312-manylinux_2_28_x86_64.whl",
    "956eb1ebc275c629e61b085b2cab89c3a5b9e93bad1bb107348d98dafb5a4bb5",
    35_627_340,
)
# The extra `pose` of pyproject.toml.
PACKAGE, REQUIREMENT = "ai_edge_litert", "ai-edge-litert>=2.3"


def fetch_networks(folder: Path | None, say: Callable[[str], None]) -> Path:
    """Write MediaPipe's wheel into a folder, None: the user's cache, unless it is there; its path. See `fetch`."""
    return fetch(WHEEL, cache_folder() if folder is None else folder, say)


def install_command(folder: Path | None = None) -> str:
    """The command that gets all that the engine litert needs, into the Python that runs this, and from any folder.

    It is typed as it is: neither has `everanimate` to be a command, nor this package one that Python finds. folder:
    where the networks go; None: the user's cache.
    """
    words = [sys.executable, str(Path(__file__).resolve().with_name("install.py"))]
    words += [] if folder is None else [os.path.abspath(folder)]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def main(arguments: Sequence[str]) -> int:
    """Install ai-edge-litert and fetch the networks, both unless they are there; the exit code."""
    parser = argparse.ArgumentParser(prog="install.py", description="Get all that the pose engine litert needs.")
    what = f"where MediaPipe's networks go ({WHEEL.megabytes}; default: the user's cache)"
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", help=what)
    folder = parser.parse_args(arguments).folder
    if find_spec(PACKAGE) is not None:
        print("ai-edge-litert is there already", flush=True)
    elif find_spec("pip") is None:
        print(
            f"This Python has no pip. Install {REQUIREMENT} as its other packages were installed, and run this again.",
            file=sys.stderr,
        )
        return 1
    elif code := subprocess.run([sys.executable, "-m", "pip", "install", REQUIREMENT], check=False).returncode:
        return code
    try:
        print(f"The engine litert has all that it needs. Its networks are in {fetch_networks(folder, _say)}")
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
