"""Nodes around sampling: noise levels, and explicit restoration around a SAMPLER or on a MODEL, with equal results."""

from functools import partial, reduce
from itertools import chain

import comfy.model_patcher
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch import Tensor

from ..everanimate_core.errors import InputError
from ..everanimate_core.everanimate.flow import sigma_schedule
from ..everanimate_core.everanimate.memory import ContextMemory
from ..everanimate_core.everanimate.restoration import Correction, Restoration, check_strength, correction
from . import widgets
from .alignment import CONDITION_KEY
from .checks import check_images
from .host import frame_source
from .node import SamplingError, in_its_name

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


def restored_model(node: str, model, correct: Correction | None):
    """A clone of the MODEL whose clean estimates are corrected; the MODEL itself when nothing is to be corrected.

    node: in whose name errors speak.
    """
    if correct is None:
        return model

    def outer_sample(executor, noise, *arguments, **keywords):
        check_correction(node, correct, executor.class_obj, noise)
        return executor(noise, *arguments, **keywords)

    model = model.clone()
    model.set_model_sampler_post_cfg_function(partial(_corrected, correct))
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, RESTORE_KEY, outer_sample)
    return model


def restored_sampler(node: str, sampler, correct: Correction | None):
    """Any SAMPLER with the clean estimates of its model calls corrected; itself when nothing is to be corrected.

    node: in whose name errors speak.
    """
    return sampler if correct is None else RestoredSampler(node, sampler, correct)


class RestoredSampler(comfy.samplers.Sampler):
    """A SAMPLER around another, which sees the model as it is patched by `restored_model`, for this one run."""

    def __init__(self, node: str, sampler, correct: Correction):
        self.node, self.sampler, self.correct = node, sampler, correct

    def sample(
        self,
        model_wrap,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image=None,
        denoise_mask=None,
        disable_pbar=False,
    ):
        """The host's own interface of a SAMPLER; model_wrap is its guider."""
        check_correction(self.node, self.correct, model_wrap, noise)
        options = comfy.model_patcher.set_model_options_post_cfg_function(
            dict(extra_args["model_options"]), partial(_corrected, self.correct)
        )
        extra_args = extra_args | {"model_options": options}
        return self.sampler.sample(
            model_wrap, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar
        )


def _corrected(correct: Correction, arguments: dict) -> Tensor:
    """The host's hook on a model call, after guidance: its estimate is in the network's space, sigma [B] in 0..1."""
    return correct.estimate(arguments["denoised"], arguments["sigma"])


def check_correction(node: str, correct: Correction, guider, noise: Tensor) -> None:
    """Raise SamplingError, before any step, when this guider's chunk [B, 16, N + T, h, w] is not of the memory's shape.

    node: in whose name.
    """
    expected = list(correct.memory.identity.shape[2:])
    for cond in chain.from_iterable(guider.conds.values()):
        # Conditioning that Condition Chunk did not make says nothing of anchors.
        anchors = cond["model_conds"].get(CONDITION_KEY)
        got = [expected[0] if anchors is None else int(anchors.cond), *noise.shape[3:]]
        if got != expected:
            raise SamplingError(
                node,
                "memory",
                "must be the one that Condition Chunk was given",
                f"{expected} anchors, latent height, width",
                f"a chunk of {got}",
            )


def restores(model, sampler) -> bool:
    """Whether a MODEL or SAMPLER comes from the restoring nodes, whose correction is that of one chunk."""
    return bool(model.get_wrappers(WrappersMP.OUTER_SAMPLE, RESTORE_KEY)) or isinstance(sampler, RestoredSampler)


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
    """What both restoring nodes ask for, but for what they wrap: memory and widgets, mask and pose_video."""
    return [
        widgets.Memory.Input("memory", tooltip="The memory that this chunk was conditioned on."),
        *widgets.restoration(),
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
    memory: ContextMemory, strength: float, schedule: str, target: str, mask: Tensor | None, pose_video
) -> Correction | None:
    """The correction that the inputs of a restoring node describe, None for none.

    Raises ValueError for low_frequency without mask and pose, or with one of another size than the animation's, and for
    values that are no numbers.
    """
    check_strength(strength)
    check_images(mask=mask, pose_video=pose_video)
    pose = None
    if target == "low_frequency":
        if mask is not None:
            mask = mask.float().cpu()
            check_frames("mask", mask, memory)
        elif pose_video is not None:
            with frame_source("pose_video", pose_video) as source:
                pose = brightest(source)
            check_frames("pose_video", pose, memory)
    return correction(Restoration(strength, schedule, target), memory, pose, mask)


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
            "model call, the clean picture that the model expects is moved towards what the memory knows. For "
            "SamplerCustom or SamplerCustomAdvanced; use one for each chunk.",
            inputs=[
                *restoring_inputs(),
                io.Sampler.Input("sampler", optional=True, tooltip="Any sampler; euler when nothing is connected."),
                *static_inputs(),
            ],
            outputs=[
                io.Sampler.Output(display_name="sampler", tooltip="The sampler; unchanged when nothing is to do.")
            ],
        )

    @classmethod
    @in_its_name
    def execute(cls, memory, strength, schedule, target, sampler=None, mask=None, pose_video=None) -> io.NodeOutput:
        sampler = comfy.samplers.sampler_object("euler") if sampler is None else sampler
        correct = make_correction(memory, strength, schedule, target, mask, pose_video)
        return io.NodeOutput(restored_sampler("Restorative Sampler", sampler, correct))


class EverAnimateRestoreFlow(io.ComfyNode):
    """The same correction on the model, for samplers that take no SAMPLER."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateRestoreFlow",
            display_name="Restore Flow",
            category=widgets.CATEGORY,
            description="The correction of Restorative Sampler as a patch of the model, for KSampler and others that "
            "take no SAMPLER. Use one for each chunk, each on the unpatched model.",
            inputs=[widgets.model(), *restoring_inputs(), *static_inputs()],
            outputs=[io.Model.Output(display_name="model", tooltip="The model; unchanged when nothing is to do.")],
        )

    @classmethod
    @in_its_name
    def execute(cls, model, memory, strength, schedule, target, mask=None, pose_video=None) -> io.NodeOutput:
        correct = make_correction(memory, strength, schedule, target, mask, pose_video)
        return io.NodeOutput(restored_model("Restore Flow", model, correct))
