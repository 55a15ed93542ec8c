"""The loop over chunks: what every chunk is told, what it hands over, and how much work the VAE has."""

from dataclasses import replace

import pytest
import torch
from refusals import refusal

from everanimate_core.everanimate.context import METHOD, ContextPolicy
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.memory import build_memory, encode_singly, memory_from_latents
from everanimate_core.everanimate.propagation import (
    animate,
    clip_frame,
    hand_over,
    request_chunk,
)
from everanimate_core.everanimate.settings import Settings
from everanimate_core.latents import channel_statistics
from everanimate_core.noise import draw_noise
from everanimate_core.plan import ChunkPlan

# Three chunks of 9 frames (3 latents) that share 4: frames 0..8, 9..13 and, cut to the total, 14..16.
PLAN = ChunkPlan(17, chunk_frames=9, overlap=4)


class Frames:
    """A driving video in memory that remembers which frames were asked for."""

    def __init__(self, frames):
        self.frames = frames
        self.frame_count, self.fps = len(frames), None
        self.reads = []

    def read(self, indices):
        self.reads.append(list(indices))
        return self.frames[list(indices)]


class Sampler:
    """A sample_chunk whose result depends on all that a chunk is told; keeps the requests and noise seeds it got."""

    def __init__(self):
        self.requests, self.seeds = [], []

    def __call__(self, request, seed):
        self.requests.append(request)
        self.seeds.append(seed)
        y, mask = request.context.y, request.context.mask
        told = y.mean(dim=2, keepdim=True) + mask.mean() + request.clip_image.mean()
        latents = (0.5 * draw_noise(request.latents_shape, seed) + 0.5 * y + told)[:, :, request.anchors :]
        return latents if request.pose_latents is None else latents + 0.1 * request.pose_latents


def assert_same_memory(one, other):
    for name, value in vars(one).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(other, name)), name
        else:
            assert value == getattr(other, name), name


@pytest.fixture
def memory(codec, pictures):
    return build_memory(pictures(1), codec)


@pytest.fixture
def drivers(pictures):
    return Drivers(pose=Frames(pictures(30, seed=1)))


@pytest.fixture
def run(memory, codec, drivers):
    """run(**settings) -> the sampler and the results of the whole animation."""

    def whole(plan=PLAN, start=memory, policy=METHOD, **settings):
        sampler = Sampler()
        return sampler, list(animate(plan, start, sampler, codec, drivers, Settings(**settings), policy))

    return whole


# --- the loop --------------------------------------------------------------------------------------------------------


def test_chunks_make_the_whole_animation(run):
    _, results = run()
    assert [result.index for result in results] == [0, 1, 2]
    assert [len(result.frames) for result in results] == [9, 5, 3]
    assert torch.cat([result.frames for result in results]).shape == (17, 16, 32, 3)
    assert all(result.latents.shape == (1, 16, 3, 2, 4) for result in results)


def test_the_loop_is_request_sample_hand_over(run, memory, codec, drivers):
    policy = ContextPolicy(identity="last_chunk", null="grey")
    settings = {"seed": 5, "keyframes": "pose", "clip_source": "reference"}
    _, results = run(policy=policy, **settings)
    sampler = Sampler()
    for index, result in enumerate(results):
        request = request_chunk(drivers.chunk(PLAN, index), memory, codec, Settings(**settings), policy)
        latents = sampler(request, 5 + 42 * index)
        step = hand_over(drivers.chunk(PLAN, index), memory, latents, codec, Settings(**settings), policy)
        memory = step.memory
        assert step.index == result.index
        assert torch.equal(step.latents, result.latents)
        assert torch.equal(step.frames, result.frames)
        assert_same_memory(memory, result.memory)


def test_the_method_written_out(run, memory, codec, drivers):
    # The same animation from the equations, with nothing of the core but codec, noise and sampler.
    sampler, results = run(seed=3)
    reference = codec.encode(memory.references)
    identity, motion, clip_image = torch.cat([reference] * 4, dim=2), None, memory.references
    for index, (request, result) in enumerate(zip(sampler.requests, results, strict=True)):
        y = torch.zeros(1, 16, 7, 2, 4)
        y[:, :, :4] = identity
        if motion is not None:
            y[:, :, 4:5] = motion
        mask = torch.zeros(1, 4, 7, 2, 4)
        mask[:, :, :4] = 1
        pose = codec.encode(drivers.pose.frames[5 * index : 5 * index + 9])
        assert torch.equal(request.context.y, y)
        assert torch.equal(request.context.mask, mask)
        assert torch.equal(request.pose_latents, pose)
        assert torch.equal(request.clip_image, clip_image)
        assert request.face_pixels is None
        assert (request.index, request.anchors, request.latents_shape) == (index, 4, (1, 16, 7, 2, 4))

        latents = Sampler()(request, 3 + 42 * index)
        frames = codec.decode(latents)
        assert torch.equal(result.latents, latents)
        assert torch.equal(result.frames, (frames, frames[4:], frames[4:7])[index])
        if index == 0:
            order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
            chosen = sorted(int(i) + 1 for i in order[:3])
            identity = torch.cat([codec.encode(frames[i : i + 1]) for i in chosen] + [reference], dim=2)
        motion, clip_image = latents[:, :, 2:], frames[8:]


def test_motion_is_handed_over_undecoded(codec, pictures, drivers):
    plan = ChunkPlan(25, chunk_frames=13, overlap=8)
    memory, sampler = build_memory(pictures(1), codec, identity_latents=2, motion_latents=2), Sampler()
    results = list(animate(plan, memory, sampler, codec, drivers))
    assert len(results) == 4
    for before, request in zip(results[:-1], sampler.requests[1:], strict=True):
        assert torch.equal(before.memory.motion, before.latents[:, :, -2:])
        assert torch.equal(request.context.y[:, :, 2:4], before.latents[:, :, -2:])


def test_identity_is_completed_once(run, memory):
    sampler, results = run()
    assert torch.equal(sampler.requests[0].context.y[:, :, :4], memory.identity)
    assert not torch.equal(results[0].memory.identity, memory.identity)
    for result in results:
        assert result.memory.frozen
        assert torch.equal(result.memory.identity, results[0].memory.identity)
    for request in sampler.requests[1:]:
        assert torch.equal(request.context.y[:, :, :4], results[0].memory.identity)


def test_as_many_references_as_anchors_stay_untouched(run, codec, pictures):
    start = build_memory(pictures(4), codec)
    _, results = run(start=start)
    for result in results:
        assert torch.equal(result.memory.identity, start.reference_latents)


def test_keyframes_are_drawn_from_the_seed(codec, memory, latents):
    chunk = latents(3)
    frames = codec.decode(chunk)
    taken = set()
    for seed in range(6):
        order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
        chosen = sorted(int(i) + 1 for i in order[:3])
        taken.add(tuple(chosen))
        later = hand_over(Drivers().chunk(PLAN, 0), memory, chunk, codec, Settings(seed=seed)).memory
        expected = torch.cat([encode_singly(frames[chosen], codec), memory.reference_latents], dim=2)
        assert torch.equal(later.identity, expected)
    assert len(taken) > 1


def test_keyframes_by_pose_read_the_frames_of_their_chunk(codec, memory, latents):
    pose = torch.zeros(30, 16, 32, 3)
    pose[2, :, :16], pose[4, :8], pose[7, :, 16:] = 1, 1, 1
    source, chunk = Frames(pose), latents(3)
    driving = Drivers(pose=source).chunk(PLAN, 0)
    later = hand_over(driving, memory, chunk, codec, Settings(keyframes="pose")).memory
    frames = codec.decode(chunk)[[2, 4, 7]]
    assert torch.equal(later.identity, torch.cat([encode_singly(frames, codec), memory.reference_latents], dim=2))
    assert source.reads == [list(range(9))]


@pytest.mark.parametrize(("mode", "seeds"), [("released", [7, 49, 91]), ("fixed", [7, 7, 7]), ("increment", [7, 8, 9])])
def test_noise_seeds_of_the_chunks(run, mode, seeds):
    sampler, _ = run(seed=7, seed_mode=mode)
    assert sampler.seeds == seeds


def test_statistics_are_those_of_the_first_chunk(run):
    _, results = run()
    expected = channel_statistics(results[0].latents)
    for result in results:
        assert torch.equal(result.memory.statistics, expected)


# --- what CLIP vision sees -------------------------------------------------------------------------------------------


def test_clip_sees_the_last_frame_of_the_chunk_before(run, memory, codec):
    sampler, results = run()
    assert torch.equal(sampler.requests[0].clip_image, memory.references)
    for request, before in zip(sampler.requests[1:], results[:-1], strict=True):
        assert torch.equal(request.clip_image, codec.decode(before.latents)[-1:])


def test_clip_may_always_see_the_reference(run, codec, pictures):
    start = build_memory(pictures(2), codec)
    sampler, _ = run(start=start, clip_source="reference")
    for request in sampler.requests:
        assert torch.equal(request.clip_image, start.references[1:])


def test_clip_sees_nothing_where_there_is_nothing(latents, pictures):
    memory = memory_from_latents(latents(4))
    assert clip_frame(memory, "last_frame") is None
    assert clip_frame(memory, "reference") is None
    later = replace(memory, last_frames=pictures(3))
    assert torch.equal(clip_frame(later, "last_frame"), pictures(3)[2:])
    assert clip_frame(later, "reference") is None


# --- driving videos --------------------------------------------------------------------------------------------------


def test_every_driver_is_read_where_its_chunk_stands(memory, codec, pictures):
    memory = replace(memory, motion=torch.zeros(1, 16, 1, 2, 4))
    pose, face = Frames(pictures(11, seed=1)), Frames(torch.rand(14, 512, 512, 3, generator=torch.Generator()))
    background, mask = Frames(pictures(7, seed=3)), Frames((pictures(30, seed=4) > 0.5).float())
    request = request_chunk(Drivers(pose, face, background, mask).chunk(PLAN, 1), memory, codec)
    # Chunk 1 stands at frames 5..13; shorter videos run back from their last frame.
    assert pose.reads == [[5, 6, 7, 8, 9, 10, 9, 8, 7]]
    assert face.reads == mask.reads == [[5, 6, 7, 8, 9, 10, 11, 12, 13]]
    assert background.reads == [[5, 6, 5, 4, 3, 2, 1, 0, 1]]
    assert torch.equal(request.pose_latents, codec.encode(pose.frames[pose.reads[0]]))
    assert request.face_pixels.shape == (1, 3, 9, 512, 512)
    for frame in range(9):
        expected = (2 * face.frames[5 + frame] - 1).permute(2, 0, 1)
        assert torch.equal(request.face_pixels[0, :, frame], expected)
    # The motion memory's slot, then the background.
    assert torch.equal(request.context.y[:, :, 5:], codec.encode(background.frames[background.reads[0]])[:, :, 1:])
    known = 1 - mask.frames[6].mean(dim=-1)[::8, ::8]  # frame 1 of the chunk: row 4, latent 1, channel 0
    torch.testing.assert_close(request.context.mask[0, 0, 5], known)


def test_a_fresh_memory_serves_the_first_chunk_only(memory, codec):
    assert "got one that has seen no chunk" in refusal(request_chunk, Drivers().chunk(PLAN, 1), memory, codec)


def test_driving_videos_of_another_size_are_refused(memory, codec):
    pose = Frames(torch.zeros(9, 24, 32, 3))
    assert refusal(request_chunk, Drivers(pose=pose).chunk(PLAN, 0), memory, codec).endswith("to 32x16; got 32x24.")


def test_latents_of_another_length_are_refused(memory, codec, latents):
    message = refusal(hand_over, Drivers().chunk(PLAN, 0), memory, latents(7), codec)
    assert message == (
        "a chunk's latents must be of shape [1, 16, 3, 2, 4] (one video, channels, frames, height, width; what stands "
        "in front of the chunk is cut); got [1, 16, 7, 2, 4] for chunk 0."
    )


def test_a_chunk_without_drivers(memory, codec):
    request = request_chunk(Drivers().chunk(PLAN, 0), memory, codec)
    assert request.pose_latents is None
    assert request.face_pixels is None
    assert torch.equal(request.context.y[:, :, 4:], torch.zeros(1, 16, 3, 2, 4))


def test_chunks_outside_the_plan_are_refused(memory, codec, latents):
    rule = "chunk_index must be between 0 and 2 (3 chunks make 17 frames); got 3."
    assert refusal(request_chunk, Drivers().chunk(PLAN, 3), memory, codec) == rule
    assert refusal(hand_over, Drivers().chunk(PLAN, 3), memory, latents(3), codec) == rule


STRICT = ChunkPlan(17, 9, 4, continuation="error")


@pytest.mark.parametrize(
    ("plan", "inputs", "message"),
    [
        (PLAN, {"background": 17}, "background_video and character_mask come together; got background_video alone."),
        (PLAN, {"mask": 17}, "background_video and character_mask come together; got character_mask alone."),
        (PLAN, {"pose": 0}, "pose_video must have at least 1 frame; got 0."),
        (STRICT, {"pose": 16}, "pose_video must have at least 17 frames when"),
        (STRICT, {"pose": 17, "face": 16}, "face_video must have at least 17 frames when"),
        (STRICT, {"background": 16, "mask": 17}, "background_video must have at least 17 frames when"),
        (STRICT, {"background": 17, "mask": 16}, "character_mask must have at least 17 frames when"),
    ],
)
def test_drivers_are_checked_before_any_work(memory, pictures, plan, inputs, message, counting):
    sources = Drivers(**{name: Frames(pictures(count)) for name, count in inputs.items()})
    sampler = Sampler()
    assert refusal(list, animate(plan, memory, sampler, counting, sources)).startswith(message)
    assert refusal(request_chunk, sources.chunk(plan, 0), memory, counting).startswith(message)
    assert sampler.requests == counting.work == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_source": "first_frame"}, "clip_source must be one of"),
        ({"seed_mode": "random"}, "seed_mode must be one of"),
    ],
)
def test_settings_are_checked_where_they_are_made(settings, message):
    assert refusal(Settings, **settings).startswith(message)


def test_keyframes_by_pose_without_a_pose_are_refused_before_any_sampling(memory, codec):
    sampler = Sampler()
    message = refusal(list, animate(PLAN, memory, sampler, codec, Drivers(), Settings(keyframes="pose")))
    assert message == "pose_video must be given when keyframes is 'pose'; got none."
    assert sampler.requests == []


def test_a_memory_that_does_not_fit_the_plan_is_refused_before_any_sampling(codec, pictures, drivers):
    memory, sampler = build_memory(pictures(1), codec, motion_latents=3), Sampler()
    assert refusal(list, animate(PLAN, memory, sampler, codec, drivers)) == (
        "motion_latents must be between 1 and 2 for chunks of 9 frames (1); got 3."
    )
    assert sampler.requests == []


# --- work ------------------------------------------------------------------------------------------------------------


def test_the_vae_does_the_work_of_the_method_and_no_more(pictures, drivers, counting):
    memory = build_memory(pictures(2), counting, identity_latents=5)
    assert counting.work == [("encode", 1)] * 2
    counting.work.clear()
    work = []
    for _ in animate(PLAN, memory, Sampler(), counting, drivers):
        work.append(list(counting.work))
        counting.work.clear()
    pose, chunk = ("encode", 9), ("decode", 3)
    assert work == [[pose, chunk] + [("encode", 1)] * 3, [pose, chunk], [pose, chunk]]


def test_one_chunk_is_computed_at_a_time(memory, drivers, counting):
    sampler = Sampler()
    chunks = animate(PLAN, memory, sampler, counting, drivers)
    assert sampler.requests == counting.work == drivers.pose.reads == []
    for index in range(3):
        assert next(chunks).index == index
        assert len(sampler.requests) == len(drivers.pose.reads) == index + 1
        assert counting.work.count(("decode", 3)) == index + 1
    assert next(chunks, None) is None
    assert len(sampler.requests) == 3


# --- decoding with context, and chunks made before -------------------------------------------------------------------


def test_latent_context_decodes_the_motion_memory_in_front(run, memory, codec):
    _, plain = run()
    _, results = run(latent_context=True)
    assert torch.equal(results[0].frames, plain[0].frames)
    before = results[0]
    frames = codec.decode(torch.cat([before.latents[:, :, -1:], results[1].latents], dim=2))
    assert frames.shape[0] == 13
    # The last 9 of the 13 are the chunk's, of which the first 4 repeat the chunk before.
    assert torch.equal(results[1].frames, frames[8:])
    assert torch.equal(results[1].memory.last_frames, frames[12:])
    assert not torch.allclose(results[1].frames, codec.decode(results[1].latents)[4:], atol=1e-3)


# --- policies for comparisons ----------------------------------------------------------------------------------------


def test_identity_of_the_reference_alone(run, memory):
    sampler, results = run(policy=ContextPolicy(identity="reference"))
    for request, result in zip(sampler.requests, results, strict=True):
        assert torch.equal(request.context.y[:, :, :4], memory.identity)
        assert torch.equal(result.memory.identity, memory.identity)


def test_identity_of_every_chunk_before(run, memory, codec):
    _, results = run(keyframes="first", policy=ContextPolicy(identity="last_chunk"))
    for result in results:
        frames = codec.decode(result.latents)[1:4]
        expected = torch.cat([encode_singly(frames, codec), memory.reference_latents], dim=2)
        assert torch.equal(result.memory.identity, expected)


def test_identity_of_every_chunk_before_leaves_as_many_references_as_anchors(run, codec, pictures):
    start = build_memory(pictures(4), codec)
    _, results = run(start=start, policy=ContextPolicy(identity="last_chunk"))
    for result in results:
        assert torch.equal(result.memory.identity, start.reference_latents)


@pytest.mark.parametrize(("overlap", "tail", "slots"), [(0, 1, 0), (4, 4, 1), (5, 5, 2)])
def test_pixels_are_carried_over_and_encoded_again(memory, codec, drivers, overlap, tail, slots):
    plan, sampler = ChunkPlan(17, 9, overlap), Sampler()
    results = list(animate(plan, memory, sampler, codec, drivers, policy=ContextPolicy(carry="pixel")))
    for before, request in zip(results[:-1], sampler.requests[1:], strict=True):
        assert torch.equal(before.memory.last_frames, codec.decode(before.latents)[-tail:])
        target = request.context.y[:, :, 4:]
        if slots:
            assert torch.equal(target[:, :, :slots], codec.encode(before.memory.last_frames[: 4 * slots - 3]))
        assert (target[:, :, slots:] == 0).all()


def test_one_frame_is_remembered_where_latents_are_carried(run, codec):
    _, results = run()
    for result in results:
        assert torch.equal(result.memory.last_frames, codec.decode(result.latents)[-1:])
