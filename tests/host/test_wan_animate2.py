"""A chain of Wan-Animate 2 with the blocks of the pack, as the graph animate2_long has it, against the host's own."""

import pytest
import tiny_models
import torch
from clips import moving_pattern, reference_image
from long_runs import knows_the_bases
from native_chain import ANIMATE2, CFG, FRAMES, SIZE, STEPS, chained
from safetensors.torch import save_file
from shipped import read_back, with_tiny_models

# A fixture that all tests here use.
__all__ = ["knows_the_bases"]
CHUNKS = 3
# Less than three whole chunks, of which neighbours share one frame.
TOTAL = 45

pytestmark = pytest.mark.usefixtures("knows_the_bases")


def blocks(comfy, strength):
    """The chain with the blocks of the pack: all frames, and the latents of each chunk."""
    footage, text, vae = ANIMATE2.footage(TOTAL), comfy.conditioning(), comfy.load_vae()
    (drawn, *_) = comfy.call("EverAnimatePlanChunks", total_frames=TOTAL, chunk_frames=FRAMES, overlap=1)
    (sampler,) = comfy.call("KSamplerSelect", sampler_name="lcm")
    (sigmas,) = comfy.call("EverAnimateSigmas", steps=STEPS)
    (memory,) = comfy.call(
        "EverAnimateMemory",
        vae=vae,
        reference_images=reference_image(SIZE),
        width=SIZE,
        height=SIZE,
        identity_latents=1,
    )
    joined, latents = {}, []
    for index in range(CHUNKS):
        images, carried, offset, *_ = comfy.call(
            "EverAnimateChunkFrames", plan=drawn, chunk_index=index, video=footage, **joined
        )
        if index == 1:
            (sampler,) = comfy.call("EverAnimateRestorativeSampler", memory=memory, strength=strength, sampler=sampler)
        positive, negative, latent, *_ = comfy.call(
            ANIMATE2.node,
            positive=text,
            negative=text,
            vae=vae,
            width=SIZE,
            height=SIZE,
            length=FRAMES,
            video_frame_offset=offset,
            **ANIMATE2.chunk_inputs(comfy, images, carried),
        )
        samples, _ = comfy.call(
            "SamplerCustom",
            model=comfy.load_base(ANIMATE2.name),
            add_noise=True,
            noise_seed=index,
            cfg=CFG,
            positive=positive,
            negative=negative,
            sampler=sampler,
            sigmas=sigmas,
            latent_image=latent,
        )
        memory, new, latent = comfy.call("EverAnimatePropagate", memory=memory, plan=drawn, samples=samples, vae=vae)
        latents.append(latent["samples"])
        joined = {"previous": comfy.call("EverAnimateJoinChunks", images=new, **joined)[0]}
    return joined["previous"], latents


@pytest.fixture(scope="module")
def uncorrected(comfy):
    with torch.inference_mode():
        return blocks(comfy, strength=0.0)


def test_without_correction_it_is_the_hosts_own_chain(comfy, uncorrected):
    frames, _ = uncorrected
    # Behind its end the plan goes back; the host's node holds the last frame.
    footage = ANIMATE2.footage(TOTAL)
    footage = torch.cat([footage, footage.flip(0)[1:]])
    native = chained(comfy, ANIMATE2, footage, CHUNKS, "lcm")
    expected = [chunk.frames[ANIMATE2.overlap if index else 0 :] for index, chunk in enumerate(native)]
    torch.testing.assert_close(frames, torch.cat(expected)[:TOTAL], rtol=0, atol=1e-5)


def test_the_correction_takes_later_chunks_towards_the_first(comfy, uncorrected):
    """Colour and contrast: mean and spread of each channel of the latents."""

    def statistics(latents):
        return torch.stack([latents.mean(dim=(0, 2, 3, 4)), latents.std(dim=(0, 2, 3, 4))])

    def distance(latents):
        first, *later = map(statistics, latents)
        return sum(float((statistic - first).norm()) for statistic in later)

    frames, corrected = blocks(comfy, strength=1.0)
    assert frames.isfinite().all() and len(frames) == TOTAL
    assert torch.equal(corrected[0], uncorrected[1][0])
    assert distance(corrected) < 0.9 * distance(uncorrected[1])


def test_the_shipped_graph_runs_through(comfy, server):
    # It holds for no layer of the tiny model.
    lora = comfy.base / "models" / "loras" / "few_steps.safetensors"
    save_file({"diffusion_model.none.lora_A.weight": torch.zeros(1, 1)}, lora)
    values = {
        "unet_name": tiny_models.BASE_FILES[ANIMATE2.name],
        "lora_name": lora.name,
        "image": server.add_image("person.png", reference_image(SIZE)),
        "file": server.add_video("driving.mov", moving_pattern(TOTAL, SIZE)),
        **{"width": SIZE, "height": SIZE, "chunk_frames": FRAMES, "steps": STEPS, "total_frames": TOTAL},
    }
    prompt = with_tiny_models("animate2_long", values)
    for node in prompt.values():
        if node["class_type"] == ANIMATE2.node:
            node["inputs"]["length"] = FRAMES
    (saved,) = next(iter(server.run(prompt).outputs.values()))["images"]
    assert read_back(server.output / saved["subfolder"] / saved["filename"]) == (TOTAL, 25, (SIZE, SIZE))
