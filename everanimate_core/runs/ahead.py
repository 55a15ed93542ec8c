"""The chunk after the one that is sampled: read, fitted, digested and encoded beside the sampling."""

from concurrent.futures import Future

from .beside import Beside, result
from .making import Chunks, ReadyChunk
from .stages import in_chunk


class Ahead:
    """At most one chunk that is made ready before it is asked for."""

    def __init__(self, beside: Beside, chunks: Chunks):
        self.beside, self.chunks = beside, chunks
        self.index = -1
        self.job: Future[ReadyChunk] | None = None
        self.dropped = False

    def begin(self, index: int, encode: bool) -> None:
        """Make a chunk ready, where there is a thread for it. encode: it is certain to be sampled."""
        if self.beside.on and index != self.index:
            self.index = index
            encode = encode and self.chunks.codec_beside
            self.job = self.beside.start(lambda: self._ready(index, encode))

    def _ready(self, index: int, encode: bool) -> ReadyChunk:
        with in_chunk(index):
            ready = self.chunks.ready(index)
            if encode and not self.dropped:
                self.chunks.job.method.prepare(ready.chunk, self.chunks.codec)
            return ready

    def take(self, index: int) -> ReadyChunk:
        """A chunk whose driving frames are read: by now, or else at once."""
        if self.job is None or index != self.index:
            return self.chunks.ready(index)
        # What failed is not tried again: it fails as it would have in line.
        job, self.job = self.job, None
        return result(job)

    def drop(self) -> None:
        """Nothing more of it is needed."""
        self.dropped = True
        if self.job is not None:
            self.job.cancel()
