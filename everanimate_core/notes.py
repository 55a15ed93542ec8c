"""What is said once, before anything is sampled, of inputs that serve but may not be meant as they are.

`called`: what the host calls an input or setting, as people see it: at a node its own name, on the command line its
option. Every function returns its sentences, none where there is nothing to say.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from .plan import ChunkPlan, ends_short, more_even

Called = Callable[[str], str]
# Two proportions that differ by less, in percent, look alike.
_VISIBLE = 1


class Size(NamedTuple):
    """In pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def stretched(name: str, size: Size, to: Size, fit: str, called: Called) -> list[str]:
    """The input `name` of this size, where `fit` brings it to one whose proportions are visibly other ones."""
    wide, high = size.width * to.height, size.height * to.width
    if fit != "stretch" or 100 * max(wide, high) <= (100 + _VISIBLE) * min(wide, high):
        return []
    change = f"{called(name)} is {size} and is stretched to {to}, which changes its proportions"
    return [f"{change}; {called('fit')} crop or pad keeps them."]


def continued(name: str, frames: int, needed: int, before: str, how: str, called: Called) -> list[str]:
    """The driving video `name` of `frames` frames, where the animation shows `needed` of them.

    before: what it ends before, how: what happens then, both in words.
    """
    if frames >= needed:
        return []
    if frames == 1:
        return [f"{called(name)} has one frame, which the whole animation holds."]
    return [f"{called(name)} ends before {before}, after {frames} of {needed} frames; from there {how}."]


def lengths(name: str, frames: int, plan: ChunkPlan, how: str, called: Called) -> list[str]:
    """The driving video `name` that the animation takes its length from, where it is shorter or a still picture."""
    if frames == plan.total_frames == 1:
        return [f"{called(name)} has one frame, and so has the animation; {called('total_frames')} makes it longer."]
    return continued(name, frames, plan.total_frames, "the animation", how, called)


def short_end(plan: ChunkPlan, part: str, length: str, choices: range, called: Called) -> list[str]:
    """A last chunk that is sampled for a handful of frames, with two ways out.

    part: what a chunk is called. length: the setting that says how long it is, one of `choices`.
    """
    if not ends_short(plan):
        return []
    adds = f"The last {part} adds only {plan.last_added} of the {plan.stride} frames that a {part} adds"
    ways = [f"{called('total_frames')} {plan.joins[-1]} ends before it"]
    even = more_even(plan, choices)
    if even is not None:
        ways.append(f"{called(length)} {even} divides the animation more evenly")
    return [f"{adds}, and takes as long. {'; '.join(ways)}."]


def untrained(name: str, value: int, released: int, what: str, called: Called) -> list[str]:
    """A setting with another value than that with which `what` was trained."""
    if value == released:
        return []
    trained = f"{called(name)} is {value}, but {what} was trained with {released}"
    return [f"{trained}: set {released} unless yours was trained otherwise."]


def silent(name: str, rate: Fraction, called: Called) -> list[str]:
    """A driving input that is images. rate: at which they are shown, frames a second."""
    lacks = f"{called(name)} is images, which have no sound and no rate"
    sets = f"{called('fps')} sets the rate, now {float(rate):g} frames a second"
    return [f"{lacks}: connect {called('audio')} for sound; {sets}."]
