"""EverAnimate as a run sees it: the states that are handed on are the memory, kept and recalled bit for bit."""

from dataclasses import fields, replace

import pytest
import torch
from exact_parts import ExactCodec, Frames, exact_pictures, exact_sampler

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


@pytest.mark.parametrize("count", [1, 2])
def test_a_request_holds_the_end_that_the_next_chunk_was_made_from(count):
    method = method_of(motion_latents=count)
    start, chunk = method.start(), method.chunk(0)
    *_, after = made(method, 0, start)
    assert method.end_latents == after["motion"].shape[2] == count
    assert method.request(start, chunk, CODEC).end is None
    assert method.request(start, chunk, CODEC, after["motion"]).end is after["motion"]
