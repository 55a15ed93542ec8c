"""A graph in ComfyUI's API format: reading it, and setting inputs of its nodes.

A graph is {id: {"class_type": str, "inputs": {name: value}, "_meta": {"title": str}}}. A value is what a widget holds,
or a link to another node: [id, number of its output].
"""

import re
from collections.abc import Callable, Iterable
from math import isfinite
from os import PathLike
from typing import Any

from ..errors import InputError, one_line, shown
from ..json_files import MOST_DIGITS, check_fields, read_json

Graph = dict[str, dict[str, Any]]
_WHOLE = re.compile(rf"[+-]?[0-9]{{1,{MOST_DIGITS}}}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


def read_graph(path: str | PathLike) -> Graph:
    """The graph in a file. Raises InputError for a file that holds none in API format."""

    def refuse(got: str) -> InputError:
        return InputError("graph", "must be a graph in API format", "workflows/api/toy_world.json", f"{got} in {path}")

    graph = read_json(path, refuse)
    if isinstance(graph, dict) and isinstance(graph.get("nodes"), list):
        way = "open it in the editor and choose File > Export (API)"
        raise InputError("graph", "must be a graph in API format", way, f"the editor's own format in {path}")
    for node, parts in check_fields(graph, {}, refuse, others=True).items():
        check_fields(parts, {"class_type": str, "inputs": dict}, _of_node(node, refuse), others=True)
    return graph


def _of_node(node: str, refuse: Callable[[str], InputError]) -> Callable[[str], InputError]:
    """What refuses a node: `refuse`, with the id of the node in what was got."""
    return lambda got: refuse(f"{got} as node {shown(node)}")


def title(graph: Graph, node: str) -> str:
    """What the editor shows above a node; its class, if it has no title."""
    meta = graph[node].get("_meta")
    own = meta.get("title") if isinstance(meta, dict) else None
    return own if isinstance(own, str) else graph[node]["class_type"]


def called(graph: Graph, node: str) -> str:
    """A node in messages: "Drawn world (node 1)"."""
    return one_line(f"{title(graph, node)} (node {node})")


def set_input(graph: Graph, change: str, takes_fractions: Callable[[str, str], bool]) -> None:
    """Set the input that `change` names, in place. change: NODE.INPUT=VALUE.

    NODE is the id of a node, or the title or the class of one node only; an id goes before the others. Names may hold
    dots and equals signs: the longest NODE that the graph has is taken, then the longest INPUT that the node has.
    VALUE becomes what is there: text, true or false, or a number.

    takes_fractions: whether the input `name` of a class takes fractions. Only the server knows that where a whole
    number is there, because the editor writes 1.0 as 1.

    Raises InputError for what is not so written, for a node or input that is not there, for a link, and for a VALUE
    that does not fit.
    """
    node, rest = _split(graph, change)
    inputs, where = graph[node]["inputs"], called(graph, node)
    name = _longest(name for name in inputs if rest.startswith(f"{name}="))
    if name is None:
        got = one_line(rest.partition("=")[0])
        raise InputError(f"an input of {where}", "must be one of these", one_line(", ".join(inputs)), got)
    field, was = one_line(f"{name} of {where}"), inputs[name]
    match was:
        case [str(source), int()]:
            linked = called(graph, source) if source in graph else f"node {one_line(source)}"
            way = "set it at the node that it is linked to"
            raise InputError(field, "must hold a value to be set", way, f"a link to {linked}")
        case str() | bool() | int() | float():
            text = rest[len(name) + 1 :]
            inputs[name] = _value(field, text, was, lambda: takes_fractions(graph[node]["class_type"], name))
        case _:
            way = "change it in the file"
            raise InputError(field, "must hold text, a number, or true or false to be set", way, shown(was))


def _split(graph: Graph, change: str) -> tuple[str, str]:
    """The id of the node that NODE.INPUT=VALUE names, and INPUT=VALUE."""
    names = {node: {node, title(graph, node), parts["class_type"]} for node, parts in graph.items()}
    name = _longest(name for own in names.values() for name in own if change.startswith(f"{name}."))
    before, equals, _ = change.partition("=")
    if name is None and equals and "." in before:
        raise _no_single_node(change, before.rpartition(".")[0], "and the nodes are", graph, names)
    if name is None or "=" not in (rest := change[len(name) + 1 :]):
        raise InputError("a change", "must be written NODE.INPUT=VALUE", "KSampler.seed=7", one_line(change, 80))
    nodes = [name] if name in graph else [node for node, own in names.items() if name in own]
    if len(nodes) > 1:
        raise _no_single_node(change, name, "which these have", graph, nodes)
    return nodes[0], rest


def _no_single_node(change: str, name: str, why: str, graph: Graph, nodes: Iterable[str]) -> InputError:
    offered = [f"\n  {one_line(node)}  {one_line(_title_and_class(graph, node))}" for node in nodes]
    got = f"{one_line(name)}, {why}:{''.join(offered)}"
    rule = "must begin with the id of a node, or with the title or class of one node only"
    return InputError(one_line(change, 80), rule, "", got)


def _title_and_class(graph: Graph, node: str) -> str:
    return f"{title(graph, node)} ({graph[node]['class_type']})"


def _longest(names: Iterable[str]) -> str | None:
    return max(names, key=len, default=None)


def _value(field: str, text: str, was: str | bool | int | float, takes_fractions: Callable[[], bool]) -> Any:
    """`text` as a value like the one that is there; InputError if it is none."""
    if isinstance(was, str):
        return text
    if isinstance(was, bool):
        if text not in ("true", "false"):
            raise InputError(field, "must be true or false", "", one_line(text, 40))
        return text == "true"
    if isinstance(was, int) and _WHOLE.fullmatch(text):
        return int(text)
    fits = _NUMBER.fullmatch(text) and isfinite(float(text))
    if fits and (isinstance(was, float) or takes_fractions()):
        return float(text)
    raise InputError(field, f"must be a {'whole ' if fits else ''}number", was, one_line(text, 40))
