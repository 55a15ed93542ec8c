"""The shipped graphs in API format, with tiny models in place of those that users download."""

import json
from pathlib import Path

import av

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows" / "api"
STAND_INS = {
    "CLIPTextEncode": "TestTinyConditioning",
    "VAELoader": "TestTinyVae",
    "CLIPVisionLoader": "TestTinyClipVision",
    # SAM 3.1.
    "CheckpointLoaderSimple": "TestSegmenter",
}


def with_tiny_models(name, values):
    """workflows/api/<name>.json. values: of widgets by name, wherever a node has one that is not linked."""
    prompt = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    for node_id, node in list(prompt.items()):
        if node["class_type"] == "CLIPLoader":
            del prompt[node_id]
        elif node["class_type"] in STAND_INS:
            node.update(class_type=STAND_INS[node["class_type"]], inputs={})
        else:
            widgets = [name for name, value in node["inputs"].items() if not isinstance(value, list)]
            node["inputs"].update({name: values[name] for name in widgets if name in values})
    for node in prompt.values():
        if node["class_type"] == "TestTinyConditioning":
            node["inputs"] = {"seed": 0}
    return prompt


def only(prompt, class_type):
    """The inputs of the one node of a class."""
    (node,) = [node for node in prompt.values() if node["class_type"] == class_type]
    return node["inputs"]


def read_back(path):
    """Frames, rate and size of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        count = sum(1 for _ in container.decode(stream))
        return count, stream.average_rate, (stream.width, stream.height)
