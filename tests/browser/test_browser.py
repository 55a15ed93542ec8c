"""What an artist does: open a template, read what the nodes do, run, watch, cancel."""

import json
import urllib.request

import pytest
from editor import (
    DOCS,
    MISSING,
    NODES,
    PACK,
    ROOT,
    WORKFLOWS,
    look_at,
    open_help,
    open_template,
    queue,
    run,
    seen,
    set_widget,
    shown,
    switch_all_on,
    wait_until_done,
    wait_until_shown,
    wait_until_watched,
    watch,
)

if MISSING:
    pytest.skip(f"browser tests skipped: no {', no '.join(MISSING)}", allow_module_level=True)


# What ComfyUI must be to have the nodes of a graph.
TO_OPEN = {"animate2_long": (0, 31), "animate2_video": (0, 31), "scail2_replace": (0, 31)}
# What it must be to have its network.
TO_RUN = {"toy_colour": (0, 21)}


def skip_on_older_hosts(server, needed):
    version = server.get("/system_stats")["system"]["comfyui_version"]
    if tuple(map(int, version.split(".")[:2])) < needed:
        pytest.skip(f"ComfyUI {version} is older than {'.'.join(map(str, needed))}")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_opens_from_the_template_browser(page, server, name):
    skip_on_older_hosts(server, TO_OPEN.get(name, ()))
    open_template(page, name)
    shipped = json.loads((ROOT / "workflows" / f"{name}.json").read_text())
    types = page.evaluate("() => app.graph._nodes.map(node => node.type)")
    assert sorted(types) == sorted(node["type"] for node in shipped["nodes"])
    unknown = page.evaluate("() => app.graph._nodes.filter(node => !LiteGraph.registered_node_types[node.type]).length")
    assert unknown == 0
    links = page.evaluate("() => app.graph.serialize().links.length")
    assert links == len(shipped["links"])
    widgets = page.evaluate(
        "() => Object.fromEntries(app.graph._nodes.map(node => [node.id, "
        "Object.fromEntries((node.widgets || []).map(widget => [widget.name, widget.value]))]))"
    )
    for node in shipped["nodes"]:
        if node["type"].startswith(("EverAnimate", "LongAnimation")):
            values = node.get("widgets_values_named", {})
            assert {key: widgets[str(node["id"])][key] for key in values} == values
    # The canvas makes nodes as large as their widgets need, whatever size the file says.
    overlaps = page.evaluate(
        "() => { const found = [], box = node => [node.pos[0], node.pos[1] - LiteGraph.NODE_TITLE_HEIGHT, "
        "node.pos[0] + node.size[0], node.pos[1] + node.size[1]]; "
        "for (const one of app.graph._nodes) for (const other of app.graph._nodes) { "
        "const a = box(one), b = box(other); if (Number(one.id) < Number(other.id) && a[0] < b[2] && b[0] < a[2] "
        "&& a[1] < b[3] && b[1] < a[3]) found.push([one.id, other.id]) } return found }"
    )
    assert overlaps == []
    # As the canvas shortens titles.
    cut = page.evaluate(
        "() => { const ctx = document.createElement('canvas').getContext('2d'); "
        "return app.graph._nodes.filter(node => { "
        "ctx.font = node.titleFontStyle; return ctx.measureText(node.getTitle()).width > "
        "node.renderingSize[0] - 2 * LiteGraph.NODE_TITLE_HEIGHT }).map(node => node.getTitle()) }"
    )
    assert cut == []
    assert page.faults == []


# The graphs with everything in one node: its loader, that node, frames for two chunks, and the steps of these.
IN_ONE_NODE = {
    "toy_world": ("EverAnimateLoadToy", "EverAnimateAnimate", 62, 8),
    "toy_colour": ("LongAnimationLoadToy", "LongAnimationAnimate", 97, 20),
}


@pytest.mark.parametrize("name", IN_ONE_NODE)
def test_a_graph_with_everything_in_one_node_runs_from_the_page(page, server, name):
    skip_on_older_hosts(server, TO_RUN.get(name, ()))
    loader, node, frames, steps = IN_ONE_NODE[name]
    open_template(page, name)
    set_widget(page, loader, "frames", frames)
    set_widget(page, node, "run_name", f"{name}_from_the_page")
    run(page)
    # Every step has its preview.
    assert seen(page, "progress") >= steps and seen(page, "b_preview") >= steps
    assert (server.output / "everanimate" / f"{name}_from_the_page_00001_.mp4").is_file()
    assert list((server.output / "everanimate").glob(f"{name}_comparison*.mp4"))
    page.wait_for_selector("video", timeout=20_000)
    assert page.faults == []


@pytest.mark.parametrize("name", IN_ONE_NODE)
def test_the_finished_video_takes_the_place_of_the_live_preview(page, server, name):
    skip_on_older_hosts(server, TO_RUN.get(name, ()))
    loader, node, frames, _ = IN_ONE_NODE[name]
    open_template(page, name)
    set_widget(page, loader, "frames", frames)
    set_widget(page, node, "run_name", f"{name}_seen_in_its_node")
    look_at(page, node)
    height = shown(page, node)["height"]
    watch(page, node)
    queue(page)
    wait_until_watched(page, "shown.pictures && shown.previews")
    wait_until_done(page)
    wait_until_shown(page, node, "shown.widgets.includes('video-preview') && shown.videos.length", 20_000)
    state = shown(page, node)
    assert [f"filename={name}_seen_in_its_node_00001_.mp4" in source for source in state["videos"]] == [True]
    assert state["previews"] == state["pictures"] == 0
    # The text with the number of chunks stays.
    assert [widget for widget in state["widgets"] if widget.startswith("$$")] == ["$$node-text-preview"]
    # Nodes grow by themselves and never shrink: the gap above a widget that is gone stays.
    assert state["height"] <= max(height, state["needed"] + 4)
    assert page.faults == []


def test_what_ships_switched_off_runs_when_it_is_switched_on(page, server):
    pytest.importorskip("torchmetrics", reason="Drift Report needs it")
    open_template(page, "toy_world")
    set_widget(page, "EverAnimateLoadToy", "frames", 62)
    set_widget(page, "EverAnimateAnimate", "run_name", "with_a_report")
    switch_all_on(page)
    look_at(page, "EverAnimateDriftReport")
    run(page)
    # The plot of the report.
    wait_until_shown(page, "EverAnimateDriftReport", "shown.pictures", 20_000)
    assert page.faults == []


# The fewest frames that all chunks of the graph are made of; samplers of four steps.
@pytest.mark.parametrize(("name", "frames", "samplers"), [("toy_blocks", 63, 3), ("toy_drift", 92, 7)])
def test_a_graph_of_blocks_runs_from_the_page(page, server, name, frames, samplers):
    open_template(page, name)
    set_widget(page, "EverAnimateLoadToy", "frames", frames)
    look_at(page, "SaveVideo")
    run(page)
    assert seen(page, "progress") >= 4 * samplers and seen(page, "b_preview") >= 4 * samplers
    assert list((server.output / "everanimate").glob(f"{name}*.mp4"))
    page.wait_for_selector("video", timeout=20_000)
    assert page.faults == []


def wait_for_page_and_picture(page, node_id, language):
    page.wait_for_function(
        "text => document.body.innerText.includes(text)",
        arg=last_words(DOCS / node_id / f"{language}.md"),
        timeout=15_000,
    )
    page.wait_for_function(
        "end => [...document.images].some(image => image.src.endsWith(end) && image.naturalWidth > 0)",
        arg=f"/extensions/{PACK}/docs/{node_id}.jpg",
        timeout=15_000,
    )


def last_words(path):
    """Some words of what a page says first: they stand nowhere else in the editor."""
    text = path.read_text(encoding="utf-8").split("\n\n")[1].replace("\n", " ").replace("**", "").replace("`", "")
    return text[-60:].strip()


@pytest.mark.parametrize("node_id", NODES)
def test_the_help_panel_shows_the_page_and_its_picture(page, node_id):
    open_help(page, node_id)
    wait_for_page_and_picture(page, node_id, "en")
    assert page.faults == []


LOCALES = {"zh": "zh", "zh-TW": "en", "fr": "en"}


@pytest.mark.parametrize("settings,language", [({"Comfy.Locale": key}, value) for key, value in LOCALES.items()])
def test_a_language_without_pages_gets_the_english_ones(page, language):
    open_help(page, "EverAnimatePlanChunks")
    wait_for_page_and_picture(page, "EverAnimatePlanChunks", language)


def test_the_server_gives_the_chinese_pages(server):
    for node_id in NODES:
        with urllib.request.urlopen(f"{server.url}/extensions/{PACK}/docs/{node_id}/zh.md") as answer:
            assert answer.read().decode() == (DOCS / node_id / "zh.md").read_text(encoding="utf-8")
