"""Keeps the graphs of a release for tests/test_old_workflows.py, which holds all later versions to them.

    python tests/data/keep_workflows.py VERSION

Run it once, on the release's commit. It copies the graphs, and takes the widgets from `object_info/` of the newest
ComfyUI. Folders of earlier releases are never written again.
"""

import json
import shutil
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parent
WORKFLOWS = DATA.parents[1] / "workflows"
sys.path.insert(0, str(DATA.parent))

from graph_reading import OURS, WIDGETS  # noqa: E402
from workflow_validation import VERSIONS, node_schemas  # noqa: E402


def widgets(schema):
    """{widget: [type, its options]} of a node, from its description; without what only says where it is drawn."""
    inputs = {name: [*described, {}][:2] for part in schema["input"].values() for name, described in part.items()}
    return {
        name: [kind, {key: value for key, value in options.items() if key != "advanced"}]
        for name, (kind, options) in inputs.items()
        if kind in WIDGETS and not options.get("forceInput")
    }


def main():
    (version,) = sys.argv[1:]
    folder = DATA / "old_workflows" / version
    folder.mkdir()
    for source, target in ((WORKFLOWS, "canvas"), (WORKFLOWS / "api", "api")):
        (folder / target).mkdir()
        for path in source.glob("*.json"):
            shutil.copy(path, folder / target)
    kept = {name: widgets(node) for name, node in node_schemas(VERSIONS[-1]).items() if name.startswith(OURS)}
    # A line for each node: small, and a change is seen where it is.
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(found)}" for name, found in kept.items())
    (folder / "widgets.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
