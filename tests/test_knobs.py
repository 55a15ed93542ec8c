"""Declared settings: their order, their ranges, and what is refused, by the name of the setting."""

from dataclasses import dataclass, fields
from fractions import Fraction

import pytest
from refusals import refusal

from everanimate_core.errors import InputError
from everanimate_core.everanimate.settings import Settings
from everanimate_core.knobs import Knob, changed, check_knobs, knob, knobs
from everanimate_core.runs.settings import RunSettings
from everanimate_core.training.pace import Pace
from everanimate_core.training.recipe import Recipe

ROOMS = (Settings, RunSettings, Recipe, Pace)
DECLARED = [
    pytest.param(declared, id=f"{room.__name__}.{name}") for room in ROOMS for name, declared in knobs(room).items()
]


@dataclass(frozen=True)
class Sample:
    """A field that is no knob, and knobs of every kind."""

    stage: int
    count: int = knob(3, "How many.", low=1, high=2**64 - 1, unit="pieces")
    share: float = knob(0.5, "How much.", low=0.0, high=1.0, step=0.1, rare=True)
    way: str = knob("up", "Which way.", choices=["up", "down"])
    name: str = knob("", "Any text.")
    loud: bool = knob(False, "Whether.")
    pace: float = knob(1.0, "How fast.", low=0.0)
    made: str = "no knob"

    def __post_init__(self):
        check_knobs(self)


def test_knobs_are_in_the_order_of_the_class_and_what_is_none_is_left_out():
    assert list(knobs(Sample)) == ["count", "share", "way", "name", "loud", "pace"]


def test_what_is_changed_are_knobs_without_their_default():
    assert changed(Sample(1)) == {}
    assert changed(Sample(2, loud=True, count=4, made="otherwise"), "count") == {"loud": True}
    for room in ROOMS:
        assert list(knobs(room)) == [part.name for part in fields(room) if part.metadata]


def test_a_knob_is_what_was_declared():
    count, share, way, *_ = knobs(Sample).values()
    assert count == Knob("count", int, 3, "How many.", 1, 2**64 - 1, None, None, "pieces", False)
    assert share == Knob("share", float, 0.5, "How much.", 0.0, 1.0, 0.1, None, "", True)
    assert way == Knob("way", str, "up", "Which way.", None, None, None, ("up", "down"), "", False)


@pytest.mark.parametrize(
    ("low", "step", "value", "said"),
    [
        (16, 16, 65, "must be a multiple of 16 (33); got 65."),
        (5, 4, 76, "must be 4n + 1, such as 73 or 77; got 76."),
        (9, 8, 100, "must be 8n + 1, such as 97 or 105; got 100."),
        (16, 16, 64, None),
        (5, 4, 77, None),
        (9, 8, 161, None),
    ],
)
def test_a_whole_number_that_is_none_of_the_steps_is_refused(low, step, value, said):
    declared = Knob("count", int, 33, "How many.", low, 161, step, None, "", False)
    if said is None:
        declared.check(value)
    else:
        assert refusal(declared.check, value) == f"count {said}"


def test_the_step_of_a_fraction_is_for_the_editor_alone():
    Sample(1, share=0.123)


def test_knobs_of_a_class_come_before_those_that_a_subclass_adds():
    @dataclass(frozen=True)
    class More(Sample):
        width: int = knob(16, "How wide.", low=16, high=32)

    assert list(knobs(More)) == [*knobs(Sample), "width"]
    assert refusal(More, 1, width=33) == "width must be between 16 and 32 (16); got 33."
    assert refusal(More, 1, count=0).startswith("count must be ")


@pytest.mark.parametrize(
    "allowed",
    [
        {"count": 1},
        {"count": 2**64 - 1},
        {"share": 0.0},
        {"share": 1.0},
        {"share": 1},
        {"share": Fraction(1, 3)},
        {"way": "down"},
        {"name": "anything"},
        {"loud": True},
        {"pace": 0.0},
        {"pace": 1e300},
    ],
)
def test_the_ends_of_a_range_and_every_choice_are_allowed(allowed):
    assert vars(Sample(1, **allowed)) == {**vars(Sample(1)), **allowed}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"count": 0}, f"count must be between 1 and {2**64 - 1} (3); got 0."),
        ({"count": 2**64}, f"count must be between 1 and {2**64 - 1} (3); got {2**64}."),
        ({"count": 10**400}, f"count must be between 1 and {2**64 - 1} (3); got 1{'0' * 400}."),
        ({"count": float("nan")}, "count must be a number, not NaN or infinity (3); got nan."),
        ({"share": -0.1}, "share must be between 0.0 and 1.0 (0.5); got -0.1."),
        ({"share": 1.0000001}, "share must be between 0.0 and 1.0 (0.5); got 1.0000001."),
        ({"share": Fraction(3, 2)}, "share must be between 0.0 and 1.0 (0.5); got 3/2."),
        ({"share": float("nan")}, "share must be a number, not NaN or infinity (0.5); got nan."),
        ({"share": float("inf")}, "share must be a number, not NaN or infinity (0.5); got inf."),
        ({"share": float("-inf")}, "share must be a number, not NaN or infinity (0.5); got -inf."),
        ({"pace": -1e-9}, "pace must be at least 0.0 (1.0); got -1e-09."),
        ({"pace": float("inf")}, "pace must be a number, not NaN or infinity (1.0); got inf."),
        ({"way": "left"}, "way must be one of up, down (up); got left."),
        ({"way": ""}, "way must be one of up, down (up); got ."),
        ({"count": 0, "share": 2.0}, f"count must be between 1 and {2**64 - 1} (3); got 0."),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_the_name_of_its_setting(wrong, said):
    with pytest.raises(InputError) as refused:
        Sample(1, **wrong)
    assert str(refused.value) == said
    assert refused.value.field == next(iter(wrong))


@pytest.mark.parametrize("declared", DECLARED)
def test_every_declared_setting_is_whole(declared):
    """A number has a range, a text its choices, each a help in sentences; the default is allowed."""
    assert declared.kind in (int, float, bool, str)
    assert type(declared.default) is declared.kind
    assert declared.help[0].isupper() and declared.help.endswith(".")
    assert (declared.choices is not None) == (declared.kind is str)
    if declared.kind in (int, float):
        assert type(declared.low) is declared.kind
        assert declared.high is None or (type(declared.high) is declared.kind and declared.low < declared.high)
    else:
        assert (declared.low, declared.high, declared.step, declared.unit) == (None, None, None, "")
    declared.check(declared.default)


@pytest.mark.parametrize("declared", DECLARED)
def test_every_declared_range_is_checked_by_its_class(declared):
    (room,) = [room for room in ROOMS if knobs(room).get(declared.name) == declared]
    given = {"stage": 1} if room is Recipe else {}
    if declared.choices is not None:
        assert refusal(room, **given, **{declared.name: "none of them"}).startswith(f"{declared.name} must be one of ")
    elif declared.kind is not bool:
        end = f"at least {declared.low}" if declared.high is None else f"between {declared.low} and {declared.high}"
        for value in [declared.low - 1] if declared.high is None else [declared.low - 1, declared.high + 1]:
            said = refusal(room, **given, **{declared.name: value})
            assert said == f"{declared.name} must be {end} ({declared.default}); got {value}."
