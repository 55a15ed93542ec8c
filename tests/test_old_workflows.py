"""Graphs saved with an earlier version of the pack still open and run as they did.

A canvas keeps the values of a node's widgets by position, so a new widget may only come behind all old ones. Each
folder of tests/data/old_workflows holds what one version had: its graphs, which have every node of the pack, and the
widgets as the server described them. A release adds a folder and changes none (tests/data/keep_workflows.py).
"""

import json
from operator import gt, lt
from pathlib import Path

import pytest
from graph_reading import OURS, SEEDS, WIDGETS, widget_values
from workflow_validation import (
    VERSIONS,
    expected_findings,
    findings,
    node_schemas,
    read,
    undeclared_inputs,
    with_models,
)

OLD = Path(__file__).resolve().parent / "data" / "old_workflows"
RELEASES = sorted(path.name for path in OLD.iterdir())
# Links hold the place of an output, so that it may be called something else: {(node, what it was called): now}.
RENAMED = {("EverAnimateAnimate", "images"): "last chunk"}
# A graph holds the value of each of its widgets, so that another default changes no old graph: {widget: new default}.
# -1 stands for "the next one", which the memory of the chunk before knows. An old graph keeps the number that it holds.
NEW_DEFAULTS = {"EverAnimateChunk: chunk_index": -1, "EverAnimatePropagate: chunk_index": -1}

each_version = pytest.mark.parametrize("version", VERSIONS)
each_release = pytest.mark.parametrize("release", RELEASES)


def canvas_graphs(release):
    return [read(path) for path in sorted((OLD / release / "canvas").glob("*.json"))]


def old_nodes(release):
    """The pack's nodes in the graphs of that time."""
    nodes = [node for graph in canvas_graphs(release) for node in graph["nodes"]]
    return [node for node in nodes if node["type"].startswith(OURS)]


def old_widgets(release, version):
    """[(widget with its node, its options then, its options now)]; a missing widget has none."""
    schemas = node_schemas(version)
    return [
        (f"{node}: {name}", then, inputs(schemas[node]).get(name, ("nothing", {}))[1])
        for node, widgets in read(OLD / release / "widgets.json").items()
        for name, (_, then) in widgets.items()
    ]


def inputs(schema):
    """{input: (type, options)} in the order in which the canvas lists them."""
    return {
        name: (schema["input"][part][name] + [{}])[:2]
        for part in ("required", "optional")
        for name in schema["input_order"].get(part, ())
    }


def widget_order(schema):
    """The widgets of a node as the canvas makes them: a seed has a second one unless the node declines it."""
    order = []
    for name, (kind, options) in inputs(schema).items():
        if kind in WIDGETS and not options.get("forceInput"):
            order.append(name)
            if options.get("control_after_generate", name in SEEDS):
                order.append("control_after_generate")
    return order


@each_release
def test_every_node_of_that_time_is_in_a_graph(release):
    assert {node["type"] for node in old_nodes(release)} == set(read(OLD / release / "widgets.json"))


@each_version
@each_release
def test_every_node_exists(release, version):
    assert {node["type"] for node in old_nodes(release)} - set(node_schemas(version)) == set()


@each_version
@each_release
def test_every_widget_is_where_it_was(release, version):
    schemas, moved = node_schemas(version), set()
    for node in old_nodes(release):
        today = widget_order(schemas[node["type"]])
        for place, widget in enumerate(widget_values(node)):
            if today[place : place + 1] != [widget]:
                moved.add(f"{node['type']}: place {place} was {widget} and is {today[place : place + 1]}")
    assert sorted(moved) == []


@each_version
@each_release
def test_every_input_takes_what_it_took(release, version):
    schemas, changed = node_schemas(version), set()
    for node in old_nodes(release):
        today = inputs(schemas[node["type"]])
        for slot in node["inputs"]:
            kind, _ = today.get(slot["name"], ("nothing", {}))
            if not set(slot["type"].split(",")) <= set(kind.split(",")):
                changed.add(f"{node['type']}: {slot['name']} took {slot['type']} and takes {kind}")
    assert sorted(changed) == []


@each_version
@each_release
def test_every_output_is_what_it_was(release, version):
    schemas, changed = node_schemas(version), set()
    for node in old_nodes(release):
        schema = schemas[node["type"]]
        today = list(zip(schema["output_name"], schema["output"], strict=True))
        for place, output in enumerate(node["outputs"]):
            was = (RENAMED.get((node["type"], output["name"]), output["name"]), output["type"])
            if today[place : place + 1] != [was]:
                changed.add(f"{node['type']}: output {place} was {was} and is {today[place : place + 1]}")
    assert sorted(changed) == []


@each_version
@each_release
def test_every_widget_starts_with_what_it_did(release, version):
    changed = [
        f"{widget} was {then.get('default')} and is {now.get('default')}"
        for widget, then, now in old_widgets(release, version)
        if now.get("default") != NEW_DEFAULTS.get(widget, then.get("default"))
    ]
    assert changed == []


@each_version
@each_release
def test_every_value_that_was_allowed_still_is(release, version):
    refused = []
    for widget, then, now in old_widgets(release, version):
        refused += [
            f"{widget} had {then[bound]} as {bound} and has {now[bound]}"
            for bound, stricter in (("min", gt), ("max", lt))
            if bound in now and stricter(now[bound], then[bound])
        ]
        refused += [
            f"{widget} has no {option}" for option in then.get("options", ()) if option not in now.get("options", ())
        ]
    assert refused == []


@each_version
@each_release
def test_every_graph_is_valid(release, version, tmp_path):
    described = tmp_path / "object_info.json"
    described.write_text(json.dumps(with_models(node_schemas(version), canvas_graphs(release))), encoding="utf-8")
    paths = sorted((OLD / release).glob("*/*.json"))
    found = {f"{path.parent.name}/{path.name}": [(code, field) for code, _, field in findings(path, described)]
             for path in paths}  # fmt: skip
    assert found == {f"{path.parent.name}/{path.name}": expected_findings(path, version) for path in paths}


@each_version
@each_release
def test_every_api_input_exists(release, version):
    paths = sorted((OLD / release / "api").glob("*.json"))
    found = {path.name: undeclared_inputs(read(path), node_schemas(version)) for path in paths}
    assert {name: unknown for name, unknown in found.items() if unknown} == {}
