"""y and its mask, slot by slot, for every policy."""

from dataclasses import replace

import pytest
import torch
from refusals import refusal

from everanimate_core.everanimate.context import (
    Context,
    ContextPolicy,
    Replacement,
    carried_slots,
    check_alignment,
    chunk_context,
    pack_mask,
    prepend_null,
)
from everanimate_core.everanimate.geometry import ChunkGeometry
from everanimate_core.everanimate.memory import memory_from_latents

SHORT = ChunkGeometry(frames=9, anchors=4, motion=1, overlap=4)
LONG = ChunkGeometry(frames=13, anchors=2, motion=2, overlap=8)
PIXEL = ContextPolicy(carry="pixel")


@pytest.fixture
def remembered(latents, pictures):
    """remembered(geometry, frames) -> the memory before the first chunk and one before a later chunk."""

    def draw(geometry, frames=1):
        before = memory_from_latents(latents(geometry.anchors), motion_latents=geometry.motion)
        motion, last = latents(geometry.motion, seed=1), pictures(frames, seed=2)
        return before, replace(before, motion=motion, last_frames=last)

    return draw


@pytest.fixture
def scene(pictures):
    """scene(geometry) -> background and character mask of a chunk; every pixel of the mask is drawn on its own."""

    def draw(geometry):
        shape = (geometry.frames, 16, 32)
        character = torch.randint(2, shape, generator=torch.Generator().manual_seed(4)).float()
        return Replacement(pictures(geometry.frames, seed=3), character)

    return draw


def grey(geometry):
    return torch.full((geometry.frames, 16, 32, 3), 0.5)


def packed(character):
    """Known = 1 - character at the top left pixel of every 8x8 block, put into its row one frame at a time."""
    frames, height, width = character[:, ::8, ::8].shape
    mask = torch.full((1, 4, (frames - 1) // 4 + 1, height, width), torch.nan)
    for frame in range(frames):
        known = 1 - character[frame, ::8, ::8]
        if frame == 0:
            mask[0, :, 0] = known
        else:
            mask[0, (frame + 3) % 4, (frame + 3) // 4] = known
    return mask


# --- the method ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", [SHORT, LONG, ChunkGeometry()])
def test_the_first_chunk_sees_anchors_and_exact_zeros(geometry, remembered):
    before, _ = remembered(geometry)
    # No codec: the method's own context needs no pixel.
    context = chunk_context(geometry, before, codec=None)
    count = geometry.anchors
    assert context.y.shape == (1, 16, geometry.input_latents, 2, 4)
    assert context.mask.shape == (1, 4, geometry.input_latents, 2, 4)
    assert context.y.dtype == context.mask.dtype == torch.float32
    assert torch.equal(context.y[:, :, :count], before.identity)
    assert (context.y[:, :, count:] == 0).all()
    assert (context.mask[:, :, :count] == 1).all()
    assert (context.mask[:, :, count:] == 0).all()


@pytest.mark.parametrize("geometry", [SHORT, LONG, ChunkGeometry()])
def test_later_chunks_see_the_motion_memory_bit_for_bit_but_unmarked(geometry, remembered):
    _, later = remembered(geometry)
    context = chunk_context(geometry, later, codec=None)
    start, stop = geometry.anchors, geometry.anchors + geometry.motion
    assert torch.equal(context.y[:, :, :start], later.identity)
    assert torch.equal(context.y[:, :, start:stop], later.motion)
    assert (context.y[:, :, stop:] == 0).all()
    assert (context.mask[:, :, :start] == 1).all()
    assert (context.mask[:, :, start:] == 0).all()


def test_the_network_reads_noise_then_mask_then_context(latents):
    x, y = latents(7), latents(7, seed=1)
    mask = torch.rand(1, 4, 7, 2, 4, generator=torch.Generator().manual_seed(2))
    channels = Context(y, mask).network_input(x)
    assert channels.shape == (1, 36, 7, 2, 4)
    assert torch.equal(channels[:, :16], x)
    assert torch.equal(channels[:, 16:20], mask)
    assert torch.equal(channels[:, 20:], y)
    half = Context(y, mask).network_input(x.half())
    assert half.dtype == torch.float16
    assert torch.equal(half[:, 20:], y.half())


def test_the_memory_is_not_modified(remembered, scene, codec):
    _, later = remembered(SHORT, frames=4)
    place = scene(SHORT)
    kept = [tensor.clone() for tensor in (later.identity, later.motion, later.last_frames, place.background)]
    for policy in (ContextPolicy(), PIXEL):
        context = chunk_context(SHORT, later, codec, place, policy)
        context.y.zero_()
    for tensor, before in zip((later.identity, later.motion, later.last_frames, place.background), kept, strict=True):
        assert torch.equal(tensor, before)


# --- policies for comparisons ----------------------------------------------------------------------------------------


def test_motion_may_be_marked_as_known(remembered):
    before, later = remembered(LONG)
    policy = ContextPolicy(motion_known=True)
    context = chunk_context(LONG, later, None, policy=policy)
    assert torch.equal(context.y, chunk_context(LONG, later, None).y)
    assert (context.mask[:, :, :4] == 1).all()
    assert (context.mask[:, :, 4:] == 0).all()
    assert (chunk_context(LONG, before, None, policy=policy).mask[:, :, 2:] == 0).all()


@pytest.mark.parametrize(("overlap", "slots"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_carried_pixels_fill_whole_latents_only(overlap, slots, remembered, codec):
    geometry = ChunkGeometry(frames=13, anchors=2, motion=1, overlap=overlap)
    before, later = remembered(geometry, frames=max(1, overlap))
    assert carried_slots(geometry, before, PIXEL) == 0
    assert carried_slots(geometry, later, PIXEL) == slots
    context = chunk_context(geometry, later, codec, policy=PIXEL)
    assert torch.equal(context.y[:, :, :2], later.identity)
    if slots:
        clip = codec.encode(later.last_frames[: 4 * slots - 3])
        assert clip.shape[2] == slots
        assert torch.equal(context.y[:, :, 2 : 2 + slots], clip)
    assert (context.y[:, :, 2 + slots :] == 0).all()
    assert (context.mask[:, :, 2:] == 0).all()
    known = chunk_context(geometry, later, codec, policy=ContextPolicy(carry="pixel", motion_known=True)).mask
    assert (known[:, :, : 2 + slots] == 1).all()
    assert (known[:, :, 2 + slots :] == 0).all()


def test_pixels_are_carried_only_after_the_first_chunk(remembered):
    before, _ = remembered(SHORT)
    context = chunk_context(SHORT, before, codec=None, policy=PIXEL)
    assert (context.y[:, :, 4:] == 0).all()


def test_grey_frames_in_place_of_zeros(remembered, codec):
    before, later = remembered(LONG)
    policy = ContextPolicy(null="grey")
    null = codec.encode(grey(LONG))
    assert null.abs().max() > 0.05  # a grey clip is not a null slot
    first, second = (chunk_context(LONG, memory, codec, policy=policy) for memory in (before, later))
    assert torch.equal(first.y, torch.cat([before.identity, null], dim=2))
    assert torch.equal(second.y, torch.cat([later.identity, later.motion, null[:, :, 2:]], dim=2))
    for context in (first, second):
        assert (context.mask[:, :, 2:] == 0).all()


def test_carried_pixels_and_grey_are_encoded_as_one_clip(remembered, codec):
    geometry = ChunkGeometry(frames=13, anchors=2, motion=1, overlap=5)
    _, later = remembered(geometry, frames=5)
    context = chunk_context(geometry, later, codec, policy=ContextPolicy(carry="pixel", null="grey"))
    clip = torch.cat([later.last_frames, grey(geometry)[5:]])
    assert torch.equal(context.y, torch.cat([later.identity, codec.encode(clip)], dim=2))


@pytest.mark.parametrize(
    ("choice", "allowed"),
    [("carry", "latent, pixel"), ("identity", "fixed, reference, last_chunk"), ("null", "zeros, grey")],
)
def test_unknown_policies_are_refused(choice, allowed):
    expected = f"{choice} must be one of {allowed}; got 'other'."
    assert refusal(ContextPolicy, **{choice: "other"}) == expected


# --- replacement -----------------------------------------------------------------------------------------------------


def test_nine_frames_of_a_mask_by_hand():
    known = torch.arange(9.0).view(9, 1, 1).expand(9, 2, 4)
    expected = torch.tensor(
        [
            [0, 1, 5],
            [0, 2, 6],
            [0, 3, 7],
            [0, 4, 8],
        ]
    )
    mask = pack_mask(known)
    assert mask.shape == (1, 4, 3, 2, 4)
    for row in range(2):
        for column in range(4):
            assert torch.equal(mask[0, :, :, row, column].long(), expected)


@pytest.mark.parametrize("frames", [1, 5, 9, 77])
def test_every_frame_of_a_mask_finds_its_row(frames):
    character = torch.rand(frames, 16, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pack_mask(1 - character[:, ::8, ::8]), packed(character))


def test_replacement_of_the_first_chunk(remembered, scene, codec):
    before, _ = remembered(SHORT)
    place = scene(SHORT)
    context = chunk_context(SHORT, before, codec, place)
    assert torch.equal(context.y, torch.cat([before.identity, codec.encode(place.background)], dim=2))
    assert (context.mask[:, :, :4] == 1).all()
    assert torch.equal(context.mask[:, :, 4:], packed(place.character))


@pytest.mark.parametrize("geometry", [SHORT, LONG])
def test_replacement_of_later_chunks_keeps_the_motion_slots_free(geometry, remembered, scene, codec):
    _, later = remembered(geometry)
    place, motion = scene(geometry), geometry.motion
    context = chunk_context(geometry, later, codec, place)
    background = codec.encode(place.background)
    assert torch.equal(context.y, torch.cat([later.identity, later.motion, background[:, :, motion:]], dim=2))
    slots = context.mask[:, :, geometry.anchors :]
    assert (slots[:, :, :motion] == 0).all()
    assert torch.equal(slots[:, :, motion:], packed(place.character)[:, :, motion:])


def test_replacement_after_carried_pixels_is_one_clip(remembered, scene, codec):
    _, later = remembered(SHORT, frames=4)
    place = scene(SHORT)
    context = chunk_context(SHORT, later, codec, place, PIXEL)
    clip = torch.cat([later.last_frames, place.background[4:]])
    assert torch.equal(context.y[:, :, 4:], codec.encode(clip))
    assert (context.mask[:, :, 4] == 0).all()
    assert torch.equal(context.mask[:, :, 5:], packed(place.character)[:, :, 1:])


# --- alignment -------------------------------------------------------------------------------------------------------


def test_anchors_and_pose_make_up_the_sampled_latents():
    check_alignment(4, 24, 20)
    check_alignment(1, 21, 20)
    rule = "identity latents + pose latents must equal the latent frames being sampled (4 + 20 = 24)"
    assert refusal(check_alignment, 4, 21, 20) == f"{rule}; got 4 + 20 and 21."


def test_anchors_get_zero_vectors():
    vectors = torch.arange(1.0, 7.0).view(1, 2, 3)
    assert prepend_null(vectors, 2).tolist() == [[[0, 0, 0], [0, 0, 0], [1, 2, 3], [4, 5, 6]]]
    assert prepend_null(vectors, 1, dim=2).tolist() == [[[0, 1, 2, 3], [0, 4, 5, 6]]]
    assert torch.equal(prepend_null(vectors, 0), vectors)
    assert prepend_null(vectors.half(), 1).dtype == torch.float16
