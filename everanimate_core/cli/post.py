"""`everanimate post`: run a graph on a ComfyUI that is up."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from ..remote.graph import read_graph, set_input
from ..remote.run import run
from ..remote.server import Server
from .command import Command
from .options import option, several

EXAMPLE = """\
import json, re, sys, uuid
from urllib.error import HTTPError
from urllib.request import urlopen
from websocket import create_connection  # pip install websocket-client

server, client = "127.0.0.1:8188", uuid.uuid4().hex
with open(sys.argv[1], encoding="utf-8") as file:
    graph = json.load(file)
for change in sys.argv[2:]:
    node, name, value = re.fullmatch(r"([^.]+)\\.([^=]+)=(.*)", change).groups()
    was = graph[node]["inputs"][name]
    graph[node]["inputs"][name] = value if isinstance(was, str) else json.loads(value)
events = create_connection(f"ws://{server}/ws?clientId={client}")
try:
    request = json.dumps({"prompt": graph, "client_id": client}).encode()
    run = json.load(urlopen(f"http://{server}/prompt", request))["prompt_id"]
except HTTPError as refusal:
    sys.exit(refusal.read().decode())
for event in (json.loads(text) for text in events if isinstance(text, str)):
    if event["data"].get("prompt_id") == run:
        print(event["type"], event["data"].get("node"), file=sys.stderr)
        if event["type"] in ("execution_error", "execution_interrupted"):
            sys.exit(event["data"].get("exception_message", "interrupted"))
        if event["type"] == "executing" and event["data"]["node"] is None:
            break
outputs = json.load(urlopen(f"http://{server}/history/{run}"))[run]["outputs"]
for file in (file for shown in outputs.values() for file in shown.get("images", [])):
    print(f"{file['subfolder']}/{file['filename']}")
"""
BELOW_HELP = f"The same in plain Python, as `python run.py GRAPH ID.INPUT=VALUE ...`:\n\n{EXAMPLE}"


@dataclass(frozen=True)
class Options:
    """Run a graph on a ComfyUI that is up. Progress goes to stderr, the files that were written to stdout."""

    graph: tyro.conf.Positional[option(Path, "The graph, in API format, as those of workflows/api.", "GRAPH")]
    changes: tyro.conf.Positional[
        option(
            several(str, 0),
            "Inputs to set before, such as KSampler.seed=7. NODE is the id, the title or the class of a node.",
            "[NODE.INPUT=VALUE...]",
            "none",
        )
    ] = None
    server: option(str, "Address of the server.", "URL", "http://127.0.0.1:8188") = "http://127.0.0.1:8188"


def main(options: Options, command: Command) -> None:
    """Set the inputs, run the graph, print its files.

    Raises InputError for a graph, a change or an address that cannot serve, RunFailed for a graph that the server
    refuses or that fails, ConnectionError when the server cannot be reached.
    """
    server, graph = Server(options.server), read_graph(options.graph)
    for change in options.changes or ():
        set_input(graph, change, server.takes_fractions)
    command.kept = "the server was told to stop too"
    for file in run(graph, server, command.note):
        command.say(file)
