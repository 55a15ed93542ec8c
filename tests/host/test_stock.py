"""ContextPolicy can say what ComfyUI's own WanAnimateToVideo does, so that the two can be compared fairly."""

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image
from graphs import SIZE, TOTAL

FRAMES, CARRIED = 9, 5


@pytest.fixture
def stock_policy(comfy):
    policy = comfy.module(PACK, "everanimate_core.everanimate.context").ContextPolicy
    return policy(carry="pixel", identity="reference", null="grey", motion_known=True)


def ours(comfy, policy, index, previous=None):
    """Our conditioning of chunk `index`, one anchor, five carried frames."""
    from dataclasses import replace

    core = "everanimate_core"
    host = comfy.module(PACK, "nodes.host")
    codec = host.HostCodec(comfy.load_vae())
    memory = comfy.module(PACK, f"{core}.everanimate.memory").build_memory(reference_image(), codec, identity_latents=1)
    if previous is not None:
        memory = replace(memory, last_frames=previous, motion=torch.zeros(1, 16, 1, SIZE // 8, SIZE // 8))
    propagation = comfy.module(PACK, f"{core}.everanimate.propagation")
    drivers = comfy.module(PACK, f"{core}.everanimate.drivers")
    pose = comfy.module(PACK, f"{core}.media.frames").TensorFrames(moving_pattern(TOTAL))
    plan = comfy.module(PACK, f"{core}.plan").ChunkPlan(TOTAL, FRAMES, CARRIED)
    request = propagation.request_chunk(drivers.Drivers(pose=pose).chunk(plan, index), memory, codec, policy=policy)
    text = comfy.conditioning()
    return host.condition(text, text, request)[0][0][1], request


def stock(comfy, **inputs):
    """Its conditioning of the same chunk, and the latent that it starts from."""
    text = comfy.conditioning()
    positive, _, latent, *_ = comfy.call(
        "WanAnimateToVideo",
        positive=text,
        negative=text,
        vae=comfy.load_vae(),
        width=SIZE,
        height=SIZE,
        length=FRAMES,
        reference_image=reference_image(),
        pose_video=moving_pattern(TOTAL),
        continue_motion_max_frames=CARRIED,
        **inputs,
    )
    return positive[0][1], latent["samples"]


def assert_same(own, theirs):
    for name in ("concat_latent_image", "concat_mask", "pose_video_latent"):
        torch.testing.assert_close(own[name], theirs[name], rtol=0, atol=1e-6)


def test_first_chunk(comfy, stock_policy):
    own, request = ours(comfy, stock_policy, 0)
    theirs, latent = stock(comfy)
    assert_same(own, theirs)
    assert request.latents_shape == latent.shape


def test_continued_chunk(comfy, stock_policy):
    previous = moving_pattern(FRAMES, phase=0.7)
    own, _ = ours(comfy, stock_policy, 1, previous[-CARRIED:])
    theirs, _ = stock(comfy, continue_motion=previous, video_frame_offset=FRAMES)
    assert_same(own, theirs)
    # One reference and two carried latents are marked as known.
    assert (1 - own["concat_mask"])[0, :, :, 0, 0].sum(dim=1).tolist() == [3, 3, 3, 3]


def test_the_method_differs_from_it(comfy, stock_policy):
    method = comfy.module(PACK, "everanimate_core.everanimate.context").METHOD
    own, _ = ours(comfy, method, 0)
    theirs, _ = stock(comfy)
    assert (own["concat_latent_image"] - theirs["concat_latent_image"]).abs().max() > 0.1
