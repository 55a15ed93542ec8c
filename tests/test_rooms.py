"""A room of the core imports only rooms that stand before it in the map of CONTRIBUTING.md; no file, no circle else."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from graph_reading import registered

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "everanimate_core"
ROW = re.compile(r"\| ((?:`[a-z_/.]+` ?)+) \|")


def rooms():
    """The rooms of the map in its order, each as its folders or files: [["errors.py", ...], ["everanimate"], ...]."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return [[name.rstrip("/") for name in re.findall("`([^`]+)`", row)] for row in ROW.findall(text)]


def module(path):
    return ".".join(path.relative_to(CORE.parent).with_suffix("").parts)


def imported(path, modules):
    """The modules of the core that a file imports, wherever in it the import stands."""
    package = module(path).split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # `from .room import module` names a module, `from .module import name` does not.
            found |= {f"{name}.{part.name}" if f"{name}.{part.name}" in modules else name for part in node.names}
    return found & modules


@pytest.fixture(scope="module")
def imports():
    """{module: the modules of the core that it imports}."""
    files = [path for path in CORE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    modules = {module(path) for path in files}
    return {module(path): imported(path, modules) for path in files}


def room_of(name, order):
    """The place in the map of a module."""
    parts = name.split(".")[1:]
    places = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    found = [number for number, room in enumerate(order) if {*places, places[0] + ".py"} & set(room)]
    assert found, f"the map in CONTRIBUTING.md has no room for {name}"
    return found[0]


def test_the_map_names_every_file_and_folder():
    named = {name.split("/")[0] for room in rooms() for name in room}
    there = {path.name for path in CORE.iterdir() if path.name not in ("__init__.py", "__main__.py", "__pycache__")}
    assert named == there, f"the map in CONTRIBUTING.md must have just these; they differ in {sorted(named ^ there)}"


def test_a_room_imports_only_rooms_before_it(imports):
    order = rooms()
    wrong = [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if room_of(other, order) > room_of(name, order)
    ]
    assert not wrong


def test_no_circle_of_files(imports):
    TopologicalSorter(imports).prepare()


def test_the_core_knows_no_host(imports):
    for path in CORE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) (comfy|nodes|folder_paths)\b", text, re.MULTILINE), path


def test_the_core_names_no_node():
    """Errors say what is wrong with an input; whoever shows them says where it came in."""
    names = re.findall(
        r'display_name="([A-Z][^"]* [^"]*)",\n            category',
        "".join(path.read_text(encoding="utf-8") for path in (ROOT / "nodes").glob("*.py")),
    )
    assert len(names) == len(registered())
    for path in CORE.rglob("*.py"):
        found = [name for name in names if name in path.read_text(encoding="utf-8")]
        assert not found, path


def test_training_knows_no_toy(imports):
    """The command line hands the toy in, as it would any other network."""
    core = "everanimate_core"
    training = [others for name, others in imports.items() if name.startswith(f"{core}.training.")]
    assert training and not [other for others in training for other in others if other.startswith(f"{core}.toy.")]
