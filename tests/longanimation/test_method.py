"""LongAnimation as a run sees it: windows, what they hand on, and runs that are stopped, changed and killed."""

import random
import signal

import pytest
import torch
from colour_runs import TOTAL, WINDOWS, colour_job, colour_method, exact_window, video_memory
from exact_parts import ExactCodec, Frames, exact_pictures
from refusals import refusal
from run_parts import Place, assert_same_result, in_child, killed_before_rename, posix_only, refused, video_of

from everanimate_core.longanimation.colour_score import colour_distance, colour_shares
from everanimate_core.longanimation.lines import STYLES, white_on_black
from everanimate_core.longanimation.settings import Settings
from everanimate_core.longanimation.windows import window_fusion
from everanimate_core.method import Sampled
from everanimate_core.plan import ChunkPlan
from everanimate_core.runs.store import RunError, RunFailed

CODEC = ExactCodec()


class ColourPlace(Place):
    """A run folder of a colouring."""

    def __init__(self, root, name="dance"):
        super().__init__(root, name, ExactCodec())

    def start(self, job, sample=exact_window, **options):
        return super().start(job, sample, **options)


@pytest.fixture
def place(tmp_path):
    return ColourPlace(tmp_path / "out")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of a run that was never interrupted."""
    place = ColourPlace(tmp_path_factory.mktemp("whole") / "out")
    place.start(colour_job())
    return place.result()


# --- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [16, 17])
def test_every_frame_once_for_every_length(overlap):
    for total in range(1, 2001):
        plan = Settings(overlap=overlap).plan(total)
        frames = [frame for index in range(plan.chunk_count) for frame in plan.output_range(index)]
        assert frames == list(range(total))
        # What is kept stands where the window read its line art.
        for index in range(plan.chunk_count):
            kept = plan.kept(index)
            assert plan.source_indices(index, total)[kept] == list(plan.output_range(index))


def test_the_tail_is_filled_with_the_last_line_art():
    plan = Settings().plan(100)
    assert plan == ChunkPlan(100, 81, 17, "hold")
    assert plan.source_indices(1, 100) == [*range(64, 100), *[99] * 45]


def test_what_a_window_is_told():
    method = colour_method()
    chunk = method.chunk(1)
    assert torch.equal(chunk.all()["lineart"], exact_pictures(50, seed=3)[8:25])
    tails = torch.randn(3, 16, 2, 2, 4)
    request = method.request({"tails": tails, "statistics": torch.zeros(2, 16)}, chunk, CODEC)
    assert request.latents_shape == (1, 16, 6, 2, 4)
    # Slot 0: the lines of the reference, here those of the first frame; then the window's.
    lines = white_on_black(exact_pictures(50, seed=3))
    assert torch.equal(request.sketch[:, :, :1], CODEC.encode(lines[:1]))
    assert torch.equal(request.sketch[:, :, 1:], CODEC.encode(lines[8:25]))
    assert torch.equal(request.reference[:, :, :1], CODEC.encode(exact_pictures(1, seed=4)))
    assert not request.reference[:, :, 1:].any()
    assert torch.equal(request.tails, tails)
    assert (request.index, request.memory) == (1, None)
    own = colour_method(reference_lineart=exact_pictures(1, seed=8))
    request = own.request({}, own.chunk(0), CODEC)
    assert torch.equal(request.sketch[:, :, :1], CODEC.encode(white_on_black(exact_pictures(1, seed=8))))
    assert request.tails is None


@pytest.mark.parametrize("style", STYLES)
def test_margins_of_line_art_are_paper(style):
    method = colour_method(height=32, fit="pad", lines=style, reference_lineart=exact_pictures(1, seed=8))
    for frames in (method.chunk(0).frames, method.reference_lineart):
        lines = white_on_black(frames, style)
        assert lines.any()
        assert not lines[:, :8].any() and not lines[:, 24:].any()
    # The picture in colour has black ones.
    assert not method.reference[:, :8].any()


def test_an_autoregressive_reference_is_the_frame_at_which_the_next_window_begins():
    method = colour_method(reference_mode="autoregressive")
    frames = exact_pictures(17, seed=5)
    after = method.hand_over({}, method.chunk(0), Sampled(torch.zeros(1, 16, 5, 2, 4)), frames, CODEC)
    assert torch.equal(after["next_reference"], frames[8:9])
    request = method.request(after, method.chunk(1), CODEC)
    assert torch.equal(request.reference[:, :, :1], CODEC.encode(frames[8:9]))
    # Its lines are the window's own first ones.
    assert torch.equal(request.sketch[:, :, 0], CODEC.encode(white_on_black(exact_pictures(50, seed=3)[8:9]))[:, :, 0])


class Counting(ExactCodec):
    """A codec that counts the frames that it encodes."""

    def __init__(self):
        self.encoded = []

    def encode(self, frames):
        self.encoded.append(len(frames))
        return super().encode(frames)


@pytest.mark.parametrize("mode", ["global", "autoregressive"])
@pytest.mark.parametrize("index", [0, 1])
def test_a_request_encodes_nothing_again_of_a_window_that_is_prepared(mode, index):
    method = colour_method(reference_mode=mode)
    state = {}
    if index:
        sampled = exact_window(method.request({}, method.chunk(0), CODEC), 0)
        frames = method.decode({}, sampled.latents, CODEC)
        state = method.hand_over({}, method.chunk(0), sampled, frames, CODEC)
    expected = method.request(state, method.chunk(index), CODEC)
    window, before, later = method.chunk(index), Counting(), Counting()
    method.prepare(window, before)
    request = method.request(state, window, later)
    assert torch.equal(request.sketch, expected.sketch)
    assert torch.equal(request.reference, expected.reference)
    # The reference of a later window is a frame of the one before, where it goes on from that.
    assert sorted(before.encoded + later.encoded) == [1, 1, 17]
    assert sorted(later.encoded) == ([1, 1] if index and mode == "autoregressive" else [])
    # Candidates share them.
    method.request(state, window, later)
    assert sorted(before.encoded + later.encoded) == [1, 1, 17]


def test_nothing_is_handed_on_before_the_colours_are_seen():
    method = colour_method()
    sampled = exact_window(method.request({}, method.chunk(0), CODEC), 0)
    assert method.handed_early({}, method.chunk(0), sampled) is None


@pytest.mark.parametrize(("overlap", "fuse", "count"), [(9, True, 2), (13, True, 3), (3, False, 0)])
def test_a_request_holds_the_end_that_the_next_window_was_made_from(overlap, fuse, count):
    method = colour_method(overlap=overlap, fuse=fuse)
    assert method.end_latents == count
    assert method.request({}, method.chunk(0), CODEC).end is None
    end = torch.zeros(1, 16, count, 2, 4)
    request = method.request({}, method.chunk(0), CODEC, end)
    assert request.end is end
    # It is held in the late steps, too.
    assert not fuse or window_fusion(request, method.settings).held


def test_all_that_is_kept_has_a_shape_and_its_size_is_known():
    for options in ({}, {"reference_mode": "autoregressive"}, {"fuse": False}, {"memory": video_memory()}):
        method = colour_method(**options)
        sampled = exact_window(method.request({}, method.chunk(0), CODEC), 0, method.settings)
        frames = method.decode({}, sampled.latents, CODEC)
        after = method.hand_over({}, method.chunk(0), sampled, frames, CODEC)
        kept = {"latents": sampled.latents, **sampled.extras, **method.keep({}, after)}
        shapes = method.shapes()
        for name, value in kept.items():
            assert all(size == known or known is None for size, known in zip(value.shape, shapes[name], strict=True))
        # Of the first window more frames are seen than of the others. The statistics are kept once.
        kept["seen"] = after.get("seen", torch.zeros(0, dtype=torch.uint8))[:8]
        sizes = {name: value.numel() * value.element_size() for name, value in kept.items()}
        assert method.kept_numbers(7) * 4 == 7 * sum(sizes[name] for name in sizes if name != "statistics")
        kept["seen"] = after.get("seen")
        recalled = method.recall({}, {name: value for name, value in kept.items() if value is not None})
        assert recalled.keys() == after.keys()
        assert all(torch.equal(recalled[name], after[name]) for name in after)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_frames": 80}, "window_frames must be 8n + 1, such as 73 or 81; got 80."),
        ({"window_frames": 85}, "window_frames must be 8n + 1, such as 81 or 89; got 85."),
        (
            {"overlap": 15},
            "overlap must be 4n + 1 and at least 5 where overlaps are blended, or 16 as released (17); got 15.",
        ),
        (
            {"overlap": 1},
            "overlap must be 4n + 1 and at least 5 where overlaps are blended, or 16 as released (17); got 1.",
        ),
        ({"overlap": 80, "fuse": False}, "overlap must be below window_frames - 1 (80); got 80."),
        ({"steps": 31}, "fuse_from must be below steps (31), or fuse must be off (31 of 50); got 31."),
        ({"blocks": "some"}, "blocks must be skip-layer, full, former half, latter half, or a list of numbers"),
        ({"cfg": float("nan")}, "cfg must be a number, not NaN or infinity (6.0); got nan."),
        ({"lines": "grey"}, "lines must be one of dark_on_light, light_on_dark (dark_on_light); got grey."),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    assert refusal(Settings, **changes).startswith(message)


def test_without_fusion_any_overlap_serves():
    assert Settings(overlap=15, fuse=False).plan(200).stride == 66
    assert Settings(overlap=141, window_frames=161).plan(200).stride == 20


def test_pictures_that_do_not_fit_are_refused():
    assert refusal(colour_method, reference=exact_pictures(2)) == "reference must be one picture; got 2."
    message = "reference_lineart must be one picture; got 3."
    assert refusal(colour_method, reference_lineart=exact_pictures(3)) == message
    assert refusal(colour_method, lineart=Frames(exact_pictures(0))) == "lineart must have at least 1 frame; got 0."


def test_tails_of_another_run_are_refused():
    method = colour_method()
    request = method.request({"tails": torch.zeros(4, 16, 2, 2, 4)}, method.chunk(1), CODEC)
    assert refusal(window_fusion, request, method.settings) == (
        "the window before must have been made with as many steps, fuse_from, overlap and size ([3, 16, 2, 2, 4]: late "
        "steps, channels, latents, height, width); got [4, 16, 2, 2, 4]."
    )


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_has_every_frame(place, whole):
    outcome = place.start(colour_job())
    assert place.made == list(range(WINDOWS))
    # All windows share their noise.
    assert place.seeds == [0] * WINDOWS
    assert len(video_of(place.path)[0]) == TOTAL
    assert_same_result(place.result(), whole)
    assert outcome.report["frames"] == TOTAL
    place.start(colour_job())
    assert (place.made, place.kept) == ([], list(range(WINDOWS)))


def test_a_longer_animation_keeps_the_windows(place, whole):
    place.start(colour_job(17))
    place.start(colour_job())
    assert (place.kept, place.made) == ([0], [1, 2, 3])
    assert_same_result(place.result(), whole)


def test_a_longer_animation_uses_a_last_window_that_was_cut(place):
    """What it hands on, and its score, are those of all frames that it adds where it is followed by another."""
    for total in (34, 42):
        place.start(colour_job(total))
    assert (place.kept, place.made) == ([0, 1, 2, 3], [4])
    longer = ColourPlace(place.root / "longer")
    longer.start(colour_job(42))
    assert_same_result(place.result(), longer.result())


def test_from_a_window_on_with_another_seed(place):
    place.start(colour_job())
    before = place.files(0, 1)
    place.start(colour_job(seed=5), from_chunk=2)
    assert (place.kept, place.made, place.seeds) == ([0, 1], [2, 3], [5, 5])
    assert place.files(0, 1) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blocks": "full"}, "blocks was skip-layer and is full"),
        ({"reference": exact_pictures(1, seed=9)}, "the reference is another one"),
        ({"steps": 7}, "steps was 6 and is 7"),
        ({"fuse": False}, "fuse was True and is False"),
    ],
)
def test_with_another_setting_the_next_take_is_opened(place, changes, said):
    place.start(colour_job(17))
    before, video = place.files(), place.path.read_bytes()
    other = colour_job(17, **changes)
    message = refused(place.start, other, on_change="stop", kind=RunError)
    assert message == (
        "this run was made with other settings (on_change new take: finished chunks stay, and those that are still "
        f"right are used); got {said}."
    )
    assert place.store.take_numbers() == [1]
    place.start(other, lambda request, seed: exact_window(request, seed, other.method.settings))
    assert (place.made, place.kept, place.said) == ([0], [], [f"take 2 is opened: {said}"])
    assert place.files(number=1) == before
    assert (place.store.folder / "takes" / "00001.mp4").read_bytes() == video
    # Back again: there is nothing to be made.
    place.start(colour_job(17))
    assert (place.made, place.kept, place.take().number) == ([], [0], 3)
    assert place.take(3).chunks == place.take(1).chunks
    assert place.path.read_bytes() == video


def test_changed_line_art_makes_the_windows_again_that_see_it(place):
    place.start(colour_job())
    frames = exact_pictures(50, seed=3)
    frames[30] = 0.5
    place.start(colour_job(lineart=Frames(frames)))
    # Window 2 sees frames 16..32, window 3 frames 24..40.
    assert (place.kept, place.made) == ([0, 1], [2, 3])


def test_a_run_of_the_other_method_is_refused(place):
    from run_parts import small_job

    other = Place(place.root, "dance")
    other.start(small_job(14))
    rule = "this run is one of another method (choose another run name or --out)"
    assert refused(place.start, colour_job(), kind=RunError) == f"{rule}; got longanimation (was everanimate)."
    coloured = ColourPlace(place.root, "coloured")
    coloured.start(colour_job(17))
    back = Place(place.root, "coloured")
    assert refused(back.start, small_job(14), kind=RunError) == f"{rule}; got everanimate (was longanimation)."


@pytest.mark.parametrize("spoil", [lambda tails: tails * float("nan"), lambda tails: tails[:2]])
def test_tails_that_can_be_of_no_use_are_refused_before_they_are_kept(place, spoil):
    def sample(request, seed):
        made = exact_window(request, seed)
        return Sampled(made.latents, {"tails": spoil(made.extras["tails"])}) if request.index else made

    message = refused(place.start, colour_job(), sample, kind=RunFailed)
    assert "Nothing of it was kept. 1 finished chunks are kept" in message
    assert len(list(place.store.folder.glob("chunks/*.safetensors"))) == 1


@posix_only
def test_killed_at_ten_moments_a_run_ends_as_if_nothing_had_happened(tmp_path, whole):
    """SIGKILL before the n-th file is given its name, at ten moments of a run of four windows."""
    moments = random.Random(0).sample(range(4 * WINDOWS + 3), 10)
    killed = 0
    for number, moment in enumerate(moments):
        place = ColourPlace(tmp_path / f"{number}")
        killed += killed_before_rename(moment, place.root, lambda place=place: place.start(colour_job()))
        place.start(colour_job())
        assert_same_result(place.result(), whole)
    assert killed >= 8


@posix_only
def test_killed_while_a_window_is_sampled(place, whole):
    import os

    def sample(request, seed):
        if request.index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return exact_window(request, seed)

    assert in_child(lambda: place.start(colour_job(), sample)) == signal.SIGKILL
    place.start(colour_job())
    # Window 1 was finished beside the sampling, or not yet; it was sampled before.
    assert place.kept in ([0, 1], [0])
    assert place.made == [2, 3]
    assert_same_result(place.result(), whole)


# --- the score of a window -------------------------------------------------------------------------------------------


def test_the_window_whose_colours_are_nearest_is_taken(place):
    place.start(colour_job(seed_mode="increment"), candidates=3)
    method = colour_method(seed_mode="increment")
    assert place.outcome.report["score"] == "colour distance"
    state = method.start()
    for index, chunk in enumerate(place.take().chunks):
        scores = [other.score for other in chunk.candidates]
        assert None not in scores
        # The first window is compared with the reference.
        assert chunk.key == chunk.candidates[scores.index(min(scores))].key
        assert chunk.score == min(scores)
        made = method.chunk(index), Sampled(place.latents()[index])
        frames = method.decode(state, made[1].latents, CODEC)
        assert chunk.score == round(method.score(state, *made, frames), 6)
        state = method.hand_over(state, *made, frames, CODEC)
    assert len({tuple(other.score for other in chunk.candidates) for chunk in place.take().chunks}) > 1


def test_a_window_is_compared_with_the_reference_and_the_animation_so_far():
    method = colour_method()
    frames = method.decode({}, torch.zeros(1, 16, 5, 2, 4), CODEC)
    sampled = Sampled(torch.zeros(1, 16, 5, 2, 4))
    after = method.hand_over({}, method.chunk(0), sampled, frames, CODEC)
    assert torch.equal(after["colours"], colour_shares(frames))
    first = method.score({}, method.chunk(0), sampled, frames)
    assert first == colour_distance(colour_shares(frames), [colour_shares(method.reference)]) > 0
    # What it shares with the animation so far, it has already.
    assert method.score(after, method.chunk(1), sampled, frames) == pytest.approx(first / 2)
