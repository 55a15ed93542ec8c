"""Graphs in API format: what is read, and which input of which node NODE.INPUT=VALUE sets."""

import json
from pathlib import Path

import pytest
from refusals import refusal

from everanimate_core.remote.graph import called, read_graph, set_input, title

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def graph():
    """A graph with titles that hold dots and equals signs, a class of two nodes, and a title that is an id."""
    return {
        "1": {
            "class_type": "Load",
            "inputs": {"frames": 250, "cfg": 1, "share": 0.5, "tiled": False, "file": "a.png", "points": None},
            "_meta": {"title": "World"},
        },
        "2": {"class_type": "Sample", "inputs": {"seed": 0, "from": ["1", 0]}, "_meta": {"title": "Pass"}},
        "3": {"class_type": "Sample", "inputs": {"seed": 0, "of": ["9", 0]}, "_meta": {"title": "Pass.a=1"}},
        "4:5": {"class_type": "Size", "inputs": {"mode": "a", "mode.width": 8}},
        "6": {"class_type": "Save", "inputs": {"frames": 5}, "_meta": {"title": "1"}},
    }


@pytest.fixture
def change(graph):
    """change(text) sets an input of the graph, only cfg takes fractions; the graph's inputs that differ from before."""

    def call(text):
        before = json.loads(json.dumps(graph))
        set_input(graph, text, lambda kind, name: (kind, name) == ("Load", "cfg"))
        return {
            (node, name): value
            for node, parts in graph.items()
            for name, value in parts["inputs"].items()
            if (value, type(value)) != (before[node]["inputs"][name], type(before[node]["inputs"][name]))
        }

    return call


# --- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "workflows" / "api").glob("*.json")), ids=lambda path: path.stem)
def test_shipped_graphs_are_read_as_they_are(path):
    assert read_graph(path) == json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_graphs_of_the_editor_are_refused_with_the_way_to_the_other_format(path):
    assert refusal(read_graph, path) == (
        "graph must be a graph in API format (open it in the editor and choose File > Export (API)); "
        f"got the editor's own format in {path}."
    )


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "no JSON (Expecting value: line 1 column 1 (char 0))"),
        ("[]", "a list instead of an object"),
        ('{"1": 5}', "a whole number instead of an object as node '1'"),
        ('{"1": {"inputs": {}}}', "no 'class_type' as node '1'"),
        ('{"1": {"class_type": "Load"}}', "no 'inputs' as node '1'"),
        ('{"1": {"class_type": "Load", "inputs": []}}', "'inputs' [], which is not an object as node '1'"),
    ],
)
def test_what_is_no_graph_is_refused(tmp_path, text, got):
    path = tmp_path / "graph.json"
    path.write_text(text)
    example = "workflows/api/toy_world.json"
    assert refusal(read_graph, path) == f"graph must be a graph in API format ({example}); got {got} in {path}."


def test_titles(graph):
    assert [title(graph, node) for node in graph] == ["World", "Pass", "Pass.a=1", "Size", "1"]
    assert called(graph, "4:5") == "Size (node 4:5)"


# --- which input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "node", "name", "value"),
    [
        ("1.frames=20", "1", "frames", 20),
        ("World.frames=20", "1", "frames", 20),
        ("Load.frames=20", "1", "frames", 20),
        ("Pass.seed=7", "2", "seed", 7),
        ("Pass.a=1.seed=7", "3", "seed", 7),
        ("4:5.mode=b", "4:5", "mode", "b"),
        ("4:5.mode.width=9", "4:5", "mode.width", 9),
        ("Size.mode=width=9", "4:5", "mode", "width=9"),
        ("6.frames=7", "6", "frames", 7),
        ("Load.file=World.file=b.png", "1", "file", "World.file=b.png"),
    ],
)
def test_the_longest_name_that_the_graph_has_is_taken(change, text, node, name, value):
    assert change(text) == {(node, name): value}


@pytest.mark.parametrize("text", ["frames", "frames=20", "frames.20", "World.frames", "=", ""])
def test_what_is_not_so_written_is_refused(change, text):
    assert refusal(change, text) == f"a change must be written NODE.INPUT=VALUE (KSampler.seed=7); got {text}."


def test_an_unknown_node_is_refused_with_all_nodes(change):
    assert refusal(change, "Loda.frames=2.5") == (
        "Loda.frames=2.5 must begin with the id of a node, or with the title or class of one node only; "
        "got Loda, and the nodes are:\n"
        "  1  World (Load)\n  2  Pass (Sample)\n  3  Pass.a=1 (Sample)\n  4:5  Size (Size)\n  6  1 (Save)."
    )


def test_an_ambiguous_node_is_refused_with_those_that_it_may_be(change):
    assert refusal(change, "Sample.seed=7") == (
        "Sample.seed=7 must begin with the id of a node, or with the title or class of one node only; "
        "got Sample, which these have:\n  2  Pass (Sample)\n  3  Pass.a=1 (Sample)."
    )


def test_an_unknown_input_is_refused_with_those_that_there_are(change):
    message = "an input of Pass (node 2) must be one of these (seed, from); got steps."
    assert refusal(change, "Pass.steps=7") == message


def test_a_linked_input_is_refused(change):
    way = "must hold a value to be set (set it at the node that it is linked to); got a link to"
    assert refusal(change, "Pass.from=7") == f"from of Pass (node 2) {way} World (node 1)."
    assert refusal(change, "3.of=7") == f"of of Pass.a=1 (node 3) {way} node 9."


def test_an_input_that_holds_nothing_is_refused(change):
    rule = "must hold text, a number, or true or false to be set (change it in the file)"
    assert refusal(change, "World.points=7") == f"points of World (node 1) {rule}; got None."


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("frames=-20", -20),
        ("frames=+20", 20),
        ("frames=18446744073709551615", 18446744073709551615),
        ("cfg=2", 2),
        ("cfg=1.5", 1.5),
        ("share=2", 2.0),
        ("share=.25", 0.25),
        ("share=-1e-3", -0.001),
        ("tiled=true", True),
        ("file=", ""),
        ("file=7", "7"),
        ("file=true", "true"),
        ("file= b.png", " b.png"),
    ],
)
def test_a_value_becomes_what_is_there(change, text, value):
    changed = change(f"1.{text}")
    assert changed == {("1", text.partition("=")[0]): value}
    assert type(*changed.values()) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frames=2.5", "frames of World (node 1) must be a whole number (250); got 2.5."),
        ("frames=abc", "frames of World (node 1) must be a number (250); got abc."),
        ("frames=1_000", "frames of World (node 1) must be a number (250); got 1_000."),
        ("frames=", "frames of World (node 1) must be a number (250); got ."),
        ("share=true", "share of World (node 1) must be a number (0.5); got true."),
        ("share=nan", "share of World (node 1) must be a number (0.5); got nan."),
        ("share=1e999", "share of World (node 1) must be a number (0.5); got 1e999."),
        ("tiled=1", "tiled of World (node 1) must be true or false; got 1."),
        ("tiled=True", "tiled of World (node 1) must be true or false; got True."),
    ],
)
def test_a_value_that_does_not_fit_is_refused(change, text, said):
    assert refusal(change, f"1.{text}") == said
