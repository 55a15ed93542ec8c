"""Driving videos beside each other: by time where their rates are known, else by number."""

from fractions import Fraction

import pytest
import torch

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.plan import ChunkPlan


class Source:
    """A video of so many frames, which is asked for numbers only."""

    def __init__(self, frame_count, fps=None):
        self.frame_count, self.fps = frame_count, None if fps is None else Fraction(fps)

    def read(self, indices):
        return torch.tensor(list(indices), dtype=torch.float32)[:, None, None, None].expand(-1, 8, 8, 3)


def seen(plan, pose, other, index=0):
    """The frames of `other` that a chunk sees beside those of the pose."""
    return Drivers(pose=pose, face=other).source_indices(plan, index, other)


def test_a_face_of_another_rate_is_shown_at_the_time_of_the_pose():
    plan, pose, face = ChunkPlan(60, 29, 0), Source(60, 30), Source(32, 16)
    both = [number for index in range(2) for number in seen(plan, pose, face, index)]
    assert both[:58] == [n * 16 // 30 for n in range(58)]
    # With the pose of 1.0 s the face of 1.0 s.
    assert both[30] == 16


def test_rates_that_are_nearly_alike_stay_together_for_long():
    plan, rate = ChunkPlan(30000, 77, 4), Fraction(30000, 1001)
    pose, face = Source(30000, 30), Source(30000, rate)
    for index in (0, 100, plan.chunk_count - 1):
        for position, number in zip(plan.source_indices(index, 30000), seen(plan, pose, face, index), strict=True):
            assert number <= position / 30 * rate < number + 1


@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001)])
def test_equal_rates_and_lengths_are_as_by_number(rate):
    for continuation in ("pingpong", "loop", "hold"):
        plan = ChunkPlan(100, 9, 4, continuation)
        pose, face = Source(40, rate), Source(40, rate)
        for index in range(plan.chunk_count):
            assert seen(plan, pose, face, index) == plan.source_indices(index, 40)


def test_what_belongs_to_the_pose_goes_back_with_it():
    # The pose of 10 frames turns back at its end; the face has more, but they belong to no pose.
    plan = ChunkPlan(20, 17, 0)
    assert seen(plan, Source(10, 25), Source(300, 25)) == [*range(10), *range(8, 1, -1)]
    assert seen(plan, Source(10, 25), Source(600, 50)) == [2 * n for n in [*range(10), *range(8, 1, -1)]]


def test_a_face_that_ends_before_the_pose_is_continued():
    plan = ChunkPlan(20, 17, 0)
    assert seen(plan, Source(20, 25), Source(10, 25)) == [*range(10), *range(8, 1, -1)]
    hold = ChunkPlan(20, 17, 0, "hold")
    assert seen(hold, Source(20, 20), Source(5, 10)) == [*(n // 2 for n in range(10)), *[4] * 7]


@pytest.mark.parametrize(("pose_fps", "face_fps"), [(None, None), (None, 16), (30, None)])
def test_loose_pictures_are_paired_by_number(pose_fps, face_fps):
    plan = ChunkPlan(20, 17, 0)
    pose, face = Source(20, pose_fps), Source(10, face_fps)
    assert seen(plan, pose, face) == plan.source_indices(0, 10)
    assert Drivers(face=face).source_indices(plan, 0, face) == plan.source_indices(0, 10)


def test_the_pose_itself_goes_by_number():
    plan, pose = ChunkPlan(20, 17, 0), Source(10, 25)
    assert Drivers(pose=pose).source_indices(plan, 0, pose) == plan.source_indices(0, 10)


def test_without_continuation_a_video_must_last_as_long_as_the_pose():
    plan = ChunkPlan(60, 9, 4, "error")
    Drivers(pose=Source(60, 30), face=Source(32, 16)).check(plan)
    with pytest.raises(
        ValueError, match=r"face_video must have at least 32 frames when continuation is 'error'.*got 31"
    ):
        Drivers(pose=Source(60, 30), face=Source(31, 16)).check(plan)
    with pytest.raises(ValueError, match=r"face_video must have at least 60 frames .*got 32"):
        Drivers(pose=Source(60), face=Source(32, 16)).check(plan)


@pytest.mark.parametrize("name", ["face_video", "background_video", "character_mask"])
@pytest.mark.parametrize(
    ("total", "pose", "other", "ending"),
    [
        (60, (60, 30), (32, 16), None),
        (60, (60, 30), (31, 16), (31, 32)),
        # A pose that is continued itself: the others have to be as long as it is.
        (100, (60, 30), (60, 30), None),
        (100, (60, 30), (59, 30), (59, 60)),
        # An animation that is shorter.
        (40, (60, 30), (40, 30), None),
        (40, (60, 30), (39, 30), (39, 40)),
        # By number.
        (60, (60, None), (59, 16), (59, 60)),
    ],
)
def test_what_ends_before_the_pose_is_told(name, total, pose, other, ending):
    field = {"face_video": "face", "background_video": "background", "character_mask": "mask"}[name]
    drivers = Drivers(pose=Source(*pose), **{field: Source(*other)})
    assert drivers.ending_early(ChunkPlan(total, 9, 4)) == ([] if ending is None else [(name, *ending)])


def test_without_a_pose_nothing_ends_before_it():
    assert Drivers(face=Source(3, 25)).ending_early(ChunkPlan(60, 9, 4)) == []


def test_the_frames_of_a_chunk_are_read_once_when_they_are_first_asked_for():
    reads = []

    class Counted(Source):
        def read(self, indices):
            reads.append(list(indices))
            return super().read(indices)

    drivers, plan = Drivers(pose=Counted(40), face=Counted(40, 25)), ChunkPlan(40, 9, 4)
    chunk = drivers.chunk(plan, 2)
    assert reads == []
    pose = chunk.pose
    assert chunk.pose is pose and reads == [list(range(10, 19))]
    assert chunk.all().keys() == {"pose", "face"} and chunk.all()["pose"] is pose
    assert reads == [list(range(10, 19))] * 2
    assert chunk.background is chunk.mask is None
    # Another chunk reads its own.
    assert drivers.chunk(plan, 0).pose[:, 0, 0, 0].tolist() == list(range(9))
