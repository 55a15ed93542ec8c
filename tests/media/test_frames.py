"""Views of a source of frames: of another size, and at another rate."""

from fractions import Fraction

import pytest
import torch

from everanimate_core.media.frames import FittedFrames, ResampledFrames, fit_frames


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


def test_what_pad_adds_is_as_bright_as_is_asked():
    for given, margin in (({}, 0.0), ({"margin": 1.0}, 1.0)):
        frames = FittedFrames(Source(), 6, 8, "pad", **given).read([3])
        assert torch.equal(frames[:, 2:6], Source().read([3]))
        assert torch.equal(torch.cat([frames[:, :2], frames[:, 6:]], dim=1), torch.full((1, 4, 6, 3), margin))


def test_a_size_that_is_refused():
    fitted = FittedFrames(Source(), 8, 8, "error")
    with pytest.raises(ValueError, match="8x8"):
        fitted.read([0])
    assert torch.equal(FittedFrames(Source(), 6, 4, "error").read([5]), Source().read([5]))


# --- another rate ----------------------------------------------------------------------------------------------------


def test_at_another_rate_frame_i_is_what_the_source_shows_at_its_time():
    slower = ResampledFrames(Source(20, Fraction(25)), Fraction(10))
    assert (slower.frame_count, slower.fps) == (8, Fraction(10))
    assert numbers(slower.read(range(8))) == [0, 2, 5, 7, 10, 12, 15, 17]
    faster = ResampledFrames(Source(4, Fraction(25)), Fraction(50))
    assert numbers(faster.read(range(8))) == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(IndexError, match=r"within 0\.\.7; got 8"):
        slower.read([8])


def test_at_its_own_rate_a_source_stays_as_it_is():
    same = ResampledFrames(Source(90, Fraction(30000, 1001)), Fraction(30000, 1001))
    assert numbers(same.read(range(90))) == list(range(90))


def test_another_rate_is_fitted_like_a_whole():
    fitted = FittedFrames(ResampledFrames(Source(), Fraction(5)), 8, 8, "stretch")
    assert (fitted.frame_count, fitted.fps) == (4, Fraction(5))
    assert numbers(fitted.read([0, 3])) == [0, 15]
