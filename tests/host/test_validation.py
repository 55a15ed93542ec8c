"""Widgets that cannot serve are refused when a graph is queued, in the name of the node, before anything is loaded."""

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from node_cases import declared_inputs

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows" / "api"
# {node: (its name, the widgets that the host itself still looks at)}
CHECKED = {
    "EverAnimateMemory": ("Build Memory", ()),
    "EverAnimatePlanChunks": ("Plan Chunks", ()),
    "EverAnimateAnimate": ("Animate Long Video", ()),
    "EverAnimatePrepare": ("Prepare Driving Video", ("engine",)),
    "EverAnimateLongRun": ("Long Run", ()),
    "EverAnimateMethodAnimate2": ("Wan-Animate 2 Method", ()),
    "EverAnimateMethodScail2": ("SCAIL-2 Method", ()),
    "EverAnimateDriftReport": ("Drift Report", ()),
    "LongAnimationPlan": ("Plan Windows", ()),
    "LongAnimationCondition": ("Condition Window", ("window_index",)),
    "LongAnimationApply": ("Apply SketchDiT", ()),
    "LongAnimationSampler": ("LongAnimation Sampler", ()),
    "LongAnimationAnimate": ("Colour Long Animation", ()),
}
NUMBERS = ("INT", "FLOAT")


def inputs(comfy, node):
    """{input: (type, options)} of a node."""
    types = comfy.nodes[node].INPUT_TYPES()
    return types.get("required", {}) | types.get("optional", {})


def widgets(comfy, node):
    """{widget: (type, options)} of a node."""
    return {name: (kind, options) for name, (kind, options) in inputs(comfy, node).items() if "default" in options}


def queued(comfy, node, **changed):
    """What the host says of a node with these values, links as [node, output], and the defaults of the others.

    The text of what is raised, or [(kind of error, input)] without what says that a link is of another type.
    """
    import execution

    # Every socket has a link, as in a graph: the host hands those over, too, to a check that asks for all.
    sockets = {name: ["2", 0] for name in inputs(comfy, node)}
    defaults = {name: options["default"] for name, (_, options) in widgets(comfy, node).items()}
    values = sockets | defaults | changed
    number = {"class_type": "PrimitiveInt", "inputs": {"value": 65}}
    text = {"class_type": "PrimitiveString", "inputs": {"value": "a:b"}}
    prompt = {"1": {"class_type": node, "inputs": values}, "2": number, "3": text}
    try:
        _, errors, _ = asyncio.run(execution.validate_inputs("queued", prompt, "1", {}))
    except ValueError as error:
        return str(error)
    found = [(error["type"], error["extra_info"]["input_name"]) for error in errors]
    return [error for error in found if error[0] != "return_type_mismatch"]


BAD = [
    ("EverAnimateMemory", {"width": 65}, "width must be a multiple of 16 (832); got 65."),
    ("EverAnimateMemory", {"identity_latents": 0}, "identity_latents must be between 1 and 16 (4); got 0."),
    ("EverAnimatePlanChunks", {"chunk_frames": 76}, "chunk_frames must be 4n + 1, such as 73 or 77; got 76."),
    ("EverAnimatePlanChunks", {"overlap": 76}, "overlap must lie between 0 and chunk_frames - 2 (0..75); got 76."),
    (
        "EverAnimatePlanChunks",
        {"continuation": "back"},
        "continuation must be one of pingpong, loop, hold, error (pingpong); got back.",
    ),
    ("EverAnimateAnimate", {"height": 470}, "height must be a multiple of 16 (480); got 470."),
    ("EverAnimateAnimate", {"chunk_frames": 76}, "chunk_frames must be 4n + 1, such as 73 or 77; got 76."),
    ("EverAnimateAnimate", {"cfg": float("nan")}, "cfg must be a number, not NaN or infinity (1.0); got nan."),
    (
        "EverAnimateAnimate",
        {"run_name": "a:b"},
        "run_name must be a name that every system can keep (Tänzerin, dance (2), clips/dancer); got 'a:b': the sign "
        "':'.",
    ),
    (
        "EverAnimatePrepare",
        {"run_name": "../a"},
        "run_name must be a name that every system can keep (Tänzerin, dance (2), clips/dancer); got '../a': a space "
        "or dot at an end.",
    ),
    ("EverAnimatePrepare", {"width": 65}, "width must be a multiple of 16 (832); got 65."),
    ("EverAnimateLongRun", {"width": 65}, "width must be a multiple of 16 (832); got 65."),
    ("EverAnimateLongRun", {"chunk_frames": 80}, "chunk_frames must be 4n + 1, such as 77 or 81; got 80."),
    (
        "EverAnimateLongRun",
        {"run_name": "con"},
        "run_name must be a name that every system can keep (Tänzerin, dance (2), clips/dancer); got 'con': a device "
        "of Windows.",
    ),
    (
        "EverAnimateMethodAnimate2",
        {"pose_strength": float("nan")},
        "pose_strength must be a number, not NaN or infinity (1.0); got nan.",
    ),
    (
        "EverAnimateMethodAnimate2",
        {"pose_start_percent": 0.5, "pose_end_percent": 0.4},
        "pose_start_percent must not be greater than pose_end_percent (0..0.4); got 0.5.",
    ),
    ("EverAnimateMethodScail2", {"pose_start": 1.5}, "pose_start must be between 0.0 and 1.0 (0.0); got 1.5."),
    ("LongAnimationPlan", {"window_frames": 80}, "window_frames must be 8n + 1, such as 73 or 81; got 80."),
    ("LongAnimationPlan", {"overlap": 90}, "overlap must be below window_frames - 1 (80); got 90."),
    ("LongAnimationCondition", {"width": 65}, "width must be a multiple of 16 (832); got 65."),
    ("LongAnimationApply", {"strength": 11.0}, "strength must be between 0.0 and 10.0 (0.5); got 11.0."),
    (
        "LongAnimationSampler",
        {"steps": 20},
        "fuse_from must be below steps (20), or fuse must be off (31 of 50); got 31.",
    ),
    (
        "LongAnimationAnimate",
        {"overlap": 20},
        "overlap must be 4n + 1 and at least 5 where overlaps are blended, or 16 as released (17); got 20.",
    ),
]


@pytest.mark.parametrize(("node", "changed", "said"), BAD, ids=lambda part: part if isinstance(part, str) else None)
def test_what_cannot_serve_is_said_once_in_the_name_of_the_node(comfy, node, changed, said):
    assert queued(comfy, node, **changed) == f"{CHECKED[node][0]}: {said}"


def test_the_defaults_of_every_node_pass(comfy):
    declared = declared_inputs(comfy, "EverAnimate") | declared_inputs(comfy, "LongAnimation")
    nodes = {node for node, _ in declared}
    assert nodes > set(CHECKED)
    assert {node: said for node in nodes if (said := queued(comfy, node))} == {}


@pytest.mark.parametrize("node", CHECKED)
def test_every_widget_has_its_limits(comfy, node):
    """The host leaves out its own check of what is checked here, so that every limit has to be."""
    name, left = CHECKED[node]
    for widget, (kind, options) in widgets(comfy, node).items():
        wrong = [options["min"] - 1, options["max"] + 1] if kind in NUMBERS and "max" in options else []
        if kind == "COMBO" or isinstance(kind, list):
            wrong = ["none of these"]
        for value in wrong:
            said = queued(comfy, node, **{widget: value})
            if widget in left:
                # Older hosts look at no COMBO; what the node is given is then refused when it runs.
                assert {where for _, where in said} <= {widget}
            else:
                assert said.startswith(f"{name}: {widget} must be ") and said.endswith(f"; got {value}.")


def test_what_comes_from_a_link_is_left_for_later(comfy):
    link = ["2", 0]
    assert queued(comfy, "EverAnimateMemory", width=link) == []
    assert queued(comfy, "EverAnimateAnimate", width=link, run_name=["3", 0]) == []
    # All else is looked at by itself, and together with nothing that is unknown.
    said = queued(comfy, "EverAnimateAnimate", seed=link, chunk_frames=76)
    assert said == "Animate Long Video: chunk_frames must be 4n + 1, such as 73 or 77; got 76."
    assert queued(comfy, "EverAnimatePlanChunks", chunk_frames=link, overlap=100) == []
    assert queued(comfy, "LongAnimationSampler", steps=link, fuse_from=60) == []


def test_an_overlap_that_cannot_be_blended_is_for_the_sampler_to_refuse(comfy):
    assert queued(comfy, "LongAnimationPlan", overlap=20) == []


def test_every_node_with_a_size_a_length_or_a_name_is_checked(comfy):
    asked = {"width", "height", "chunk_frames", "window_frames", "run_name"}
    declared = declared_inputs(comfy, "EverAnimate") | declared_inputs(comfy, "LongAnimation")
    assert {node for node, name in declared if name in asked} <= set(CHECKED)


def errors_of(server, prompt):
    """{node: errors} of a graph that the server refuses."""
    request = urllib.request.Request(
        f"{server.url}/prompt",
        data=json.dumps({"prompt": prompt}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    return json.load(refused.value)["node_errors"]


@pytest.mark.parametrize(
    ("graph", "node", "changed", "said"),
    [
        ("toy_world", "EverAnimateAnimate", {"width": 65}, "width must be a multiple of 16 (832); got 65."),
        (
            "toy_blocks",
            "EverAnimatePlanChunks",
            {"chunk_frames": 76},
            "chunk_frames must be 4n + 1, such as 73 or 77; got 76.",
        ),
        (
            "toy_colour",
            "LongAnimationAnimate",
            {"run_name": "con"},
            "run_name must be a name that every system can keep (Tänzerin, dance (2), clips/dancer); got 'con': a "
            "device of Windows.",
        ),
    ],
)
def test_the_server_names_the_node_and_says_it_once(server, graph, node, changed, said):
    prompt = json.loads((WORKFLOWS / f"{graph}.json").read_text(encoding="utf-8"))
    ((number, found),) = [item for item in prompt.items() if item[1]["class_type"] == node]
    found["inputs"].update(changed)
    before, files = server.log_size(), sorted(server.output.rglob("*"))
    errors = errors_of(server, prompt)
    assert list(errors) == [number]
    (error,) = errors[number]["errors"]
    assert error["details"] == f"{CHECKED[node][0]}: {said}"
    # Nothing was begun.
    assert "got prompt" in server.log(before) and "Prompt executed" not in server.log(before)
    assert sorted(server.output.rglob("*")) == files
