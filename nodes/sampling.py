"""Nodes around sampling: noise levels, and explicit restoration around a SAMPLER or on a MODEL, with equal results."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from itertools import chain

import comfy.latent_formats
import comfy.model_patcher
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch import Tensor

from ..everanimate_core.errors import InputError, check_finite
from ..everanimate_core.everanimate.flow import sigma_schedule
from ..everanimate_core.everanimate.geometry import LATENT_CHANNELS
from ..everanimate_core.everanimate.memory import ContextMemory
from ..everanimate_core.everanimate.restoration import (
    Correction,
    Restoration,
    check_strength,
    correction,
    correction_of_statistics,
)
from ..everanimate_core.latents import channel_statistics
from . import widgets
from .alignment import CONDITION_KEY
from .checks import check_images
from .host import to_network
from .node import SamplingError, in_its_name
from .sources import frame_source

RESTORE_KEY = "everanimate_restore"


class EverAnimateSigmas(io.ComfyNode):
    """The noise levels that the released model is sampled with."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateSigmas",
            display_name="EverAnimate Sigmas",
            category=widgets.CATEGORY,
            description="Noise levels of the released model: evenly spaced, shifted towards noise, exact for any step "
            "count.",
            inputs=[
                *widgets.of("steps", "shift"),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="1: start from pure noise. Below: run only the last part of a longer schedule.",
                ),
            ],
            outputs=[io.Sigmas.Output(display_name="sigmas", tooltip="For SamplerCustom or SamplerCustomAdvanced.")],
        )

    @classmethod
    @in_its_name
    def execute(cls, steps, shift, denoise) -> io.NodeOutput:
        return io.NodeOutput(sigma_schedule(steps, shift, denoise))


@dataclass(frozen=True)
class Correcting:
    """Around the host's call of a SAMPLER: the clean estimates of its model calls are corrected, in this one sampling.

    node: in whose name errors speak.
    """

    node: str
    correct: Correction

    def __call__(
        self,
        sample: Callable,
        guider,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image=None,
        denoise_mask=None,
        disable_pbar=False,
    ) -> Tensor:
        """sample: the SAMPLER's own method. What follows is the host's interface of it."""
        check_correction(self.node, self.correct, guider, noise)
        correct = self.correct.behind(held_slots(denoise_mask, self.correct.head))
        options = comfy.model_patcher.set_model_options_post_cfg_function(
            dict(extra_args["model_options"]), partial(_corrected, correct)
        )
        extra_args = extra_args | {"model_options": options}
        return sample(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)


def restored_model(node: str, model, correct: Correction | None):
    """A clone of the MODEL whose clean estimates are corrected; the MODEL itself when nothing is to be corrected.

    node: in whose name errors speak.
    """
    if correct is None:
        return model
    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, RESTORE_KEY, Correcting(node, correct))
    return model


def restored_sampler(node: str, sampler, correct: Correction | None):
    """Any SAMPLER with the clean estimates of its model calls corrected; itself when nothing is to be corrected.

    node: in whose name errors speak.
    """
    return sampler if correct is None else RestoredSampler(node, sampler, correct)


class RestoredSampler(comfy.samplers.Sampler):
    """A SAMPLER around another, which is called as it is on a model of `restored_model`."""

    def __init__(self, node: str, sampler, correct: Correction):
        self.node, self.sampler, self.correct = node, sampler, correct

    def sample(self, *arguments, **named):
        """The host's own interface of a SAMPLER."""
        return Correcting(self.node, self.correct)(self.sampler.sample, *arguments, **named)


def held_slots(denoise_mask: Tensor | None, leading: int) -> int:
    """How many slots directly behind the `leading` ones are held: 0 in the host's mask [B, C, T, h, w] throughout.

    Slots that are held further behind do not count: they are measured with what is in front of them.
    """
    if denoise_mask is None:
        return 0
    free = denoise_mask.amax(dim=(0, 1, 3, 4))[leading:] > 0
    return int((free.cumsum(0) == 0).sum())


def _corrected(correct: Correction, arguments: dict) -> Tensor:
    """The host's hook on a model call, after guidance: its estimate is in the network's space, sigma [B] in 0..1."""
    return correct.estimate(arguments["denoised"], arguments["sigma"])


def check_correction(node: str, correct: Correction, guider, noise: Tensor) -> None:
    """Raise SamplingError, before any step, when this guider's chunk is not the one that the correction is for.

    node: in whose name. noise: [B, C, N + T, h, w].
    """
    channels, height, width = correct.shape
    latent_format = guider.model_patcher.get_model_object("latent_format")
    # That of Wan 2.2's VAE is one of these too, with more channels.
    if not isinstance(latent_format, comfy.latent_formats.Wan21) or latent_format.latent_channels != channels:
        example, got = "Wan2.2-Animate, Wan-Animate 2 or SCAIL-2", f"one with {type(latent_format).__name__} latents"
        raise SamplingError(node, "the sampled model", "must be one of the Wan 2.1 VAE", example, got)
    for cond in chain.from_iterable(guider.conds.values()):
        # Conditioning that Condition Chunk did not make says nothing of anchors.
        marker = cond["model_conds"].get(CONDITION_KEY)
        anchors = correct.head if marker is None else int(marker.cond)
        expected, got = [correct.head, height, width], [anchors, *noise.shape[3:]]
        if height is None:
            if anchors != correct.head:
                raise SamplingError(node, "leading_latents", "must be the anchors of this chunk", anchors, correct.head)
        elif got != expected:
            raise SamplingError(
                node,
                "memory",
                "must be the one that Condition Chunk was given",
                f"{expected} anchors, latent height, width",
                f"a chunk of {got}",
            )


def restores(model, sampler) -> bool:
    """Whether a MODEL or SAMPLER comes from the restoring nodes, whose correction is that of one chunk."""
    return bool(model.get_wrappers(WrappersMP.SAMPLER_SAMPLE, RESTORE_KEY)) or isinstance(sampler, RestoredSampler)


def check_not_restoring(model, sampler) -> None:
    """Raise InputError, in a node that corrects every chunk by itself, for the correction of one chunk."""
    if restores(model, sampler):
        raise InputError(
            "every chunk",
            "has a correction of its own",
            "set restore_strength and connect model and sampler without it",
            "one from Restore Flow or Restorative Sampler",
        )


def restoring_inputs() -> list:
    """What both restoring nodes ask for first, but for what they wrap: memory and widgets."""
    return [
        widgets.Memory.Input(
            "memory",
            optional=True,
            tooltip="The memory that this chunk was conditioned on. Leave it out where first_chunk is connected.",
        ),
        *widgets.restoration(),
    ]


def first_chunk_inputs() -> list:
    """first_chunk and leading_latents, which take the place of a memory on other networks."""
    return [
        io.Latent.Input(
            "first_chunk",
            optional=True,
            tooltip="In place of a memory, for Wan-Animate 2, SCAIL-2 and others with the Wan 2.1 VAE: what the "
            "sampler made of chunk 0, whose colour and contrast are then the goal. Chunk 0 itself needs no correction.",
        ),
        io.Int.Input(
            "leading_latents",
            optional=True,
            default=0,
            min=0,
            max=16,
            tooltip="With first_chunk: how many latents stand in front of the chunk's own, trim_latent of the chunk's "
            "node. Wan-Animate 2: 1. SCAIL-2: 0; the frames that it carries over are found by their noise mask.",
        ),
    ]


def static_inputs() -> list:
    """mask and pose_video, which tell target = low_frequency where nobody moves."""
    return [
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="A mask in the size of the animation, white where the scene stands still in every frame of this "
            "chunk. Only target = low_frequency uses it, and then ignores pose_video.",
        ),
        widgets.pose_video(
            "The pose frames of this chunk, in the size of the animation. Where none of them draws anything, the scene "
            "counts as still. The whole pose video works too, but then less counts as still. Only target = "
            "low_frequency uses it."
        ),
    ]


def make_correction(
    strength: float,
    schedule: str,
    target: str,
    memory: ContextMemory | None = None,
    mask: Tensor | None = None,
    pose_video=None,
    first_chunk: dict | None = None,
    leading_latents: int = 0,
) -> Correction | None:
    """The correction that the inputs of a restoring node describe, None for none.

    Raises InputError unless there is either a memory or a first chunk, for what does not go with it, for low_frequency
    without mask and pose, or with one of another size than the animation's, and for values that are no numbers.
    """
    check_strength(strength)
    check_images(mask=mask, pose_video=pose_video)
    restoration = Restoration(strength, schedule, target)
    if (memory is None) == (first_chunk is None):
        raise InputError(
            "either memory or first_chunk",
            "must be connected",
            "memory behind Condition Chunk, first_chunk with Wan-Animate 2 and SCAIL-2",
            "neither" if memory is None else "both",
        )
    if memory is None:
        statistics = first_statistics(first_chunk, leading_latents)
        return correction_of_statistics(restoration, statistics, leading_latents)
    if leading_latents:
        raise InputError("leading_latents", "must be 0 with a memory", "it knows its anchors", leading_latents)
    pose = None
    if target == "low_frequency":
        if mask is not None:
            mask = mask.float().cpu()
            check_frames("mask", mask, memory)
        elif pose_video is not None:
            with frame_source("pose_video", pose_video) as source:
                pose = brightest(source)
            check_frames("pose_video", pose, memory)
    return correction(restoration, memory, pose, mask)


def first_statistics(first_chunk: dict, leading: int) -> Tensor:
    """The statistics [2, 16] of a sampled chunk 0, a LATENT, without the `leading` latents in front of its own.

    Raises InputError when nothing is left, and for latents of another VAE or with values that are no numbers.
    """
    raw = first_chunk["samples"]
    if raw.ndim != 5 or raw.shape[1] != LATENT_CHANNELS:
        wan = f"[1, {LATENT_CHANNELS}, frames, height, width]"
        raise InputError("first_chunk", "must hold latents of the Wan 2.1 VAE", wan, list(raw.shape))
    check_finite("first_chunk", raw)
    slots = raw.shape[2]
    if not 0 <= leading < slots:
        raise InputError(
            "leading_latents", f"must leave latents of first_chunk, which has {slots}", f"0 to {slots - 1}", leading
        )
    return channel_statistics(to_network(raw)[:, :, leading:])


def brightest(source) -> Tensor:
    """The brightest value of each pixel over all frames of a source, [1, H, W, 3], one frame in memory at a time.

    What is dark in it is dark in every frame: the same is static as in the frames themselves.
    """
    return reduce(torch.maximum, (source.read([index]) for index in range(source.frame_count)))


def check_frames(name: str, frames: Tensor, memory: ContextMemory) -> None:
    """Raise ValueError unless frames [n, H, W, ...] are of the animation's size: fitting them is another node's."""
    height, width = frames.shape[1:3]
    if (width, height) != (memory.width, memory.height):
        size = f"{memory.width}x{memory.height}"
        raise InputError(name, "must be of the animation's size", size, f"{width}x{height}")


class EverAnimateRestorativeSampler(io.ComfyNode):
    """Any sampler, with the drift of one chunk corrected at each of its model calls."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateRestorativeSampler",
            display_name="Restorative Sampler",
            category=widgets.CATEGORY,
            description="Correct drift while a chunk is sampled, for models that were not trained to do so. At every "
            "model call, the clean picture that the model expects is moved towards what the memory or chunk 0 knows. "
            "For SamplerCustom or SamplerCustomAdvanced; with a memory, use one for each chunk.",
            inputs=[
                *restoring_inputs(),
                io.Sampler.Input("sampler", optional=True, tooltip="Any sampler; euler when nothing is connected."),
                *static_inputs(),
                *first_chunk_inputs(),
            ],
            outputs=[
                io.Sampler.Output(display_name="sampler", tooltip="The sampler; unchanged when nothing is to do.")
            ],
        )

    @classmethod
    @in_its_name
    def execute(cls, sampler=None, **restoring) -> io.NodeOutput:
        sampler = comfy.samplers.sampler_object("euler") if sampler is None else sampler
        return io.NodeOutput(restored_sampler("Restorative Sampler", sampler, make_correction(**restoring)))


class EverAnimateRestoreFlow(io.ComfyNode):
    """The same correction on the model, for samplers that take no SAMPLER."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateRestoreFlow",
            display_name="Restore Flow",
            category=widgets.CATEGORY,
            description="The correction of Restorative Sampler as a patch of the model, for KSampler and others that "
            "take no SAMPLER. With a memory, use one for each chunk, each on the unpatched model.",
            inputs=[
                io.Model.Input(
                    "model", tooltip="Wan2.2-Animate, Wan-Animate 2, SCAIL-2 or another model with the Wan 2.1 VAE."
                ),
                *restoring_inputs(),
                *static_inputs(),
                *first_chunk_inputs(),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model; unchanged when nothing is to do.")],
        )

    @classmethod
    @in_its_name
    def execute(cls, model, **restoring) -> io.NodeOutput:
        return io.NodeOutput(restored_model("Restore Flow", model, make_correction(**restoring)))
