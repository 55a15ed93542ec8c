"""The alignment of the host's network to N anchors."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import tiny_models
import torch
from base_folder import PACK
from clips import moving_pattern
from graphs import ANCHORS, aligned, condition, first_memory, network_inputs, plan, sample


def one_chunk(comfy, model, frames=9, cfg=1.0, steps=2, **drivers):
    """The sampled LATENT of chunk 0."""
    drawn = plan(comfy, total=frames, frames=frames)
    chunk = condition(comfy, first_memory(comfy), drawn, **drivers)
    return sample(comfy, model, *chunk, cfg=cfg, steps=steps)["samples"]


def stock_conditioning(conditioning):
    """The same without our count of anchors, as a stock node would have made it."""
    return [[text, {**values, "model_conds": {}}] for text, values in conditioning]


def test_tokens_and_motion_vectors_equal_an_independent_computation(comfy):
    """... and the face is encoded once, whatever the number of steps."""
    model = aligned(comfy)
    network = model.model.diffusion_model
    with (
        network_inputs(network) as calls,
        network_inputs(network.blocks[0]) as blocks,
        network_inputs(network.face_adapter.fuser_blocks[0]) as fusers,
        network_inputs(network.face_encoder) as encodings,
    ):
        # Five frames: the host encodes faces at 512 pixels, 1.6 seconds each.
        one_chunk(comfy, model, frames=5, face_video=moving_pattern(5, size=128), steps=3)
    assert (len(calls), len(encodings)) == (3, 1)
    call = calls[0]

    tokens = network.patch_embedding(call[0])
    tokens[:, :, ANCHORS:] += network.pose_patch_embedding(call["pose_latents"])
    assert torch.equal(blocks[0][0], tokens.flatten(2).transpose(1, 2))

    face = network.motion_encoder.get_motion(call["face_pixel_values"][0].movedim(1, 0))
    vectors = network.face_encoder(face[None])
    null = torch.zeros_like(vectors[:, :1]).expand(-1, ANCHORS, -1, -1)
    for fuser in fusers:
        assert torch.equal(fuser[1], torch.cat([null, vectors], dim=1))


def test_motion_vectors_are_those_of_the_same_face_only(comfy):
    """Both passes of guidance have faces of one shape; where memory is short, the host runs one after the other."""
    faces = comfy.module(PACK, "nodes.alignment").FaceVectors()
    face, empty = torch.zeros(1, 3, 5, 8, 8), torch.full((1, 3, 5, 8, 8), -1.0)
    vectors, others = torch.zeros(1, 3, 2, 4), torch.ones(1, 3, 2, 4)
    faces.keep(face, vectors)
    assert faces.find(face) is vectors and faces.find(face.clone()) is vectors
    assert faces.find(empty) is None
    faces.keep(empty, others)
    assert faces.find(face.clone()) is vectors and faces.find(empty.clone()) is others


@pytest.mark.parametrize("fails", [False, True])
def test_faces_are_forgotten_after_sampling(comfy, fails):
    """Models stay loaded, and faces are large."""
    faces = []

    class Run:
        """The host's sampling, as wrappers see it."""

        class_obj = SimpleNamespace(conds={})

        def __call__(self, noise):
            alignment.faces.keep(torch.zeros(1, 3, 5, 8, 8), torch.zeros(1, 3, 2, 4))
            faces.extend(alignment.faces.seen)
            if fails:
                raise RuntimeError("out of memory")

    alignment = comfy.module(PACK, "nodes.alignment").Alignment()
    with pytest.raises(RuntimeError, match="out of memory") if fails else nullcontext():
        alignment.outer_sample(Run(), torch.zeros(1, 16, 7, 8, 8))
    assert len(faces) == 1 and not alignment.faces.seen


def test_the_negative_pass_sees_an_empty_face(comfy):
    face = moving_pattern(9, size=512)
    positive, negative, _ = condition(comfy, first_memory(comfy), plan(comfy, total=9), face_video=face)
    assert torch.equal(positive[0][1]["face_video_pixels"], (face * 2 - 1).movedim(-1, 0)[None])
    assert torch.equal(negative[0][1]["face_video_pixels"], torch.full((1, 3, 9, 512, 512), -1.0))


def test_one_anchor_equals_the_stock_network_bit_for_bit(comfy):
    memory, drawn = first_memory(comfy, 1), plan(comfy, total=9)
    positive, negative, latent = condition(comfy, memory, drawn)
    ours = sample(comfy, aligned(comfy), positive, negative, latent)["samples"]
    stock = sample(comfy, comfy.load_model(), stock_conditioning(positive), stock_conditioning(negative), latent)
    assert torch.equal(ours, stock["samples"])


def test_four_anchors_differ_from_the_stock_alignment(comfy):
    positive, negative, latent = condition(comfy, first_memory(comfy), plan(comfy, total=9))
    ours = sample(comfy, aligned(comfy), positive, negative, latent)["samples"]
    stock = sample(comfy, comfy.load_model(), stock_conditioning(positive), stock_conditioning(negative), latent)
    assert (ours - stock["samples"]).std() > 0.02 * ours.std()


def test_the_model_is_stock_again_afterwards(comfy):
    memory, drawn = first_memory(comfy, 1), plan(comfy, total=9)
    positive, negative, latent = condition(comfy, memory, drawn)
    stock = [stock_conditioning(positive), stock_conditioning(negative), latent]
    before = sample(comfy, comfy.load_model(), *stock)["samples"]
    clone = aligned(comfy)
    sample(comfy, clone, positive, negative, latent)
    network = clone.model.diffusion_model
    del clone
    assert "after_patch_embedding" not in vars(network)
    assert torch.equal(sample(comfy, comfy.load_model(), *stock)["samples"], before)


def test_the_model_is_stock_again_after_an_error(comfy):
    model = aligned(comfy)
    positive, negative, latent = condition(comfy, first_memory(comfy), plan(comfy, total=9))
    positive[0][1]["pose_video_latent"] = positive[0][1]["pose_video_latent"][:, :, :2]
    with pytest.raises(ValueError, match=r"identity latents \+ pose latents .* got 4 \+ 2 and 7"):
        sample(comfy, model, positive, negative, latent)
    assert "after_patch_embedding" not in vars(model.model.diffusion_model)


def test_aligning_twice_is_aligning_once(comfy):
    once = one_chunk(comfy, aligned(comfy))
    assert torch.equal(one_chunk(comfy, aligned(comfy, aligned(comfy))), once)


def test_guidance_runs_both_passes(comfy):
    plain, guided = one_chunk(comfy, aligned(comfy)), one_chunk(comfy, aligned(comfy), cfg=3.0)
    # Positive and negative see the same text here, so guidance must change nothing but rounding.
    torch.testing.assert_close(guided, plain, rtol=1e-3, atol=1e-4)


def test_reduced_precision_weights(comfy):
    exact, rounded = (
        one_chunk(comfy, aligned(comfy)),
        one_chunk(comfy, aligned(comfy, comfy.load_model(torch.bfloat16))),
    )
    assert 0 < (exact - rounded).std() / exact.std() < 0.1


def test_fp8_weights_with_one_anchor_equal_their_stock_network(comfy):
    name = tiny_models.MODEL_FILES[torch.bfloat16]
    (model,) = comfy.call("UNETLoader", unet_name=name, weight_dtype="fp8_e4m3fn")
    assert model.model.diffusion_model.blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn
    positive, negative, latent = condition(comfy, first_memory(comfy, 1), plan(comfy, total=9))
    ours = sample(comfy, aligned(comfy, model), positive, negative, latent)["samples"]
    stock = sample(comfy, model, stock_conditioning(positive), stock_conditioning(negative), latent)
    assert torch.equal(ours, stock["samples"])
    exact = one_chunk(comfy, aligned(comfy))
    assert 0 < (one_chunk(comfy, aligned(comfy, model)) - exact).std() / exact.std() < 0.5


@pytest.mark.parametrize("first", ["align", "compile"])
def test_torch_compile(comfy, first):
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    plain = one_chunk(comfy, aligned(comfy))
    if first == "align":
        model = aligned(comfy)
        set_torch_compile_wrapper(model, backend="eager")
    else:
        model = comfy.load_model().clone()
        set_torch_compile_wrapper(model, backend="eager")
        model = aligned(comfy, model)
    assert torch.equal(one_chunk(comfy, model), plain)


@pytest.mark.parametrize("first", ["align", "cache"])
def test_easy_cache_that_never_reuses(comfy, first):
    plain = one_chunk(comfy, aligned(comfy), steps=4)
    if first == "align":
        (model,) = comfy.call("EasyCache", model=aligned(comfy), reuse_threshold=0.0)
    else:
        model = aligned(comfy, comfy.call("EasyCache", model=comfy.load_model(), reuse_threshold=0.0)[0])
    assert torch.equal(one_chunk(comfy, model, steps=4), plain)


def test_ksampler_agrees_with_the_custom_sampler(comfy):
    (model,) = comfy.call("ModelSamplingSD3", model=aligned(comfy), shift=5.0)
    positive, negative, latent = condition(comfy, first_memory(comfy), plan(comfy, total=9))
    # 20 divides 1000, where `simple` meets the released noise levels.
    ours = sample(comfy, aligned(comfy), positive, negative, latent, steps=20)["samples"]
    stock = comfy.call(
        "KSampler",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        seed=0,
        steps=20,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
    )[0]["samples"]
    torch.testing.assert_close(stock, ours, rtol=1e-3, atol=1e-3)


def test_conditioning_without_our_count_is_left_alone(comfy):
    memory, drawn = first_memory(comfy, 1), plan(comfy, total=9)
    positive, negative, latent = (stock_conditioning(part) if i < 2 else part for i, part in
                                  enumerate(condition(comfy, memory, drawn)))  # fmt: skip
    stock = sample(comfy, comfy.load_model(), positive, negative, latent)["samples"]
    assert torch.equal(sample(comfy, aligned(comfy), positive, negative, latent)["samples"], stock)


def test_a_model_without_alignment_says_so(comfy):
    positive, negative, latent = condition(comfy, first_memory(comfy), plan(comfy, total=9))
    with pytest.raises(ValueError, match=r"needs an aligned model .* got a model without the alignment"):
        sample(comfy, comfy.load_model(), positive, negative, latent)


def test_context_windows_are_refused(comfy):
    (model,) = comfy.call("ContextWindowsManual", model=aligned(comfy))
    with pytest.raises(ValueError, match="context windows cannot be combined with memory"):
        one_chunk(comfy, model)


def test_a_latent_of_another_length_is_refused(comfy):
    positive, negative, latent = condition(comfy, first_memory(comfy), plan(comfy, total=9))
    short = {"samples": latent["samples"][:, :, :5]}
    with pytest.raises(ValueError, match=r"the one that Condition Chunk gives \(\[7, 8, 8\].*got \[5, 8, 8\]"):
        sample(comfy, aligned(comfy), positive, negative, short)


def test_missing_clip_features_are_named(comfy):
    with pytest.raises(ValueError, match=r"reads CLIP vision features .* got none"):
        one_chunk(comfy, aligned(comfy), clip_vision=None)


@pytest.mark.parametrize(
    "config", ["WAN21_T2V", "WAN21_I2V", "WAN21_Vace", "WAN22_T2V", "WAN_Animate2", "SD15", "Flux"]
)
def test_other_networks_are_refused_by_name(comfy, config):
    from comfy import supported_models
    from comfy.model_patcher import ModelPatcher

    if not hasattr(supported_models, config):
        pytest.skip(f"this host has no {config}")
    chosen = getattr(supported_models, config)
    # The host's own model object, without the network inside: nothing but its class is looked at.
    network = chosen(
        chosen.unet_config | {"disable_unet_model_creation": True, "in_channels": 4, "in_dim": 16}
    ).get_model({})
    model = ModelPatcher(network, torch.device("cpu"), torch.device("cpu"))
    with pytest.raises(ValueError, match=f"must be Wan2.2-Animate .* got {type(network).__name__}"):
        comfy.call("EverAnimatePatchModel", model=model)
