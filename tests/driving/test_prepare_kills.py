"""A call of prepare that is killed at any moment goes on, and ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from driving.dancers import HEIGHT, WIDTH, Reader, painted
from driving.prepare_parts import REPLACING, VIDEOS
from run_parts import posix_only

from everanimate_core.driving.prepare import prepare
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.sound import SampledSound
from everanimate_core.media.writer import VideoWriter

FRAMES, WINDOW, NOBODY = 22, 7, (9, 10)
# EVERANIMATE_KILLS=100 is a longer proof.
KILLS = int(os.environ.get("EVERANIMATE_KILLS", "10"))

# The call, killed at the n-th of its steps: frames that are searched and written, names given and taken, files and
# folders made and flushed. It says the number of each step.
KILLED_AT_A_STEP = """
import os, signal, sys
from pathlib import Path

sys.path.append(sys.argv[1])
last, video, folder, done, flush = int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), 0, os.fsync

from driving.test_prepare_kills import VideoWriter, prepare_all
write = VideoWriter.write

def step():
    global done
    if done == last:
        os.kill(os.getpid(), signal.SIGKILL)
    done += 1
    print(done, file=steps, flush=True)

def watch(event, arguments):
    made = event == "open" and ".everanimate-" in str(arguments[0]) and arguments[2] & os.O_EXCL
    if made or event in ("os.rename", "os.remove", "os.mkdir") and str(folder) in str(arguments[0]):
        step()

def counted(call):
    def counting(*args):
        step()
        return call(*args)
    return counting

with open(f"{folder}.steps", "w") as steps:
    os.fsync, VideoWriter.write = counted(flush), counted(write)
    sys.addaudithook(watch)
    prepare_all(video, folder, on_frame=lambda number: step())
"""


def prepare_all(video, folder, on_frame=lambda number: None):
    """Prepare the driving videos with its sound; the numbers of the frames that were searched."""
    from everanimate_core.driving import found_store

    engine, size = Reader(nobody=NOBODY, on_frame=on_frame), found_store.WINDOW_BYTES
    found_store.WINDOW_BYTES = WINDOW * 12 * WIDTH * HEIGHT
    try:
        with VideoFrames(video) as frames:
            prepare(frames, engine, REPLACING, folder, sound=video)
    finally:
        found_store.WINDOW_BYTES = size
    return engine.read


def files(folder):
    """{path: content} of all that is there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def at_a_step(number, video, folder):
    """Prepare in a process that is killed at step `number`; how many steps it made."""
    tests = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-c", KILLED_AT_A_STEP, tests, str(number), str(video), str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    steps = len(Path(f"{folder}.steps").read_text().split())
    assert ended.returncode == (-signal.SIGKILL if steps == number else 0), ended.stderr
    return steps


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A video with sound."""
    path, sound = tmp_path_factory.mktemp("driver") / "driver.mp4", SampledSound(torch.zeros(1, 48000), 48000)
    with VideoWriter(path, 30, WIDTH, HEIGHT, crf=1, audio_from=sound) as writer:
        for number in range(FRAMES):
            writer.write(torch.from_numpy(painted(number))[None] / 255)
    return path


@posix_only
def test_killed_ten_times_and_gone_on_with_the_files_are_the_same(driver, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    steps = at_a_step(-1, driver, whole)
    expected = files(whole)
    names = {name.partition("/")[0] for name in expected}
    assert names == {
        "found",
        "keypoints.safetensors",
        "openpose.json",
        "report.json",
        *(f"{name}.mp4" for name in VIDEOS),
    }
    # Each frame is searched, and written to four videos; four windows and seven files are made, flushed and named.
    assert steps >= 5 * FRAMES + 3 * 11
    # So many steps are left where everything was found.
    least = at_a_step(-1, driver, whole)
    assert files(whole) == expected and least >= 4 * FRAMES + 3 * 7

    # The first in the search, and from the beginning to the last names that are given.
    chance = random.Random(0)
    for number in sorted(chance.sample(range(2, least), KILLS)):
        assert at_a_step(number, driver, folder) == number
        for name, content in files(folder).items():
            # Whole or not there: what is not finished has another name.
            assert ".part" in name or content == expected[name], name
    assert prepare_all(driver, folder) == []
    assert files(folder) == expected


@posix_only
def test_what_a_killed_search_has_found_is_not_searched_again(driver, tmp_path):
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    # In the third window.
    at_a_step(32, driver, folder)
    left = files(folder)
    kept = sum(name.startswith("found/found_") for name in left)
    assert kept == 2 and not any(name.endswith(".mp4") for name in left if ".part" not in name)
    assert prepare_all(driver, folder) == list(range(kept * WINDOW, FRAMES))
    assert prepare_all(driver, whole) == list(range(FRAMES))
    assert files(folder) == files(whole)
