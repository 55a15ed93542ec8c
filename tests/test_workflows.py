"""The shipped graphs for the canvas: sound, laid out without overlaps, and the same graphs as their API twins."""

import json
import re
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from graph_reading import MUTED, NOTES, OURS, registered, widget_values
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / "workflows"
TWINS = {
    "animate2_long": "animate2_long",
    "animate2_video": "animate2_video",
    "animate_long": "animate",
    "animate_chunks": "chunks",
    "colour_long": "colour_long",
    "colour_window": "colour_window",
    "dance_video": "dance_video",
    "low_vram": "low_vram",
    "replace_in_video": "replace_in_video",
    "scail2_replace": "scail2_replace",
    "toy_blocks": "toy_blocks",
    "toy_colour": "toy_colour",
    "toy_drift": "toy_drift",
    "toy_world": "toy_world",
}
# Models that a graph asks for; the toy ships with the pack.
FILES = dict.fromkeys(TWINS, 5) | {"colour_long": 4, "colour_window": 4, "low_vram": 6, "scail2_replace": 7}
FILES |= dict.fromkeys([name for name in TWINS if name.startswith("toy")], 0)
TITLE_HEIGHT = 30
SAMPLES = WORKFLOWS / "inputs"
RELEASED_PROMPT = "视频中的人在做动作"
LARGEST_PICTURE, LARGEST_SAMPLES = 60_000, 1_500_000
PICTURE_SIZE = (640, 360)
SCREEN = (1600, 1000)
# Seven chunks, each of three nodes; three chunks, each with a node of 18 inputs.
TOO_LARGE_FOR_A_SCREEN = {"toy_drift", "animate2_long"}

each_workflow = pytest.mark.parametrize("name", sorted(TWINS))


def read(name):
    return json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))


def node_table(graph):
    """{id: node}; every id once."""
    table = {node["id"]: node for node in graph["nodes"]}
    assert len(table) == len(graph["nodes"])
    return table


def working(graph):
    """The nodes that are run: all but the notes, and what is switched off."""
    return [node for node in graph["nodes"] if node["type"] not in NOTES and node["mode"] != MUTED]


def as_api(graph):
    """The graph as it is posted to the server: {id: (class, {input: value or [id, output]})}."""
    links = {link[0]: link for link in graph["links"]}
    prompt = {}
    for node in working(graph):
        canvas_only = {slot["name"] for slot in node["inputs"] if slot["type"] == "IMAGEUPLOAD"} | {
            "control_after_generate"
        }
        inputs = {name: value for name, value in widget_values(node).items() if name not in canvas_only}
        for slot in node["inputs"]:
            if slot["link"] is not None:
                _, source, output, *_ = links[slot["link"]]
                inputs[slot["name"]] = [str(source), output]
        prompt[str(node["id"])] = (node["type"], inputs)
    return prompt


def test_every_workflow_has_a_twin():
    assert {path.stem for path in WORKFLOWS.glob("*.json")} == set(TWINS)
    assert {path.stem for path in (WORKFLOWS / "api").glob("*.json")} == set(TWINS.values())


def test_every_workflow_has_a_thumbnail_of_its_own():
    """The template browser shows NAME.jpg beside NAME.json."""
    pictures = {path.stem: path for path in WORKFLOWS.glob("*.jpg")}
    assert set(pictures) == set(TWINS)
    seen = {}
    for name, path in pictures.items():
        assert path.stat().st_size < LARGEST_PICTURE, name
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("JPEG", PICTURE_SIZE), name
            # Small enough that noise and compression do not tell two pictures apart.
            seen[name] = np.asarray(picture.convert("L").resize((16, 9), Image.Resampling.BOX), float)
    for one, other in combinations(sorted(seen), 2):
        assert np.abs(seen[one] - seen[other]).mean() > 5, (one, other)


@each_workflow
def test_links_agree_with_the_sockets_at_both_ends(name):
    graph = read(name)
    nodes = node_table(graph)
    assert graph["version"] == 0.4
    assert graph["last_node_id"] == max(nodes)
    assert graph["last_link_id"] == max(link[0] for link in graph["links"])
    at_sockets = [
        (link, source, output, target, slot)
        for target, node in nodes.items()
        for slot, socket in enumerate(node["inputs"])
        if (link := socket["link"]) is not None
        for source, origin in nodes.items()
        for output, end in enumerate(origin["outputs"])
        if link in end["links"]
    ]
    assert sorted(at_sockets) == sorted(tuple(link[:5]) for link in graph["links"])
    assert len({link[0] for link in graph["links"]}) == len(graph["links"])
    assert sum(len(end["links"]) for node in nodes.values() for end in node["outputs"]) == len(graph["links"])
    for _, source, output, target, slot, kind in graph["links"]:
        given, taken = nodes[source]["outputs"][output]["type"], nodes[target]["inputs"][slot]["type"]
        assert given in taken.split(",")
        assert kind in (given, taken)


@each_workflow
def test_reroutes_carry_links_that_exist(name):
    extra = read(name)["extra"]
    links = {link[0] for link in read(name)["links"]}
    dots = {dot["id"]: dot for dot in extra.get("reroutes", [])}
    carried = {dot: set() for dot in dots}
    for ending in extra.get("linkExtensions", []):
        assert ending["id"] in links
        dot = ending["parentId"]
        while dot is not None:
            carried[dot].add(ending["id"])
            dot = dots[dot].get("parentId")
    assert carried == {dot: set(dots[dot]["linkIds"]) for dot in dots}
    assert all(carried.values())


def test_every_node_of_the_pack_is_in_a_graph_and_no_other():
    used = {node["type"] for name in TWINS for node in read(name)["nodes"]}
    ours = {node_type for node_type in used if node_type.startswith(OURS)}
    assert ours == registered()


@each_workflow
def test_is_the_same_graph_as_its_api_twin(name):
    twin = json.loads((WORKFLOWS / "api" / f"{TWINS[name]}.json").read_text(encoding="utf-8"))
    assert as_api(read(name)) == {node_id: (node["class_type"], node["inputs"]) for node_id, node in twin.items()}


@each_workflow
def test_a_script_can_make_a_part_of_a_run_again(name):
    """`everanimate post` sets inputs that the graph has."""
    twin = json.loads((WORKFLOWS / "api" / f"{TWINS[name]}.json").read_text(encoding="utf-8"))
    for node in twin.values():
        if "resume" in node["inputs"]:
            assert {"from_chunk", "on_change", "only_chunk", "candidates"} <= node["inputs"].keys()


@each_workflow
def test_seeds_stay_as_they_are(name):
    for node in working(read(name)):
        own = node["type"].startswith(OURS)
        # The pack's own nodes ask the canvas not to offer this widget.
        assert widget_values(node).get("control_after_generate") in ((None,) if own else (None, "fixed")), node["id"]


@each_workflow
def test_values_by_name_are_those_by_order(name):
    for node in working(read(name)):
        assert widget_values(node) == node.get("widgets_values_named", {}), node["id"]


def box(node):
    """left, top, right, bottom, with the title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE_HEIGHT, x + width, y + height


@each_workflow
def test_nodes_lie_apart_and_links_run_to_the_right(name):
    """A link that goes on in the next row leaves to the right, and comes from the left: reroutes lead it around."""
    graph = read(name)
    nodes, extra = node_table(graph), graph["extra"]
    dots = {dot["id"]: dot for dot in extra.get("reroutes", [])}
    last_dot = {ending["id"]: ending["parentId"] for ending in extra.get("linkExtensions", [])}
    for one, other in combinations(nodes.values(), 2):
        (left, top, right, bottom), (left2, top2, right2, bottom2) = box(one), box(other)
        apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
        assert apart, (one["id"], other["id"])
    for link, source, _, target, *_ in graph["links"]:
        stops, dot = [box(nodes[target])[0]], last_dot.get(link)
        while dot is not None:
            stops.insert(0, dots[dot]["pos"][0])
            dot = dots[dot].get("parentId")
        assert box(nodes[source])[2] <= stops[0] and stops[-2:][0] <= stops[-1], link


@each_workflow
def test_can_be_read_at_the_size_it_opens_in(name):
    """The editor fits a template into three quarters of the screen, and draws no text of less than 8 pixels."""
    boxes = [box(node) for node in read(name)["nodes"]]
    width = max(right for _, _, right, _ in boxes) - min(left for left, *_ in boxes)
    height = max(bottom for *_, bottom in boxes) - min(top for _, top, *_ in boxes)
    scale = 0.75 * min(SCREEN[0] / (width + 20), SCREEN[1] / (height + 20))
    assert 14 * scale >= 8 or name in TOO_LARGE_FOR_A_SCREEN


def notes(graph):
    """The text of all notes."""
    return "\n".join(node["widgets_values"][0] for node in graph["nodes"] if node["type"] in NOTES)


def loaded(name):
    """The pictures and videos that a graph loads."""
    loaders = [node for node in read(name)["nodes"] if node["type"] in ("LoadImage", "LoadVideo")]
    return {node["widgets_values"][0] for node in loaders}


def test_samples_are_small_and_all_in_use():
    wanted = set().union(*map(loaded, TWINS))
    assert wanted == {path.name for path in SAMPLES.iterdir()}
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < LARGEST_SAMPLES


@each_workflow
def test_a_note_says_where_the_samples_come_from(name):
    text = notes(read(name))
    assert all(file in text for file in loaded(name))
    assert not loaded(name) or "This pack copies" in text


def test_each_graph_begins_with_a_note_that_has_its_title():
    titles = []
    for name in TWINS:
        (start,) = [node for node in read(name)["nodes"] if node.get("title") == "Start here"]
        titles.append(start["widgets_values"][0].splitlines()[0])
    assert all(title.startswith("## ") for title in titles) and len(set(titles)) == len(TWINS)


@each_workflow
def test_the_prompt_is_the_one_that_the_lora_was_released_with(name):
    nodes = read(name)["nodes"]
    if any(node["type"] == "EverAnimateLoadLora" for node in nodes):
        (prompt,) = [node for node in nodes if node.get("title") == "Prompt"]
        assert prompt["widgets_values"] == [RELEASED_PROMPT]


@each_workflow
def test_a_note_names_every_file_its_folder_size_and_source(name):
    graph = read(name)
    text = notes(graph)
    files = [file for node in graph["nodes"] for file in node["properties"].get("models", ())]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(files) == FILES[name]
    for file in files:
        assert f"models/{file['directory']}" in text
        source = "/".join(file["url"].removeprefix("https://huggingface.co/").split("/")[:2])
        said = rf"\[{re.escape(file['name'])}\]\({re.escape(file['url'])}\) \([\w. ]+ GB, from {re.escape(source)}\)"
        assert re.search(said, text), file["name"]
        assert f"`{file['name']}`" in readme


@each_workflow
def test_the_same_place_is_that_of_the_line_above(name):
    for above, line in pairwise(notes(read(name)).splitlines()):
        if "from the same place" in line:
            assert line.startswith("- stage3_720p_beta") and above.endswith("from epfl-vita/everanimate)")
