"""The pack's nodes wired up in the test process, at the size that the host tests share."""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from clips import moving_pattern, reference_image

SIZE, FRAMES, OVERLAP, STEPS, CHUNKS = 64, 9, 4, 2, 3
TOTAL = FRAMES + (CHUNKS - 1) * (FRAMES - OVERLAP)
ANCHORS = 4


def first_memory(comfy, identity_latents=ANCHORS, **widgets):
    """The memory before chunk 0."""
    (memory,) = comfy.call(
        "EverAnimateMemory",
        vae=comfy.load_vae(),
        reference_images=reference_image(),
        width=SIZE,
        height=SIZE,
        identity_latents=identity_latents,
        **widgets,
    )
    return memory


def plan(comfy, total=TOTAL, frames=FRAMES):
    """The plan of all chunks."""
    return comfy.call(
        "EverAnimatePlanChunks", total_frames=total, chunk_frames=frames, overlap=min(OVERLAP, frames - 2)
    )[0]


def condition(comfy, memory, plan, index=0, **drivers):
    """positive, negative and latent of one chunk; the pose is there unless drivers say otherwise."""
    drivers = {"pose_video": moving_pattern(TOTAL), "clip_vision": comfy.clip_vision()} | drivers
    text = comfy.conditioning()
    return comfy.call(
        "EverAnimateChunk",
        positive=text,
        negative=text,
        vae=comfy.load_vae(),
        plan=plan,
        memory=memory,
        chunk_index=index,
        **{name: value for name, value in drivers.items() if value is not None},
    )


def sample(comfy, model, positive, negative, latent, seed=0, steps=STEPS, cfg=1.0, sampler="euler"):
    """One chunk through the host's SamplerCustom; the LATENT with its anchors."""
    (chosen,) = comfy.call("KSamplerSelect", sampler_name=sampler)
    (sigmas,) = comfy.call("EverAnimateSigmas", steps=steps)
    return comfy.call(
        "SamplerCustom",
        model=model,
        add_noise=True,
        noise_seed=seed,
        cfg=cfg,
        positive=positive,
        negative=negative,
        sampler=chosen,
        sigmas=sigmas,
        latent_image=latent,
    )[0]


@dataclass
class Chunk:
    """What one chunk of the composable graph went through."""

    memory: Any
    samples: torch.Tensor
    latents: torch.Tensor
    images: torch.Tensor


def run_chunks(comfy, model, memory, plan, count=CHUNKS, clip_source="last_frame", **drivers):
    """The composable graph: `count` chunks, each with the memory of the one before."""
    chunks = []
    for index in range(count):
        positive, negative, latent = condition(comfy, memory, plan, index, clip_source=clip_source, **drivers)
        samples = sample(comfy, model, positive, negative, latent, seed=42 * index)
        after, images, latents = comfy.call(
            "EverAnimatePropagate", memory=memory, plan=plan, chunk_index=index, samples=samples, vae=comfy.load_vae()
        )
        chunks.append(Chunk(memory, samples["samples"], latents["samples"], images))
        memory = after
    return chunks


def aligned(comfy, model=None):
    """The tiny model behind Align Model to Memory."""
    return comfy.call("EverAnimatePatchModel", model=comfy.load_model() if model is None else model)[0]


@contextmanager
def network_inputs(module):
    """Collects what a module is called with while the block runs: {0: first argument, 1: ..., name: ...} a call."""
    calls = []

    def collect(module, inputs, keywords):
        values = {**dict(enumerate(inputs)), **keywords}
        calls.append({name: value.clone() if torch.is_tensor(value) else value for name, value in values.items()})

    hook = module.register_forward_pre_hook(collect, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()
