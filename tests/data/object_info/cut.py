"""Cuts a running server's object_info to the nodes of this pack and of the shipped and old graphs.

Start ComfyUI with this pack in custom_nodes, then, from the repository root:

    python tests/data/object_info/cut.py http://127.0.0.1:8188 > tests/data/object_info/VERSION.json

VERSION is ComfyUI's. Texts for readers are left out, and so are the files that lie in the server's folders: neither
decides whether a graph is valid, and the files are different on every machine.
"""

import argparse
import json
import re
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GRAPHS = ("workflows/*.json", "workflows/api/*.json", "tests/data/old_workflows/*/*/*.json")
TEXTS = {"category", "description", "essentials_category", "output_tooltips", "python_module", "search_aliases"}
FILE = re.compile(r"\.[a-z]\w+$")


def used_nodes():
    """The classes of all nodes in the graphs."""
    used = set()
    for path in (path for pattern in GRAPHS for path in ROOT.glob(pattern)):
        graph = json.loads(path.read_text(encoding="utf-8"))
        if "nodes" in graph:
            used |= {node["type"] for node in graph["nodes"]}
        else:
            used |= {node["class_type"] for node in graph.values()}
    return used


def without_files_and_tooltips(part):
    """A part of the description of a node's inputs."""
    if isinstance(part, dict):
        # A list would be an input of this name.
        kept = {key: value for key, value in part.items() if key != "tooltip" or isinstance(value, list)}
        return {key: without_files_and_tooltips(value) for key, value in kept.items()}
    if isinstance(part, list):
        kept = (value for value in part if not (isinstance(value, str) and FILE.search(value)))
        return [without_files_and_tooltips(value) for value in kept]
    return part


def cut(object_info):
    """{class: description} of what is used of a server's whole answer."""
    used = used_nodes()
    return {
        name: {key: value for key, value in node.items() if key not in TEXTS}
        | {"input": without_files_and_tooltips(node["input"])}
        for name, node in sorted(object_info.items())
        if name in used or name.startswith(("EverAnimate", "LongAnimation"))
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the server, for example http://127.0.0.1:8188")
    with urllib.request.urlopen(parser.parse_args().url + "/object_info", timeout=60) as response:
        nodes = cut(json.load(response))
    # A line for each node: small, and a change is seen where it is.
    print("{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(node)}" for name, node in nodes.items()) + "\n}")


if __name__ == "__main__":
    main()
