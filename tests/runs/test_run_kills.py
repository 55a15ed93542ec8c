"""Runs that are killed at any moment: they go on bit for bit, lose nothing finished and leave nothing behind."""

import os
import random
import signal
import time
from functools import partial

import pytest
from run_parts import (
    POSE_VIDEO,
    Place,
    assert_same_result,
    killed_before_rename,
    posix_only,
    with_sound_of_its_own,
)

from everanimate_core.media.sound import FileSound

pytestmark = posix_only

# What is killed, after what was finished before: (total, settings, options) of each start.
TURNS = [""] * 2 + ["turns"]
SCENES = {
    "first run": [(19, {}, {})],
    "decoded beside": [(19, {"clip_source": "reference"}, {})],
    "second take": [(19, {}, {}), (19, {"prompts": TURNS}, {})],
    "redo from a chunk": [(19, {}, {}), (19, {"seed": 7}, {"from_chunk": 1})],
    "redo of one chunk": [(19, {}, {}), (19, {"seed": 7}, {"only_chunk": 1})],
    "candidates": [(14, {}, {"candidates": 3})],
    "all anew": [(14, {}, {}), (14, {}, {"resume": False})],
    "join": [(19, {}, {}), (14, {}, {})],
}


def jobs(job, scene):
    """The starts of a scene: (job, options)."""
    return [(job(total, **settings), options) for total, settings, options in SCENES[scene]]


def names(place):
    return set(place.everything())


def killed_and_gone_on_with(place, starts, kill):
    """Kill the last of the starts, start it again; whether it was killed, and what must still be there then."""
    *before, (task, options) = starts
    for earlier, asked in before:
        place.start(earlier, **asked)
    finished = place.contents() if before else {}

    def start():
        place.start(with_sound_of_its_own(task, FileSound(POSE_VIDEO)), **options)

    killed = kill(start)
    # Without resume every start opens a take: to go on with one that is there, the next start has to resume.
    begun = len(place.store.take_numbers()) > len(before)
    place.start(task, **({} if begun and options.get("resume") is False else options))
    return killed, finished


def check(place, finished, expected):
    assert_same_result(place.result(), expected.result())
    assert names(place) == names(expected)
    # Only the newest video changes its place.
    now = place.contents()
    for name, content in finished.items():
        assert now[name if name != "dance.mp4" else "dance/takes/00001.mp4"] == content, name


@pytest.mark.parametrize("scene", SCENES)
def test_killed_before_every_rename(tmp_path, job, once, scene):
    # Files appear by renaming alone, so that these are all the states in which a killed run can be found.
    starts = jobs(job, scene)
    expected = once(*starts)
    for number in range(99):
        place = Place(tmp_path / f"killed {number}")
        killed, finished = killed_and_gone_on_with(
            place, starts, lambda start, place=place, number=number: killed_before_rename(number, place.root, start)
        )
        if not killed:
            break
        check(place, finished, expected)
    assert number >= 2


@pytest.mark.parametrize(
    ("scene", "kills"),
    [
        ("first run", 12),
        ("decoded beside", 20),
        ("second take", 12),
        ("redo from a chunk", 12),
        ("candidates", 12),
        ("join", 12),
    ],
)
def test_killed_at_many_moments(tmp_path, job, once, scene, kills):
    starts, moments = jobs(job, scene), random.Random(scene)
    expected = once(*starts)
    seconds = 0.0

    def to_its_end(start):
        nonlocal seconds
        child = begun(start)
        since = time.monotonic()
        assert os.waitpid(child, 0)[1] == 0
        seconds = time.monotonic() - since

    killed_and_gone_on_with(Place(tmp_path / "measured"), starts, to_its_end)
    number = killed_early = 0
    # On a busy machine starts take more or less time than the one that was measured: two at least are killed in the
    # middle of their work.
    while number < kills or killed_early < 2:
        place = Place(tmp_path / f"killed {number}")
        kill = partial(killed_after, moments.random() * seconds)
        killed, finished = killed_and_gone_on_with(place, starts, kill)
        killed_early += killed
        check(place, finished, expected)
        number += 1


def begun(start):
    """A child process that has begun with `start`."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(told, b"1")
            start()
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    return child


def killed_after(seconds, start):
    """Whether `start`, in a child process, was killed after so many seconds, before its end."""
    child = begun(start)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL
