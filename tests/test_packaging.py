"""What is installed: one list for ComfyUI-Manager and for pip, which leaves a ComfyUI's packages as they are.

And what is published.
"""

import re
import shutil
import zipfile
from pathlib import Path

from comfy_cli.file_utils import zip_files
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_both_lists_are_one():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL).group(1)
    assert [str(Requirement(item)) for item in re.findall(r'^    "(.*)",$', listed, re.MULTILINE)] == [
        str(requirement) for requirement in requirements()
    ]


def test_the_list_is_the_users():
    names = {requirement.name for requirement in requirements()}
    assert names == {"safetensors", "einops", "peft", "opencv-python", "av"}


def test_what_the_oldest_comfyui_has_is_accepted():
    has = {"safetensors": "0.4.2", "av": "14.2.0", "opencv-python": "4.11.0.86"}
    for requirement in requirements():
        if requirement.name in has and (
            requirement.marker is None or requirement.marker.evaluate({"python_version": "3.10"})
        ):
            assert requirement.specifier.contains(has[requirement.name]), requirement


def test_numpy_1_is_not_lifted():
    """OpenCV from 4.12 on needs numpy 2, which no Python below 3.13 forces on a ComfyUI."""
    for python in ("3.10", "3.11", "3.12"):
        (chosen,) = [
            requirement
            for requirement in requirements()
            if requirement.name == "opencv-python" and requirement.marker.evaluate({"python_version": python})
        ]
        assert not chosen.specifier.contains("4.12.0.88")


def extra(name):
    """The packages of an extra, as pyproject.toml has them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(rf"^{name} = \[(.*)\]$", text, re.MULTILINE).group(1)
    return {requirement.name: requirement for requirement in map(Requirement, re.findall('"([^"]+)"', listed))}


def test_the_command_line_has_its_own_extra():
    """What reads its options is no package of the nodes; tried with 1.0.0, 1.0.8 and 1.0.17.

    What hears the events of a server was tried with 1.0.0 and 1.9.2.
    """
    cli = extra("cli")
    assert set(cli) == {"torch", "diffusers", "transformers", "pillow", "tqdm", "tyro", "websocket-client"}
    assert all(cli["tyro"].specifier.contains(version) for version in ("1.0.0", "1.0.8", "1.0.17"))
    assert all(cli["websocket-client"].specifier.contains(version) for version in ("1.0.0", "1.9.2"))
    assert not cli["tyro"].specifier.contains("0.9.35")
    assert not set(cli) & {requirement.name for requirement in requirements()}


def test_the_batch_has_its_own_extra():
    """Ray was tried with 2.60 only, and comes late to a new Python: tests are skipped without it."""
    ray = extra("batch")["ray"]
    assert set(extra("batch")) == {"ray"}
    assert ray.specifier.contains("2.60.0") and ray.marker.evaluate({"python_version": "3.14"})
    assert not ray.marker.evaluate({"python_version": "3.15"})


def test_what_serves_developers_only_is_not_published(tmp_path, monkeypatch):
    """As comfy-cli packs a folder that is no git repository: all that .comfyignore does not keep out."""
    published = ["__init__.py", "everanimate_core/toy/network/weights/a.json", "nodes/a.py", "pyproject.toml"]
    for_developers = [
        ".ci/run", ".gitattributes", ".github/workflows/test.yml", ".hosts/0.33.0/ComfyUI/main.py",
        ".pre-commit-config.yaml", ".venv/a.py", "CONTRIBUTING.md", "MEASUREMENTS.md", "Makefile", "tests/host/run.py",
    ]  # fmt: skip
    for name in published + for_developers:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(ROOT / ".comfyignore", tmp_path)
    monkeypatch.chdir(tmp_path)
    zip_files("pack.zip")
    assert sorted(zipfile.ZipFile("pack.zip").namelist()) == published
