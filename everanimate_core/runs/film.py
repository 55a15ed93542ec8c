"""What there is to see of a take: its video, joined from those of its chunks; its contact sheet and its drift curve."""

from contextlib import suppress
from pathlib import Path

import numpy as np
from torch import Tensor

from ..media.reader import VideoFrames
from ..media.writer import concat_segments
from .choosing import Choice
from .chunks import segment_name
from .job import Job
from .pictures import contact_sheet, curve_picture, thumbnail, write_picture
from .store import RunError, RunStore
from .takes import Take, TakeChunk


class Film:
    """The pictures of the take that a start writes, made of the chunks that it has."""

    def __init__(self, job: Job, store: RunStore, choice: Choice):
        self.job, self.store, self.choice = job, store, choice
        # Of the take's chunks from the first on, as far as they were needed.
        self.thumbnails: list[np.ndarray] = []

    def segment(self, chunk: TakeChunk) -> Path:
        """The video of a chunk of the take."""
        record = self.store.read_record(chunk.key)
        if record is None:
            raise RunError(f"chunk {chunk.key}", "must have its record", "start again", "none")
        return self.store.segment_path(record, segment_name(chunk.stop - chunk.start, self.job.output.fps))

    def frame(self, chunk: TakeChunk, number: int) -> Tensor:
        """A frame [H, W, 3] of the video of a chunk; -1: the last one."""
        with VideoFrames(self.segment(chunk)) as video:
            return video.read([number % (chunk.stop - chunk.start)])[0]

    def draw(self, take: Take, index: int, first: Tensor | None) -> None:
        """Bring a take's contact sheet and drift curve up to date: takes/00001.jpg and .png.

        take: as it was when chunk `index` was listed, the last one to be drawn. first: the first frame [H, W, 3] that
        this chunk supplies, None where its video has to be read for it.
        """
        chunks, path = take.chunks[: index + 1], self.store.take_path(take.number)
        self.thumbnails = self.thumbnails[:index]
        for chunk in chunks[len(self.thumbnails) : index]:
            self.thumbnails.append(thumbnail(self.frame(chunk, 0)))
        first = self.frame(chunks[-1], 0) if first is None else first
        self.thumbnails.append(thumbnail(first))
        sheet = contact_sheet(self.thumbnails, [str(index) for index in range(len(chunks))])
        self._write(sheet, path.with_suffix(".jpg"))
        curves = [curve_picture([chunk.drift for chunk in chunks], "drift from the first chunk")]
        if self.job.method.score_name != "drift":
            curves.append(curve_picture([chunk.score for chunk in chunks], self.job.method.score_name))
        self._write(np.concatenate(curves), path.with_suffix(".png"))

    def _write(self, picture: np.ndarray, path: Path) -> None:
        # On Windows, a program that shows the picture may keep others out of it: the next chunk draws it anew.
        with suppress(PermissionError):
            write_picture(picture, path, self.store.check_owner)

    def join(self, state: str) -> bool:
        """Join the finished chunks, if there are any, into the take's video, with sound; whether there are."""
        output, chunks = self.job.output, self.choice.take.chunks[: self.job.plan.chunk_count]
        if not chunks:
            return False
        segments = [self.segment(chunk) for chunk in chunks]
        self.choice.make_room()
        sound = output.sound, output.sound_start
        concat_segments(segments, self.choice.path, *sound, output.metadata, self.store.check_owner)
        self.choice.joined(state)
        return True
