"""Animate Long Video: what it does for each chunk, and that it survives the host."""

import json
import os
from pathlib import Path

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image, write_video
from graphs import (
    ANCHORS,
    CHUNKS,
    FRAMES,
    OVERLAP,
    SIZE,
    STEPS,
    TOTAL,
    aligned,
    condition,
    first_memory,
    network_inputs,
    plan,
    sample,
)
from kept import chunk_files, latents_of, takes


def animate(comfy, run_name, model=None, **inputs):
    """The node at test size; its outputs."""
    text = comfy.conditioning()
    values = {
        "model": aligned(comfy) if model is None else model,
        "vae": comfy.load_vae(),
        "positive": text,
        "negative": text,
        "reference_images": reference_image(),
        "pose_video": moving_pattern(TOTAL),
        "width": SIZE,
        "height": SIZE,
        "steps": STEPS,
        "chunk_frames": FRAMES,
        "overlap": OVERLAP,
        "clip_vision": comfy.clip_vision(),
        "run_name": run_name,
    }
    return comfy.call("EverAnimateAnimate", **(values | inputs))


def run_folder(comfy, run_name):
    return comfy.base / "output" / "everanimate" / run_name


def kept_latents(comfy, run_name):
    return latents_of(run_folder(comfy, run_name))


@pytest.fixture
def vae_frames(comfy, monkeypatch):
    """Frames that went through the VAE, in order: ("encode", 9), ("decode", 9), ..."""
    vae, seen = comfy.load_vae(), []
    encode, decode = vae.encode, vae.decode

    def counted_encode(pixels):
        seen.append(("encode", pixels.shape[0]))
        return encode(pixels)

    def counted_decode(latents):
        seen.append(("decode", 4 * (latents.shape[2] - 1) + 1))
        return decode(latents)

    monkeypatch.setattr(vae, "encode", counted_encode)
    monkeypatch.setattr(vae, "decode", counted_decode)
    return seen


def test_vae_work_of_every_chunk(comfy, vae_frames):
    animate(comfy, "counted")
    first = [("encode", 1), ("encode", FRAMES), ("decode", FRAMES)] + [("encode", 1)] * (ANCHORS - 1)
    later = [("encode", FRAMES), ("decode", FRAMES)]
    assert vae_frames == first + later * (CHUNKS - 1)


def test_motion_encoder_sees_every_frame_once_whatever_the_steps(comfy):
    model = aligned(comfy)
    first_layer = model.model.diffusion_model.motion_encoder.enc.net_app.convs[0]
    with network_inputs(first_layer) as batches:
        # Two chunks of five frames: faces are slow.
        animate(
            comfy,
            "faces",
            model,
            chunk_frames=5,
            overlap=1,
            total_frames=9,
            steps=3,
            face_video=moving_pattern(9, size=64),
        )
    assert sum(batch[0].shape[0] for batch in batches) == 2 * 5


def test_video_and_images_give_the_same(comfy):
    from comfy_api.latest import InputImpl

    path = comfy.base / "input" / "pose.mov"
    write_video(path, moving_pattern(TOTAL), fps=30)
    video = animate(comfy, "from_video", pose_video=InputImpl.VideoFromFile(str(path)))[0]
    animate(comfy, "from_images")
    for streamed, loaded in zip(kept_latents(comfy, "from_video"), kept_latents(comfy, "from_images"), strict=True):
        assert torch.equal(streamed, loaded)
    # The frame rate of the driving video goes with it; images have none, and get 25.
    assert video.get_components().frame_rate == 30
    assert video.get_components().images.shape == (TOTAL, SIZE, SIZE, 3)


def test_a_trimmed_video_drives_with_its_part_only(comfy):
    from comfy_api.latest import InputImpl

    path = comfy.base / "input" / "long_pose.mov"
    write_video(path, moving_pattern(TOTAL + 10), fps=25)
    video = InputImpl.VideoFromFile(str(path))
    if not hasattr(video, "as_trimmed"):
        pytest.skip("this host cannot trim a VIDEO")
    animate(comfy, "trimmed", pose_video=video.as_trimmed(5 / 25, TOTAL / 25))
    animate(comfy, "sliced", pose_video=moving_pattern(TOTAL + 10)[5 : 5 + TOTAL])
    for trimmed, sliced in zip(kept_latents(comfy, "trimmed"), kept_latents(comfy, "sliced"), strict=True):
        assert torch.equal(trimmed, sliced)


def test_every_chunk_has_its_prompt(comfy):
    """... and those behind the end of the list have its last one."""
    model, prompts = aligned(comfy), comfy.conditioning(1) + comfy.conditioning(2)
    with network_inputs(model.model.diffusion_model) as calls:
        animate(comfy, "prompts", model, prompts=prompts)
    assert len(calls) == CHUNKS * STEPS
    for call, prompt in zip(calls[::STEPS], (0, 1, 1), strict=True):
        assert torch.equal(call["context"], prompts[prompt][0])


def test_an_edited_prompt_opens_a_take_that_keeps_the_chunks_before_it(comfy):
    first, second, third = (comfy.conditioning(seed) for seed in (1, 2, 3))
    animate(comfy, "edited", prompts=first + second)
    report = json.loads(animate(comfy, "edited", prompts=first + third)[3])
    old, new = ([chunk.key for chunk in take.chunks] for take in takes(run_folder(comfy, "edited")))
    assert [one == other for one, other in zip(old, new, strict=True)] == [True, False, False]
    assert (report["take"], report["video"]) == (2, "edited_00002_.mp4")
    videos = [path.name for path in run_folder(comfy, "edited").parent.glob("edited*.mp4")]
    assert sorted(videos) == ["edited_00001_.mp4", "edited_00002_.mp4"]


def test_seed_modes(comfy):
    animate(comfy, "released", seed=5)
    animate(comfy, "fixed", seed=5, seed_mode="fixed")
    released, fixed = kept_latents(comfy, "released"), kept_latents(comfy, "fixed")
    assert torch.equal(released[0], fixed[0])
    assert not torch.equal(released[1], fixed[1])
    for name, seeds in (("released", [5, 47, 89]), ("fixed", [5, 5, 5])):
        (take,) = takes(run_folder(comfy, name))
        assert [chunk.noise_seed for chunk in take.chunks] == seeds


def test_a_sampler_that_adds_noise_draws_it_from_the_seed(comfy):
    """... as the host's SamplerCustom does."""
    name = "euler_ancestral"
    (sampler,) = comfy.call("KSamplerSelect", sampler_name=name)
    animate(comfy, name, seed=7, total_frames=FRAMES, sampler=sampler)
    chunk = condition(comfy, first_memory(comfy), plan(comfy, total=FRAMES))
    samples = sample(comfy, aligned(comfy), *chunk, seed=7, sampler=name)["samples"]
    expected = comfy.module(PACK, "nodes.host").to_network(samples)[:, :, ANCHORS:]
    assert torch.equal(kept_latents(comfy, name)[0], expected)


def test_chunks_that_are_kept_bring_the_bar_to_its_end(comfy):
    import comfy.utils as host_utils

    shown = []
    animate(comfy, "kept")
    host_utils.set_progress_bar_global_hook(lambda value, total, *_, **__: shown.append((value, total)))
    try:
        animate(comfy, "kept")
    finally:
        host_utils.set_progress_bar_global_hook(None)
    assert shown[0] == (STEPS, CHUNKS * STEPS)
    assert shown[-1] == (CHUNKS * STEPS, CHUNKS * STEPS)


def test_a_killed_host_goes_on_where_it_was(comfy, server, tmp_path_factory):
    from base_folder import make_base_folder
    from server_process import ComfyServer

    base = make_base_folder(tmp_path_factory.mktemp("killed"))
    (base / "models").symlink_to(comfy.base / "models", target_is_directory=True)
    prompt = animate_prompt("survivor")
    first = ComfyServer(Path(os.environ["COMFYUI_PATH"]), base)

    def kill_in_the_second_chunk(kind, data):
        if kind == "progress" and data["value"] > STEPS:
            first._process.kill()

    with pytest.raises(Exception, match=r"closed the connection|Cannot connect|disconnected"):
        first.add_image("reference.png", reference_image())
        first.add_video("pose.mov", moving_pattern(TOTAL))
        first.run(prompt, on_event=kill_in_the_second_chunk)
    first.close()
    folder = base / "output" / "everanimate" / "survivor"
    (first_chunk,) = chunk_files(folder)
    untouched = first_chunk.stat().st_mtime_ns
    second = ComfyServer(Path(os.environ["COMFYUI_PATH"]), base)
    try:
        second.run(prompt)
    finally:
        second.close()
    assert chunk_files(folder)[0] == first_chunk
    assert first_chunk.stat().st_mtime_ns == untouched
    server.add_image("reference.png", reference_image())
    server.add_video("pose.mov", moving_pattern(TOTAL))
    server.run(prompt)
    never_killed = latents_of(server.output / "everanimate" / "survivor")
    assert all(torch.equal(*pair) for pair in zip(latents_of(folder), never_killed, strict=True))
    assert len(never_killed) == CHUNKS


def animate_prompt(run_name):
    """The node behind tiny loaders, as an API prompt."""
    import tiny_models

    return {
        "model": {"class_type": "UNETLoader", "inputs": {
            "unet_name": tiny_models.MODEL_FILES[torch.float32], "weight_dtype": "default"}},
        "aligned": {"class_type": "EverAnimatePatchModel", "inputs": {"model": ["model", 0]}},
        "vae": {"class_type": "TestTinyVae", "inputs": {}},
        "text": {"class_type": "TestTinyConditioning", "inputs": {"seed": 0}},
        "clip": {"class_type": "TestTinyClipVision", "inputs": {}},
        "reference": {"class_type": "LoadImage", "inputs": {"image": "reference.png"}},
        "pose": {"class_type": "LoadVideo", "inputs": {"file": "pose.mov"}},
        "animate": {"class_type": "EverAnimateAnimate", "inputs": {
            "model": ["aligned", 0], "vae": ["vae", 0], "positive": ["text", 0], "negative": ["text", 0],
            "reference_images": ["reference", 0], "pose_video": ["pose", 0], "clip_vision": ["clip", 0],
            "width": SIZE, "height": SIZE, "total_frames": 0, "steps": STEPS, "shift": 5.0, "cfg": 1.0, "seed": 0,
            "run_name": run_name, "seed_mode": "released", "identity_latents": ANCHORS, "motion_latents": 1,
            "chunk_frames": FRAMES, "overlap": OVERLAP, "continuation": "pingpong", "keyframes": "random",
            "clip_source": "last_frame", "fit": "stretch", "tiled": False, "latent_context": False, "resume": True,
            "from_chunk": 0, "fps": 0.0}},
    }  # fmt: skip
