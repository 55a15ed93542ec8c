"""What the tests of runs share: a sampler that looks at everything, a place to start runs in, and ways to end them."""

import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import pytest
import torch
from exact_parts import ExactCodec, Frames, exact_pictures
from refusals import refusal
from safetensors.torch import load

from everanimate_core.digests import digest
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.everanimate.method import EverAnimate
from everanimate_core.everanimate.settings import Settings
from everanimate_core.media.reader import VideoFrames
from everanimate_core.noise import draw_noise
from everanimate_core.runs.chunks import segment_name
from everanimate_core.runs.job import Job, Output
from everanimate_core.runs.run import run
from everanimate_core.runs.settings import RunSettings
from everanimate_core.runs.store import RunError, RunStore
from everanimate_core.runs.videos import NewestVideo

POSE_VIDEO = Path(__file__).parent / "data" / "pose.mp4"
# Six chunks of 9 frames (3 latents) that share 4: chunk k sees frames 5k..5k+8 and adds 5k+4..5k+8, the last 29..31.
TOTAL, CHUNKS = 32, 6
FPS = Fraction(24000, 1001)
POSE = Drivers(pose=Frames(exact_pictures(60, seed=1)))

posix_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")


def small_job(
    total=TOTAL,
    *,
    drivers=POSE,
    memory=None,
    network=None,
    prompts=("",),
    fps=FPS,
    sound=None,
    sound_start=0,
    earlier=None,
    codec=None,
    **settings,
):
    """A job of six chunks with these settings; without a memory, one that `codec` makes of a picture."""
    settings = Settings(**({"chunk_frames": 9, "overlap": 4} | settings))
    if memory is None:
        anchors, motion = settings.identity_latents, settings.motion_latents
        memory = build_memory(exact_pictures(1), codec or ExactCodec(), anchors, motion)
    return Job(
        EverAnimate(settings.plan(total), memory, drivers, settings),
        {"network": "tiny", "sigmas": [1.0, 0.5, 0.0]} if network is None else network,
        list(prompts),
        Output(fps, sound, sound_start),
        earlier or {},
    )


class Sampler:
    """A sample_chunk whose result depends on all that a chunk is told and on its prompt."""

    def __init__(self, prompts=("",)):
        self.prompts = prompts

    def __call__(self, request, seed):
        y, mask = request.context.y, request.context.mask
        prompt = self.prompts[min(request.index, len(self.prompts) - 1)]
        told = y.mean(dim=2, keepdim=True) + mask.mean() + request.clip_image.mean() + len(prompt)
        if request.face_pixels is not None:
            told = told + request.face_pixels.mean()
        latents = (0.5 * draw_noise(request.latents_shape, seed) + 0.5 * y + told)[:, :, request.anchors :]
        return latents + 0.1 * request.pose_latents


class Faces:
    """512 x 512 crops that are made as they are read; frame `changed` differs."""

    fps, frame_count = None, 60

    def __init__(self, changed=-1):
        self.changed = changed

    def read(self, indices):
        values = [index / 60 + (index == self.changed) for index in indices]
        return torch.tensor(values)[:, None, None, None].expand(-1, 512, 512, 3)


def with_frame(source, index, value=0.5):
    """A driving video that differs in one frame."""
    frames = source.frames.clone()
    frames[index] = value
    return Frames(frames)


class Counting:
    """A codec, with a list of the work that it did: frames encoded, latents decoded."""

    def __init__(self, codec=None):
        self.codec, self.work = codec or ExactCodec(), []

    def encode(self, frames):
        self.work.append(("encode", len(frames)))
        return self.codec.encode(frames)

    def decode(self, latents):
        self.work.append(("decode", latents.shape[2]))
        return self.codec.decode(latents)


class Place:
    """A run folder, the video beside it, and what was seen of the last start: chunks and seeds sampled, progress."""

    def __init__(self, root, name="dance", codec=None):
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.store, self.path = root, RunStore(root / name), root / f"{name}.mp4"
        self.codec = codec or ExactCodec()

    def start(self, job, sample=None, codec=None, on_chunk=lambda done: None, **options):
        """Start the run; its outcome."""
        self.made, self.seeds, self.progress = [], [], []
        sample = sample or Sampler(job.prompts)

        def sample_chunk(request, seed):
            self.made.append(request.index)
            self.seeds.append(seed)
            return sample(request, seed)

        def watch(done):
            self.progress.append(done)
            on_chunk(done)

        self.said, self.announced, asked = [], [], RunSettings(**options)
        codec, videos = codec or self.codec, self.videos()
        self.outcome = run(
            job,
            self.store,
            sample_chunk,
            codec,
            videos,
            asked,
            watch,
            self.said.append,
            on_making=self.announced.append,
        )
        return self.outcome

    def videos(self):
        """Where the videos lie."""
        return NewestVideo(self.path, self.store.folder)

    @property
    def kept(self):
        return [done.index for done in self.progress if done.kept]

    def take(self, number=0):
        """The newest take, or that of the number; None in a new run."""
        numbers = self.store.take_numbers()
        return self.store.read_take(number or numbers[-1]) if numbers else None

    def record(self, index, number=0):
        """What is known of a chunk of a take."""
        return self.store.read_record(self.take(number).chunks[index].key)

    def chunk_path(self, index, number=0):
        """The file of the latents of a chunk of a take."""
        return self.store.chunk_file(self.record(index, number))

    def segment_name(self, index, number=0):
        """What tells the video of a chunk in a take from others of the same chunk."""
        take = self.take(number)
        frames = take.chunks[index].stop - take.chunks[index].start
        return segment_name(frames, Fraction(take.output["fps"]))

    def segment_path(self, index, number=0):
        """The video of a chunk in a take."""
        return self.store.segment_path(self.record(index, number), self.segment_name(index, number))

    def files(self, first=0, last=99, number=0):
        """{name: (content, time of change)} of the files of chunks first..last of a take."""
        take = self.take(number)
        indices = range(len(take.chunks) if take else 0)[first : last + 1]
        chunks = [path for i in indices for path in (self.chunk_path(i, number), self.segment_path(i, number))]
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in chunks if path.exists()}

    def records(self):
        """The files of all records. One that is not finished has a hidden name."""
        return list(self.store.folder.glob("chunks/[!.]*.json"))

    def handed(self, index, number=0):
        """{name: digest} of what a chunk of a take keeps of that which it hands on."""
        tensors = load(self.chunk_path(index, number).read_bytes())
        return {name: digest(tensor) for name, tensor in tensors.items() if name != "latents"}

    def everything(self):
        """{path: (content, time of change)} of all files here."""
        files = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    def contents(self):
        """{path: content} of the same."""
        return {name: content for name, (content, _) in self.everything().items()}

    def latents(self):
        """Those of all chunks of the newest take; not read by load_file: what that reads changes with the file."""
        return [load(self.chunk_path(i).read_bytes())["latents"] for i in range(len(self.take().chunks))]

    def result(self):
        """All that must not depend on how often the run was interrupted: latents, memory, frames, segments, video."""
        take = self.take()
        chunks = [replace(chunk, seconds=None) for chunk in take.chunks]
        # The files of latents hold their metadata in any order. A chunk may have other videos, for other takes.
        records = [replace(self.record(i), latents=None, seconds=None) for i in range(len(chunks))]
        shown = [record.segments[self.segment_name(i)] for i, record in enumerate(records)]
        records = [replace(record, segments=None) for record in records]
        files = [load(self.chunk_path(i).read_bytes()) for i in range(len(chunks))]
        segments = [self.segment_path(i).read_bytes() for i in range(len(chunks))]
        return (take.settings, chunks, records, shown), files, segments, self.path.read_bytes()


def assert_same_result(one, other):
    take, chunks, segments, video = one
    assert take == other[0]
    assert len(chunks) == len(other[1])
    for mine, theirs in zip(chunks, other[1], strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert mine[name].dtype == theirs[name].dtype
            assert torch.equal(mine[name], theirs[name]), name
    assert segments == other[2]
    assert video == other[3]


refused = partial(refusal, kind=RunError)


def video_of(path):
    """The frames of a video file, and its rate."""
    with VideoFrames(path) as video:
        return video.read(range(video.frame_count)), video.fps


def sound_of(path):
    """Length in seconds of the sound, and its packets."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        return float((packets[-1].pts + packets[-1].duration) * stream.time_base), [bytes(p) for p in packets]


def with_sound_of_its_own(job, sound):
    """The job with another Sound: a child process must not read from a file that its parent reads, too."""
    return replace(job, output=replace(job.output, sound=sound))


# --- ways to end a run -----------------------------------------------------------------------------------------------


class Stop(BaseException):
    """What a host raises when its user cancels."""


class Stopping:
    """A codec, until chunk `chunk` is to be encoded or decoded."""

    def __init__(self, stage, chunk, codec=None):
        self.codec, self.stage, self.left = codec or ExactCodec(), stage, chunk

    def _count(self, stage, whole):
        if stage == self.stage and whole:
            if self.left == 0:
                raise Stop
            self.left -= 1

    def encode(self, frames):
        self._count("encode", len(frames) == 9)
        return self.codec.encode(frames)

    def decode(self, latents):
        self._count("decode", True)
        return self.codec.decode(latents)


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


def stop_at(place, job, stage, chunk, made=0, **options):
    """Start a run that is cancelled in chunk `chunk`, at `stage`; made: chunks that are there already."""
    with pytest.raises(Stop):
        place.start(
            job,
            stopping_sampler(chunk) if stage == "sample" else Sampler(),
            Stopping(stage, chunk - made, place.codec),
            stop_after(chunk) if stage == "finished" else lambda done: None,
            **options,
        )


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


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(offset):
    """Changes a bit of the byte at `offset` of a file."""

    def one_bit(path):
        content = bytearray(path.read_bytes())
        content[offset] ^= 1
        path.write_bytes(content)

    return one_bit
