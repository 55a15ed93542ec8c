"""Cases for tests of every input: one input of a node is changed, and with it some facts about what the node gives."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One input of a node, changed.

    other(parts): its other value. changed: the facts that then differ. state: one of the node's states, in which the
    input acts. then: what some of the facts are afterwards. along(parts): inputs that have to go along with it.
    """

    node: str
    name: str
    other: object
    changed: str
    state: str = "plain"
    then: dict = field(default_factory=dict)
    along: Callable = lambda parts: {}

    @property
    def id(self):
        """For people."""
        node = self.node.removeprefix("EverAnimate").removeprefix("LongAnimation")
        return f"{node}-{self.name}" + ("" if self.state == "plain" else f"-{self.state}")


def cases(node, *rows):
    """Cases of a node: (input, other value, changed facts[, state[, then[, along]]])."""
    return [Case(node, *row) for row in rows]


def on(base, **changes):
    """A state: that of another one with changes, changes(parts) where they are made of parts."""
    return lambda parts: (
        base(parts) | {name: value(parts) if callable(value) else value for name, value in changes.items()}
    )


class Changes:
    """What changes with one input.

    states: {node: {state: inputs(parts)}}. facts_of(comfy, node, inputs): what a node gives, {fact: value}.
    """

    def __init__(self, comfy, parts, states, facts_of):
        self.comfy, self.parts, self.states, self.facts_of = comfy, parts, states, facts_of
        self._before = {}

    def before(self, node, state):
        """The facts of a state, found once."""
        if (node, state) not in self._before:
            self._before[node, state] = self.facts_of(self.comfy, node, self.states[node][state](self.parts))
        return self._before[node, state]

    def of(self, case):
        """The facts that differ, sorted, and all facts afterwards."""
        other = case.other(self.parts) if callable(case.other) else case.other
        plain, inputs = self.before(case.node, case.state), self.states[case.node][case.state](self.parts)
        assert case.name not in inputs or inputs[case.name] is not other
        facts = self.facts_of(self.comfy, case.node, inputs | {case.name: other} | case.along(self.parts))
        return sorted(name for name in plain.keys() | facts.keys() if plain.get(name) != facts.get(name)), facts


def declared_inputs(comfy, prefix):
    """{(node, input)} of all nodes of the host whose names begin so."""
    return {
        (name, part)
        for name, node in comfy.nodes.items()
        if name.startswith(prefix)
        for kind, parts in node.INPUT_TYPES().items()
        if kind in ("required", "optional")
        for part in parts
    }
