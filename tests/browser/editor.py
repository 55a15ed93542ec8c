"""What a user does in the editor, through Playwright's page."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

PACK = "comfyui-everanimate"
ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
DOCS = ROOT / "nodes" / "web" / "docs"
NODES = sorted(path.name for path in DOCS.iterdir() if path.is_dir())
NEEDS = {
    "COMFYUI_PATH": os.environ.get("COMFYUI_PATH"),
    "playwright and aiohttp in this interpreter": find_spec("playwright") and find_spec("aiohttp"),
    "chromium": os.environ.get("CHROMIUM") or shutil.which("chromium"),
}
MISSING = [name for name, there in NEEDS.items() if not there]


def open_template(page, name):
    """Open a workflow as a user does: template browser, this pack, its card."""
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.get_by_text(PACK, exact=True).first.click()
    cards = page.locator('[data-testid^="template-workflow-"]')
    card = page.locator(f'[data-testid="template-workflow-{name}"]')
    cards.first.wait_for()
    for _ in range(10):
        if card.count():
            break
        # Older editors show twelve cards at first, and the rest to who scrolls down.
        cards.last.hover()
        page.mouse.wheel(0, 2000)
        page.wait_for_timeout(500)
    card.click()
    page.wait_for_function("app.graph._nodes.length > 2")
    page.wait_for_timeout(1500)


def set_widget(page, node_type, name, value):
    page.evaluate(
        "([type, name, value]) => { app.graph._nodes.find(node => node.type === type)"
        ".widgets.find(widget => widget.name === name).value = value }",
        [node_type, name, value],
    )


def switch_all_on(page):
    """Switch every node on that ships switched off."""
    page.evaluate("() => { for (const node of app.graph._nodes) node.mode = 0 }")


def queue(page):
    """Press the button; from then on `seen` counts what the server tells the page."""
    page.evaluate(
        "() => { window.seen = {}; for (const kind of ['progress', 'b_preview', 'execution_interrupted',"
        " 'execution_error', 'execution_success']) app.api.addEventListener(kind, event => {"
        " window.seen[kind] = (window.seen[kind] || 0) + 1 }) }"
    )
    page.locator('[data-testid="queue-button"]').click()


def seen(page, kind):
    return page.evaluate("kind => window.seen[kind] || 0", kind)


def wait_until_done(page, timeout=300_000):
    page.wait_for_function("window.seen.execution_success || window.seen.execution_error", timeout=timeout)


def run(page):
    """Press the button and wait until the graph has run through, without a node that is refused."""
    queue(page)
    wait_until_done(page)
    assert seen(page, "execution_error") == 0
    # The server refuses single outputs, and runs the others.
    assert not page.evaluate("() => app.lastNodeErrors")


def open_help(page, node_id):
    """Put a node on an empty canvas and ask for its help."""
    page.evaluate(
        "id => { const node = LiteGraph.createNode(id); app.graph.clear(); app.graph.add(node); "
        "node.pos = [500, 450]; app.canvas.ds.reset(); app.canvas.selectNode(node) }",
        node_id,
    )
    # Not the mouse: in older editors the menu can lie over the toolbox of a node.
    page.locator('[data-testid="info-button"]').dispatch_event("click")


# What a node shows below its widgets: pictures and previews as the editor keeps them, texts, videos that are seen.
SHOWN = """type => {
    const node = app.graph._nodes.find(node => node.type === type)
    const elements = node.widgets.filter(widget => widget.element)
    return {
        height: node.size[1], needed: node.computeSize()[1], pictures: node.imgs?.length || 0,
        previews: app.nodePreviewImages[node.id]?.length || 0, widgets: node.widgets.map(widget => widget.name),
        text: node.widgets.find(widget => widget.name === "$$node-text-preview")?.value || "",
        videos: elements.flatMap(widget => [widget.element, ...widget.element.querySelectorAll("video, img")])
            .filter(element => element.src && element.offsetParent).map(element => element.src),
    }
}"""


def shown(page, node_type):
    return page.evaluate(SHOWN, node_type)


def wait_until_shown(page, node_type, condition, timeout=300_000):
    """condition: in JavaScript, on `shown`."""
    page.wait_for_function(f"type => {{ const shown = ({SHOWN})(type); return {condition} }}", arg=node_type,
                           timeout=timeout)  # fmt: skip


# Frames alone are not enough: while the page is slow, lines that stand for moments come and go between two of them.
WATCH = f"""type => {{
    window.watched = []
    let last
    const look = () => {{
        const shown = ({SHOWN})(type)
        const text = JSON.stringify(shown)
        if (text !== last) window.watched.push(shown)
        last = text
    }}
    for (const kind of ["progress", "progress_text", "b_preview"]) app.api.addEventListener(kind, look)
    const frame = () => {{ look(); requestAnimationFrame(frame) }}
    frame()
}}"""


def watch(page, node_type):
    """From now on keep what a node shows at each message of the server and in each frame of the page."""
    page.evaluate(WATCH, node_type)


def wait_until_watched(page, condition, timeout=300_000):
    """The first that the node of `watch` showed so; what it showed before is let go of, so that the next look goes on
    from there. condition: as for `wait_until_shown`; what meets it may be gone by now."""
    found = page.wait_for_function(
        f"""() => {{
            const index = window.watched.findIndex(shown => {condition})
            if (index < 0) return null
            window.watched.splice(0, index)
            return window.watched[0]
        }}""",
        timeout=timeout,
    )
    return found.json_value()


def look_at(page, node_type):
    """Older editors load the videos of nodes on the screen alone."""
    page.evaluate("type => app.canvas.centerOnNode(app.graph._nodes.find(node => node.type === type))", node_type)
