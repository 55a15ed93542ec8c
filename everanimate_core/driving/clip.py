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
from .engines.found import Found
from .found_store import Findings, FoundStore, packed, unpacked, windows
from .people import Person, torso_colour
from .segmenting import Before, Segmenter, outlined
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
        shown = shown_frames(video.frame_count, own, wanted)
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


def search(clip: Clip, engine: Engine, segmenter: Segmenter | None, store: FoundStore, progress: Progress) -> None:
    """Find everybody in the clip, window by window; what the store has already is kept.

    segmenter: finds the masks in the place of the engine. Raises InputError where the store is of another video or
    engine, and where it is to keep masks and the engine gives none.
    """
    engine.state, before = START, None
    for number, window, frames in clip.windows():
        found = store.kept(number, frames)
        if found is None:
            found = _look(frames.numpy(), engine, segmenter, bool(store.masks), before)
            store.write(number, frames, found)
        engine.state = found.state
        if segmenter is not None:
            masks = [unpacked(mask, clip.width, clip.height) for mask in found.masks[-1]]
            # A copy: a view would keep the whole window in memory.
            before = Before(frames[-1].numpy().copy(), masks)
        del frames  # or there would be two windows while the next one is read
        progress(window.stop, 2 * len(clip.numbers))


def all_found(clip: Clip, store: FoundStore) -> tuple[list[Sequence[Person]], np.ndarray]:
    """The people in each of the N frames of a clip that was searched, and the frames' histograms [N, 64]."""
    people: list[Sequence[Person]] = []
    histograms = []
    for number, _ in enumerate(windows(len(clip.numbers), clip.width, clip.height)):
        found = store.read(number)
        people += found.people
        histograms.append(found.histograms)
    return people, np.concatenate(histograms)


def _look(
    frames: np.ndarray, engine: Engine, segmenter: Segmenter | None, masks: bool, before: Before | None
) -> Findings:
    """What is found in the frames [n, H, W, 3] that come next. masks: whether they are wanted."""
    found = engine.find_all(frames)
    people = [
        [Person(one.points, one.scores, torso_colour(frame, one.points, one.scores)) for one in there]
        for frame, there in zip(frames, found, strict=True)
    ]
    if segmenter is not None:
        outlines = outlined(frames, people, segmenter, before)
    else:
        outlines = [_own_masks(there, engine) if masks else [] for there in found]
    return Findings(people, outlines, np.array([histogram(frame) for frame in frames]), engine.state)


def _own_masks(found: Sequence[Found], engine: Engine) -> list[bytes]:
    """The masks that the engine itself gives of the people in a frame. Raises InputError where it gives none."""
    masks = [packed(one.mask) for one in found if one.mask is not None]
    if len(masks) < len(found):
        rule = "must be animation with an engine that finds points only"
        raise InputError("mode", rule, "the engine litert finds masks too", f"replacement with {engine.name}")
    return masks
