"""What stands for objects of any kind: every part counts, nothing that changes from start to start does."""

import functools
import io
import threading
from collections import OrderedDict, namedtuple
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from refusals import refusal
from tensor_parts import randn

from everanimate_core.runs.content import InPart, content_digest


class Colour(Enum):
    RED = 1
    BLUE = 2


class Guide:
    def __init__(self, **parts):
        self.__dict__.update(parts)

    def follow(self):
        return self


class OtherGuide(Guide):
    pass


def linear(seed):
    layer = torch.nn.Linear(40, 30)
    layer.weight.data, layer.bias.data = randn(30, 40, seed=seed), torch.zeros(30)
    return layer


def scaled_by(factor):
    return lambda x: factor * x


def named(x, strength=1.0, *, mode="a"):
    return x


def with_default(value):
    def step(x, strength=value):
        return x

    return step


# Makers, each of what must differ from all others, and be the same when it is made again.
DIFFERENT = {
    "nothing": lambda: None,
    "text": lambda: "a",
    "number": lambda: 1,
    "true": lambda: True,
    "fraction": lambda: 1.5,
    "not a number": lambda: float("nan"),
    "bytes": lambda: b"a",
    "empty list": lambda: [],
    "list": lambda: [1, 2],
    "list the other way": lambda: [2, 1],
    "nested": lambda: [1, [2]],
    "area": lambda: [[randn(2), {"area": (8, 8, 0, 0)}]],
    "another area": lambda: [[randn(2), {"area": (8, 8, 0, 4)}]],
    "area in percent": lambda: [[randn(2), {"area": ("percentage", 0.5, 0.5, 0, 0)}]],
    "no area": lambda: [[randn(2), {}]],
    "reference latents": lambda: [[randn(2), {"reference_latents": [randn(1, 16, 1, 2, 2)]}]],
    "other reference latents": lambda: [[randn(2), {"reference_latents": [randn(1, 16, 1, 2, 2, seed=1)]}]],
    "two reference latents": lambda: [[randn(2), {"reference_latents": [randn(1, 16, 1, 2, 2)] * 2}]],
    "mapping": lambda: {"a": 1},
    "other key": lambda: {"b": 1},
    "key of another kind": lambda: {1: 1},
    "set": lambda: {1, 2},
    "other set": lambda: {1, 3},
    "tensor": lambda: randn(4),
    "other tensor": lambda: randn(4, seed=1),
    "half": lambda: randn(4).half(),
    "array": lambda: np.arange(4.0),
    "other array": lambda: np.arange(4.0) + 1,
    "enum": lambda: Colour.RED,
    "other enum": lambda: Colour.BLUE,
    "type of numbers": lambda: torch.float16,
    "other type of numbers": lambda: torch.bfloat16,
    "class": lambda: Guide,
    "module": lambda: threading,
    "network": lambda: linear(0),
    "merged network": lambda: linear(1),
    "object": lambda: Guide(strength=1.0),
    "object with other parts": lambda: Guide(strength=0.5),
    "object with other names": lambda: Guide(weight=1.0),
    "object of another class": lambda: OtherGuide(strength=1.0),
    "object in an object": lambda: Guide(inner=Guide(strength=1.0)),
    "changed deep inside": lambda: Guide(inner=Guide(strength=0.5)),
    "object that holds a network": lambda: Guide(control=linear(0)),
    "object that holds another": lambda: Guide(control=linear(1)),
    "function": lambda: named,
    "other function": lambda: linear,
    "builtin": lambda: len,
    "closure": lambda: scaled_by(2),
    "other closure": lambda: scaled_by(3),
    "default": lambda: with_default(1),
    "other default": lambda: with_default(2),
    "method": lambda: Guide(strength=1.0).follow,
    "method of another": lambda: Guide(strength=0.5).follow,
    "partial": lambda: functools.partial(named, strength=2),
    "other partial": lambda: functools.partial(named, strength=3),
    "partial by place": lambda: functools.partial(named, 2),
}


def test_every_part_counts():
    found = {}
    for name, make in DIFFERENT.items():
        found.setdefault(content_digest(make(), "positive"), []).append(name)
    assert [names for names in found.values() if len(names) > 1] == []


@pytest.mark.parametrize("name", DIFFERENT)
def test_made_again_it_is_the_same(name):
    assert content_digest(DIFFERENT[name](), "positive") == content_digest(DIFFERENT[name](), "positive")


Pair = namedtuple("Pair", "a b")


def test_what_does_not_count():
    def digest(value):
        return content_digest(value, "positive")

    assert digest([1, 2]) == digest((1, 2)) == digest(Pair(1, 2))
    assert digest({"a": 1, "b": 2}) == digest(OrderedDict(b=2, a=1))
    assert digest(randn(4)) == digest(torch.nn.Parameter(randn(4))) == digest(randn(4).clone())
    assert digest(torch.device("cpu")) == digest(torch.device("cuda:1"))
    assert digest(linear(0)) == digest(linear(0).eval())
    # An object that was made twice and one that is used twice.
    assert digest([Guide(x=1), Guide(x=1)]) == digest([Guide(x=1)] * 2)


def test_what_holds_itself_is_walked_once():
    def ring(strength):
        one, other = Guide(strength=strength), Guide()
        one.next, other.next = other, one
        return one

    assert content_digest(ring(1), "positive") == content_digest(ring(1), "positive")
    assert content_digest(ring(1), "positive") != content_digest(ring(2), "positive")


def test_what_is_met_often_is_walked_once():
    value = Guide()
    for _ in range(200):
        value = [value, value]
    assert len(content_digest(value, "positive")) == 32


def meta_network():
    return torch.nn.Linear(2, 2, device="meta")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (threading.Lock, "lock"),
        (lambda: iter([1]), "list_iterator"),
        (lambda: (x for x in [1]), "generator"),
        (lambda: io.BytesIO(b"video"), "BytesIO"),
        (lambda: torch.Generator(), "Generator"),
        (lambda: torch.zeros(2, device="meta"), "Tensor"),
        (meta_network, "Linear"),
        (object, "object"),
    ],
)
def test_what_nothing_can_stand_for_is_refused_by_its_place(make, kind):
    for value, where in (
        ([[randn(2), {"control": make()}]], "positive[0][1]['control']"),
        ([[randn(2), {"control": SimpleNamespace(model=make())}]], "positive[0][1]['control'].model"),
    ):
        assert refusal(content_digest, value, "positive") == (
            "positive must hold what can be compared when the run goes on (tensors, numbers, text, models with their "
            f"weights in memory); got a {kind} at {where}."
        )


def test_a_host_says_what_its_objects_are():
    def known(value):
        if isinstance(value, OtherGuide):
            return Guide(kept=value.kept)
        return value.kept if isinstance(value, Guide) else value

    def digest(value):
        return content_digest([value], "positive", known)

    assert digest(OtherGuide(kept=[1], passing=2)) == digest(OtherGuide(kept=[1], passing=3)) == digest([1])
    assert digest(OtherGuide(kept=[1])) != digest(OtherGuide(kept=[2]))


def test_tensors_in_part_are_looked_at_in_a_few_places():
    weight = randn(1000, 64)
    before = content_digest(InPart([weight]), "model")
    moved = weight.clone()
    moved += 0.01
    assert before == content_digest(InPart([weight.clone()]), "model") != content_digest(InPart([moved]), "model")
    assert before != content_digest([weight], "model")
