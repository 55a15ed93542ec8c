"""Identity and motion memory: what is in them, and in which order."""

from dataclasses import fields, replace

import pytest
import torch
from refusals import refusal

from everanimate_core.everanimate.keyframes import select_keyframes
from everanimate_core.everanimate.memory import (
    ContextMemory,
    build_memory,
    encode_singly,
    filled,
    memory_from_latents,
    retake_identity,
)


def same(one, other):
    """Every field equal bit for bit, None where the other is None."""
    for field in fields(ContextMemory):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, torch.Tensor):
            if not (isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)):
                return False
        elif a != b or type(a) is not type(b):
            return False
    return True


# --- identity memory -------------------------------------------------------------------------------------------------


def test_one_reference_is_repeated_until_the_first_chunk(codec, pictures):
    reference = pictures(1)
    memory = build_memory(reference, codec)
    alone = codec.encode(reference)
    assert alone.shape == (1, 16, 1, 2, 4)
    assert torch.equal(memory.reference_latents, alone)
    assert torch.equal(memory.identity, torch.cat([alone] * 4, dim=2))
    assert torch.equal(memory.references, reference)
    assert memory.frozen is False
    assert (memory.anchors, memory.motion_count, memory.width, memory.height) == (4, 1, 32, 16)
    assert memory.motion is memory.last_frames is memory.statistics is None


def test_several_references_stand_in_order_and_the_last_is_repeated(codec, pictures):
    references = pictures(2)
    memory = build_memory(references, codec, motion_latents=2)
    first, second = (codec.encode(references[i : i + 1]) for i in range(2))
    assert torch.equal(memory.reference_latents, torch.cat([first, second], dim=2))
    assert torch.equal(memory.identity, torch.cat([first, second, second, second], dim=2))
    assert memory.frozen is False
    assert memory.motion_count == 2


@pytest.mark.parametrize("count", [1, 4])
def test_as_many_references_as_anchors_are_final(codec, pictures, count):
    references = pictures(count)
    memory = build_memory(references, codec, identity_latents=count)
    assert torch.equal(memory.identity, torch.cat([codec.encode(frame[None]) for frame in references], dim=2))
    assert torch.equal(memory.identity, memory.reference_latents)
    assert memory.frozen is True


@pytest.mark.parametrize("count", [0, 5])
def test_no_or_too_many_references_are_refused_before_any_encoding(pictures, count):
    rule = "reference_images must hold between 1 and identity_latents (4) images"
    assert refusal(build_memory, pictures(count), None) == f"{rule}; got {count}."


def test_references_of_a_size_that_no_patch_fits_are_refused_before_any_encoding():
    wide, high = torch.zeros(1, 16, 40, 3), torch.zeros(1, 24, 32, 3)
    assert refusal(build_memory, wide, None) == "width must be a multiple of 16 (832); got 40."
    assert refusal(build_memory, high, None) == "height must be a multiple of 16 (480); got 24."


def test_frames_are_encoded_one_by_one_not_as_a_clip(codec, pictures):
    frames = pictures(5)
    latents = encode_singly(frames, codec)
    assert latents.shape == (1, 16, 5, 2, 4)
    for index in range(5):
        assert torch.equal(latents[:, :, index : index + 1], codec.encode(frames[index : index + 1]))
    clip = codec.encode(frames)
    assert clip.shape[2] == 2
    assert not torch.allclose(clip[:, :, 1], latents[:, :, 4], atol=1e-2)


def test_filled_by_hand():
    latents = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1, 1)
    assert filled(latents, 4).flatten().tolist() == [1, 2, 2, 2]
    assert filled(latents, 2).flatten().tolist() == [1, 2]


def test_the_reference_comes_last_after_the_first_chunk(codec, pictures):
    memory, chunk = build_memory(pictures(1), codec), pictures(9, seed=1)
    later = retake_identity(memory, chunk, [2, 5, 7], codec)
    expected = [codec.encode(chunk[i : i + 1]) for i in (2, 5, 7)] + [codec.encode(memory.references)]
    assert torch.equal(later.identity, torch.cat(expected, dim=2))
    assert later.frozen is True
    assert same(replace(later, identity=memory.identity, frozen=False), memory)


def test_several_references_come_last_in_their_order(codec, pictures):
    memory, chunk = build_memory(pictures(2), codec), pictures(9, seed=1)
    later = retake_identity(memory, chunk, [3, 8], codec)
    expected = [chunk[3:4], chunk[8:9], memory.references[:1], memory.references[1:]]
    assert torch.equal(later.identity, torch.cat([codec.encode(frame) for frame in expected], dim=2))


def test_the_last_reference_fills_up_where_the_chunk_is_too_short(codec, pictures):
    # Five frames offer four candidates; 8 anchors less 2 references want six.
    memory, chunk = build_memory(pictures(2), codec, identity_latents=8), pictures(5, seed=1)
    keyframes = select_keyframes("random", 5, 6, torch.Generator().manual_seed(0))
    assert keyframes == [1, 2, 3, 4]
    later = retake_identity(memory, chunk, keyframes, codec)
    first, last = memory.reference_latents[:, :, :1], memory.reference_latents[:, :, 1:]
    expected = torch.cat([encode_singly(chunk[1:], codec), first, last, last, last], dim=2)
    assert torch.equal(later.identity, expected)


# --- memories made from latents --------------------------------------------------------------------------------------


def test_memory_from_identity_latents_alone(latents):
    identity = latents(3)
    memory = memory_from_latents(identity, motion_latents=2)
    assert torch.equal(memory.identity, identity)
    assert memory.frozen is True
    assert (memory.anchors, memory.motion_count, memory.width, memory.height) == (3, 2, 32, 16)
    assert memory.motion is None
    assert memory.references.shape == (0, 16, 32, 3)
    assert memory.reference_latents.shape == (1, 16, 0, 2, 4)


def test_memory_from_latents_counts_the_given_motion(latents):
    motion = latents(2, seed=1)
    memory = memory_from_latents(latents(4), motion, motion_latents=1)
    assert torch.equal(memory.motion, motion)
    assert memory.motion_count == 2


def test_memory_from_latents_takes_the_last_anchors_for_the_references(latents, pictures):
    identity, references = latents(4), pictures(2)
    memory = memory_from_latents(identity, references=references)
    assert torch.equal(memory.references, references)
    assert torch.equal(memory.reference_latents, identity[:, :, 2:])


@pytest.mark.parametrize("shape", [(16, 4, 2, 4), (2, 16, 4, 2, 4), (1, 4, 4, 2, 4), (1, 16, 2, 4)])
def test_other_latents_are_refused(latents, shape):
    rule = "must be Wan latents of one video ([1, 16, frames, height/8, width/8])"
    other = torch.zeros(shape)
    expected = f"identity {rule}; got {list(shape)}."
    assert refusal(memory_from_latents, other) == expected
    assert refusal(memory_from_latents, latents(4), other) == expected.replace("identity", "motion")


def test_memory_from_latents_of_two_sizes_is_refused(latents):
    rule = "motion must be of identity's size (32x16 pixels)"
    assert refusal(memory_from_latents, latents(4), torch.zeros(1, 16, 1, 4, 2)) == f"{rule}; got 16x32."
    rule = "reference_image must be of identity's size (32x16)"
    expected = f"{rule}; got 16x32."
    assert refusal(memory_from_latents, latents(4), references=torch.zeros(1, 32, 16, 3)) == expected


def test_memory_from_latents_refuses_more_references_than_anchors(latents, pictures):
    assert "got 3" in refusal(memory_from_latents, latents(2), references=pictures(3))
