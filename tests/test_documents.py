"""README, MEASUREMENTS and CONTRIBUTING: what they point to is there, and the README stays short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "MEASUREMENTS.md", "COLOURING.md", "CONTRIBUTING.md")
FOLDERS = "everanimate_core|nodes|tests|workflows"

each_document = pytest.mark.parametrize("name", DOCUMENTS)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(text):
    """The anchors that a page has for its headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert len(read("README.md").splitlines()) <= 150


@each_document
def test_links_lead_somewhere(name):
    text = read(name)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("https://")]
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        assert not path or (ROOT / path).exists(), link
        assert not anchor or anchor in anchors(read(path or name)), link


@each_document
def test_paths_are_those_of_today(name):
    paths = re.findall(rf"(?<![\w/])((?:{FOLDERS})/[\w./*-]*\w)", read(name))
    assert paths
    for path in paths:
        assert list(ROOT.glob(path)), path


def test_pictures_are_published_with_the_page_that_shows_them():
    """But for those of the nodes' help pages, which tests/test_help.py looks at."""
    shown = {name: set(re.findall(r"!\[[^]]*\]\(([^)]+)\)", read(name))) for name in DOCUMENTS}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nodes/web/docs").glob("*.[jp][pn]g")}
    assert set().union(*shown.values()) == {picture for picture in there if not re.search("/(Ever|Long)Anim", picture)}
    left_out = read(".comfyignore").splitlines()
    for name, pictures in shown.items():
        assert all((picture in left_out) == (name in left_out) for picture in pictures), name


def test_every_benchmark_is_listed_and_its_numbers_stand_somewhere():
    paths = [path for path in (ROOT / "tests" / "benchmarks").glob("*.py") if "__main__" in path.read_text("utf-8")]
    assert len(paths) > 10
    for path in paths:
        assert f"tests/benchmarks/{path.name}" in read("CONTRIBUTING.md"), path.name
        assert path.name in read("MEASUREMENTS.md") or not path.name.startswith("bench"), path.name


def test_lists_of_files_are_those_of_the_folders():
    """`name.py` in a list under "In `folder/`:"; that of the backends has a part of them."""
    lists = re.findall(r"^In `([\w/]+)/`:\n\n((?:[-  ].*\n)+)", read("CONTRIBUTING.md"), re.MULTILINE)
    assert len(lists) == 4
    for folder, text in lists:
        listed = set(re.findall(r"`(\w+\.py)`", text))
        there = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
        assert listed <= there if folder.endswith("backends") else listed == there, sorted(listed ^ there)
