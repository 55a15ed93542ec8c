"""The frames of a driver that the driving videos show, and the first pass over them: who is where in each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from torch import Tensor

from ..errors import InputError
from ..media.rates import file_rate
from ..media.reader import DEFAULT_FPS
from ..ports import FrameSource
from .cuts import histogram
from .engines.engine import START, Engine
from .found_store import Findings, FoundStore, packed, windows
from .people import Person, torso_colour
from .timing import shown_frames

# progress(done, total): frames that are done.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Clip:
    """The frames of a video that are shown, each once, even where the driving videos repeat it.

    numbers: of the frames, in the video. rate: frames of the clip a second. order: for each frame of the driving
    videos, its place in `numbers`. fps: frames of the driving videos a second. width, height: pixels of the video.
    """

    video: FrameSource
    numbers: Sequence[int]
    rate: Fraction
    order: np.ndarray
    fps: Fraction
    width: int
    height: int

    @classmethod
    def shown_at(cls, video: FrameSource, fps: float) -> "Clip":
        """The clip of a video that is shown at `fps` frames a second, 0: its own rate, which is 25 if it has none."""
        if not video.frame_count:
            raise InputError("the driving video", "must have a frame", "", "none")
        own = video.fps or DEFAULT_FPS
        wanted = file_rate(fps) if fps else own
        shown = shown_frames(video.frame_count, own, wanted if fps else Fraction(0))
        numbers, order = np.unique(shown, return_inverse=True)
        height, width = video.read([0]).shape[1:3]
        return cls(video, numbers.tolist(), min(own, wanted), order, wanted, width, height)

    @property
    def window_size(self) -> int:
        """Frames of each window but the last."""
        return next(windows(len(self.numbers), self.width, self.height)).stop

    def windows(self) -> Iterator[tuple[int, slice, Tensor]]:
        """Number, places in the clip, and frames [n, H, W, 3] of each window."""
        for number, window in enumerate(windows(len(self.numbers), self.width, self.height)):
            yield number, window, self.video.read(self.numbers[window])


def search(clip: Clip, engine: Engine, store: FoundStore, progress: Progress) -> None:
    """Find everybody in the clip, window by window; what the store has already is kept.

    Raises InputError where the store is of another video or engine, and where it is to keep masks and the engine gives
    none.
    """
    engine.state = START
    for number, window, frames in clip.windows():
        found = store.kept(number, frames)
        if found is None:
            found = _look(frames, engine, store.masks)
            store.write(number, frames, found)
        engine.state = found.state
        progress(window.stop, 2 * len(clip.numbers))


def all_found(clip: Clip, store: FoundStore) -> tuple[list[Sequence[Person]], np.ndarray]:
    """The people in each of the N frames of a clip that was searched, and the frames' histograms [N, 64]."""
    numbers = range(len(list(windows(len(clip.numbers), clip.width, clip.height))))
    found = [store.read(number) for number in numbers]
    return [there for part in found for there in part.people], np.concatenate([part.histograms for part in found])


def _look(frames: Tensor, engine: Engine, masks: bool) -> Findings:
    """What the engine finds in the frames [n, H, W, 3] that come next."""
    everybody, all_masks, histograms = [], [], []
    for frame in frames.numpy():
        found = engine.find(frame)
        seen = [packed(one.mask) for one in found if masks and one.mask is not None]
        if masks and len(seen) < len(found):
            rule = "must be animation with an engine that finds points only"
            raise InputError("mode", rule, "the engine litert finds masks too", f"replacement with {engine.name}")
        everybody.append([Person(one.points, one.scores, torso_colour(frame, one.points, one.scores)) for one in found])
        all_masks.append(seen)
        histograms.append(histogram(frame))
    return Findings(everybody, all_masks, np.array(histograms), engine.state)
