"""Pictures for help pages and README from the canvas: of every node in one of the graphs, and of the first graph.

    COMFYUI_PATH=/path/to/ComfyUI /path/to/its/python -m pytest tests/benchmarks/pictures_of_graphs.py

They replace those in nodes/web/docs/, or are written there below the folder that EVERANIMATE_PICTURES names. The
interpreter also needs the packages of Drift Report. What the graphs make is drawn by thumbnails.py.
"""

import io
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

# What the browser's tests have in their own folder, fixtures too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "browser"))

import conftest
from editor import DOCS, ROOT, open_template, run, switch_all_on

browser, page, server = conftest.browser, conftest.page, conftest.server
OUT = Path(os.environ.get("EVERANIMATE_PICTURES", ROOT)) / DOCS.relative_to(ROOT)
# The graph that README shows.
FIRST = "dance_video"
# Which graph shows a node. Drift Report ships switched off and has a test of its own.
SHOWN_IN = {
    "EverAnimateAnimate": "toy_world",
    "EverAnimateChunk": "animate_chunks",
    "EverAnimateChunkFrames": "animate2_long",
    "EverAnimateJoinChunks": "toy_blocks",
    "EverAnimateLoadLora": "animate_long",
    "EverAnimateLoadToy": "toy_world",
    "EverAnimateLongRun": "animate2_video",
    "EverAnimateMemory": "animate_chunks",
    "EverAnimateMemoryFromLatents": "toy_blocks",
    "EverAnimateMethodAnimate2": "animate2_video",
    "EverAnimateMethodScail2": "scail2_replace",
    "EverAnimatePatchModel": "toy_blocks",
    "EverAnimatePlanChunks": "animate_chunks",
    "EverAnimatePrepare": "dance_video",
    "EverAnimatePropagate": "animate_chunks",
    "EverAnimateRestorativeSampler": "toy_blocks",
    "EverAnimateRestoreFlow": "toy_blocks",
    "EverAnimateSigmas": "toy_blocks",
    "LongAnimationAnimate": "toy_colour",
    "LongAnimationApply": "colour_window",
    "LongAnimationCondition": "colour_window",
    "LongAnimationFinish": "colour_window",
    "LongAnimationLoad": "colour_window",
    "LongAnimationLoadBase": "colour_window",
    "LongAnimationLoadToy": "toy_colour",
    "LongAnimationLoadVideoMemory": "colour_window",
    "LongAnimationMemory": "colour_window",
    "LongAnimationPlan": "colour_window",
    "LongAnimationSampler": "colour_window",
}
OPENED = sorted({FIRST, *SHOWN_IN.values()})
# A model that people write themselves: no graph says where to get it.
WRITTEN = "text_encoders/video_xl.safetensors"
# Pixels of the picture of a graph, width and height of that of a node, and the margins around a node.
GRAPH_PIXELS, NODE_WIDTH, NODE_HEIGHT, BESIDE, ABOVE, BELOW = 1_600_000, 560, 1000, 90, 75, 20
# Nothing on the screen but the graph, and in the nodes nothing but what stays there.
BARE_CANVAS = {
    "Comfy.EnableTooltips": False,
    "Comfy.Execution.PreviewMethod": "none",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "Comfy.Graph.LinkMarkers": 0,
    "Comfy.NodeBadge.NodeIdBadgeMode": "None",
    "Comfy.NodeBadge.NodeLifeCycleBadgeMode": "None",
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
}


@pytest.fixture
def settings():
    return {"Comfy.Locale": "en"} | BARE_CANVAS


@pytest.fixture(scope="session")
def files(server):
    """Empty files under the names of the models; the pack gives the samples itself."""
    graphs = [json.loads((ROOT / "workflows" / f"{name}.json").read_text()) for name in OPENED]
    models = [model for graph in graphs for node in graph["nodes"] for model in node["properties"].get("models", ())]
    for name in (WRITTEN, *(f"{model['directory']}/{model['name']}" for model in models)):
        path = server.base / "models" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()


def run_and_wait_for_videos(page):
    """Nodes grow when their videos are there."""
    run(page)
    page.wait_for_timeout(3000)


def clear_screen(page):
    """Nothing but the canvas."""
    page.evaluate("() => app.extensionManager.command.execute('Workspace.ToggleFocusMode')")
    page.add_style_tag(content=".no-drag, .comfy-menu-hamburger { visibility: hidden !important }")


def take(page, box, scale, path, quality):
    """A picture of a part of the canvas, box = (left, top, width, height) in its units."""
    left, top, width, height = box
    page.set_viewport_size({"width": round(width * scale), "height": round(height * scale)})
    page.evaluate(
        "([x, y, scale]) => { const canvas = app.canvas; canvas.ds.scale = scale; canvas.ds.offset = [-x, -y]; "
        "canvas.deselectAll(); canvas.min_font_size_for_lod = 0; canvas.setDirty(true, true) }",
        [left, top, scale],
    )
    page.wait_for_timeout(2000)
    page.evaluate(
        "() => { for (const video of document.querySelectorAll('video')) "
        "{ video.controls = false; video.pause(); video.currentTime = 3 } }"
    )
    page.wait_for_timeout(1000)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(path, quality=quality, optimize=True, progressive=True)


def take_node(page, node_id):
    """The second of its kind where there are several: it has neighbours on both sides. It is drawn as one that is
    switched on."""
    x, y, width, height = page.evaluate(
        "id => { const all = app.graph._nodes.filter(node => node.type === id); "
        "const node = all[Math.min(1, all.length - 1)]; node.mode = 0; return [...node.pos, ...node.size] }",
        node_id,
    )
    box = (x - BESIDE, y - ABOVE, width + 2 * BESIDE, height + ABOVE + BELOW)
    scale = min(NODE_WIDTH / box[2], NODE_HEIGHT / box[3])
    take(page, box, scale, OUT / f"{node_id}.jpg", 75)


def take_graph(page):
    """The whole graph."""
    left, top, right, bottom = page.evaluate(
        "() => { const boxes = [...app.graph._nodes.map(node => [node.pos[0], node.pos[1] - 30, node.size[0], "
        "node.size[1] + 30]), ...app.graph._groups.map(group => [...group.pos, ...group.size]), "
        "...[...app.graph.reroutes.values()].map(dot => [...dot.pos, 0, 0])]; "
        "return [Math.min(...boxes.map(b => b[0])), Math.min(...boxes.map(b => b[1])), "
        "Math.max(...boxes.map(b => b[0] + b[2])), Math.max(...boxes.map(b => b[1] + b[3]))] }"
    )
    box = (left - 20, top - 20, right - left + 40, bottom - top + 40)
    scale = min(1, (GRAPH_PIXELS / box[2] / box[3]) ** 0.5)
    take(page, box, scale, OUT / f"{FIRST}.jpg", 80)


@pytest.mark.parametrize("name", OPENED)
def test_pictures(page, files, name):
    open_template(page, name)
    if name.startswith("toy"):
        run_and_wait_for_videos(page)
    clear_screen(page)
    if name == FIRST:
        take_graph(page)
    for node_id, graph in SHOWN_IN.items():
        if graph == name:
            take_node(page, node_id)


def test_picture_of_what_ships_switched_off(page):
    open_template(page, "toy_world")
    switch_all_on(page)
    run_and_wait_for_videos(page)
    clear_screen(page)
    take_node(page, "EverAnimateDriftReport")
