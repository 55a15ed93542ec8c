"""What a user does in the editor, through Playwright's page."""

from pathlib import Path

PACK = "comfyui-everanimate"
ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
DOCS = ROOT / "nodes" / "web" / "docs"
NODES = sorted(path.name for path in DOCS.iterdir() if path.is_dir())


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


def run(page):
    """Press the button and wait until the graph has run through."""
    queue(page)
    page.wait_for_function("window.seen.execution_success || window.seen.execution_error", timeout=300_000)
    assert seen(page, "execution_error") == 0


def open_help(page, node_id):
    """Put a node on an empty canvas and ask for its help."""
    page.evaluate(
        "id => { const node = LiteGraph.createNode(id); app.graph.clear(); app.graph.add(node); "
        "node.pos = [500, 450]; app.canvas.ds.reset(); app.canvas.selectNode(node) }",
        node_id,
    )
    # Not the mouse: in older editors the menu can lie over the toolbox of a node.
    page.locator('[data-testid="info-button"]').dispatch_event("click")
