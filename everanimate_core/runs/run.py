"""A long animation that survives: every chunk is kept as it finishes, and a second start goes on where the first ended.

Used by the ComfyUI nodes and by the command line alike; they supply the method, `sample_chunk` and a codec.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from torch import Tensor

from ..files import clear_parts, probe
from ..media.reader import VideoError
from ..method import Sample, State
from ..ports import Codec
from .beside import Beside, OneAtATime
from .choosing import Choice, next_number
from .earlier import clear_earlier_parts
from .job import Job
from .listing import list_takes
from .making import Chunks
from .ownership import OwnershipLost
from .preflight import check_places
from .progress import Making, Progress
from .settings import ALL_BESIDE, NOTHING_BESIDE, RunSettings
from .stages import BESIDE, OutOfMemory
from .start import Start, kept_in_words
from .store import RunError, RunFailed, RunStore, taken_over
from .takes import FINISHED, UNFINISHED
from .videos import Videos

AS_IT_IS = RunSettings()


@dataclass(frozen=True)
class Outcome:
    """A finished run. frames: of the video, those of the last chunk [n, H, W, 3]. last_frame: the last of all F frames
    of that chunk [H, W, 3], which the video may not show. state: what it hands on. path: of the take's video. report:
    JSON values."""

    frames: Tensor
    last_frame: Tensor
    state: State
    path: Path
    report: dict[str, Any]


def run(
    job: Job,
    store: RunStore,
    sample_chunk: Sample,
    codec: Codec,
    videos: Videos,
    asked: RunSettings = AS_IT_IS,
    on_chunk: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
    on_stopped: Callable[[Path], None] = lambda path: None,
    on_making: Callable[[Making], None] = lambda making: None,
    codec_beside: bool = True,
) -> Outcome:
    """Make the job's video, or what is missing of it, and join it into the take's video.

    asked: how the run is gone on with; what it says of the video is the job's. on_making is called before a chunk is
    made, on_chunk after each chunk that is there, both in the thread that called this. say: what is to be known, a line
    each. codec_beside: the codec may be used by another thread while a chunk is sampled, though never by two at once.
    Whatever ends the run early, finished chunks stay in the store and are joined, and on_stopped is called with their
    video. Raises RunError for a run that cannot be gone on with so, ValueError for inputs that cannot serve, RunFailed
    when files cannot be written, what is sampled is no numbers, memory is out (OutOfMemory) or an input fails after
    chunks were finished, and what `sample_chunk` or a callback raises.
    """
    job.check()
    number = next_number(store, videos)
    check_places(store.folder, videos.path(number), getattr(job.output.sound, "source", None), begun=number > 1)
    current = None
    codec_beside = codec_beside and asked.beside == ALL_BESIDE
    try:
        with store.locked(), Beside(asked.beside != NOTHING_BESIDE) as beside:
            store.clear()
            clear_earlier_parts(store.folder)
            choice = Choice(job, store, videos, asked, say)
            chunks = Chunks(job, store, sample_chunk, OneAtATime(codec) if codec_beside else codec, codec_beside)
            current = Start(chunks, choice, asked, beside, on_making, on_chunk)
            try:
                store.prepare()
                choice.path.parent.mkdir(parents=True, exist_ok=True)
                clear_parts(choice.path)
                probe(choice.path)
                last = current.make_all()
            except BaseException as error:
                current.settle()
                # What is finished can be watched; what ended the run is told, not a fault of this. A program that took
                # over, though, is why parts of files are missing.
                if not isinstance(error, RunError):
                    with suppress(OSError, av.FFmpegError, VideoError, RunError):
                        store.check_owner()
                        if choice.take.only < 0 and current.film.join(UNFINISHED):
                            on_stopped(choice.path)
                store.leave()
                raise
            if not choice.has_video():
                current.drawing_of(last)()
                current.film.join(FINISHED)
        frames, take = chunks.decoded(last), choice.take
    except (RunError, BrokenPipeError):
        # The second: nobody reads any more what callbacks print. The files are in order.
        raise
    except OutOfMemory as error:
        assert current is not None
        raise error.in_run(_smaller(job, codec_beside), kept_in_words(store, current.finished())) from error
    except OwnershipLost:
        raise taken_over("a run", store.folder) from None
    except (OSError, av.FFmpegError, ValueError) as error:
        if store.deleted:
            raise RunFailed(
                "a run's folder must stay where it is while the run is going (the next start makes all chunks "
                f"anew, or puts it back first); {store.folder} was deleted or moved."
            ) from error
        kept = kept_in_words(store, 0 if current is None else current.finished())
        if not isinstance(error, ValueError):
            raise RunFailed(f"the run's files must be writable and the disk not full; got {error}. {kept}") from error
        if current is None or not current.choice.take.chunks:
            raise
        raise RunFailed(f"{error} {kept}") from error
    report = {
        "frames": job.plan.total_frames,
        "fps": str(job.output.fps),
        "take": take.number,
        "video": choice.path.name,
        "score": job.method.score_name,
        "chunks": [{**vars(chunk), "candidates": [vars(other) for other in chunk.candidates]} for chunk in take.chunks],
        "takes": [listed.told() for listed in list_takes(store, readable=True)],
    }
    return Outcome(chunks.own(last.index, frames), frames[-1], last.after, choice.path, report)


def _smaller(job: Job, codec_beside: bool) -> frozenset[str]:
    """Settings of a run with which it may need less memory: what is switched on already is no way out."""
    names = {name for name, value in job.set_by_user().items() if value is not True}
    return frozenset(names | ({BESIDE} if codec_beside else set()))
