"""Late fusion: slots that stand for the same frames are blended, by hand and in the right steps."""

import pytest
import torch

from everanimate_core.longanimation.fusion import Fusion, fused, shared_latents
from everanimate_core.longanimation.settings import Settings


def frames_of(slot):
    """The frames of a window that slot 1.. of its state stands for."""
    return [0] if slot == 1 else list(range(4 * slot - 7, 4 * slot - 3))


def blended_frames(overlap, window=81):
    """Frames of the animation that both sides of each blended slot of window 1 stand for."""
    stride, last = window - overlap, (window - 1) // 4 + 1
    shared = shared_latents(overlap)
    return [([frame + stride for frame in frames_of(2 + k)], frames_of(last - shared + 1 + k)) for k in range(shared)]


def test_with_17_frames_both_slots_stand_for_the_same_frames():
    assert blended_frames(17) == [
        ([65, 66, 67, 68], [65, 66, 67, 68]),
        ([69, 70, 71, 72], [69, 70, 71, 72]),
        ([73, 74, 75, 76], [73, 74, 75, 76]),
        ([77, 78, 79, 80], [77, 78, 79, 80]),
    ]


def test_with_the_released_16_they_are_one_frame_apart():
    assert [own[0] - other[0] for own, other in blended_frames(16)] == [1, 1, 1, 1]


def test_blend_by_hand():
    state = torch.arange(10.0).view(1, 1, 10, 1, 1).expand(1, 16, 10, 2, 3)
    tails = torch.full((1, 16, 4, 2, 3), 100.0)
    result = fused(state, tails)
    expected = [0, 1, 80 + 0.2 * 2, 60 + 0.4 * 3, 40 + 0.6 * 4, 20 + 0.8 * 5, 6, 7, 8, 9]
    torch.testing.assert_close(result[0, 7, :, 1, 2], torch.tensor(expected))
    assert torch.equal(state[0, 0, :, 0, 0], torch.arange(10.0))


def test_the_first_window_keeps_its_ends_and_blends_nothing():
    fusion, state = Fusion(3, 4, None), torch.randn(1, 16, 10, 2, 3)
    for index in range(5):
        assert fusion(index, state + index, state) is not None
    assert fusion.kept.shape == (2, 16, 4, 2, 3)
    assert torch.equal(fusion.kept, torch.stack([state[0, :, 6:] + 3, state[0, :, 6:] + 4]))


def test_a_later_window_blends_from_its_step_on():
    before, state = torch.randn(2, 16, 4, 2, 3), torch.randn(1, 16, 10, 2, 3)
    fusion = Fusion(3, 4, before)
    assert all(fusion(index, state, state) is state for index in range(3))
    for index in (3, 4):
        assert torch.equal(fusion(index, state, state), fused(state, before[index - 3, None]))
    # Short windows: what is kept is what became of the blend.
    short = torch.randn(1, 16, 6, 2, 3)
    fusion = Fusion(0, 4, before)
    assert torch.equal(fusion(0, short, short)[0, :, 2:], fusion.kept[0])


def test_a_held_end_is_not_blended():
    before, short = torch.randn(1, 16, 4, 2, 3), torch.randn(1, 16, 8, 2, 3)
    fusion = Fusion(0, 4, before, held=True)
    state = fusion(0, short, short)
    assert torch.equal(state[:, :, 4:], short[:, :, 4:])
    assert torch.equal(fusion.kept[0], short[0, :, 4:])
    assert torch.equal(state[:, :, :4], fused(short, before)[:, :, :4])
    assert not torch.equal(state[:, :, 2:4], short[:, :, 2:4])


@pytest.mark.parametrize(("steps", "first", "fuse", "count"), [(50, 31, True, 19), (50, 31, False, 0), (8, 5, True, 3)])
def test_how_many_steps_are_blended(steps, first, fuse, count):
    assert Settings(steps=steps, fuse_from=first, fuse=fuse).fused_steps == count
