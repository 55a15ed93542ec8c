"""A graph on a server from its posting to its end: what it says meanwhile, and which files it wrote."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import uuid4

from ..errors import one_line
from ..runs.store import RunFailed
from ..tenths import every_tenth
from .graph import Graph, called, title
from .server import Refused, Server

Say = Callable[[str], None]


def run(graph: Graph, server: Server, say: Say) -> list[str]:
    """Run a graph on a server; the files that it wrote, as "subfolder/name" in the server's folder of outputs.

    say: is told which node runs, and each tenth of its steps. Ctrl+C stops the graph on the server too.

    Raises RunFailed when the server refuses the graph or a part of it, when a node fails, and when somebody else stops
    the graph; ConnectionError when the server is not there or goes away; ImportError for a package that is missing.
    """
    run_id = str(uuid4())  # chosen here, so that Ctrl+C in the middle of posting can stop it
    with server.events() as events:
        try:
            _post(graph, server, run_id)
            say(f"Posted to {server.url}")
            _follow(graph, server, run_id, events, say)
        except KeyboardInterrupt:
            _stop(server, run_id)
            raise
    return _result(graph, server, run_id)


def _post(graph: Graph, server: Server, run_id: str) -> None:
    try:
        answer = server.ask("/prompt", {"prompt": graph, "prompt_id": run_id, "client_id": server.client_id})
    except Refused as refused:
        with suppress(ValueError):
            match json.loads(refused.text):
                case {"error": {"message": str(), "details": str()} as error, "node_errors": dict(errors)}:
                    lines = [f"The server refuses the graph: {_words(error)}", *_lines(graph, errors)]
                    raise RunFailed("\n".join(lines)) from None
        raise
    if answer["node_errors"]:
        # The server would run the outputs that it has nothing against, and leave out the others.
        _stop(server, run_id)
        lines = [
            "The server refuses a part of the graph, and the rest was stopped.",
            *_lines(graph, answer["node_errors"]),
        ]
        raise RunFailed("\n".join(lines))


def _lines(graph: Graph, node_errors: dict) -> list[str]:
    """A line for each thing that the server has against a node."""
    return [f"{called(graph, node)}: {_words(error)}" for node in node_errors for error in node_errors[node]["errors"]]


def _words(error: dict) -> str:
    return ": ".join(part for part in (error["message"], error["details"]) if part)


def _stop(server: Server, run_id: str) -> None:
    """Take a graph off the queue, or interrupt it if it runs; others are left alone."""
    server.ask("/queue", {"delete": [run_id]})
    server.ask("/interrupt", {"prompt_id": run_id})


def _follow(graph: Graph, server: Server, run_id: str, events: Iterator[tuple[str, dict]], say: Say) -> None:
    """Say what is done, until the graph has ended or is gone."""
    progress = _Progress(graph, say)
    for kind, data in events:
        if kind == "status":
            # Sent to everybody when something enters or leaves the queue.
            queue = server.ask("/queue")
            waits = any(entry[1] == run_id for entry in queue["queue_running"] + queue["queue_pending"])
            if not waits and run_id not in server.ask(f"/history/{run_id}"):
                return
        elif data.get("prompt_id") == run_id:
            if kind == "executing":
                if data["node"] is None:  # the last word, when the history is complete
                    return
                progress.on_node(data.get("display_node", data["node"]))
            elif kind == "progress" and data["max"] > 0:
                progress.on_step(data["value"], data["max"])


class _Progress:
    """Says which node runs, and each tenth of its steps."""

    def __init__(self, graph: Graph, say: Say):
        self.graph, self.say = graph, say
        self.node = ""
        self.last = (0, 0)
        self.tell = every_tenth(self._say_step)

    def on_node(self, node: str) -> None:
        """The server begins with a node; what a node is expanded to comes under its id again."""
        if node != self.node:
            self.node, self.last = node, (0, 0)
            self.say(one_line(title(self.graph, node)))

    def on_step(self, done: int, total: int) -> None:
        """The node that runs has done so many of so many steps; it may begin to count anew."""
        if done < self.last[0] or total != self.last[1]:
            self.tell = every_tenth(self._say_step)
        self.last = (done, total)
        self.tell(done, total)

    def _say_step(self, done: int, total: int) -> None:
        self.say(f"{one_line(title(self.graph, self.node))}: {done} of {total}")


def _result(graph: Graph, server: Server, run_id: str) -> list[str]:
    """The files that a graph that has ended wrote; RunFailed if it did not come to its end."""
    history = server.ask(f"/history/{run_id}").get(run_id)
    if history is None:
        raise RunFailed("The graph was taken off the server's queue before it ran.")
    messages = dict(history["status"]["messages"])
    if "execution_error" in messages:
        error = messages["execution_error"]
        raise RunFailed(f"{called(graph, error['node_id'])} failed: {error['exception_message'].strip()}")
    if "execution_interrupted" in messages:
        where = called(graph, messages["execution_interrupted"]["node_id"])
        raise RunFailed(f"The graph was interrupted on the server, at {where}.")
    entries = [entry for shown in history["outputs"].values() for entries in shown.values() for entry in entries]
    files = [entry for entry in entries if isinstance(entry, dict) and entry.get("type") == "output"]
    return ["/".join(filter(None, (file["subfolder"], file["filename"]))) for file in files]
