"""Every shipped graph is valid on the oldest and on the newest ComfyUI, as the servers described their nodes.

tests/host/test_object_info.py compares these descriptions to a running server.
"""

import json
import re
from pathlib import Path

import pytest
from workflow_validation import (
    MISSING_NODES,
    VERSIONS,
    classes,
    expected_findings,
    findings,
    node_schemas,
    read,
    undeclared_inputs,
    with_models,
)

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / "workflows"
CANVAS = sorted(WORKFLOWS.glob("*.json"))
API = sorted((WORKFLOWS / "api").glob("*.json"))

each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(scope="module")
def schemas(tmp_path_factory):
    """{version: file with the descriptions of the nodes}."""
    folder = tmp_path_factory.mktemp("object_info")
    for version in VERSIONS:
        described = with_models(node_schemas(version), map(read, CANVAS))
        (folder / f"{version}.json").write_text(json.dumps(described), encoding="utf-8")
    return {version: folder / f"{version}.json" for version in VERSIONS}


def test_the_oldest_version_that_the_pack_asks_for_is_there():
    asked = re.search(r'requires-comfyui = ">=(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")).group(1)
    assert asked in VERSIONS
    assert len(VERSIONS) > 1


def test_these_are_the_versions_that_the_host_tests_run_in():
    assert (ROOT / "tests" / "host" / "versions.txt").read_text(encoding="utf-8").split() == VERSIONS


@each_version
@pytest.mark.parametrize("path", [*CANVAS, *API], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_graph_is_valid(path, version, schemas):
    found = [(code, field) for code, _, field in findings(path, schemas[version])]
    assert found == expected_findings(path, version)


@each_version
@pytest.mark.parametrize("path", API, ids=lambda path: path.stem)
def test_every_input_is_one_of_its_node(path, version):
    graph, schemas = read(path), node_schemas(version)
    assert set(classes(graph)) - schemas.keys() == MISSING_NODES.get((version, path.stem), set())
    assert undeclared_inputs(graph, schemas) == []


def unknown_node(node):
    node["class_type"] = "EverAnimateAnimateAll"


def missing_input(node):
    del node["inputs"]["vae"]


def wrong_type(node):
    node["inputs"]["vae"] = node["inputs"]["model"]


def wrong_kind_of_value(node):
    node["inputs"]["steps"] = "many"


def missing_node(node):
    node["inputs"]["model"] = ["99", 0]


def missing_output(node):
    node["inputs"]["model"] = [node["inputs"]["model"][0], 3]


def too_large(node):
    node["inputs"]["chunk_frames"] = 165


def too_small(node):
    node["inputs"]["identity_latents"] = 0


def unknown_option(node):
    node["inputs"]["fit"] = "squash"


@each_version
@pytest.mark.parametrize(("damage", "code", "field"), [
    (unknown_node, "unknown_class_type", None),
    (missing_input, "required_input_missing", "vae"),
    (wrong_type, "edge_type_mismatch", "vae"),
    (wrong_kind_of_value, "shape_mismatch", "steps"),
    (missing_node, "dangling_edge", "model"),
    (missing_output, "output_index_out_of_range", "model"),
    (too_large, "above_max", "chunk_frames"),
    (too_small, "below_min", "identity_latents"),
    (unknown_option, "unknown_enum_value", "fit"),
])  # fmt: skip
def test_damage_to_an_api_graph_is_found(damage, code, field, version, schemas, tmp_path):
    graph = read(WORKFLOWS / "api" / "animate.json")
    ((node_id, node),) = [item for item in graph.items() if item[1]["class_type"] == "EverAnimateAnimate"]
    damage(node)
    (tmp_path / "damaged.json").write_text(json.dumps(graph), encoding="utf-8")
    # What else is said follows from the first.
    assert findings(tmp_path / "damaged.json", schemas[version])[0] == (code, node_id, field)


@each_version
def test_a_file_that_no_graph_names_is_found(version, schemas, tmp_path):
    graph = read(WORKFLOWS / "api" / "animate.json")
    ((node_id, node),) = [item for item in graph.items() if item[1]["class_type"] == "UNETLoader"]
    node["inputs"]["unet_name"] = "another.safetensors"
    (tmp_path / "damaged.json").write_text(json.dumps(graph), encoding="utf-8")
    assert findings(tmp_path / "damaged.json", schemas[version]) == [("unknown_enum_value", node_id, "unet_name")]


@each_version
def test_an_input_that_the_node_has_not_is_found(version):
    graph = read(WORKFLOWS / "api" / "toy_world.json")
    ((node_id, node),) = [item for item in graph.items() if item[1]["class_type"] == "EverAnimateAnimate"]
    node["inputs"]["chunk_frame"] = 33
    assert undeclared_inputs(graph, node_schemas(version)) == [(node_id, "chunk_frame")]


def unknown_canvas_node(graph, node):
    node["type"] = "EverAnimateAnimateAll"


def unlinked(graph, node):
    (link,) = [slot["link"] for slot in node["inputs"] if slot["name"] == "vae"]
    graph["links"] = [row for row in graph["links"] if row[0] != link]


def linked_to_the_model(graph, node):
    rows = {row[0]: row for row in graph["links"]}
    model, vae = (rows[slot["link"]] for name in ("model", "vae") for slot in node["inputs"] if slot["name"] == name)
    vae[1:3] = model[1:3]


def one_value_too_early(graph, node):
    del node["widgets_values"][node["widgets_values"].index("released")]


@each_version
@pytest.mark.parametrize(("damage", "code", "field"), [
    (unknown_canvas_node, "unknown_class_type", None),
    (unlinked, "required_input_missing", "vae"),
    (linked_to_the_model, "edge_type_mismatch", "vae"),
    (one_value_too_early, "unknown_enum_value", "seed_mode"),
])  # fmt: skip
def test_damage_to_a_canvas_graph_is_found(damage, code, field, version, schemas, tmp_path):
    graph = read(WORKFLOWS / "animate_long.json")
    (node,) = [node for node in graph["nodes"] if node["type"] == "EverAnimateAnimate"]
    damage(graph, node)
    (tmp_path / "damaged.json").write_text(json.dumps(graph), encoding="utf-8")
    assert (code, str(node["id"]), field) in findings(tmp_path / "damaged.json", schemas[version])
