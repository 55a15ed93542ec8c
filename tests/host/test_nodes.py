"""The surface that workflows and artists see: ids, sockets, widgets, defaults, tooltips, errors."""

from types import SimpleNamespace

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image
from graphs import aligned, condition, first_memory, plan, run_chunks, sample

# Workflows are shared as JSON: ids, names, order and defaults stay. New inputs are optional and go to the end.
SIGNATURES = {
    "EverAnimateLoadLora": ("model lora_name strength=1.0", "model"),
    "EverAnimatePatchModel": ("model", "model"),
    "EverAnimateMemory": (
        "vae reference_images width=832 height=480 identity_latents=4 motion_latents=1 fit=stretch",
        "memory",
    ),
    "EverAnimateMemoryFromLatents": ("identity motion? reference_image?", "memory"),
    "EverAnimatePlanChunks": (
        "total_frames=0 chunk_frames=77 overlap=4 continuation=pingpong pose_video?",
        "plan, chunk_count, total_frames",
    ),
    "EverAnimateChunk": (
        "positive negative vae plan memory chunk_index=-1 clip_source=last_frame fit=stretch "
        "pose_video? face_video? background_video? character_mask? clip_vision?",
        "positive, negative, latent",
    ),
    "EverAnimatePropagate": (
        "memory plan chunk_index=-1 samples vae keyframes=random seed=0 tiled=False pose_video?",
        "memory, images, latent",
    ),
    "EverAnimateSigmas": ("steps=20 shift=5.0 denoise=1.0", "sigmas"),
    "EverAnimateRestorativeSampler": (
        "strength=1.0 schedule=gaussian target=statistics memory? sampler? mask? pose_video? first_chunk? "
        "leading_latents=0",
        "sampler",
    ),
    "EverAnimateRestoreFlow": (
        "model strength=1.0 schedule=gaussian target=statistics memory? mask? pose_video? first_chunk? "
        "leading_latents=0",
        "model",
    ),
    "EverAnimateJoinChunks": ("images previous?", "images"),
    "EverAnimateChunkFrames": (
        "plan chunk_index=0 video previous?",
        "images, previous_frames, frame_offset, keep_from, keep_count",
    ),
    "EverAnimateDriftReport": ("video reference_images truth? plan? chunk_frames=0 overlap=0", "plot, report, table"),
    "EverAnimateLoadToy": (
        "seed=0 frames=250 network=toy light=off",
        "model, vae, positive, negative, reference, pose, truth",
    ),
    "EverAnimatePrepare": (
        "video run_name=everanimate engine=auto mode=animation width=832 height=480 fps=0.0 person=largest "
        "person_index=0 retarget=proportions smoothing=True max_gap=8 mask_grow=9 mask_blocks=32 template_frame=-1 "
        "reference_image? pose_model? pose_vae? detector? segmenter? segment_prompt? keypoints? "
        "person_at= lossless=False",
        "pose, face, background, mask, keypoints, report",
    ),
    "LongAnimationLoadBase": ("file weight_dtype=default", "model"),
    "LongAnimationLoad": ("sketch_file memory_file=none", "control"),
    "LongAnimationPlan": (
        "total_frames=0 window_frames=81 overlap=17 lineart?",
        "plan, window_count, total_frames",
    ),
    "LongAnimationCondition": (
        "positive negative vae plan window_index=-1 lineart reference width=1024 height=576 fit=stretch "
        "lines=dark_on_light threshold=0.78 reference_lineart? previous?",
        "positive, negative, latent, window",
    ),
    "LongAnimationApply": ("model control window strength=0.5 blocks=skip-layer la_memory?", "model"),
    "LongAnimationSampler": ("window plan steps=50 fuse=True fuse_from=31", "sampler, ends"),
    "LongAnimationFinish": ("ends plan window_index=-1 samples vae tiled=False", "state, images, latent"),
    "LongAnimationLoadVideoMemory": ("file weight_dtype=default", "video_model"),
    "LongAnimationMemory": (
        "video_model images state memory_frames=650 local_frames=20 memory_append=False previous?",
        "la_memory",
    ),
    "LongAnimationLoadToy": (
        "seed=0 frames=250",
        "model, control, vae, positive, negative, lineart, reference, reference_lineart, truth",
    ),
    "LongAnimationAnimate": (
        "model control vae positive negative lineart reference width=1024 height=576 total_frames=0 steps=50 cfg=6.0 "
        "seed=0 run_name=longanimation seed_mode=fixed window_frames=81 overlap=17 reference_mode=global "
        "strength=0.5 blocks=skip-layer fuse=True fuse_from=31 lines=dark_on_light threshold=0.78 fit=stretch "
        "tiled=False resume=True from_chunk=0 fps=0.0 reference_lineart? prompts? "
        "on_change=new~take only_chunk=-1 candidates=1 audio? "
        "video_model? memory_frames=650 local_frames=20 memory_append=False",
        "video, last window, report",
    ),
    "EverAnimateAnimate": (
        "model vae positive negative reference_images pose_video width=832 height=480 total_frames=0 steps=20 "
        "shift=5.0 cfg=1.0 seed=0 run_name=everanimate seed_mode=released identity_latents=4 motion_latents=1 "
        "chunk_frames=77 overlap=4 continuation=pingpong keyframes=random clip_source=last_frame fit=stretch "
        "tiled=False latent_context=False resume=True from_chunk=0 fps=0.0 "
        "face_video? background_video? character_mask? clip_vision? sampler? sigmas? prompts? "
        "restore_strength=0.0 restore_schedule=gaussian restore_target=statistics "
        "on_change=new~take only_chunk=-1 candidates=1 audio?",
        "video, last chunk, memory, report",
    ),
    "EverAnimateMethodAnimate2": (
        "pose_strength=1.0 pose_start_percent=0.0 pose_end_percent=1.0 reference_image_strength=1.0 "
        "clip_vision_output? positive_pose? clip_vision_output_pose?",
        "method",
    ),
    "EverAnimateMethodScail2": (
        "replacement_mode=False pose_strength=1.0 pose_start=0.0 pose_end=1.0 clip_vision_output? driving_mask? "
        "reference_image_mask?",
        "method",
    ),
    "EverAnimateLongRun": (
        "model vae positive negative method reference_images driving_video width=832 height=480 total_frames=0 steps=6 "
        "shift=5.0 cfg=1.0 seed=0 run_name=long_run chunk_frames=81 continuation=pingpong fit=stretch "
        "seed_mode=increment resume=True from_chunk=0 fps=0.0 tiled=False restore_strength=0.0 "
        "restore_schedule=gaussian on_change=new~take only_chunk=-1 candidates=1 sampler? sigmas? prompts? audio?",
        "video, last chunk, report",
    ),
}


def signature(node):
    types = node.INPUT_TYPES()
    words = []
    for group, mark in (("required", ""), ("optional", "?")):
        for name, declaration in types.get(group, {}).items():
            options = declaration[1] if len(declaration) > 1 else {}
            default = str(options.get("default")).replace(" ", "~")
            words.append(f"{name}={default}" if "default" in options else f"{name}{mark}")
    return " ".join(words), ", ".join(node.RETURN_NAMES)


def test_the_pack_has_these_nodes(comfy):
    assert {name for name in comfy.nodes if name.startswith(("EverAnimate", "LongAnimation"))} == set(SIGNATURES)


@pytest.mark.parametrize("node_id", SIGNATURES)
def test_signature(comfy, node_id):
    for found, known in zip(signature(comfy.nodes[node_id]), SIGNATURES[node_id], strict=True):
        # Word by word: where they differ, the word is shown.
        assert found.split() == known.split()


@pytest.mark.parametrize("node_id", SIGNATURES)
def test_everything_has_a_tooltip(comfy, node_id):
    schema = comfy.nodes[node_id].GET_SCHEMA()
    category = "EverAnimate/LongAnimation" if node_id.startswith("LongAnimation") else "EverAnimate"
    assert schema.display_name and schema.description and schema.category == category
    for part in (*schema.inputs, *schema.outputs):
        assert part.tooltip, f"{part.id or part.display_name} has no tooltip"


def test_plan_takes_its_length_from_the_pose(comfy):
    assert comfy.call("EverAnimatePlanChunks", pose_video=moving_pattern(19), chunk_frames=9)[1:] == (3, 19)
    with pytest.raises(ValueError, match="total_frames or pose_video must say how long"):
        comfy.call("EverAnimatePlanChunks")


def test_empty_pose_video(comfy):
    with pytest.raises(ValueError, match=r"^Condition Chunk: pose_video must have at least 1 frame; got 0\.$"):
        condition(comfy, first_memory(comfy), plan(comfy), pose_video=moving_pattern(1)[:0])


def test_sizes_that_are_no_multiple_of_16(comfy):
    with pytest.raises(ValueError, match=r"^Build Memory: width must be a multiple of 16 \(832\); got 72\.$"):
        comfy.call("EverAnimateMemory", vae=comfy.load_vae(), reference_images=reference_image(), width=72, height=64)


def test_a_vae_of_other_channels(comfy):
    (other,) = comfy.call("VAELoader", vae_name="pixel_space")
    with pytest.raises(ValueError, match=r"must be the Wan 2.1 video VAE with 16 channels .* got 3 channels"):
        comfy.call("EverAnimateMemory", vae=other, reference_images=reference_image(), width=64, height=64)


def test_latents_of_another_geometry(comfy):
    memory = first_memory(comfy)
    for samples, got in ((torch.zeros(1, 16, 3, 8, 8), "3, 8, 8"), (torch.zeros(1, 16, 7, 8, 16), "7, 8, 16")):
        wrong = {"samples": samples}
        with pytest.raises(ValueError, match=rf"anchors included \(\[1, 16, 7, 8, 8\].*got \[1, 16, {got}\]"):
            comfy.call(
                "EverAnimatePropagate",
                memory=memory,
                plan=plan(comfy),
                samples=wrong,
                vae=comfy.load_vae(),
            )


def test_background_without_mask(comfy):
    with pytest.raises(ValueError, match="come together; got background_video alone"):
        condition(comfy, first_memory(comfy), plan(comfy), background_video=moving_pattern(19))


def test_replacement_keeps_the_scene_where_the_mask_is_black(comfy):
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1
    positive, _, _ = condition(
        comfy, first_memory(comfy), plan(comfy), background_video=moving_pattern(19), character_mask=mask
    )
    values, host = positive[0][1], comfy.module(PACK, "nodes.host")
    assert torch.equal(values["concat_mask"][:, :, 4:, :, :4], torch.zeros(1, 4, 3, 8, 4))
    assert torch.equal(values["concat_mask"][:, :, 4:, :, 4:], torch.ones(1, 4, 3, 8, 4))
    scene = host.HostCodec(comfy.load_vae()).encode(moving_pattern(9))
    torch.testing.assert_close(host.to_network(values["concat_latent_image"])[:, :, 4:], scene, rtol=0, atol=1e-6)


def test_memory_from_latents_goes_on_like_the_memory_itself(comfy):
    """Latents on the wires are in the host's raw space: taken out and put back they condition the same chunk."""
    model, drawn = aligned(comfy), plan(comfy)
    first, second = run_chunks(comfy, model, first_memory(comfy), drawn, count=2)
    host = comfy.module(PACK, "nodes.host")
    (memory,) = comfy.call(
        "EverAnimateMemoryFromLatents",
        identity={"samples": host.to_raw(second.memory.identity)},
        motion={"samples": first.latents[:, :, -1:]},
        reference_image=reference_image(),
    )
    positive, negative, latent = condition(comfy, memory, drawn, 1, clip_source="reference")
    again = sample(comfy, model, positive, negative, latent, seed=42)["samples"]
    positive, negative, latent = condition(comfy, second.memory, drawn, 1, clip_source="reference")
    expected = sample(comfy, model, positive, negative, latent, seed=42)["samples"]
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-4)


def test_join_chunks(comfy):
    a, b = moving_pattern(3), moving_pattern(2, phase=1)
    (joined,) = comfy.call("EverAnimateJoinChunks", images=b, previous=a)
    assert torch.equal(joined, torch.cat([a, b]))
    with pytest.raises(
        ValueError, match=r"^Join Chunks: images must be of the size of previous \(64x64\); got 32x32\.$"
    ):
        comfy.call("EverAnimateJoinChunks", images=moving_pattern(2, size=32), previous=a)


def test_tiled_decode_of_a_small_picture_equals_the_plain_one(comfy):
    drawn, memory = plan(comfy), first_memory(comfy)
    samples = {"samples": torch.randn(1, 16, 7, 8, 8, generator=torch.Generator().manual_seed(0))}
    common = {"memory": memory, "plan": drawn, "samples": samples, "vae": comfy.load_vae()}
    plain, tiled = (comfy.call("EverAnimatePropagate", tiled=tiled, **common)[1] for tiled in (False, True))
    torch.testing.assert_close(tiled, plain, rtol=0, atol=1e-4)


def test_tiles_overlap_and_are_as_long_as_the_chunk(comfy):
    asked = {}

    def decode_tiled(latents, **tiles):
        asked.update(tiles)
        return torch.zeros(1, 9, 16, 32, 3)

    vae = SimpleNamespace(
        latent_channels=16, latent_dim=3, spacial_compression_decode=lambda: 8, decode_tiled=decode_tiled
    )
    comfy.module(PACK, "nodes.host").HostCodec(vae, tiled=True).decode(torch.zeros(1, 16, 3, 2, 4))
    # 512 and 64 pixels, and the whole length: a tile in time would begin anew inside the chunk.
    assert asked == {"tile_x": 64, "tile_y": 64, "overlap": 8, "tile_t": 3}
