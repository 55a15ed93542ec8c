"""What is refused before anything is written: inputs that cannot serve, other writers, another method."""

import os
from dataclasses import replace

import torch
from exact_parts import Frames
from refusals import refusal
from run_parts import refused

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.runs.store import RunStore

# --- inputs ----------------------------------------------------------------------------------------------------------


def test_inputs_that_cannot_serve_are_refused_before_anything_is_written(place, job):
    wrong = job(drivers=Drivers(pose=Frames(torch.zeros(9, 24, 32, 3))))
    assert refusal(place.start, wrong) == "driving videos must be fitted to 32x16; got 32x24."
    wrong = job(drivers=Drivers(pose=Frames(torch.zeros(0, 16, 32, 3))))
    assert "pose_video must have at least 1 frame" in refusal(place.start, wrong)
    wrong = job(memory=replace(job().method.memory, motion_count=3))
    assert "motion_latents must be between 1 and 2" in refusal(place.start, wrong)
    wrong = job(drivers=Drivers(), keyframes="pose")
    assert refusal(place.start, wrong) == "pose_video must be given when keyframes is 'pose'; got none."
    assert place.made == []
    assert place.everything() == {}


# --- another writer, other files -------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_at_once(place, job):
    place.start(job(14))
    before = place.everything()
    with RunStore(place.store.folder).locked():
        for options in ({}, {"resume": False}, {"from_chunk": 1}):
            assert refused(place.start, job(), **options) == (
                "a run is written by one program at a time (choose another run name or --out, or wait); got a second "
                f"one for {place.store.folder}."
            )
    assert place.made == []
    assert place.everything() == before
    place.start(job())
    assert place.kept == [0, 1]


def test_a_lock_that_is_a_link_is_refused(place, job, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("another's")
    lock = place.root / ".dance.lock"
    lock.symlink_to(outside)
    assert refused(place.start, job()) == f"a run's lock must be a file of its own (delete the link); got {lock}."
    assert (place.made, outside.read_text()) == ([], "another's")


def test_pipes_and_devices_are_no_chunks(finished, job):
    expected = finished.latents()
    path = finished.chunk_path(2)
    path.unlink()
    path.symlink_to("/dev/zero")
    finished.start(job())
    assert finished.made == [2]
    assert all(torch.equal(*pair) for pair in zip(finished.latents(), expected, strict=True))
    path = finished.store.take_path(1)
    path.unlink()
    os.mkfifo(path)
    assert "--no-resume" in refused(finished.start, job())
