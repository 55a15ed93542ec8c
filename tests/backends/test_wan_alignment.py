import pytest
import torch

from everanimate_core.backends.wan_alignment import encode_driving, predict_velocity
from everanimate_core.backends.wan_checkpoint import drop_face_path

TIMESTEP = torch.tensor([700.0])


def ours(transformer, request, text, clip):
    latents = request.latents_shape[2] - request.anchors
    driving = encode_driving(
        transformer,
        anchors=request.anchors,
        latents=latents,
        pose=request.pose_latents,
        face=request.face_pixels,
    )
    x = request.context.network_input(torch.ones(request.latents_shape))
    return predict_velocity(transformer, driving, x, TIMESTEP, text, clip)


def stock(transformer, request, text, clip):
    x = request.context.network_input(torch.ones(request.latents_shape))
    return transformer(x, TIMESTEP, text, clip, request.pose_latents, request.face_pixels).sample


def test_one_anchor_is_the_stock_transformer_bit_for_bit(transformer, make_request, text, clip):
    request = make_request(1)
    assert torch.equal(ours(transformer, request, text, clip), stock(transformer, request, text, clip))


def test_four_anchors_receive_neither_pose_nor_face(transformer, make_request, text, clip):
    request, seen = make_request(4), {}
    transformer.blocks[0].register_forward_pre_hook(lambda _, args: seen.update(tokens=args[0]))
    transformer.face_adapter[1].register_forward_pre_hook(lambda _, args: seen.update(vectors=args[1]))
    ours(transformer, request, text, clip)

    tokens = transformer.patch_embedding(request.context.network_input(torch.ones(request.latents_shape)))
    tokens[:, :, 4:] += transformer.pose_patch_embedding(request.pose_latents)
    assert torch.equal(seen["tokens"], tokens.flatten(2).transpose(1, 2))

    faces = request.face_pixels[0].movedim(1, 0)
    codes = torch.cat([transformer.motion_encoder(faces[i : i + 2]) for i in (0, 2, 4)])
    vectors = transformer.face_encoder(codes[None])
    assert torch.equal(seen["vectors"][:, :4], torch.zeros(1, 4, 3, 24))
    assert torch.equal(seen["vectors"][:, 4:], vectors)


def test_no_face_skips_the_face_adapters(transformer, make_request, text, clip):
    request = make_request(1)
    without = ours(transformer, make_request(1, face_pixels=None), text, clip)
    for adapter in transformer.face_adapter:
        adapter.to_out.weight.zero_()
        adapter.to_out.bias.zero_()
    assert torch.equal(without, stock(transformer, request, text, clip))


def test_no_pose_adds_nothing(transformer, make_request, text, clip):
    request = make_request(1)
    without = ours(transformer, make_request(1, pose_latents=None), text, clip)
    transformer.pose_patch_embedding.weight.zero_()
    transformer.pose_patch_embedding.bias.zero_()
    assert torch.equal(without, stock(transformer, request, text, clip))


def test_a_failed_call_leaves_the_transformer_as_it_was(transformer, make_request, text, clip):
    before = dict(transformer.named_modules())
    with pytest.raises(RuntimeError):
        ours(transformer, make_request(4, face_pixels=None), text[..., :3], clip)
    assert dict(transformer.named_modules()) == before


def test_gradients_reach_the_pose_embedding_and_the_face_encoder(transformer, make_request, text, clip):
    transformer.requires_grad_(True)
    ours(transformer, make_request(4), text, clip).square().mean().backward()
    assert transformer.pose_patch_embedding.weight.grad.abs().sum() > 0
    assert transformer.face_encoder.conv1_local.weight.grad.abs().sum() > 0


def test_pose_of_another_length_is_refused(transformer, make_request, text, clip):
    request = make_request(4, pose_latents=torch.zeros(1, 16, 3, 4, 6))
    with pytest.raises(ValueError, match=r"^pose_latents must have T = 2 latent frames; got 3\.$"):
        ours(transformer, request, text, clip)


def test_face_of_another_length_is_refused(transformer, make_request, text, clip):
    request = make_request(4, face_pixels=torch.zeros(1, 3, 6, 16, 16))
    with pytest.raises(ValueError, match=r"^face_pixels must have 5 frames .* got 6\.$"):
        ours(transformer, request, text, clip)


def test_a_face_is_refused_without_a_face_path(transformer, make_request, text, clip):
    drop_face_path(transformer)
    with pytest.raises(ValueError, match=r"^a face video needs the motion encoder, .* got a checkpoint without\.$"):
        ours(transformer, make_request(4), text, clip)


def test_without_a_face_the_face_path_is_not_needed(transformer, make_request, text, clip):
    request = make_request(4, face_pixels=None)
    complete = ours(transformer, request, text, clip)
    drop_face_path(transformer)
    assert torch.equal(ours(transformer, request, text, clip), complete)
