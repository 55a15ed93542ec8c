"""The test bed itself, with stock nodes only: tiny checkpoints in stock loaders, in this process and over a server."""

import pytest
import tiny_models
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image
from server_process import RunError

SIZE, FRAMES, STEPS = 64, 9, 2


def stock_prompt(server, noise_seed=0):
    """The shortest Wan-Animate workflow: reference and pose in, nine frames and their latent out."""
    return {
        "model": {"class_type": "UNETLoader", "inputs": {
            "unet_name": tiny_models.MODEL_FILES[torch.float32], "weight_dtype": "default"}},
        "vae": {"class_type": "TestTinyVae", "inputs": {}},
        "text": {"class_type": "TestTinyConditioning", "inputs": {"seed": 0}},
        "reference": {"class_type": "LoadImage", "inputs": {
            "image": server.add_image("reference.png", reference_image())}},
        "clip": {"class_type": "TestTinyClipVision", "inputs": {}},
        "look": {"class_type": "CLIPVisionEncode", "inputs": {
            "clip_vision": ["clip", 0], "image": ["reference", 0], "crop": "none"}},
        "video": {"class_type": "LoadVideo", "inputs": {"file": server.add_video("pose.mov", moving_pattern(FRAMES))}},
        "pose": {"class_type": "GetVideoComponents", "inputs": {"video": ["video", 0]}},
        "chunk": {"class_type": "WanAnimateToVideo", "inputs": {
            "positive": ["text", 0], "negative": ["text", 0], "vae": ["vae", 0],
            "width": SIZE, "height": SIZE, "length": FRAMES, "batch_size": 1,
            "clip_vision_output": ["look", 0], "reference_image": ["reference", 0], "pose_video": ["pose", 0],
            "continue_motion_max_frames": 5, "video_frame_offset": 0}},
        "sample": {"class_type": "KSampler", "inputs": {
            "model": ["model", 0], "positive": ["chunk", 0], "negative": ["chunk", 1], "latent_image": ["chunk", 2],
            "seed": noise_seed, "steps": STEPS, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple",
            "denoise": 1.0}},
        "trim": {"class_type": "TrimVideoLatent", "inputs": {"samples": ["sample", 0], "trim_amount": ["chunk", 3]}},
        "dump": {"class_type": "TestDumpLatent", "inputs": {"samples": ["trim", 0], "name": f"stock_{noise_seed}"}},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["trim", 0], "vae": ["vae", 0]}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "stock"}},
    }  # fmt: skip


def stock_chunk(comfy, length=FRAMES, **inputs):
    """(positive, negative, latent) and what else WanAnimateToVideo returns."""
    text = comfy.conditioning()
    return comfy.call(
        "WanAnimateToVideo", positive=text, negative=text, vae=comfy.load_vae(), width=SIZE, height=SIZE, length=length,
        **inputs,
    )  # fmt: skip


def stock_sample(comfy, positive, negative, latent, model=None, steps=STEPS):
    (samples,) = comfy.call(
        "KSampler", model=model or comfy.load_model(), positive=positive, negative=negative, latent_image=latent,
        steps=steps, cfg=1.0, sampler_name="euler", scheduler="simple",
    )  # fmt: skip
    return samples


def test_stock_loader_recognises_the_tiny_checkpoint(comfy):
    model = comfy.load_model()
    assert type(model.model).__name__ == "WAN22_Animate"
    assert type(model.model.diffusion_model).__name__ == "AnimateWanModel"
    assert len(model.model.diffusion_model.blocks) == tiny_models.LAYERS


def test_stock_loader_recognises_the_full_width_vae(comfy):
    name = tiny_models.write_full_vae(comfy.base / "models")
    (vae,) = comfy.call("VAELoader", vae_name=name)
    assert type(vae.first_stage_model) is type(comfy.load_vae().first_stage_model)
    latent = vae.encode(reference_image())
    assert latent.shape == (1, 16, 1, SIZE // 8, SIZE // 8)
    assert torch.isfinite(latent).all()


def test_tiny_vae_has_the_wan_geometry_and_a_lively_output(comfy):
    vae = comfy.load_vae()
    latent = vae.encode(moving_pattern(FRAMES))
    assert latent.shape == (1, 16, 3, SIZE // 8, SIZE // 8)
    assert 0.5 < latent.std() < 4
    images = vae.decode(latent)
    assert images.shape[-4:] == (FRAMES, SIZE, SIZE, 3)
    assert images.std() > 0.05
    assert ((images > 0) & (images < 1)).float().mean() > 0.9


@pytest.mark.parametrize("dropped", ["pose_video", "clip_vision_output", "reference_image"])
def test_every_conditioning_input_moves_the_result(comfy, dropped):
    (look,) = comfy.call("CLIPVisionEncode", clip_vision=comfy.clip_vision(), image=reference_image(), crop="none")
    inputs = {"pose_video": moving_pattern(FRAMES), "clip_vision_output": look, "reference_image": reference_image()}
    full = stock_sample(comfy, *stock_chunk(comfy, **inputs)[:3])["samples"]
    inputs.pop(dropped)
    without = stock_sample(comfy, *stock_chunk(comfy, **inputs)[:3])["samples"]
    assert (full - without).std() > 0.02 * full.std()


def test_face_video_moves_the_result(comfy):
    # One step and five frames: the host encodes faces at 512 pixels, anew at every step.
    face = moving_pattern(5, size=128)
    with_face = stock_sample(comfy, *stock_chunk(comfy, length=5, face_video=face)[:3], steps=1)["samples"]
    without = stock_sample(comfy, *stock_chunk(comfy, length=5)[:3], steps=1)["samples"]
    assert (with_face - without).std() > 0.02 * without.std()


def test_reduced_precision_checkpoint_agrees(comfy):
    chunk = stock_chunk(comfy, reference_image=reference_image())[:3]
    exact = stock_sample(comfy, *chunk)["samples"]
    rounded = stock_sample(comfy, *chunk, model=comfy.load_model(torch.bfloat16))["samples"]
    error = (exact - rounded).std() / exact.std()
    assert 0 < error < 0.1


def test_server_agrees_with_this_process(comfy, server):
    run = server.run(stock_prompt(server))
    assert len(run.outputs["save"]["images"]) == FRAMES
    assert run.of_kind("progress")[-1]["max"] == STEPS
    assert run.of_kind("preview")

    (look,) = comfy.call("CLIPVisionEncode", clip_vision=comfy.clip_vision(), image=reference_image(), crop="none")
    pose = moving_pattern(FRAMES)
    positive, negative, latent, trim, *_ = stock_chunk(
        comfy, clip_vision_output=look, reference_image=reference_image(), pose_video=pose
    )
    samples = stock_sample(comfy, positive, negative, latent)
    (trimmed,) = comfy.call("TrimVideoLatent", samples=samples, trim_amount=trim)
    (images,) = comfy.call("VAEDecode", samples=trimmed, vae=comfy.load_vae())
    assert images.shape == (FRAMES, SIZE, SIZE, 3)
    torch.testing.assert_close(server.latent("stock_0"), trimmed["samples"], rtol=1e-4, atol=1e-4)


def test_server_reports_a_refused_prompt(server):
    prompt = stock_prompt(server)
    del prompt["sample"]["inputs"]["model"]
    with pytest.raises(RunError, match=r"KSampler \(sample\).*model"):
        server.run(prompt)


def test_server_reports_a_failing_node(server):
    prompt = stock_prompt(server, noise_seed=1)
    prompt["sample"]["inputs"]["latent_image"] = ["wrong", 0]
    prompt["wrong"] = {"class_type": "EmptyLatentImage", "inputs": {"width": SIZE, "height": SIZE, "batch_size": 1}}
    with pytest.raises(RunError, match="KSampler: ") as caught:
        server.run(prompt)
    assert not caught.value.interrupted


def test_server_interrupts_and_goes_on(server):
    prompt = stock_prompt(server, noise_seed=2)
    prompt["sample"]["inputs"]["steps"] = 200

    def cancel_at_first_step(kind, data):
        if kind == "progress":
            server.interrupt()

    with pytest.raises(RunError) as caught:
        server.run(prompt, on_event=cancel_at_first_step)
    assert caught.value.interrupted
    assert server.run(stock_prompt(server, noise_seed=3)).outputs["save"]


def test_pack_loads_from_a_folder_with_a_dash(comfy, server):
    assert PACK not in comfy.startup_warnings, comfy.startup_warnings
    module = f"custom_nodes.{PACK}"
    ours = {name for name, info in server.get("/object_info").items() if info["python_module"] == module}
    assert ours
    assert ours <= set(comfy.nodes)
