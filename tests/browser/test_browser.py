"""What an artist does: open a template, read what the nodes do, run, watch, cancel."""

import json
import os
import shutil
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

PACK = "comfyui-everanimate"
NEEDS = {
    "COMFYUI_PATH": os.environ.get("COMFYUI_PATH"),
    "playwright and aiohttp in this interpreter": find_spec("playwright") and find_spec("aiohttp"),
    "chromium": os.environ.get("CHROMIUM") or shutil.which("chromium"),
}
MISSING = [name for name, there in NEEDS.items() if not there]
if MISSING:
    pytest.skip(f"browser tests skipped: no {', no '.join(MISSING)}", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
DOCS = ROOT / "nodes" / "web" / "docs"


def open_template(page, name):
    """Open a workflow as a user does: template browser, this pack, its card."""
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_text(PACK, exact=True).first.click()
    page.locator(f'[data-testid="template-workflow-{name}"]').click()
    page.wait_for_function("app.graph._nodes.length > 2")
    page.wait_for_timeout(1500)


def set_widget(page, node_type, name, value):
    page.evaluate(
        "([type, name, value]) => { app.graph._nodes.find(node => node.type === type)"
        ".widgets.find(widget => widget.name === name).value = value }",
        [node_type, name, value],
    )


def listen(page):
    """Count what the server tells the page."""
    page.evaluate(
        "() => { window.seen = {}; for (const kind of ['progress', 'b_preview', 'execution_interrupted',"
        " 'execution_error', 'execution_success']) app.api.addEventListener(kind, event => {"
        " window.seen[kind] = (window.seen[kind] || 0) + 1 }) }"
    )


def seen(page, kind):
    return page.evaluate("kind => window.seen[kind] || 0", kind)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_opens_from_the_template_browser(page, name):
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
        if node["type"].startswith("EverAnimate"):
            values = node.get("widgets_values_named", {})
            assert {key: widgets[str(node["id"])][key] for key in values} == values
    assert page.faults == []


def test_toy_world_runs_from_the_page(page, server):
    open_template(page, "toy_world")
    set_widget(page, "EverAnimateLoadToy", "frames", 62)
    set_widget(page, "EverAnimateAnimate", "run_name", "from_the_page")
    listen(page)
    page.locator('[data-testid="queue-button"]').click()
    page.wait_for_function("window.seen.execution_success || window.seen.execution_error", timeout=300_000)
    assert seen(page, "execution_error") == 0
    # Two chunks of four steps, each with its preview.
    assert seen(page, "progress") >= 8 and seen(page, "b_preview") >= 8
    assert (server.output / "everanimate" / "from_the_page.mp4").is_file()
    assert list((server.output / "everanimate").glob("toy_world_comparison*.mp4"))
    page.wait_for_selector("video", timeout=20_000)
    assert page.faults == []


def test_cancel_stops_a_run_and_keeps_what_is_finished(page, server):
    open_template(page, "toy_world")
    set_widget(page, "EverAnimateLoadToy", "frames", 1500)
    set_widget(page, "EverAnimateAnimate", "run_name", "cancelled")
    listen(page)
    page.locator('[data-testid="queue-button"]').click()
    page.wait_for_function("window.seen.progress > 9", timeout=300_000)
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Interrupt')")
    page.wait_for_function("window.seen.execution_interrupted", timeout=60_000)
    manifest = json.loads((server.output / "everanimate" / "cancelled" / "manifest.json").read_text())
    assert 1 <= len(manifest["run"]["chunks"]) < 50
    # The server is free again.
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.get("/queue")["queue_running"]:
        time.sleep(0.2)
    assert server.get("/queue")["queue_running"] == []


@pytest.mark.parametrize("node_id", sorted(path.name for path in DOCS.iterdir() if path.is_dir()))
def test_the_help_panel_shows_the_page(page, node_id):
    page.evaluate(
        "id => { const node = LiteGraph.createNode(id); app.graph.clear(); app.graph.add(node); "
        "node.pos = [500, 450]; app.canvas.ds.reset(); app.canvas.selectNode(node) }",
        node_id,
    )
    # Not the mouse: in older editors the menu can lie over the toolbox of a node.
    page.locator('[data-testid="info-button"]').dispatch_event("click")
    page.wait_for_function(
        "text => document.body.innerText.includes(text)", arg=second_sentence(DOCS / node_id / "en.md"), timeout=15_000
    )


def second_sentence(path):
    """Some words of a page that stand nowhere else in the editor."""
    text = path.read_text(encoding="utf-8").split("\n\n")[1].replace("\n", " ").replace("**", "").replace("`", "")
    return text[-60:].strip()


def test_the_server_gives_the_chinese_pages(server):
    for folder in DOCS.iterdir():
        if folder.is_dir():
            with urllib.request.urlopen(f"{server.url}/extensions/{PACK}/docs/{folder.name}/zh.md") as answer:
                assert answer.read().decode() == (folder / "zh.md").read_text(encoding="utf-8")
