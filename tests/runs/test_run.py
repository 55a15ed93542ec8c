"""What a run makes: the exact frames, rate and sound, from driving videos that are read once."""

import json
from dataclasses import replace

import av
import pytest
import torch
from exact_parts import Frames, exact_pictures, is_rate
from run_parts import CHUNKS, FPS, POSE_VIDEO, TOTAL, sound_of, video_of

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.media.frames import FittedFrames


def test_a_driving_video_is_read_once_a_chunk(place, job):
    """Fingerprint, conditioning and keyframes all ask for the same frames."""
    reads = []

    class Counted(Frames):
        width, height = 32, 16

        def read(self, indices):
            reads.append(list(indices))
            return super().read(indices)

    task = job(keyframes="pose")
    pose = FittedFrames(Counted(exact_pictures(60, seed=1)), 32, 16, "error")
    place.start(replace(task, method=replace(task.method, drivers=Drivers(pose=pose))))
    assert reads == [task.plan.source_indices(index, 60) for index in range(CHUNKS)]


def test_the_video_has_the_exact_frames_rate_and_sound(place, job):
    outcome = place.start(job())
    frames, fps = video_of(place.path)
    assert frames.shape == (TOTAL, 16, 32, 3)
    assert is_rate(fps, FPS, ".mp4")
    segments = [video_of(place.segment_path(i)) for i in range(CHUNKS)]
    assert [len(part) for part, _ in segments] == [9, 5, 5, 5, 5, 3]
    assert torch.equal(torch.cat([part for part, _ in segments]), frames)
    seconds, packets = sound_of(place.path)
    assert abs(seconds - TOTAL / FPS) < 2 * 1024 / 44100
    assert packets == sound_of(POSE_VIDEO)[1][: len(packets)]
    assert (outcome.report["frames"], outcome.report["fps"]) == (TOTAL, "24000/1001")
    assert json.loads(json.dumps(outcome.report)) == outcome.report
    assert [chunk["noise_seed"] for chunk in outcome.report["chunks"]] == [0, 42, 84, 126, 168, 210]
    assert [(chunk["start"], chunk["stop"]) for chunk in outcome.report["chunks"]][4:] == [(24, 29), (29, 32)]


def test_the_sound_starts_where_the_driving_video_does(place, job):
    place.start(job(12, sound_start=0.5))
    source, packets = sound_of(POSE_VIDEO)[1], sound_of(place.path)[1]
    assert packets[1:-1] != source[1 : len(packets) - 1]
    assert "".join(map(str, packets[1:-1])) in "".join(map(str, source))


def test_a_video_without_sound(place, job):
    place.start(job(12, sound=None))
    with av.open(str(place.path)) as container:
        assert not container.streams.audio


def test_the_video_is_closed_before_it_has_its_name(finished):
    with av.open(str(finished.path)) as container:
        assert container.streams.video[0].frames == TOTAL


@pytest.mark.parametrize("total", [1, 9, 10])
def test_short_runs(place, job, total):
    outcome = place.start(job(total))
    frames, fps = video_of(place.path)
    assert len(frames) == total
    assert is_rate(fps, FPS, ".mp4")
    assert len(outcome.frames) == (1 if total == 10 else total)


def test_progress_follows_the_run(place, job):
    place.start(job(14))
    place.start(job())
    assert [(done.index, done.chunks, done.kept) for done in place.progress] == [
        (index, 6, index < 2) for index in range(6)
    ]
    records = place.take().chunks
    assert tuple(done.record for done in place.progress) == records
    assert records[0].drift == 0
    assert all(later.drift > 0 for later in records[1:])
