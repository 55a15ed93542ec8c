"""Runs that survive: what is kept, what is made again, and what is left behind when something goes wrong."""

import json
import os
import shutil
import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from exact_parts import Frames, is_rate
from safetensors.torch import load

from everanimate_core.backends.wan_codec import WanCodec
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.flow import draw_noise
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.everanimate.propagation import animate
from everanimate_core.media.frames import FittedFrames
from everanimate_core.media.reader import VideoError, VideoFrames
from everanimate_core.plan import ChunkPlan
from everanimate_core.runs.fingerprint import digest
from everanimate_core.runs.run import Job, Progress, RemainingTime, RunFailed, run
from everanimate_core.runs.store import ChunkRecord, RunError, RunStore

DATA = Path(__file__).parents[1] / "data"
# Six chunks of 9 frames (3 latents) that share 4: chunk k sees frames 5k..5k+8 and adds 5k+4..5k+8, the last 29..31.
TOTAL, CHUNKS = 32, 6
FPS = Fraction(24000, 1001)
posix_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")


class Sampler:
    """A sample_chunk whose result depends on all that a chunk is told and on its prompt; counts the chunks it made."""

    def __init__(self, prompts=("",)):
        self.prompts, self.made, self.seeds = prompts, [], []

    def __call__(self, request, seed):
        self.made.append(request.index)
        self.seeds.append(seed)
        y, mask = request.context.y, request.context.mask
        prompt = self.prompts[min(request.index, len(self.prompts) - 1)]
        told = y.mean(dim=2, keepdim=True) + mask.mean() + request.clip_image.mean() + len(prompt)
        if request.face_pixels is not None:
            told = told + request.face_pixels.mean()
        latents = (0.5 * draw_noise(request.latents_shape, seed) + 0.5 * y + told)[:, :, request.anchors :]
        return latents + 0.1 * request.pose_latents


def plain_layout(sampler):
    """As a run calls it: sums, as of this sampler, depend on the layout in memory, which a file does not keep."""
    return lambda request, seed: sampler(replace(request, clip_image=request.clip_image.contiguous()), seed)


def with_frame(source, index, value=0.5):
    """A driving video that differs in one frame."""
    frames = source.frames.clone()
    frames[index] = value
    return Frames(frames)


@pytest.fixture
def job(codec, pictures):
    """job(**changes): six chunks of a driving video with sound."""
    drivers = Drivers(pose=Frames(pictures(60, seed=1)))
    memory = build_memory(pictures(1), codec)

    def make(total=TOTAL, **changes):
        fields = {
            "plan": ChunkPlan(total, chunk_frames=9, overlap=4),
            "memory": memory,
            "drivers": drivers,
            "settings": {"network": "tiny", "sigmas": [1.0, 0.5, 0.0]},
            "prompts": [""],
            "fps": FPS,
            "audio_from": DATA / "pose.mp4",
        }
        return Job(**(fields | changes))

    return make


class Place:
    """A run folder, the video beside it, and what was seen of the last start."""

    def __init__(self, root, codec):
        self.store, self.path, self.codec = RunStore(root / "dance"), root / "dance.mp4", codec

    def start(self, job, sampler=None, codec=None, **options):
        """Start the run; remembers sampler and progress, returns the outcome."""
        self.sampler = Sampler(job.prompts) if sampler is None else sampler
        self.progress = []
        codec = codec or self.codec
        return run(job, self.store, self.sampler, codec, self.path, on_chunk=self.progress.append, **options)

    @property
    def kept(self):
        return [done.index for done in self.progress if done.kept]

    def files(self, first=0, last=99):
        """{name: (content, time of change)} of the files of chunks first..last."""
        chunks = [p for i in range(first, last + 1) for p in (self.store.chunk_path(i), self.store.segment_path(i))]
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in chunks if path.exists()}

    def everything(self):
        """{path: (content, time of change)} of all files here."""
        files = [path for path in self.store.folder.parent.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    def result(self):
        """All that must not depend on how often the run was interrupted: latents, memory, frames, segments, video."""
        manifest = self.store.read_manifest()
        records = [{**vars(record), "latents": None, "seconds": None} for record in manifest.chunks]
        # Not load_file: what that reads changes with the file.
        chunks = [load(self.store.chunk_path(i).read_bytes()) for i in range(len(records))]
        segments = [self.store.segment_path(i).read_bytes() for i in range(len(records))]
        return manifest.settings, records, chunks, segments, self.path.read_bytes()


def assert_same_result(one, other):
    settings, records, chunks, segments, video = one
    assert settings == other[0]
    assert records == other[1]
    assert len(chunks) == len(other[2])
    for mine, theirs in zip(chunks, other[2], strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert mine[name].dtype == torch.float32
            assert torch.equal(mine[name], theirs[name]), name
    assert segments == other[3]
    assert video == other[4]


@pytest.fixture
def place(tmp_path, codec):
    return Place(tmp_path, codec)


@pytest.fixture(scope="module")
def results():
    return {}


@pytest.fixture
def whole(place, codec, job, tmp_path_factory, results):
    """A place where job() is finished."""
    if "whole" not in results:
        results["whole"] = tmp_path_factory.mktemp("whole")
        Place(results["whole"], codec).start(job())
    shutil.copytree(results["whole"], place.path.parent, dirs_exist_ok=True)
    return place


@pytest.fixture
def fresh(tmp_path_factory, codec, results):
    """fresh(job, (job, options)...) -> the result of these starts in a new place, never interrupted; made once."""

    def result(*starts):
        starts = [start if isinstance(start, tuple) else (start, {}) for start in starts]
        name = digest(*(part for job, options in starts for part in (*everything_in(job), options)))
        if name not in results:
            place = Place(tmp_path_factory.mktemp("fresh"), codec)
            for job, options in starts:
                place.start(job, **options)
            results[name] = place.result()
        return results[name]

    return result


def everything_in(job):
    return job.constants(), job.plan.total_frames, list(job.prompts), job.seed, job.drivers.pose.frames


def refusal(call, *args, **kwargs):
    with pytest.raises(RunError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def video_of(path):
    with VideoFrames(path) as video:
        return video.read(range(video.frame_count)), video.fps


def sound_of(path):
    """Length in seconds of the sound, and its packets."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        return float((packets[-1].pts + packets[-1].duration) * stream.time_base), [bytes(p) for p in packets]


# --- what a run is ---------------------------------------------------------------------------------------------------


def test_a_run_is_the_loop_and_its_work(place, job, counting):
    work, marks = [], []
    task = job()
    loop = []
    for result in animate(task.plan, task.memory, plain_layout(Sampler()), counting, task.drivers):
        loop.append(result)
        work.append(list(counting.work))
        counting.work.clear()
    # A later chunk: its 9 pose frames encoded, its 3 latents (9 frames) decoded, nothing else.
    assert work == [
        [("encode", 9), ("decode", 3), *[("encode", 1)] * 3],
        *[[("encode", 9), ("decode", 3)]] * (CHUNKS - 1),
    ]

    def on_chunk(done):
        marks.append(list(counting.work))
        counting.work.clear()

    outcome = run(task, place.store, Sampler(), counting, place.path, on_chunk=on_chunk)
    assert marks == work
    assert counting.work == []
    chunks = [load(place.store.chunk_path(i).read_bytes()) for i in range(CHUNKS)]
    for chunk, result in zip(chunks, loop, strict=True):
        assert torch.equal(chunk["latents"], result.latents)
        assert torch.equal(chunk["last_frames"], result.memory.last_frames)
    # What later chunks inherit unchanged is not written again.
    assert torch.equal(chunks[0]["identity"], loop[0].memory.identity)
    assert [sorted(chunk) for chunk in chunks[1:]] == [["last_frames", "latents"]] * 5
    assert outcome.last.index == 5
    assert torch.equal(outcome.last.frames, loop[5].frames)
    assert torch.equal(outcome.last.memory.identity, loop[5].memory.identity)


def test_a_driving_video_is_read_once_a_chunk(place, job, pictures):
    """Fingerprint, conditioning and keyframes all ask for the same frames."""
    reads = []

    class Counted(Frames):
        width, height = 32, 16

        def read(self, indices):
            reads.append(list(indices))
            return super().read(indices)

    task = job(keyframes="pose")
    pose = FittedFrames(Counted(pictures(60, seed=1)), 32, 16, "error")
    place.start(replace(task, drivers=Drivers(pose=pose)))
    assert reads == [task.plan.source_indices(index, 60) for index in range(CHUNKS)]


def test_the_video_has_the_exact_frames_rate_and_sound(place, job):
    task = job()
    outcome = place.start(task)
    frames, fps = video_of(place.path)
    assert frames.shape == (TOTAL, 16, 32, 3)
    assert is_rate(fps, FPS, ".mp4")
    segments = [video_of(place.store.segment_path(i)) for i in range(CHUNKS)]
    assert [len(part) for part, _ in segments] == [9, 5, 5, 5, 5, 3]
    assert torch.equal(torch.cat([part for part, _ in segments]), frames)
    seconds, packets = sound_of(place.path)
    assert abs(seconds - TOTAL / FPS) < 2 * 1024 / 44100
    assert packets == sound_of(DATA / "pose.mp4")[1][: len(packets)]
    assert (outcome.report["frames"], outcome.report["fps"]) == (TOTAL, "24000/1001")
    assert json.loads(json.dumps(outcome.report)) == outcome.report
    assert [chunk["noise_seed"] for chunk in outcome.report["chunks"]] == [0, 42, 84, 126, 168, 210]
    assert [(chunk["start"], chunk["stop"]) for chunk in outcome.report["chunks"]][4:] == [(24, 29), (29, 32)]


def test_the_sound_starts_where_the_driving_video_does(place, job):
    place.start(job(12, audio_start=0.5))
    source, packets = sound_of(DATA / "pose.mp4")[1], sound_of(place.path)[1]
    assert packets[1:-1] != source[1 : len(packets) - 1]
    assert "".join(map(str, packets[1:-1])) in "".join(map(str, source))


def test_a_video_without_sound(place, job):
    place.start(job(12, audio_from=None))
    with av.open(str(place.path)) as container:
        assert not container.streams.audio


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_a_finished_run_is_kept_whole(place, job, codec, counting):
    first = place.start(job())
    assert (place.sampler.made, place.kept) == ([0, 1, 2, 3, 4, 5], [])
    before = place.everything()
    again = place.start(job(), codec=counting)
    assert (place.sampler.made, place.kept) == ([], [0, 1, 2, 3, 4, 5])
    # The last chunk alone is decoded, for whoever wants its frames.
    assert counting.work == [("decode", 3)]
    assert torch.equal(again.last.frames, first.last.frames)
    after = place.everything()
    assert {name: content for name, (content, _) in after.items()} == {n: content for n, (content, _) in before.items()}
    assert {n for n in before if before[n] != after[n]} == {str(place.path)}


@pytest.mark.parametrize("k", [1, 3, 5])
def test_another_prompt_at_chunk_k_keeps_the_chunks_before(whole, job, fresh, k):
    before = whole.files(0, k - 1)
    changed = job(prompts=[""] * k + ["turns"] * (6 - k))
    whole.start(changed)
    assert whole.sampler.made == list(range(k, 6))
    assert whole.kept == list(range(k))
    assert whole.files(0, k - 1) == before
    assert_same_result(whole.result(), fresh(changed))


@pytest.mark.parametrize(("frame", "first"), [(13, 1), (14, 2), (33, 5)])
def test_another_pose_frame_changes_the_chunks_that_see_it(whole, job, fresh, frame, first):
    before = whole.files(0, first - 1)
    changed = job(drivers=Drivers(pose=with_frame(job().drivers.pose, frame)))
    whole.start(changed)
    assert whole.sampler.made == list(range(first, 6))
    assert whole.kept == list(range(first))
    assert whole.files(0, first - 1) == before
    assert_same_result(whole.result(), fresh(changed))


def test_a_pose_frame_that_no_chunk_sees_changes_nothing(whole, job):
    whole.start(job(drivers=Drivers(pose=with_frame(job().drivers.pose, 34))))
    assert (whole.sampler.made, whole.kept) == ([], [0, 1, 2, 3, 4, 5])


def test_every_driving_video_counts_where_it_is_seen(place, job, pictures):
    pose, background, mask = job().drivers.pose, Frames(pictures(60, seed=2)), Frames(pictures(60, seed=3))
    drivers = Drivers(pose, Faces(), background, mask)
    place.start(job(14, drivers=drivers))
    for changes in (
        {"face": Faces(changed=13)},
        {"background": with_frame(background, 13)},
        {"mask": with_frame(mask, 13)},
        {"pose": with_frame(pose, 13)},
    ):
        place.start(job(14, drivers=replace(drivers, **changes)))
        assert place.sampler.made == [1], changes
        place.start(job(14, drivers=drivers))
        assert place.sampler.made == [1], changes


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": ["turns"]},
        {"drivers": Drivers(pose=Frames(torch.zeros(60, 16, 32, 3)))},
        {"drivers": Drivers()},
    ],
)
def test_a_run_whose_first_chunk_differs_is_another_run(whole, job, changes):
    before = whole.everything()
    assert refusal(whole.start, job(**changes)) == (
        "Animate Long Video: the first chunk's pose, face, background and prompt must be the run's own (choose another "
        f"run name or --out, or start anew with resume false or --no-resume); "
        f"got others, and 6 finished chunks in {whole.store.folder}."
    )
    assert whole.sampler.made == []
    assert whole.everything() == before


def test_more_frames_keep_all_chunks(whole, job, fresh):
    before = whole.files()
    whole.start(job(44))
    assert (whole.sampler.made, whole.kept) == ([6, 7], [0, 1, 2, 3, 4, 5])
    # The last chunk was cut to the total: it shows more of itself now.
    changed = {name for name, file in whole.files(0, 5).items() if file != before[name]}
    assert changed == {"segment_0005.mp4"}
    assert_same_result(whole.result(), fresh(job(44)))
    assert len(video_of(whole.path)[0]) == 44


def test_fewer_frames_keep_all_chunks(whole, job, fresh):
    before = whole.files()
    whole.start(job(21))
    assert (whole.sampler.made, whole.kept) == ([], [0, 1, 2, 3])
    assert {name for name, file in whole.files().items() if file != before[name]} == {"segment_0003.mp4"}
    assert whole.path.read_bytes() == fresh(job(21))[4]
    assert len(video_of(whole.path)[0]) == 21
    assert abs(sound_of(whole.path)[0] - 21 / FPS) < 2 * 1024 / 44100
    # And back: nothing was lost.
    whole.start(job())
    assert (whole.sampler.made, whole.kept) == ([], [0, 1, 2, 3, 4, 5])
    assert_same_result(whole.result(), fresh(job()))


@pytest.mark.parametrize("total", [1, 9, 10])
def test_short_runs(place, job, total):
    outcome = place.start(job(total))
    frames, fps = video_of(place.path)
    assert len(frames) == total
    assert is_rate(fps, FPS, ".mp4")
    assert len(outcome.last.frames) == (1 if total == 10 else total)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_lost_segment_is_written_again_from_the_latents(whole, job, codec, damage, counting):
    before, result = whole.files(), whole.result()
    damage(whole.store.segment_path(3))
    whole.start(job(), codec=counting)
    assert (whole.sampler.made, whole.kept) == ([], [0, 1, 2, 3, 4, 5])
    # Chunk 3, and the last one for the outcome.
    assert counting.work == [("decode", 3)] * 2
    assert {name for name, file in whole.files().items() if file != before[name]} == {"segment_0003.mp4"}
    assert_same_result(whole.result(), result)


@pytest.mark.parametrize("k", [0, 2])
def test_what_was_sampled_but_not_decoded_is_not_sampled_again(place, job, fresh, codec, k):
    place.start(job(), codec=codec)
    finished = place.result()
    place.store.set_aside()
    stopping = Stopping(codec.vae, "decode", k)
    with pytest.raises(Stop):
        place.start(job(), codec=stopping)
    assert place.sampler.made == list(range(k + 1))
    place.start(job())
    assert place.sampler.made == list(range(k + 1, 6))
    assert place.kept == list(range(k))
    assert_same_result(place.result(), finished)


def test_the_layout_of_what_was_sampled_does_not_matter(place, job, codec):
    class Transposed(Sampler):
        def __call__(self, request, seed):
            return super().__call__(request, seed).transpose(3, 4).contiguous().transpose(3, 4)

    class Strict(WanCodec):
        def decode(self, latents):
            assert latents.is_contiguous()
            return super().decode(latents)

    place.start(job(), Transposed(), Strict(codec.vae))


def test_latent_context_is_kept_up_when_frames_are_decoded_again(place, job, fresh):
    task = job(latent_context=True)
    place.start(task)
    finished = place.result()
    place.store.segment_path(2).unlink()
    place.start(task)
    assert place.sampler.made == []
    assert_same_result(place.result(), finished)
    assert fresh(job())[3][1:] != finished[3][1:]


# --- made again ------------------------------------------------------------------------------------------------------


def test_redo_from_a_chunk_with_another_seed(whole, job, fresh):
    first, before = whole.result(), whole.files(0, 2)
    whole.start(job(seed=7), from_chunk=3)
    assert whole.sampler.made == [3, 4, 5]
    assert whole.sampler.seeds == [7 + 42 * 3, 7 + 42 * 4, 7 + 42 * 5]
    assert whole.files(0, 2) == before
    redone = whole.result()
    assert_same_result(redone, fresh(job(), (job(seed=7), {"from_chunk": 3})))
    assert [torch.equal(a["latents"], b["latents"]) for a, b in zip(first[2], redone[2], strict=True)] == [True] * 3 + [
        False
    ] * 3

    # From now on the run's seed is the new one.
    whole.start(job(seed=7))
    assert (whole.sampler.made, whole.kept) == ([], [0, 1, 2, 3, 4, 5])
    before = whole.everything()
    assert refusal(whole.start, job()) == (
        "Animate Long Video: a run is continued with what it was started with (choose another run name or "
        "--out, or start anew with resume false or --no-resume; with from_chunk the seed may change); "
        "got seed 0 instead of 7."
    )
    assert whole.everything() == before
    whole.start(job(44, seed=7))
    assert whole.sampler.seeds == [7 + 42 * 6, 7 + 42 * 7]


def test_a_second_redo_in_front_of_the_first(whole, job):
    whole.start(job(seed=7), from_chunk=4)
    whole.start(job(seed=9), from_chunk=2)
    assert whole.store.read_manifest().seeds == {"0": 0, "2": 9}
    assert [record.noise_seed for record in whole.store.read_manifest().chunks] == [0, 42] + [
        9 + 42 * k for k in range(2, 6)
    ]
    whole.start(job(seed=9))
    assert whole.sampler.made == []


def test_redo_takes_what_is_before_as_it_is(whole, job):
    before = whole.files(0, 2)
    # The prompt of chunk 1 changed too, but only 3 and later are to be made again.
    whole.start(job(prompts=["", "turns"]), from_chunk=3)
    assert whole.sampler.made == [3, 4, 5]
    assert whole.files(0, 2) == before


def test_redo_may_follow_the_last_finished_chunk(place, job):
    place.start(job(14))
    place.start(job(seed=5), from_chunk=2)
    assert (place.sampler.made, place.kept) == ([2, 3, 4, 5], [0, 1])
    assert place.store.read_manifest().seeds == {"0": 0, "2": 5}


@pytest.mark.parametrize(
    ("finished", "total", "from_chunk", "last"),
    [(32, 32, -1, 5), (32, 32, 6, 5), (32, 21, 4, 3), (14, 32, 3, 2), (None, 32, 1, 0)],
)
def test_from_chunk_out_of_range(place, job, finished, total, from_chunk, last):
    if finished:
        place.start(job(finished))
    before = place.everything()
    assert refusal(place.start, job(total, seed=5), from_chunk=from_chunk) == (
        "Animate Long Video: from_chunk must be a finished chunk or the one after the last "
        f"(0..{last}); got {from_chunk}."
    )
    assert place.everything() == before


def test_a_redo_without_the_earlier_run_is_refused(whole, job):
    before = whole.everything()
    assert refusal(whole.start, job(), from_chunk=3, resume=False) == (
        "Animate Long Video: from_chunk needs the chunks before it (resume true); got 3 and resume false."
    )
    assert whole.everything() == before


def test_without_resume_the_old_run_is_set_aside(place, job, fresh):
    place.start(job(14, seed=1))
    first = {Path(name).name: file for name, file in place.everything().items() if "dance/" in name}
    place.start(job(14, seed=2), resume=False)
    assert place.sampler.made == [0, 1]
    second = {Path(name).name: file for name, file in place.everything().items() if "dance/" in name}
    place.start(job(14, seed=3), resume=False)
    assert_same_result(place.result(), fresh(job(14, seed=3)))
    for number, files in ((1, first), (2, second)):
        folder = place.store.folder.with_name(f"dance.{number}")
        assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == files


# --- with something else ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"network": "other", "sigmas": [1.0, 0.5, 0.0]}}, "network other instead of tiny"),
        ({"settings": {"network": "tiny", "sigmas": [1.0, 0.0]}}, "sigmas [1.0, 0.0] instead of [1.0, 0.5, 0.0]"),
        ({"settings": {"network": "tiny"}}, "sigmas None instead of [1.0, 0.5, 0.0]"),
        ({"plan": ChunkPlan(TOTAL, 9, 5)}, "overlap 5 instead of 4"),
        ({"plan": ChunkPlan(TOTAL, 13, 4)}, "chunk_frames 13 instead of 9"),
        ({"fps": Fraction(25)}, "fps 25 instead of 24000/1001"),
        ({"seed_mode": "fixed"}, "seed_mode fixed instead of released"),
        ({"keyframes": "first"}, "keyframes first instead of random"),
        ({"clip_source": "reference"}, "clip_source reference instead of last_frame"),
        ({"latent_context": True}, "latent_context True instead of False"),
        ({"seed": 1, "fps": Fraction(30)}, "fps 30 instead of 24000/1001; seed 1 instead of 0"),
    ],
)
def test_a_run_is_continued_with_what_it_was_started_with(place, job, changes, message):
    place.start(job(14))
    before = place.everything()
    assert refusal(place.start, job(**changes)) == (
        "Animate Long Video: a run is continued with what it was started with (choose another run name or "
        f"--out, or start anew with resume false or --no-resume; with from_chunk the seed may change); got {message}."
    )
    if "seed" not in changes:
        assert message in refusal(place.start, job(**changes), from_chunk=1)
    assert place.sampler.made == []
    assert place.everything() == before


def test_a_run_is_continued_with_its_own_references(place, job, codec, pictures):
    place.start(job(14))
    other = build_memory(pictures(1, seed=9), codec)
    assert "got references" in refusal(place.start, job(memory=other))
    more = build_memory(pictures(1), codec, identity_latents=3)
    assert "identity_latents 3 instead of 4; references" in refusal(place.start, job(memory=more))


def test_with_nothing_finished_anything_may_change(place, job, fresh, codec):
    with pytest.raises(Stop):
        place.start(job(), codec=Stopping(codec.vae, "decode", 0))
    other = job(14, seed=5, fps=Fraction(30), settings={"network": "other"})
    place.start(other)
    assert place.sampler.made == [0, 1]
    assert_same_result(place.result(), fresh(other))


# --- stopped ---------------------------------------------------------------------------------------------------------


class Stop(BaseException):
    """What a host raises when its user cancels."""


class Stopping(WanCodec):
    """The real codec, until chunk `chunk` is to be encoded or decoded."""

    def __init__(self, vae, stage, chunk):
        super().__init__(vae)
        self.stage, self.left = stage, chunk

    def _count(self, stage, whole):
        if stage == self.stage and whole:
            if self.left == 0:
                raise Stop
            self.left -= 1

    def encode(self, frames):
        self._count("encode", len(frames) == 9)
        return super().encode(frames)

    def decode(self, latents):
        self._count("decode", True)
        return super().decode(latents)


class Faces:
    """512 x 512 crops that are made as they are read; frame `changed` differs."""

    fps, frame_count = None, 60

    def __init__(self, changed=-1):
        self.changed = changed

    def read(self, indices):
        values = [index / 60 + (index == self.changed) for index in indices]
        return torch.tensor(values)[:, None, None, None].expand(-1, 512, 512, 3)


def stop_at(place, job, codec, stage, chunk):
    """Start a run that is cancelled in chunk `chunk`, at `stage`."""

    def sample(request, seed):
        if (stage, request.index) == ("sample", chunk):
            raise Stop
        return Sampler()(request, seed)

    def on_chunk(done):
        if (stage, done.index) == ("finished", chunk):
            raise Stop

    with pytest.raises(Stop):
        run(job, place.store, sample, Stopping(codec.vae, stage, chunk), place.path, on_chunk=on_chunk)


@pytest.mark.parametrize("chunk", [0, 3])
@pytest.mark.parametrize("stage", ["encode", "sample", "decode", "finished"])
def test_cancel_keeps_what_is_finished(place, job, fresh, codec, stage, chunk):
    stop_at(place, job(), codec, stage, chunk)
    finished = chunk + (stage == "finished")
    manifest = place.store.read_manifest()
    assert (len(manifest.chunks) if manifest else 0) == finished
    if finished:
        whole = fresh(job(4 + 5 * finished))
        assert_same_result(place.result(), whole)
    else:
        assert not place.path.exists()
    before = place.files(0, finished - 1)
    place.start(job())
    assert place.kept == list(range(finished))
    assert place.sampler.made == list(range(finished + (stage == "decode"), 6))
    assert place.files(0, finished - 1) == before
    assert_same_result(place.result(), fresh(job()))


@pytest.mark.parametrize("stage", ["encode", "sample"])
def test_a_start_that_finished_nothing_leaves_nothing(place, job, codec, stage):
    stop_at(place, job(), codec, stage, 0)
    assert place.everything() == {}


def test_a_change_of_mind_costs_nothing(whole, job, fresh, codec):
    finished, before = whole.result(), whole.everything()
    changed = job(prompts=[""] * 4 + ["turns"])
    # Stopped before anything new was kept: the run is what it was.
    stop_at(whole, changed, codec, "sample", 4)
    whole.start(job(prompts=[""] * 6))
    assert whole.sampler.made == []
    assert whole.files() == {name: before[str(whole.store.folder / name)] for name in whole.files()}
    # Stopped after the new chunk was sampled: the old one is gone, and is made again.
    with pytest.raises(Stop):
        whole.start(changed, codec=Stopping(codec.vae, "decode", 0))
    whole.start(job(prompts=[""] * 6))
    assert whole.kept == [0, 1, 2, 3]
    assert 4 in whole.sampler.made
    assert_same_result(whole.result(), finished)


@pytest.mark.parametrize("stage", ["sample", "decode", "finished"])
@pytest.mark.parametrize("options", [{}, {"from_chunk": 2}])
def test_a_redo_that_was_stopped_goes_on(whole, job, fresh, codec, stage, options):
    with pytest.raises(Stop):
        run(
            job(seed=7),
            whole.store,
            stopping_sampler(3) if stage == "sample" else Sampler(),
            Stopping(codec.vae, stage, 1),
            whole.path,
            from_chunk=2,
            on_chunk=stop_after(3) if stage == "finished" else lambda done: None,
        )
    # With the same command, or with a plain resume.
    whole.start(job(seed=7), **options)
    assert whole.sampler.made == {"sample": [3, 4, 5], "decode": [4, 5], "finished": [4, 5]}[stage]
    assert_same_result(whole.result(), fresh(job(), (job(seed=7), {"from_chunk": 2})))


def stopping_sampler(chunk):
    def sample(request, seed):
        if request.index == chunk:
            raise Stop
        return Sampler()(request, seed)

    return sample


def stop_after(chunk):
    def on_chunk(done):
        if done.index == chunk:
            raise Stop

    return on_chunk


def test_what_ended_the_run_is_told_even_if_the_finished_part_cannot_be_joined(whole, job):
    whole.store.segment_path(5).unlink()
    before = whole.path.read_bytes()
    with pytest.raises(Stop):
        run(job(), whole.store, Sampler(), whole.codec, whole.path, on_chunk=stop_after(1))
    assert whole.path.read_bytes() == before


def in_child(call):
    """Run `call` in a child process; its exit status."""
    child = os.fork()
    if child == 0:
        try:
            call()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_before_rename(number, root, call):
    """Whether `call`, in a child process, was killed just before it gave its name to the file of that number."""

    def call_until_killed():
        left = number

        def watch(event, arguments):
            nonlocal left
            if event == "os.rename" and str(root) in str(arguments[0]):
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(watch)
        call()

    status = in_child(call_until_killed)
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL


@posix_only
@pytest.mark.parametrize("redo", [False, True])
def test_killed_before_every_rename(tmp_path, codec, job, fresh, redo):
    # Files appear by renaming alone, so that these are all the states in which a killed run can be found.
    task, options = (job(14, seed=7), {"from_chunk": 1}) if redo else (job(14), {})
    expected = fresh(job(14), (task, options)) if redo else fresh(task)
    for number in range(99):
        root = tmp_path / f"killed {number}"
        place = Place(root, codec)
        root.mkdir()
        if redo:
            place.start(job(14))
        if not killed_before_rename(number, root, lambda p=place: p.start(task, **options)):
            break
        place.start(task, **options)
        assert_same_result(place.result(), expected)
        assert not [path for path in root.rglob("*") if ".part" in path.name]
    # Manifest, latents, chunk, segment (closed, and named), manifest for each chunk, and the video, as a segment.
    assert number == (8 if redo else 14)


# --- faults ----------------------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(offset):
    def one_bit(path):
        content = bytearray(path.read_bytes())
        content[offset] ^= 1
        path.write_bytes(content)

    return one_bit


@pytest.mark.parametrize(
    ("damage", "got"),
    [(cut, "an altered"), (flip(-1), "an altered"), (flip(20), "an altered"), (Path.unlink, "no")],
)
def test_a_damaged_chunk_is_named_and_can_be_made_again(whole, job, damage, got):
    finished, before = whole.result(), whole.files()
    damage(whole.store.chunk_path(3))
    damaged = whole.everything()
    assert refusal(whole.start, job()) == (
        "Animate Long Video: chunk_0003.safetensors must be as it was written (make it and all after it "
        f"again with from_chunk or --from-chunk 3; what is before is kept); got {got} file."
    )
    assert whole.sampler.made == []
    assert whole.everything() == damaged
    whole.start(job(), from_chunk=3)
    assert whole.files(0, 2) == {name: before[name] for name in whole.files(0, 2)}
    assert_same_result(whole.result(), finished)


@pytest.mark.parametrize("where", ["header", "latents"])
def test_altered_latents_that_were_never_finished_are_sampled_again(place, job, fresh, codec, where):
    with pytest.raises(Stop):
        place.start(job(), codec=Stopping(codec.vae, "decode", 2))
    flip(-1 if where == "latents" else 30)(place.store.chunk_path(2))
    place.start(job())
    assert place.sampler.made == [2, 3, 4, 5]
    assert_same_result(place.result(), fresh(job()))


def test_a_damaged_manifest_is_refused_and_nothing_touched(place, job):
    place.start(job(14))
    manifest = place.store.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"noise_seed": 42', '"noise_seed": 43'))
    before = place.everything()
    message = refusal(place.start, job(14))
    assert "manifest.json must be as it was written" in message
    assert place.everything() == before
    # The way out that the message names.
    place.start(job(14), resume=False)
    assert place.sampler.made == [0, 1]


@contextmanager
def full_disk(size):
    """No file can grow beyond `size` bytes: the error that a full disk gives, at a place of our choice."""
    import resource  # POSIX only

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


@posix_only
@pytest.mark.parametrize("size", [0, 500, 2000, 4000, 7500])
def test_a_full_disk_keeps_what_is_finished(place, job, fresh, size):
    place.start(job(14))
    before = place.files(0, 1)
    with full_disk(size), pytest.raises(RunFailed) as caught:
        place.start(job())
    finished = len(place.store.read_manifest().chunks)
    message = str(caught.value)
    assert message.startswith("Animate Long Video: the run's files must be writable and the disk not full; got ")
    assert message.endswith(
        f"{finished} finished chunks are kept in {place.store.folder}; the same run goes on from there."
    )
    assert place.files(0, 1) == before
    assert not [path for path in place.store.folder.parent.rglob("*") if ".part" in path.name]
    place.start(job())
    assert place.kept == list(range(finished))
    assert_same_result(place.result(), fresh(job()))


@posix_only
def test_a_disk_too_full_for_the_joined_video(whole, job):
    expected = whole.result()
    largest = max(path.stat().st_size for path in whole.store.folder.iterdir())
    whole.path.unlink()
    assert largest < len(expected[4])
    with full_disk(largest), pytest.raises(RunFailed, match="6 finished chunks are kept"):
        whole.start(job())
    assert not whole.path.exists()
    whole.start(job())
    assert whole.sampler.made == []
    assert_same_result(whole.result(), expected)


@pytest.mark.parametrize("folder", ["file/dance", "/proc/everanimate/dance"])
def test_a_folder_that_cannot_be_made(tmp_path, job, codec, folder):
    (tmp_path / "file").write_text("in the way")
    sampler = Sampler()
    with pytest.raises(RunFailed, match=r"must be writable.*0 finished chunks"):
        run(job(), RunStore(tmp_path / folder), sampler, codec, tmp_path / "dance.mp4")
    assert sampler.made == []


def test_a_video_that_cannot_be_written(tmp_path, place, job):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFailed, match=r"must be writable.*0 finished chunks"):
        run(job(), place.store, Sampler(), place.codec, tmp_path / "file" / "dance.mp4")
    # Folders that are not there yet are made before anything is sampled.
    path = tmp_path / "new" / "folder" / "dance.mp4"
    run(job(14), place.store, Sampler(), place.codec, path)
    assert len(video_of(path)[0]) == 14


def test_a_second_writer_is_refused_at_once(place, job):
    place.start(job(14))
    before = place.everything()
    with RunStore(place.store.folder).locked():
        for options in ({}, {"resume": False}, {"from_chunk": 1}):
            assert refusal(place.start, job(), **options) == (
                "Animate Long Video: a run is written by one program at a time (choose another run name or --out, or "
                f"wait); got a second one for {place.store.folder}."
            )
    assert place.sampler.made == []
    assert place.everything() == before
    place.start(job())
    assert place.kept == [0, 1]


def test_inputs_that_cannot_serve_are_refused_before_anything_is_written(place, job, codec):
    task = job(drivers=Drivers(pose=Frames(torch.zeros(9, 24, 32, 3))))
    with pytest.raises(ValueError, match="must be fitted to 32x16"):
        place.start(task)
    with pytest.raises(ValueError, match="pose_video must have at least 1 frame"):
        place.start(job(drivers=Drivers(pose=Frames(torch.zeros(0, 16, 32, 3)))))
    with pytest.raises(ValueError, match="motion_latents must be between 1 and 2"):
        place.start(job(memory=replace(job().memory, motion_count=3)))
    assert place.sampler.made == []
    assert place.everything() == {}


def test_an_input_that_fails_midway_is_a_failed_run(place, job, fresh):
    class Damaged(Frames):
        def read(self, indices):
            if max(indices) > 20:
                raise VideoError("Video: every frame must be decodable; got no frame 21 from pose.mp4.")
            return super().read(indices)

    with pytest.raises(RunFailed) as caught:
        place.start(job(drivers=Drivers(pose=Damaged(job().drivers.pose.frames))))
    assert str(caught.value) == (
        "Video: every frame must be decodable; got no frame 21 from pose.mp4. 3 finished chunks are kept in "
        f"{place.store.folder}; the same run goes on from there."
    )
    assert len(video_of(place.path)[0]) == 19
    place.start(job())
    assert place.kept == [0, 1, 2]
    assert_same_result(place.result(), fresh(job()))


# --- what is told ----------------------------------------------------------------------------------------------------


def record(seconds=2.0):
    return ChunkRecord("key", "latents", "segment", 9, 14, "frames", 42, seconds, 0.1234)


def test_progress_is_a_line_per_chunk():
    assert str(Progress(1, 6, record(), kept=False)) == "chunk 2/6: frames 9-13, 2.0 s, drift 0.123"
    assert str(Progress(1, 6, record(), kept=True)) == "chunk 2/6: frames 9-13, kept, drift 0.123"


def test_remaining_time_is_by_the_median_of_the_chunks_made():
    remaining = RemainingTime()
    # What an earlier start took says nothing about this one.
    assert remaining.after(Progress(0, 6, record(500.0), kept=True)) == ""
    assert remaining.after(Progress(1, 6, record(40.0), kept=False)) == ", about 2 min 40 s left"
    assert remaining.after(Progress(2, 6, record(20.0), kept=False)) == ", about 1 min 30 s left"
    assert remaining.after(Progress(3, 6, record(400.0), kept=False)) == ", about 1 min 20 s left"
    assert remaining.after(Progress(5, 6, record(40.0), kept=False)) == ""


def test_progress_follows_the_run(place, job):
    place.start(job(14))
    place.start(job())
    assert [(done.index, done.chunks, done.kept) for done in place.progress] == [
        (index, 6, index < 2) for index in range(6)
    ]
    records = place.store.read_manifest().chunks
    assert tuple(done.record for done in place.progress) == records
    assert records[0].drift == 0
    assert all(later.drift > 0 for later in records[1:])
