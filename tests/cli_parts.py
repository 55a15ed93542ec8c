"""The command line as tests start it: the animation that they all make, in this process or one of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from driving.dancers import Driver, body
from run_parts import Place

from everanimate_core.driving.keypoints import Keypoints
from everanimate_core.driving.pose_keypoint import as_pose_keypoint
from everanimate_core.media.writer import VideoWriter

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
# Six chunks of 9 frames that share 4, the last one cut: 0..8, 9..13, ..., 29..31.
TOTAL, CHUNKS = 32, 6
# At this size the encoder is deterministic, so that whole files can be compared. (At many others, x264 decides on the
# quality of a B-frame by memory that it never set.)
WIDTH, HEIGHT = 32, 16
INPUTS = ["--reference", str(DATA / "reference.jpg"), "--pose", str(DATA / "pose.mp4")]
# Of pictures that are stretched, something would be said.
NETWORK = ["--model", "toy", "--width", str(WIDTH), "--height", str(HEIGHT), "--fit", "crop"]
CHUNKING = ["--chunk-frames", "9", "--overlap", "4", "--steps", "2", "--frames", str(TOTAL)]


def animate(out, *more):
    """The arguments of the animation that all tests make."""
    return ["animate", *INPUTS, *NETWORK, *CHUNKING, "--out", str(out), *more]


def start(arguments, **options):
    """The command in a process of its own, from this repository."""
    env = {**os.environ, "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-m", "everanimate_core", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=env, **pipes, **options)


def finish(process):
    """Exit code and what was said, of a process that may have been read from already."""
    said, complaints = process.communicate()
    assert "Traceback" not in complaints
    return process.returncode, said, complaints


def place_of(out):
    """The run that makes `out`, to be looked at."""
    folder = out.with_suffix(".run")
    place = Place(folder.parent, folder.name)
    place.path = out
    return place


def result(out):
    """All that must not depend on how often a run was interrupted; see Place.result."""
    return place_of(out).result()


def state(folder):
    """{name: (content, time of change)} of the files of a folder, with all below it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def write_dance(folder, count):
    """Write dance.mp4, the painted dancer with sound, and keypoints.json, its POSE_KEYPOINT, which is returned."""
    driver = Driver(count)
    with VideoWriter(
        folder / "dance.mp4", driver.fps, driver.width, driver.height, audio_from=DATA / "pose.mp4"
    ) as video:
        video.write(driver.read(range(count)))
    points = np.array([body(number) for number in range(count)])
    clip = Keypoints(points, np.full(points.shape[:2], 0.9), driver.width, driver.height)
    frames = as_pose_keypoint(clip)
    (folder / "keypoints.json").write_text(json.dumps(frames))
    return frames


def latents_of(out, chunks=CHUNKS):
    """The latents of the first chunks of the newest take of the run that made `out`."""
    return place_of(out).latents()[:chunks]


def refused(command, finished, *more):
    """Complaint about a run that stops where it would open another take, its files untouched."""
    before = state(finished.parent)
    code, said, complaints = command(animate(finished, *more, "--on-change", "stop"))
    assert (code, said) == (2, "")
    assert state(finished.parent) == before
    return complaints


def unboxed(complaints):
    """What tyro says, without the box around it, in one line."""
    return " ".join(word for line in complaints.splitlines() for word in line.strip("│╭╮╰╯─ ").split())
