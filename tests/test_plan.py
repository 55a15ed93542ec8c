"""The frame map: every frame of the animation comes from one chunk, and from the right frame of its source."""

import random

import pytest
from refusals import refusal

from everanimate_core.everanimate.geometry import ChunkGeometry, chunk_geometry
from everanimate_core.plan import CONTINUATIONS, ChunkPlan, continued_index, ends_short, more_even


def plan_of(total_frames, chunk_frames=77, overlap=4, continuation="pingpong"):
    """A plan of the released chunks, unless other ones are asked for."""
    return ChunkPlan(total_frames, chunk_frames, overlap, continuation)


def assert_exact_cover(plan):
    """Frames 0..total - 1 come from exactly one chunk each, in order, from local frame i - k (F - O)."""
    following = 0
    for index in range(plan.chunk_count):
        supplied, kept = plan.output_range(index), plan.kept(index)
        assert supplied.start == following, plan
        assert len(supplied) >= 1, plan  # a chunk that supplies nothing would be sampled in vain
        following = supplied.stop
        start = index * (plan.chunk_frames - plan.overlap)
        assert kept == slice(supplied.start - start, supplied.stop - start), plan
        assert 0 <= kept.start < kept.stop <= plan.chunk_frames, plan
        assert kept.start == (plan.overlap if index else 0), plan
    assert following == plan.total_frames, plan


def sampled_plans(count):
    choose = random.Random(2605)
    for _ in range(count):
        frames = 4 * choose.randint(1, 40) + 1
        yield plan_of(choose.randint(1, 6 * frames), frames, choose.randint(0, frames - 2))


def test_every_total_up_to_3000_is_covered_exactly_once():
    for total in range(1, 3001):
        assert_exact_cover(plan_of(total))


def test_sampled_geometries_are_covered_exactly_once():
    lengths = set()
    for plan in sampled_plans(500):
        assert_exact_cover(plan)
        lengths.add(plan.chunk_frames)
    assert {5, 161} <= lengths


def test_kept_frames_show_the_source_frame_of_their_own_number():
    for plan in sampled_plans(100):
        shown = []
        for index in range(plan.chunk_count):
            shown += plan.source_indices(index, plan.total_frames)[plan.kept(index)]
        assert shown == list(range(plan.total_frames)), plan


def test_90_seconds_at_25_frames_take_31_chunks():
    plan = plan_of(2250)
    assert (plan.stride, plan.chunk_count) == (73, 31)
    assert plan.kept(0) == slice(0, 77)
    assert plan.kept(1) == slice(4, 77)
    # Chunk 30 starts at frame 30 * 73 = 2190 and is cut to the 60 frames that are left.
    assert plan.kept(30) == slice(4, 60)
    assert plan.output_range(30) == range(2194, 2250)


@pytest.mark.parametrize(("total", "chunks"), [(1, 1), (76, 1), (77, 1), (78, 2), (150, 2), (151, 3), (223, 3)])
def test_chunk_count_at_the_borders(total, chunks):
    assert plan_of(total).chunk_count == chunks


@pytest.mark.parametrize("chunks", [2, 10**6, 2**53, 2**53 + 1, 10**30])
def test_chunk_count_of_huge_numbers(chunks):
    """Quotients of floats are rounded from 2^53 on."""
    longest = 77 + (chunks - 1) * 73
    for total, count in ((longest - 73 + 1, chunks), (longest, chunks), (longest + 1, chunks + 1)):
        assert plan_of(total).chunk_count == count


def test_chunks_without_overlap_stand_end_to_end():
    plan = plan_of(12, chunk_frames=5, overlap=0)
    assert [plan.output_range(index) for index in range(plan.chunk_count)] == [
        range(0, 5), range(5, 10), range(10, 12),
    ]  # fmt: skip


CONTINUED = {
    ("pingpong", 1): [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ("pingpong", 2): [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
    ("pingpong", 5): [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3, 4, 3],
    ("loop", 1): [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ("loop", 2): [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
    ("loop", 5): [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3],
    ("hold", 1): [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ("hold", 2): [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    ("hold", 5): [0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4],
}


@pytest.mark.parametrize(("continuation", "length"), CONTINUED)
def test_continuation_written_out(continuation, length):
    expected = CONTINUED[continuation, length]
    assert [continued_index(i, length, continuation) for i in range(14)] == expected
    plan = plan_of(14, chunk_frames=9, overlap=4, continuation=continuation)
    assert plan.source_indices(0, length) == expected[0:9]
    assert plan.source_indices(1, length) == expected[5:14]
    plan.check_source("pose_video", length)


def test_pingpong_is_the_default():
    assert plan_of(14).continuation == "pingpong"
    assert plan_of(14, 9).source_indices(1, 5) == CONTINUED["pingpong", 5][5:14]


def test_error_refuses_a_source_shorter_than_the_animation():
    plan = plan_of(10, chunk_frames=9, overlap=4, continuation="error")
    plan.check_source("pose_video", 10)
    assert refusal(plan.check_source, "face_video", 9) == (
        "face_video must have at least 10 frames when continuation is 'error' "
        "(choose pingpong, loop or hold to continue a shorter one); got 9."
    )


def test_error_turns_back_in_the_tail_that_is_cut_away():
    # 10 frames: chunk 1 sees 5..13, of which 10..13 are cut away again; the source is long enough all the same.
    plan = plan_of(10, chunk_frames=9, overlap=4, continuation="error")
    assert plan.source_indices(1, 10) == [5, 6, 7, 8, 9, 8, 7, 6, 5]
    assert plan.source_indices(1, 12) == [5, 6, 7, 8, 9, 10, 11, 10, 9]
    assert plan.source_indices(1, 10)[plan.kept(1)] == [9]


def test_error_holds_a_source_of_one_frame():
    plan = plan_of(1, chunk_frames=5, overlap=0, continuation="error")
    plan.check_source("pose_video", 1)
    assert plan.source_indices(0, 1) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("continuation", CONTINUATIONS)
def test_an_empty_source_is_refused(continuation):
    plan = plan_of(10, continuation=continuation)
    expected = "background_video must have at least 1 frame; got 0."
    assert refusal(plan.check_source, "background_video", 0) == expected


def test_geometry_of_a_memory():
    plan = plan_of(500, chunk_frames=81, overlap=8)
    assert chunk_geometry(plan, anchors=2, motion=3) == ChunkGeometry(frames=81, anchors=2, motion=3, overlap=8)


@pytest.mark.parametrize("total", [0, -5])
def test_at_least_one_frame(total):
    assert refusal(plan_of, total) == f"total_frames must be at least 1 (250); got {total}."


def test_illegal_chunks_are_refused():
    assert refusal(plan_of, 100, chunk_frames=78) == (
        "chunk_frames must be 4n + 1 and at least 5 (5, 33, 77, 81); got 78."
    )
    assert refusal(plan_of, 100, overlap=76) == ("overlap must lie between 0 and chunk_frames - 2 (0..75); got 76.")


def test_unknown_continuation_is_refused_by_name():
    assert refusal(plan_of, 100, continuation="mirror") == (
        "continuation must be one of pingpong, loop, hold, error; got 'mirror'."
    )


@pytest.mark.parametrize("index", [-1, 2])
def test_chunks_outside_the_plan_are_refused(index):
    plan = plan_of(100)
    plan.check_index(0)
    plan.check_index(1)
    rule = "chunk_index must be between 0 and 1 (2 chunks make 100 frames)"
    assert refusal(plan.check_index, index) == f"{rule}; got {index}."


def test_a_chunk_begins_with_the_last_frames_of_the_one_before():
    for plan in sampled_plans(100):
        made = []
        for index in range(plan.chunk_count):
            seen = plan.source_indices(index, plan.total_frames)
            carried = plan.carried(index)
            plan.check_previous(index, len(made))
            assert seen[:carried] == made[len(made) - carried :], plan
            made += seen[plan.kept(index)]


def test_what_comes_before_a_chunk():
    plan = plan_of(19, 9, 4)
    rule = (
        "must have at least as many frames as overlap (4 for chunk {}, of the chunk before or of all so far); got {}."
    )
    for index, length, message in (
        (0, 9, "must not be connected for chunk 0 (no frames come before it); got 9 frames."),
        (1, 0, rule.format(1, "none")),
        (2, 3, rule.format(2, 3)),
    ):
        assert refusal(plan.check_previous, index, length) == f"previous {message}"
    for index, length in ((0, 0), (1, 4), (2, 14)):
        plan.check_previous(index, length)
    assert [plan.carried(index) for index in range(3)] == [0, 4, 4]


def test_without_an_overlap_nothing_has_to_come_before_a_chunk():
    plan = plan_of(12, 5, 0)
    assert plan.carried(1) == 0
    plan.check_previous(1, 0)
    plan.check_previous(1, 5)


def test_joins_are_where_chunks_begin():
    assert plan_of(20, 9, 4).joins == [9, 14, 19]
    assert plan_of(9, 9, 4).joins == []


# Chunks of 77 frames, of which 4 are shared, end at 77, 150, 223.
@pytest.mark.parametrize(("total", "added"), [(20, 20), (77, 77), (78, 1), (150, 73), (153, 3), (223, 73)])
def test_what_the_last_chunk_adds(total, added):
    assert plan_of(total).last_added == added


@pytest.mark.parametrize(
    # 18 frames are less than a quarter of 73, 19 are more. One chunk alone is never too short.
    ("total", "short"),
    [(1, False), (77, False), (78, True), (77 + 18, True), (77 + 19, False), (150, False), (151, True)],
)
def test_when_the_end_is_short(total, short):
    assert ends_short(plan_of(total)) == short


def test_exactly_a_quarter_is_not_short():
    # Each chunk after the first adds 8.
    assert [ends_short(plan_of(9 + added, 9, 1)) for added in (1, 2)] == [True, False]


@pytest.mark.parametrize(
    ("plan", "length"),
    [
        # 81: the second chunk adds 72 of 77. 73: 73 + 69 = 142, and 11 of 69 are too few.
        (plan_of(153), 81),
        # One chunk of 81 for 78 frames; with 73 the second would add 5.
        (plan_of(78), 81),
        # 13: 13 + 13 = 26, and 11 of 13. 5: seven chunks are 35, and 2 of 5 are too few.
        (plan_of(37, 9, 0), 13),
        # Both neighbours would do, 5 + 5 and 10 of 13: the shorter is taken.
        (plan_of(10, 9, 0), 5),
        # 73: 73 + 8 x 69 = 625, and 40 of 69. 81: 81 + 7 x 77 = 620, and 45 of 77.
        (plan_of(665), 73),
    ],
)
def test_a_length_that_divides_more_evenly(plan, length):
    assert more_even(plan, range(5, 162, 4)) == length


def test_a_length_that_divides_more_evenly_is_none_of_those_that_the_overlap_forbids():
    assert more_even(plan_of(78, overlap=60), range(5, 62, 4)) is None
    assert more_even(plan_of(78), range(77, 78)) is None


def test_a_length_that_divides_more_evenly_is_the_nearest_by_counting():
    def ends_well(total, frames, overlap):
        supplied = [frames]
        while sum(supplied) < total:
            supplied.append(frames - overlap)
        return 2 * (supplied[-1] - (sum(supplied) - total)) >= supplied[-1]

    for plan in sampled_plans(300):
        good = [n for n in range(5, 162, 4) if n - 2 >= plan.overlap and ends_well(plan.total_frames, n, plan.overlap)]
        best = min(good, key=lambda n: (abs(n - plan.chunk_frames), n), default=None)
        assert more_even(plan, range(5, 162, 4)) == best, plan
