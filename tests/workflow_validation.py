"""comfy-cli's `workflow validate`, without a server: against the committed cuts of object_info."""

import json
from pathlib import Path

from comfy_cli.cmdline import app
from graph_reading import widget_values
from typer.testing import CliRunner

CUTS = Path(__file__).resolve().parent / "data" / "object_info"
VERSIONS = sorted(path.stem for path in CUTS.glob("*.json"))
# The SaveVideo of 0.33.0 has its codec under a new name and takes it under the old one as well, so that the same API
# graph runs on all versions (see tests/host/test_workflows.py); comfy-cli asks for the new name.
KNOWN_WRONG = [("required_input_missing", "format.codec")]
# Graphs that ask for CogVideoX's text encoder, and the versions that have none.
NEED_COGVIDEOX, WITHOUT_COGVIDEOX = ("colour_long", "colour_window"), ("0.3.64",)
# Nodes of graphs that a version has not yet: {(version, graph): classes}.
MISSING_NODES = {
    ("0.3.64", "animate2_long"): {"WanAnimate2ToVideo"},
    ("0.3.64", "animate2_video"): {"Video Slice", "WanAnimate2Cache"},
    ("0.3.64", "scail2_replace"): {"SAM3_VideoTrack", "SCAIL2ColoredMask"},
}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def classes(graph):
    """The class of each node of a graph, in either format."""
    return [node["type"] for node in graph["nodes"]] if "nodes" in graph else [n["class_type"] for n in graph.values()]


def expected_findings(path, version):
    """[(code, input)] that a version of ComfyUI says of this graph before anything is made: that it has no text encoder
    of this type, or no such node."""
    missing = MISSING_NODES.get((version, path.stem), ())
    no_encoder = [("unknown_enum_value", "type")] * (path.stem in NEED_COGVIDEOX and version in WITHOUT_COGVIDEOX)
    return no_encoder + [("unknown_class_type", None) for name in classes(read(path)) if name in missing]


def node_schemas(version):
    """{class: description}, as the server of that version answers."""
    return read(CUTS / f"{version}.json")


def with_models(schemas, graphs):
    """The same on a server which has the models that these canvas graphs say to download."""
    for node in (node for graph in graphs for node in graph["nodes"]):
        models = {file["name"] for file in node["properties"].get("models", ())}
        for name, value in widget_values(node).items() if models else ():
            if value in models:
                kind, *options = schemas[node["type"]]["input"]["required"][name]
                (kind if isinstance(kind, list) else options[0]["options"]).append(value)
    return schemas


def findings(workflow, schemas):
    """What comfy-cli says of a graph and the descriptions of nodes, both files: errors and warnings.

    [(code, node id, input)]; the input is None where the node as a whole is meant.
    """
    options = ["--skip-prompt", "--no-enable-telemetry", "--json", "workflow", "validate", "--where", "local"]
    offline = CliRunner(env={"COMFY_CLI_NO_REMOTE_REFRESH": "1"})
    answer = json.loads(offline.invoke(app, [*options, "--workflow", str(workflow), "--input", str(schemas)]).stdout)
    assert answer["data"], answer["error"]
    found = answer["data"]["errors"] + answer["data"]["warnings"]
    return [
        (finding["code"], finding["node_id"], finding.get("field"))
        for finding in found
        if (finding["code"], finding.get("field")) not in KNOWN_WRONG
    ]


def undeclared_inputs(graph, schemas):
    """[(node id, input)] of an API graph: what the server ignores and comfy-cli does not mention.

    Nodes that this server does not have are left out.
    """
    return [
        (node_id, name)
        for node_id, node in graph.items()
        if node["class_type"] in schemas
        for name in node["inputs"]
        if not any(name in schemas[node["class_type"]]["input"].get(part, ()) for part in ("required", "optional"))
    ]
