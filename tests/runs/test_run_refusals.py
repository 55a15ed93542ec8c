"""What is refused before anything is written: a run gone on with otherwise, inputs that cannot serve, other writers."""

import os
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from exact_parts import ExactCodec, Frames, exact_pictures
from refusals import refusal
from run_parts import ANOTHER_RUN, Stop, Stopping, assert_same_result, refused

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.runs.store import RunStore

NETWORK = {"network": "tiny", "sigmas": [1.0, 0.5, 0.0]}


# --- with something else ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {**NETWORK, "network": "other"}}, "network other (was tiny)"),
        ({"network": {**NETWORK, "sigmas": [1.0, 0.0]}}, "sigmas [1.0, 0.0] (was [1.0, 0.5, 0.0])"),
        ({"network": {"network": "tiny"}}, "sigmas None (was [1.0, 0.5, 0.0])"),
        ({"overlap": 5}, "overlap 5 (was 4)"),
        ({"chunk_frames": 13}, "chunk_frames 13 (was 9)"),
        ({"fps": Fraction(25)}, "fps 25 (was 24000/1001)"),
        ({"motion_latents": 2}, "motion_latents 2 (was 1)"),
        ({"seed_mode": "fixed"}, "seed_mode fixed (was released)"),
        ({"keyframes": "first"}, "keyframes first (was random)"),
        ({"clip_source": "reference"}, "clip_source reference (was last_frame)"),
        ({"latent_context": True}, "latent_context True (was False)"),
        (
            {"restore_strength": 0.5},
            "restore_schedule gaussian (was None), restore_strength 0.5 (was None), restore_target statistics "
            "(was None)",
        ),
        ({"seed": 1, "fps": Fraction(30)}, "fps 30 (was 24000/1001), seed 1 (was 0)"),
    ],
)
def test_a_run_is_continued_with_what_it_was_started_with(place, job, changes, message):
    place.start(job(14))
    before = place.everything()
    assert refused(place.start, job(**changes)) == (
        f"this run was started with other settings ({ANOTHER_RUN}; with from_chunk the seed may change); got {message}."
    )
    if "seed" not in changes:
        assert message in refused(place.start, job(**changes), from_chunk=1)
    assert place.made == []
    assert place.everything() == before


def test_a_run_is_continued_with_its_own_references(place, job):
    place.start(job(14))
    other = build_memory(exact_pictures(1, seed=9), ExactCodec())
    assert "got references" in refused(place.start, job(memory=other))
    assert "got identity_latents 3 (was 4), references" in refused(place.start, job(identity_latents=3))


def test_with_nothing_finished_anything_may_change(place, job, fresh):
    with pytest.raises(Stop):
        place.start(job(), codec=Stopping("decode", 0))
    other = job(14, seed=5, fps=Fraction(30), network={"network": "other"})
    place.start(other)
    assert place.made == [0, 1]
    assert_same_result(place.result(), fresh(other))


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
    for name, way in (("chunk_0002.safetensors", "--from-chunk 2"), ("manifest.json", "--no-resume")):
        path = finished.store.folder / name
        path.unlink()
        os.mkfifo(path) if name == "manifest.json" else path.symlink_to("/dev/zero")
        assert way in refused(finished.start, job())
