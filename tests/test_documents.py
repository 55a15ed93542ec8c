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


def test_the_pictures_of_the_readme_are_published():
    left_out = read(".comfyignore").split()
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", read("README.md"))
    assert pictures and not any(picture.startswith(tuple(left_out)) for picture in pictures)
