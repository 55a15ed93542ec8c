"""A colouring with memory as a run sees it: what each window is told of the frames so far, and runs that are killed."""

import random

import pytest
import torch
from colour_runs import TOTAL, WINDOWS, colour_job, colour_method, exact_window, video_memory
from exact_parts import ExactCodec, exact_pictures
from run_parts import Place, assert_same_result, in_child, killed_before_rename, posix_only
from safetensors.torch import load_file

from everanimate_core.longanimation.remembering import remembering as remembering_of
from everanimate_core.method import Sampled

CODEC = ExactCodec()
# Two whole windows of the video model and a part of one.
SETTINGS = {"memory_frames": 20, "local_frames": 4}


def remembering(total=TOTAL, overlap=9, fuse=True, **settings):
    return colour_job(total, memory=video_memory(**(SETTINGS | settings)), overlap=overlap, fuse=fuse)


class MemoryPlace(Place):
    """A run folder of a colouring, and the memory that each window was told of."""

    def __init__(self, root):
        super().__init__(root, "dance", CODEC)

    def start(self, job, **options):
        self.told = {}

        def sample(request, seed):
            self.told[request.index] = request.memory
            return exact_window(request, seed, job.method.settings)

        return super().start(job, sample, **options)


@pytest.fixture
def place(tmp_path):
    return MemoryPlace(tmp_path / "out")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of a run that was never interrupted."""
    place = MemoryPlace(tmp_path_factory.mktemp("whole") / "out")
    place.start(remembering())
    return place.result()


def frames_of(place, method):
    """All frames of a finished run, as they were decoded."""
    parts = [method.decode({}, latents, CODEC)[method.plan.kept(k)] for k, latents in enumerate(place.latents())]
    return torch.cat(parts)


WAYS = [{}, {"memory_append": True}, {"memory_append": True, "memory_frames": 10}, {"memory_frames": 0}]
WAYS += [{"local_frames": 0, "memory_frames": 10}, {"local_frames": 0, "memory_frames": 10, "memory_append": True}]
WAYS += [{"memory_append": True, "memory_frames": 0}]


@pytest.mark.parametrize("way", WAYS)
def test_a_window_is_told_of_all_frames_before_it(place, way):
    place.start(remembering(**way))
    assert place.made == list(range(WINDOWS))
    frames = frames_of(place, colour_method())
    assert len(frames) == TOTAL
    assert place.told[0] is None
    memory = video_memory(**(SETTINGS | way))
    for index in range(1, WINDOWS):
        before = frames[: place.take().chunks[index].start]
        assert torch.equal(place.told[index], memory.remember(memory.model.crops(before))[0])


def test_the_memory_decides_what_a_window_becomes(place, whole):
    place.start(colour_job())
    latents = place.latents()
    other = MemoryPlace(place.root / "other")
    other.start(remembering())
    assert_same_result(other.result(), whole)
    same = [torch.equal(one, two) for one, two in zip(latents, other.latents(), strict=True)]
    assert same == [True, False, False, False]


def test_only_what_is_new_is_kept_of_what_is_seen(place):
    place.start(remembering())
    seen = [load_file(place.chunk_path(index))["seen"] for index in range(WINDOWS)]
    assert [len(part) for part in seen] == [17, 8, 8, 8]
    assert torch.equal(torch.cat(seen), video_memory().model.crops(frames_of(place, colour_method())))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_seen_is_handed_on_as_it_is_recalled(way):
    method, state = colour_method(memory=video_memory(**(SETTINGS | way))), {}
    recalled = {}
    for index in range(4):
        chunk, sampled = method.chunk(index), Sampled(torch.full((1, 16, 5, 2, 4), 0.1 * index))
        sampled = Sampled(sampled.latents, {"tails": torch.zeros(3, 16, 2, 2, 4)})
        after = method.hand_over(state, chunk, sampled, exact_pictures(17, seed=index), CODEC)
        recalled = method.recall(recalled, {**method.keep(state, after), "latents": sampled.latents, **sampled.extras})
        assert recalled.keys() == after.keys()
        assert all(torch.equal(recalled[name], after[name]) for name in after)
        state = after
    whole = ({"memory_append": True, "memory_frames": 0}, *(way for way in WAYS if "memory_append" not in way))
    if way in whole:
        assert state["seen"].shape == (41, 32, 32, 3)


@pytest.mark.parametrize("way", [{}, {"memory_append": True}])
def test_a_longer_animation_uses_a_last_window_that_was_cut(place, way):
    """Of 34 frames the last window shows one; in 42 it is followed by another, which is told of all that it shows."""
    for total in (34, 42):
        place.start(remembering(total, **way))
    assert (place.made, place.kept) == ([WINDOWS], list(range(WINDOWS)))
    longer = MemoryPlace(place.root / "longer")
    longer.start(remembering(42, **way))
    assert_same_result(place.result(), longer.result())


def test_windows_that_fill_none_of_the_video_model_are_kept(place):
    """They add two frames each, and the video model reads three at once."""
    job = remembering(25, memory_append=True, overlap=15, fuse=False)
    place.start(job)
    frames, memory = frames_of(place, job.method), video_memory(memory_append=True, **SETTINGS)
    for index in range(1, 5):
        before = frames[: place.take().chunks[index].start]
        assert torch.equal(place.told[index], memory.remember(memory.model.crops(before))[0])
    place.start(job)
    assert (place.made, place.kept) == ([], list(range(5)))


def test_with_append_what_is_handed_on_does_not_grow():
    memory = video_memory(memory_frames=10, local_frames=4, memory_append=True)
    way, state, sizes, kept = remembering_of(memory), {}, [], []
    # Windows of the animation that end anywhere in those of the video model, which have 3 frames.
    for index, frames in enumerate((17, 8, 8, 8, 8, 8, 8)):
        after = way.after(state, exact_pictures(frames, seed=index))
        kept.append({name: value.shape for name, value in way.keep(state, after).items()})
        state = after
        sizes.append(sum(value.numel() * value.element_size() for value in state.values()))
    assert set(sizes) == {sizes[0]}
    # Two beacons of 10 frames, behind a prefix of 14 tokens, in 5 layers.
    assert state["past"].shape == (2, 5, 14 + 20, 32)
    assert (state["count"].item(), len(state["seen"])) == (65, 4)
    # 17, 25, 33, ... frames: 15, 24, 33, 39, 48, 57, 63 of them are read.
    assert [shapes["past"][2] for shapes in kept] == [34, 18, 18, 12, 18, 18, 12]


def test_how_much_of_a_memory_is_kept():
    for settings in ({}, {"memory_append": True}):
        way, state = remembering_of(video_memory(local_frames=4, **settings)), {}
        for index in range(2):
            after = way.after(state, exact_pictures(9, seed=index))
            kept = way.keep(state, after)
            state = after
        total = sum(value.numel() * value.element_size() for name, value in kept.items() if name != "count")
        assert way.kept_numbers(9) * 4 == total


def test_what_is_held_in_memory_is_not_misled():
    """Another video, or fewer frames than before: what is held of others is of no use then."""
    memory = video_memory(local_frames=1)
    way, read = remembering_of(memory), []
    seen = memory.model.crops(exact_pictures(14))
    hook = memory.model.vision.tower.register_forward_hook(lambda _, inputs, __: read.append(len(inputs[0])))
    other = seen.flip(0)
    for crops, new in ((seen[:8], 8), (seen[:10], 4), (seen[:5], 5), (other[:8], 8), (other[:14], 8), (seen[:8], 8)):
        read.clear()
        found = way.memory({"seen": crops})
        assert sum(read) == new + 1
        assert torch.equal(found, memory.remember(crops)[0])
    hook.remove()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"memory_frames": 30}, "memory_frames was 20 and is 30"),
        ({"local_frames": 0}, "local_frames was 4 and is 0"),
        ({"memory_append": True}, "memory_append was False and is True"),
    ],
)
def test_another_memory_opens_the_next_take(place, settings, said):
    place.start(remembering())
    place.start(remembering(**settings))
    assert place.said == [f"take 2 is opened: {said}"]
    assert place.made == list(range(WINDOWS))


def test_without_memory_its_settings_decide_nothing():
    facts = colour_method().constants()
    assert not facts.keys() & {"memory_frames", "local_frames", "memory_append"}
    assert colour_method(memory=video_memory()).constants().keys() - facts.keys() == {
        "memory_frames",
        "local_frames",
        "memory_append",
    }


def test_a_window_made_alone_is_told_of_the_frames_before_it(place):
    place.start(remembering())
    told = place.told
    before = place.files(0, 1) | place.files(3, 3)
    job = colour_job(memory=video_memory(**SETTINGS), seed=5)
    place.start(job, only_chunk=2)
    assert place.made == [2]
    assert torch.equal(place.told[2], told[2])
    assert place.files(0, 1) | place.files(3, 3) == before


@posix_only
@pytest.mark.parametrize("append", [False, True])
def test_killed_at_ten_moments_a_run_with_memory_ends_as_if_nothing_had_happened(tmp_path, append):
    # After ten frames the oldest are forgotten, or chosen anew.
    job = remembering(memory_frames=10, memory_append=append)
    expected = MemoryPlace(tmp_path / "expected")
    expected.start(job)
    killed = 0
    for moment in sorted(random.Random(7).sample(range(1, 34), 10)):
        place = MemoryPlace(tmp_path / str(moment))
        killed += killed_before_rename(moment, place.root, lambda place=place: place.start(job))
        place.start(remembering(memory_frames=10, memory_append=append))
        assert_same_result(place.result(), expected.result())
    assert killed >= 8


@posix_only
def test_a_start_that_finds_all_windows_remembers_nothing(place):
    assert in_child(lambda: place.start(remembering())) == 0
    memory, looked = video_memory(**SETTINGS), []
    memory.model.vision.register_forward_hook(lambda *_: looked.append(1))
    place.start(colour_job(memory=memory))
    assert (place.made, looked) == ([], [])
