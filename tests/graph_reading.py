"""Reading graphs as the canvas keeps them, and which nodes the pack has."""

import re
from pathlib import Path

INIT = Path(__file__).resolve().parents[1] / "nodes" / "__init__.py"
MUTED = 2
NOTES = {"MarkdownNote", "Note"}
CONTROLS = {"fixed", "increment", "decrement", "randomize"}
SEEDS = ("seed", "noise_seed")
# How the ids of the pack's nodes begin, and what the canvas draws as a widget.
OURS = ("EverAnimate", "LongAnimation")
WIDGETS = {"BOOLEAN", "COMBO", "FLOAT", "INT", "STRING"}


def registered():
    """The ids of the nodes that the pack gives to ComfyUI; a node's class is called as its id."""
    return set(re.findall(r"^ {12}(\w+),$", INIT.read_text(encoding="utf-8"), re.MULTILINE))


def widget_values(node):
    """{widget: value} of a node, from the order in which the canvas keeps them.

    A seed is followed by what becomes of it after a run, which is a widget of the canvas and no input of the node.
    """
    values, named = list(node.get("widgets_values") or ()), {}
    for slot in node["inputs"]:
        if "widget" not in slot:
            continue
        named[slot["name"]] = values.pop(0)
        if slot["name"] in SEEDS and values and values[0] in CONTROLS:
            named["control_after_generate"] = values.pop(0)
    assert not values, f"{node['type']} {node['id']}: values without a widget: {values}"
    return named
