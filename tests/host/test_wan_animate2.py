"""A chain of Wan-Animate 2 with the blocks of the pack, as the graph animate2_long has it, against the host's own."""

import json
from pathlib import Path

import av
import pytest
import tiny_models
import torch
from clips import moving_pattern, reference_image
from graphs import SIZE
from safetensors.torch import save_file

GRAPH = Path(__file__).resolve().parents[2] / "workflows" / "api" / "animate2_long.json"
FRAMES, STEPS, CHUNKS = 17, 3, 3
# Less than three whole chunks, of which neighbours share one frame.
TOTAL = 45


@pytest.fixture(autouse=True)
def _with_wan_animate_2(comfy):
    if "WanAnimate2ToVideo" not in comfy.nodes:
        pytest.skip("this host has no WanAnimate2ToVideo")


def conditioned(comfy, **inputs):
    """What the host's node makes of one chunk."""
    (seen,) = comfy.call("CLIPVisionEncode", clip_vision=comfy.clip_vision(), image=reference_image(), crop="none")
    return comfy.call(
        "WanAnimate2ToVideo",
        positive=comfy.conditioning(),
        negative=comfy.conditioning(1),
        vae=comfy.load_vae(),
        width=SIZE,
        height=SIZE,
        length=FRAMES,
        reference_image=reference_image(),
        clip_vision_output=seen,
        **inputs,
    )


def sampled(comfy, index, sampler, positive, negative, latent):
    """The LATENT of one chunk, with the reference in front."""
    (sigmas,) = comfy.call("EverAnimateSigmas", steps=STEPS)
    samples, _ = comfy.call(
        "SamplerCustom",
        model=comfy.load_base("animate2"),
        add_noise=True,
        noise_seed=42 * index,
        cfg=1.0,
        positive=positive,
        negative=negative,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=latent,
    )
    return samples


def lcm(comfy):
    return comfy.call("KSamplerSelect", sampler_name="lcm")[0]


@pytest.fixture(scope="module")
def native(comfy):
    """The chain of the host's nodes alone: all frames, [TOTAL, H, W, 3]."""
    video, frames, offset, carried = moving_pattern(TOTAL + FRAMES), [], 0, {}
    with torch.inference_mode():
        for index in range(CHUNKS):
            *chunk, trim_latent, trim_image, offset = conditioned(
                comfy, pose_video=video, video_frame_offset=offset, **carried
            )
            samples = sampled(comfy, index, lcm(comfy), *chunk)
            (samples,) = comfy.call("TrimVideoLatent", samples=samples, trim_amount=trim_latent)
            (decoded,) = comfy.call("VAEDecode", samples=samples, vae=comfy.load_vae())
            frames.append(decoded[trim_image:])
            carried = {"continue_motion": decoded}
    return torch.cat(frames)[:TOTAL]


def ours(comfy, strength):
    """The chain with the blocks of the pack: all frames, and the latents of each chunk."""
    (drawn, *_) = comfy.call("EverAnimatePlanChunks", total_frames=TOTAL, chunk_frames=FRAMES, overlap=1)
    (memory,) = comfy.call(
        "EverAnimateMemory",
        vae=comfy.load_vae(),
        reference_images=reference_image(),
        width=SIZE,
        height=SIZE,
        identity_latents=1,
    )
    joined, latents, sampler = {}, [], lcm(comfy)
    for index in range(CHUNKS):
        images, carried, offset, *_ = comfy.call(
            "EverAnimateChunkFrames", plan=drawn, chunk_index=index, video=moving_pattern(TOTAL + FRAMES), **joined
        )
        if index == 1:
            (sampler,) = comfy.call("EverAnimateRestorativeSampler", memory=memory, strength=strength, sampler=sampler)
        *chunk, _, _, _ = conditioned(comfy, pose_video=images, continue_motion=carried, video_frame_offset=offset)
        samples = sampled(comfy, index, sampler, *chunk)
        memory, new, latent = comfy.call(
            "EverAnimatePropagate", memory=memory, plan=drawn, samples=samples, vae=comfy.load_vae()
        )
        latents.append(latent["samples"])
        joined = {"previous": comfy.call("EverAnimateJoinChunks", images=new, **joined)[0]}
    return joined["previous"], latents


def test_without_correction_it_is_the_hosts_own_chain(comfy, native):
    frames, _ = ours(comfy, strength=0.0)
    assert frames.shape == (TOTAL, SIZE, SIZE, 3)
    torch.testing.assert_close(frames, native, rtol=0, atol=1e-5)


def test_the_correction_takes_later_chunks_towards_the_first(comfy):
    """Colour and contrast: mean and spread of each channel of the latents."""

    def statistics(latents):
        return torch.stack([latents.mean(dim=(0, 2, 3, 4)), latents.std(dim=(0, 2, 3, 4))])

    def distance(latents):
        first, second, third = map(statistics, latents)
        return float((second - first).norm() + (third - first).norm())

    frames, corrected = ours(comfy, strength=1.0)
    assert frames.isfinite().all() and len(frames) == TOTAL
    _, plain = ours(comfy, strength=0.0)
    assert torch.equal(corrected[0], plain[0])
    assert distance(corrected) < 0.9 * distance(plain)


def test_the_shipped_graph_runs_through(comfy, server):
    prompt = json.loads(GRAPH.read_text(encoding="utf-8"))
    # Any LoRA; none of its keys fits the tiny model.
    save_file(
        {"diffusion_model.none.lora_A.weight": torch.zeros(1, 1)}, comfy.base / "models" / "loras" / "few.safetensors"
    )
    changes = {
        "unet_name": tiny_models.BASE_FILES["animate2"],
        "lora_name": "few.safetensors",
        "image": server.add_image("person.png", reference_image()),
        "file": server.add_video("driving.mov", moving_pattern(TOTAL)),
        **{"width": SIZE, "height": SIZE, "length": FRAMES, "chunk_frames": FRAMES, "steps": STEPS},
        "total_frames": TOTAL,
    }
    stand_ins = {
        "CLIPTextEncode": ("TestTinyConditioning", {"seed": 0}),
        "VAELoader": ("TestTinyVae", {}),
        "CLIPVisionLoader": ("TestTinyClipVision", {}),
    }
    for node_id, node in list(prompt.items()):
        if node["class_type"] == "CLIPLoader":
            del prompt[node_id]
        elif node["class_type"] in stand_ins:
            node["class_type"], node["inputs"] = stand_ins[node["class_type"]]
        elif node["class_type"] != "ImageFromBatch":
            wired = {name for name, value in node["inputs"].items() if isinstance(value, list)}
            node["inputs"].update({name: changes[name] for name in node["inputs"].keys() & changes.keys() - wired})
    (saved,) = next(iter(server.run(prompt).outputs.values()))["images"]
    with av.open(str(server.output / saved["subfolder"] / saved["filename"])) as video:
        assert sum(1 for _ in video.decode(video=0)) == TOTAL
