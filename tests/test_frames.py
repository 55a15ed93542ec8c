from fractions import Fraction

import pytest
import torch

from everanimate_core.frames import FittedFrames, TrimmedFrames, fit_frames


class Source:
    """Frames that show their number, and a list of what was read."""

    def __init__(self, count=20, fps=Fraction(25), height=4, width=6):
        self.frame_count, self.fps, self.height, self.width, self.reads = count, fps, height, width, []

    def read(self, indices):
        self.reads.append(list(indices))
        numbers = torch.tensor(list(indices), dtype=torch.float32)
        return (numbers / 100)[:, None, None, None].expand(-1, self.height, self.width, 3).clone()


def numbers(frames):
    return [round(float(frame.mean()) * 100) for frame in frames]


# --- of another size -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_frames_are_fitted_as_they_are_read(fit):
    source = Source()
    fitted = FittedFrames(source, 8, 8, fit)
    assert (fitted.frame_count, fitted.fps, source.reads) == (20, Fraction(25), [])
    frames = fitted.read([3, 1])
    assert frames.shape == (2, 8, 8, 3)
    assert torch.equal(frames, fit_frames(Source().read([3, 1]), 8, 8, fit))


def test_a_size_that_is_refused():
    fitted = FittedFrames(Source(), 8, 8, "error")
    with pytest.raises(ValueError, match="8x8"):
        fitted.read([0])
    assert torch.equal(FittedFrames(Source(), 6, 4, "error").read([5]), Source().read([5]))


def test_the_last_read_is_kept():
    source = Source()
    fitted = FittedFrames(source, 8, 8, "stretch")
    frames = fitted.read([1, 2, 3])
    assert fitted.read((1, 2, 3)) is frames
    assert fitted.read(range(1, 4)) is frames
    assert source.reads == [[1, 2, 3]]


def test_other_indices_are_read_anew():
    source = Source()
    fitted = FittedFrames(source, 8, 8, "stretch")
    for indices in ([1, 2], [2, 1], [1], [1, 2, 3], [1, 2]):
        assert numbers(fitted.read(indices)) == indices
    assert source.reads == [[1, 2], [2, 1], [1], [1, 2, 3], [1, 2]]


def test_a_read_that_failed_is_not_taken_for_the_one_before():
    source = Source()
    fitted = FittedFrames(source, 8, 8, "stretch")
    fitted.read([1])
    source.height = 0
    with pytest.raises(RuntimeError):
        fitted.read([2])
    source.height = 4
    assert numbers(fitted.read([2])) == [2]


# --- a part ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "duration", "shown"),
    [
        (0, 0, range(0, 20)),
        (0, 0.8, range(0, 20)),
        (0, 0.2, range(0, 5)),
        # Frame n is shown at n / 25 s: frame 5 at 0.2 s, frame 6 at 0.24 s.
        (0.2, 0, range(5, 20)),
        (0.21, 0, range(6, 20)),
        (0.2, 0.2, range(5, 10)),
        (0.2, 0.21, range(5, 11)),
        (0.2, 0.19, range(5, 10)),
        (0.03, 0.02, range(1, 2)),
        (0.01, 0.02, range(1, 1)),
        # 0.28 * 25 = 7.000000000000001 and (0.28 + 0.28) * 25 = 14.000000000000002 in floating point.
        (0.28, 0, range(7, 20)),
        (0.28, 0.28, range(7, 14)),
        # Beyond the end.
        (0.4, 9, range(10, 20)),
        (0.76, 0, range(19, 20)),
        (0.8, 0, range(20, 20)),
        (9, 9, range(20, 20)),
    ],
)
def test_the_part_between_two_times(start, duration, shown):
    source = Source()
    part = TrimmedFrames(source, start, duration)
    assert (part.frame_count, part.fps, source.reads) == (len(shown), Fraction(25), [])
    if shown:
        assert numbers(part.read(range(part.frame_count))) == list(shown)
        assert numbers(part.read([part.frame_count - 1, 0])) == [shown[-1], shown[0]]


def test_the_part_of_a_fractional_rate():
    # Frame 30 of 29.97 fps is shown at 1.001 s.
    source = Source(90, Fraction(30000, 1001))
    assert TrimmedFrames(source, 1.001, 0).first == 30
    assert TrimmedFrames(source, 1.0, 0).first == 30
    assert TrimmedFrames(source, 1.0011, 0).first == 31
    assert TrimmedFrames(source, 0, 1.001).frame_count == 30


def test_a_part_is_fitted_like_a_whole():
    fitted = FittedFrames(TrimmedFrames(Source(), 0.2, 0.2), 8, 8, "stretch")
    assert (fitted.frame_count, fitted.fps) == (5, Fraction(25))
    assert numbers(fitted.read([0, 4])) == [5, 9]
