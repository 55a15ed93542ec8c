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
from http.client import HTTPConnection
from websocket import create_connection  # pip install websocket-client

server, client = "127.0.0.1:8188", uuid.uuid4().hex
graph = json.load(open(sys.argv[1], encoding="utf-8"))
for change in sys.argv[2:]:
    node, name, value = re.fullmatch(r"([^.]+)\\.([^=]+)=(.*)", change).groups()
    inputs = graph[node]["inputs"]
    inputs[name] = value if isinstance(inputs[name], str) else json.loads(value)
http, events = HTTPConnection(server), create_connection(f"ws://{server}/ws?clientId={client}")
http.request("POST", "/prompt", json.dumps({"prompt": graph, "client_id": client}))
answer = json.load(http.getresponse())
run = answer.get("prompt_id") or sys.exit(json.dumps(answer))
for event in (json.loads(text) for text in events if isinstance(text, str)):
    kind, told = event["type"], event["data"]
    if told.get("prompt_id") == run:
        print(kind, told.get("node"), told.get("exception_message", ""), (told.get("output") or {}).get("images", ""))
        if kind in ("execution_success", "execution_error", "execution_interrupted"):
            sys.exit(kind != "execution_success")
"""
BELOW_HELP = (
    "The same in plain Python, to begin a script of your own with. Saved as run.py, it is started with\n"
    f"`python run.py GRAPH ID.INPUT=VALUE ...`:\n\n{EXAMPLE}"
)


@dataclass(frozen=True)
class Options:
    """Run a graph on a ComfyUI that is up. Progress goes to stderr, the files that were written to stdout."""

    graph: tyro.conf.Positional[
        option(
            Path, "The graph, in API format: one of workflows/api, or from the editor by File > Export (API).", "GRAPH"
        )
    ]
    changes: tyro.conf.Positional[
        option(
            several(str, 0),
            "Inputs to set before it runs, such as KSampler.seed=7. NODE is the id, the title or the class of a node.",
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
