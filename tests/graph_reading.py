"""Reading graphs as the canvas keeps them."""

MUTED = 2
NOTES = {"MarkdownNote", "Note"}
CONTROLS = {"fixed", "increment", "decrement", "randomize"}
SEEDS = ("seed", "noise_seed")


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
