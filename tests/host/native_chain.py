"""Long videos of Wan-Animate 2 and SCAIL-2 as people chain them by hand, with the host's own nodes alone."""

from dataclasses import dataclass

import torch
from clips import moving_pattern, reference_image

SIZE, FRAMES, STEPS, CFG = 64, 17, 3, 1.0


@dataclass(frozen=True)
class Chained:
    """One chunk of a chain: what was sampled, raw and without the reference's slot, and all decoded frames."""

    latents: torch.Tensor
    frames: torch.Tensor


def features(comfy):
    """CLIP vision's output of the reference picture."""
    return comfy.clip_vision().encode_image(reference_image(SIZE), crop=False)


def palette_mask(frames, size, colour=(0.0, 0.0, 1.0), ground=0.0):
    """A mask video [frames, size, size, 3] of one person, a square that moves."""
    mask = torch.full((frames, size, size, 3), ground)
    for index in range(frames):
        left = index % (size // 2)
        mask[index, size // 4 : 3 * size // 4, left : left + size // 2] = torch.tensor(colour)
    return mask


@dataclass(frozen=True)
class Base:
    """A base as its users chain it."""

    name: str
    node: str
    method: str
    overlap: int
    leading: int

    def chunk_inputs(self, comfy, footage, before):
        """Of the host's node for one chunk."""
        inputs = {"clip_vision_output": features(comfy), "reference_image": reference_image(SIZE)}
        inputs["pose_video"] = footage
        inputs["continue_motion" if self.name == "animate2" else "previous_frames"] = before
        return {name: value for name, value in inputs.items() if value is not None}

    def footage(self, frames):
        """A driving video of the size that the node reads."""
        return moving_pattern(frames, SIZE if self.name == "animate2" else SIZE // 2)


ANIMATE2 = Base("animate2", "WanAnimate2ToVideo", "EverAnimateMethodAnimate2", overlap=1, leading=1)
SCAIL2 = Base("scail2", "WanSCAILToVideo", "EverAnimateMethodScail2", overlap=5, leading=0)


def chained(comfy, base, footage, chunks, sampler="euler", seed=0, shift=5.0, model=None, **inputs):
    """The chunks of a native chain, each from the whole footage and the last frames of the one before.

    model: the tiny one of the base without one. inputs: more of the host's node.
    """
    positive = negative = comfy.conditioning()
    vae, model = comfy.load_vae(), model or comfy.load_base(base.name)
    sigmas = comfy.call("EverAnimateSigmas", steps=STEPS, shift=shift)[0]
    chosen = comfy.call("KSamplerSelect", sampler_name=sampler)[0]
    made, before, offset = [], None, 0
    for index in range(chunks):
        sizes = {"width": SIZE, "height": SIZE, "length": FRAMES, "video_frame_offset": offset}
        given = base.chunk_inputs(comfy, footage, before) | inputs
        result = comfy.call(base.node, positive=positive, negative=negative, vae=vae, **sizes, **given)
        conditioned, offset = result[:3], result[-1]
        how = {"add_noise": True, "noise_seed": seed + index, "cfg": CFG, "sampler": chosen, "sigmas": sigmas}
        text = {"positive": conditioned[0], "negative": conditioned[1]}
        latent = comfy.call("SamplerCustom", model=model, latent_image=conditioned[2], **text, **how)[0]
        latents = latent["samples"][:, :, base.leading :]
        before = comfy.call("VAEDecode", vae=vae, samples={"samples": latents})[0]
        made.append(Chained(latents, before))
    return made
