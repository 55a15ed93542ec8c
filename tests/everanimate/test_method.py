"""EverAnimate as a run sees it: the states that are handed on are the memory, kept and recalled bit for bit."""

from dataclasses import fields, replace

import pytest
import torch
from exact_parts import ExactCodec, Frames, exact_pictures, exact_sampler

from everanimate_core.errors import InputError
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.memory import ContextMemory
from everanimate_core.everanimate.method import ever_animate
from everanimate_core.everanimate.propagation import animate, request_chunk
from everanimate_core.everanimate.settings import Settings
from everanimate_core.method import Sampled

CODEC = ExactCodec()


def method_of(references=1, **settings):
    """An animation of 19 frames in three chunks of 9."""
    drivers = Drivers(pose=Frames(exact_pictures(24, seed=1)))
    settings = Settings(**({"chunk_frames": 9, "overlap": 4} | settings))
    return ever_animate(exact_pictures(references), CODEC, drivers, settings, 32, 16, total_frames=19)


def assert_same(one, other):
    """A run counts its chunks itself: its memories do not know theirs."""
    assert one.made_by is one.plan is None
    other = replace(other, made_by=None, plan=None)
    for part in fields(ContextMemory):
        mine, theirs = getattr(one, part.name), getattr(other, part.name)
        assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs, part.name


def made(method, index, state):
    """A chunk by the steps of a run: what was sampled, its frames, and the state that it leaves."""
    chunk = method.chunk(index)
    sampled = Sampled(exact_sampler(method.request(state, chunk, CODEC), method.noise_seed(index)))
    frames = method.decode(state, sampled.latents, CODEC)
    return sampled, frames, method.hand_over(state, chunk, sampled, frames, CODEC)


@pytest.mark.parametrize("references", [1, 2, 4])
@pytest.mark.parametrize("settings", [{}, {"motion_latents": 2, "latent_context": True}, {"restore_strength": 1.0}])
def test_the_steps_of_a_run_are_the_loop(references, settings):
    method = method_of(references, **settings)
    loop = animate(method.plan, method.memory, exact_sampler, CODEC, method.drivers, method.settings)
    state = method.start()
    for index, expected in enumerate(loop):
        sampled, frames, after = made(method, index, state)
        assert torch.equal(sampled.latents, expected.latents)
        assert torch.equal(frames[method.plan.kept(index)], expected.frames)
        assert_same(method.memory_of(after), expected.memory)
        # What is on disk is enough to go on with.
        kept = {"latents": sampled.latents, **method.keep(state, after)}
        assert_same(method.memory_of(method.recall(state, kept)), expected.memory)
        state = after
    assert index == method.plan.chunk_count - 1 == 2


@pytest.mark.parametrize(("references", "first"), [(1, {"identity", "statistics", "last_frames"}), (4, None)])
def test_only_what_changed_is_kept(references, first):
    method = method_of(references)
    start = method.start()
    *_, after = made(method, 0, start)
    assert method.keep(start, after).keys() == (first or {"statistics", "last_frames"})
    *_, later = made(method, 1, after)
    assert method.keep(after, later).keys() == {"last_frames"}


def test_all_that_is_kept_has_a_shape_and_its_size_is_known():
    method = method_of()
    start, shapes = method.start(), method.shapes()
    sampled, _, after = made(method, 0, start)
    kept = {"latents": sampled.latents, **method.keep(start, after)}
    assert kept.keys() == shapes.keys()
    for name, value in kept.items():
        assert all(wanted in (None, size) for wanted, size in zip(shapes[name], value.shape, strict=True)), name
    # Where CLIP looks at the reference, no frame is kept.
    frame = 3 * method.width * method.height
    assert method_of(clip_source="reference").kept_numbers(5) == method.kept_numbers(5) - 5 * frame
    # The statistics, 32 numbers once, are not counted.
    assert method.kept_numbers(1) == sum(value.numel() for value in kept.values()) - 32
    assert method.kept_numbers(5) == 5 * method.kept_numbers(1) - 4 * kept["identity"].numel()


def test_keyframes_go_by_the_seed_of_the_first_start_noise_by_that_of_this_one():
    method, other = method_of(seed=11), method_of(seed=11).begun_with(3)
    assert (method.noise_seed(2), method.seed) == (11 + 84, 11)
    *_, first = made(method_of(seed=3), 0, method.start())
    start = method.start()
    chunk = method.chunk(0)
    latents = exact_sampler(method.request(start, chunk, CODEC), method_of(seed=3).noise_seed(0))
    frames = method.decode(start, latents, CODEC)
    after = other.hand_over(start, chunk, Sampled(latents), frames, CODEC)
    assert torch.equal(after["identity"], first["identity"])
    own = method.hand_over(start, chunk, Sampled(latents), frames, CODEC)
    assert not torch.equal(own["identity"], first["identity"])


def test_a_memory_that_is_complete_stays_frozen():
    method = method_of(4)
    assert method.memory_of(method.start()).frozen
    assert not method_of(1).memory_of(method_of(1).start()).frozen
    half_way = replace(method, memory=method.memory_of(made(method, 0, method.start())[2]))
    assert_same(half_way.memory_of(half_way.start()), half_way.memory)
    request = half_way.request(half_way.start(), half_way.chunk(1), CODEC)
    expected = request_chunk(half_way.chunk(1), half_way.memory, CODEC, half_way.settings)
    assert torch.equal(request.context.y, expected.context.y)


# --- what is known early ---------------------------------------------------------------------------------------------


class Refusing:
    """A codec for whoever must not need one."""

    def encode(self, frames):
        raise AssertionError("encoded")

    def decode(self, latents):
        raise AssertionError("decoded")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_request_encodes_nothing_of_a_chunk_that_is_prepared(replaced):
    method = method_of()
    if replaced:
        scene, mask = (Frames(exact_pictures(24, seed=seed)) for seed in (2, 3))
        method = replace(method, drivers=replace(method.drivers, background=scene, mask=mask))
    *_, state = made(method, 0, method.start())
    expected = method.request(state, method.chunk(1), CODEC)
    chunk = method.chunk(1)
    method.prepare(chunk, CODEC)
    for _ in range(2):  # two candidates
        request = method.request(state, chunk, Refusing())
        assert torch.equal(request.pose_latents, expected.pose_latents)
        assert torch.equal(request.context.y, expected.context.y)
        assert torch.equal(request.context.mask, expected.context.mask)
    assert chunk.latents.keys() == ({"pose", "background"} if replaced else {"pose"})


def test_a_chunk_of_another_size_is_refused_as_it_is_prepared():
    method = method_of()
    method = replace(method, drivers=Drivers(pose=Frames(exact_pictures(24, 32, 32))))
    with pytest.raises(InputError, match="driving videos must be fitted to 32x16; got 32x32"):
        method.prepare(method.chunk(0), CODEC)


@pytest.mark.parametrize("references", [1, 4])
@pytest.mark.parametrize("settings", [{}, {"clip_source": "reference"}, {"clip_source": "reference", "overlap": 5}])
def test_what_is_handed_on_is_known_early_where_no_frame_is_looked_at(references, settings):
    method = method_of(references, **settings)
    state, early = method.start(), []
    for index in range(3):
        chunk = method.chunk(index)
        sampled, _, after = made(method, index, state)
        found = method.handed_early(state, chunk, sampled)
        early.append(found is not None)
        if found is not None:
            assert found.keys() == after.keys()
            assert all(torch.equal(found[name], after[name]) for name in after)
            assert method.keep(state, found).keys() == method.keep(state, after).keys()
        assert ("last_frames" in after) == (method.settings.clip_source == "last_frame")
        state = after
    # The first chunk completes the identity memory, where the references do not.
    assert early == ([references == 4, True, True] if settings else [False] * 3)


def test_a_chunk_that_was_handed_a_frame_hands_one_on():
    """So did the chunks of earlier versions, whose keys hold it."""
    method = method_of(clip_source="reference")
    _, frames, state = made(method, 0, method.start())
    assert "last_frames" not in state
    state = {**state, "last_frames": frames[-1:]}
    sampled, frames, after = made(method, 1, state)
    assert torch.equal(after["last_frames"], frames[-1:])
    assert method.handed_early(state, method.chunk(1), sampled) is None


@pytest.mark.parametrize("clip_source", ["last_frame", "reference"])
def test_the_memory_after_a_run_has_the_last_frame(clip_source):
    method = method_of(clip_source=clip_source)
    loop = list(animate(method.plan, method.memory, exact_sampler, CODEC, method.drivers, method.settings))
    state = method.start()
    for index in range(3):
        _, frames, state = made(method, index, state)
    assert_same(method.memory_after(state, frames[-1]), loop[-1].memory)


@pytest.mark.parametrize("count", [1, 2])
def test_a_request_holds_the_end_that_the_next_chunk_was_made_from(count):
    method = method_of(motion_latents=count)
    start, chunk = method.start(), method.chunk(0)
    *_, after = made(method, 0, start)
    assert method.end_latents == after["motion"].shape[2] == count
    assert method.request(start, chunk, CODEC).end is None
    assert method.request(start, chunk, CODEC, after["motion"]).end is after["motion"]
