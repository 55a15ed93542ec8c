"""LongAnimation: a long line-art animation is coloured like a reference picture, window by window."""

from dataclasses import dataclass, replace
from functools import partial

import comfy.model_management
import comfy.sample
import comfy.utils
import node_helpers
import torch
from comfy_api.latest import io
from torch import Tensor

from ..everanimate_core.errors import InputError, check_finite
from ..everanimate_core.knobs import knobs
from ..everanimate_core.longanimation.files import LATENT_CHANNELS
from ..everanimate_core.longanimation.fusion import Fusion
from ..everanimate_core.longanimation.method import long_animation
from ..everanimate_core.longanimation.notes import of_lengths, of_pictures
from ..everanimate_core.longanimation.settings import Settings
from ..everanimate_core.longanimation.video_memory import Held, MemoryOfVideo
from ..everanimate_core.longanimation.windows import SLOT_OF_REFERENCE, Window, WindowRequest, window_fusion
from ..everanimate_core.method import State
from ..everanimate_core.notes import Size
from ..everanimate_core.plan import NEXT, ChunkPlan, latent_frames
from ..everanimate_core.runs.settings import RunSettings
from . import widgets
from .checks import check_images
from .cogvideo import CogHostCodec, DpmSampler, check_prompts, cog, steered_model
from .host import tell_notes
from .marks import check_made_for, made_for
from .node import in_its_name
from .notes import size_of
from .sources import frame_count, frame_source
from .validation import widgets_checked

CATEGORY = f"{widgets.CATEGORY}/LongAnimation"
Control, Plan = io.Custom("LA_CONTROL"), io.Custom("LA_PLAN")
WindowType, Recording, StateType = io.Custom("LA_WINDOW"), io.Custom("LA_RECORDING"), io.Custom("LA_STATE")
MemoryType = io.Custom("LA_MEMORY")

_KNOBS = knobs(Settings)
of = partial(widgets.of, among=_KNOBS)
widget = partial(widgets.widget, among=_KNOBS)
# What the settings of a run mean where line art drives them.
_TOOLTIPS = {
    "total_frames": "Frames of the whole animation. 0: as many as the line art has.",
    "fps": "Frames per second of the result. A line-art VIDEO is shown at this rate and keeps its speed. 0: the rate "
    "of the VIDEO, 25 for images.",
    "fit": "What to do with pictures of another size: stretch both sides on their own, crop the middle to fill the "
    "size, pad (line art with paper, the reference with black), or stop with an error.",
    "resume": "Use the windows that are there. Off: open a new take and make every window of it anew; older takes "
    "stay.",
    "from_chunk": "Make this window and all after it again, in a new take, with another seed or another setting. "
    "Counted from 0: window 7 of 21 is 6. 0: only what is missing.",
    "on_change": "What happens when a setting or an input has changed since the last start: open a new take, which "
    "uses every window that is still right, or stop with an error that names the change.",
    "only_chunk": "Make this window alone again, in a new take, with another seed or another setting. Counted from 0: "
    "window 7 of 21 is 6. It is held to its neighbours, which stay as they are. -1: none.",
    "candidates": "How many times each new window is made, each time with another seed; the one whose colours "
    "lie nearest to those of the reference and of the animation so far is taken. The others are kept beside it.",
}


def of_run(*names: str, optional: bool = False) -> list[io.Input]:
    """The widgets of these settings of a run."""
    return [
        widgets.widget(name, optional=optional, **({"tooltip": _TOOLTIPS[name]} if name in _TOOLTIPS else {}))
        for name in names
    ]


def lineart_input(optional: bool = False) -> io.MultiType.Input:
    """The animation to be coloured."""
    return io.MultiType.Input(
        "lineart",
        [io.Image, io.Video],
        optional=optional,
        tooltip="The whole line-art animation. A VIDEO is streamed.",
    )


def reference_inputs() -> list[io.Input]:
    """The picture that says the colours, and its lines."""
    return [
        io.Image.Input("reference", tooltip="One coloured picture: every window takes its colours from it."),
        io.Image.Input(
            "reference_lineart",
            optional=True,
            tooltip="The line art of the reference. Not connected: the reference is taken to show the first frame.",
        ),
    ]


def picture_sizes(reference: Tensor, reference_lineart: Tensor | None) -> dict[str, Size]:
    """Of the pictures that there are, by name."""
    pictures = {"reference": reference, "reference_lineart": reference_lineart}
    return {name: size_of(picture) for name, picture in pictures.items() if picture is not None}


class LongAnimationPlan(io.ComfyNode):
    """The windows of a long animation."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationPlan",
            display_name="Plan Windows",
            category=CATEGORY,
            description="Divide a line-art animation into windows that share frames. Every frame is made once.",
            inputs=[
                *of_run("total_frames"),
                *of("window_frames", "overlap"),
                lineart_input(optional=True),
            ],
            outputs=[
                Plan.Output(
                    display_name="plan", tooltip="For Condition Window, LongAnimation Sampler and Finish Window."
                ),
                io.Int.Output(display_name="window_count", tooltip="How many windows there are."),
                io.Int.Output(display_name="total_frames", tooltip="Frames of the whole animation."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    # Whether overlaps are blended is said at the sampler, and checked there.
    validate_inputs = widgets_checked(Settings, RunSettings, fuse=False)

    @classmethod
    @in_its_name
    def execute(cls, total_frames, window_frames, overlap, lineart=None) -> io.NodeOutput:
        if total_frames == 0 and lineart is None:
            raise InputError("total_frames or lineart", "must say how long the animation is", "", "neither")
        frames = frame_count("lineart", lineart)
        plan = Settings(window_frames=window_frames, overlap=overlap, fuse=False).plan(total_frames or frames)
        tell_notes(cls.hidden.unique_id, of_lengths(frames, plan, str))
        return io.NodeOutput(plan, plan.chunk_count, plan.total_frames)


class LongAnimationCondition(io.ComfyNode):
    """Everything that the sampler is told about one window."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationCondition",
            display_name="Condition Window",
            category=CATEGORY,
            description="Condition one window on its line art and on the reference.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt: what is to be seen."),
                widgets.negative(),
                io.Vae.Input("vae", tooltip="The VAE of CogVideoX."),
                Plan.Input("plan", tooltip="The plan of all windows."),
                widgets.index_of(
                    "window_index", "Which window this is, from 0. -1: the one after the window that previous is of."
                ),
                lineart_input(),
                *reference_inputs(),
                widgets.widget("width", default=1024),
                widgets.widget("height", default=576),
                *of_run("fit"),
                *of("lines", "threshold"),
                StateType.Input(
                    "previous",
                    optional=True,
                    tooltip="What the Finish Window before gave. Not connected for window 0.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For the sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="For the sampler."),
                io.Latent.Output(display_name="latent", tooltip="Empty latents of the right size, reference included."),
                WindowType.Output(display_name="window", tooltip="For Apply SketchDiT and LongAnimation Sampler."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = widgets_checked(Settings, RunSettings)

    @classmethod
    @in_its_name
    def execute(
        cls,
        positive,
        negative,
        vae,
        plan,
        window_index,
        lineart,
        reference,
        width,
        height,
        fit,
        lines,
        threshold,
        reference_lineart=None,
        previous=None,
    ) -> io.NodeOutput:
        check_images(lineart=lineart, reference=reference, reference_lineart=reference_lineart)
        check_prompts(positive=positive, negative=negative)
        if window_index == NEXT:
            window_index = 0 if previous is None else previous.index + 1
        plan.check_index(window_index, "window_index")
        handed = "nothing" if previous is None else f"what window {previous.index} handed on"
        if window_index == 0 and previous is not None:
            raise InputError("previous", "must not be connected for window_index 0", "", handed)
        if window_index and (previous is None or previous.index != window_index - 1):
            rule = f"must come from window {window_index - 1} for window_index {window_index}"
            raise InputError("previous", rule, "its Finish Window", handed)
        if previous is not None:
            _check_plan(plan, previous.plan)
        settings = Settings(
            lines=lines, threshold=threshold, fuse=False, window_frames=plan.chunk_frames, overlap=plan.overlap
        )
        with frame_source("lineart", lineart) as source:
            method = long_animation(
                source, reference, settings, width, height, fit, plan.total_frames, reference_lineart
            )
            if window_index == 0:
                pictures = picture_sizes(reference, reference_lineart)
                tell_notes(cls.hidden.unique_id, of_pictures(source, pictures, Size(width, height), fit, str))
            window = Window(method.lineart, plan, window_index)
            state = {} if previous is None else previous.state
            request = method.request(state, window, CogHostCodec(vae))
        positive, negative = condition(positive, negative, request)
        return io.NodeOutput(positive, negative, made_for(window_index, empty_latent(request)), request)


@dataclass(frozen=True)
class Remembered:
    """What a window is told of the video so far. memory: [2, 3, N, kv], see WindowRequest. by: what remembers. seen,
    held: of all frames so far, see video_memory.Held."""

    index: int
    memory: Tensor
    by: MemoryOfVideo
    seen: Tensor
    held: Held | None


class LongAnimationApply(io.ComfyNode):
    """The line art of one window on the model."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationApply",
            display_name="Apply SketchDiT",
            category=CATEGORY,
            description="Let the line art of one window steer the model. Use one for each window, each on the model as "
            "it was loaded; a second one replaces the first.",
            inputs=[
                io.Model.Input("model", tooltip="CogVideoX1.5 I2V, from any loader."),
                Control.Input("control", tooltip="SketchDiT, from Load LongAnimation."),
                WindowType.Input("window", tooltip="The window, from Condition Window."),
                *of("strength", "blocks"),
                MemoryType.Input(
                    "la_memory",
                    optional=True,
                    tooltip="The memory of the video so far, for this window, from Remember Frames. It needs a "
                    "memory_file in Load LongAnimation. Not connected for window 0.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, for the sampler of this window.")],
        )

    validate_inputs = widgets_checked(Settings)

    @classmethod
    @in_its_name
    def execute(cls, model, control, window, strength, blocks, la_memory=None) -> io.NodeOutput:
        if la_memory is not None:
            if la_memory.index != window.index:
                got = f"one of window {la_memory.index}"
                raise InputError("la_memory", f"must be of window {window.index}", "its own memory", got)
            window = replace(window, memory=la_memory.memory)
        return io.NodeOutput(steered_model(model, control, window, strength, blocks))


@dataclass
class Ends:
    """What the sampling of a window leaves for the next one. fuse: whether it does; fusion: None before it has run."""

    index: int
    plan: ChunkPlan
    fuse: bool
    fusion: Fusion | None = None


@dataclass(frozen=True)
class Handed:
    """What a finished window hands on."""

    index: int
    plan: ChunkPlan
    state: State


def _check_plan(plan: ChunkPlan, earlier: ChunkPlan) -> None:
    """Raise InputError unless a plan is that of what was made before."""
    if plan != earlier:
        said, got = (
            f"{each.total_frames} frames, window_frames {each.chunk_frames}, overlap {each.overlap}"
            for each in (earlier, plan)
        )
        raise InputError("plan", "must be that of the window before", said, got)


class LongAnimationSampler(io.ComfyNode):
    """The sampler that LongAnimation was released with, with the blend of overlaps in it."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationSampler",
            display_name="LongAnimation Sampler",
            category=CATEGORY,
            description="The sampler of CogVideoX and LongAnimation, for SamplerCustom or SamplerCustomAdvanced with "
            "the scheduler `simple`. ComfyUI's own samplers do not fit this network.",
            inputs=[
                WindowType.Input("window", tooltip="The window that is sampled, from Condition Window."),
                Plan.Input("plan", tooltip="The plan of all windows."),
                *of("steps", "fuse", "fuse_from"),
            ],
            outputs=[
                io.Sampler.Output(display_name="sampler", tooltip="For SamplerCustom or SamplerCustomAdvanced."),
                Recording.Output(display_name="ends", tooltip="What it leaves for the next window, for Finish Window."),
            ],
        )

    validate_inputs = widgets_checked(Settings)

    @classmethod
    @in_its_name
    def execute(cls, window, plan, steps, fuse, fuse_from) -> io.NodeOutput:
        windows = {"window_frames": plan.chunk_frames, "overlap": plan.overlap}
        settings = Settings(steps=steps, fuse=fuse, fuse_from=fuse_from, **windows)
        window_fusion(window, settings)
        ends = Ends(window.index, plan, fuse)

        def fresh() -> Fusion | None:
            ends.fusion = window_fusion(window, settings)
            return ends.fusion

        return io.NodeOutput(DpmSampler(fresh, steps), ends)


class LongAnimationFinish(io.ComfyNode):
    """Decode a sampled window and hand its ends to the next."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationFinish",
            display_name="Finish Window",
            category=CATEGORY,
            description="Take a sampled window: decode it, keep its new frames, and hand its ends to the next window.",
            inputs=[
                Recording.Input("ends", tooltip="From the LongAnimation Sampler that sampled this window."),
                Plan.Input("plan", tooltip="The plan of all windows."),
                widgets.index_of("window_index", "Which window this is, from 0. -1: the one that ends is of."),
                io.Latent.Input("samples", tooltip="What the sampler made of Condition Window's latent."),
                io.Vae.Input("vae", tooltip="The VAE of CogVideoX."),
                *widgets.of("tiled"),
            ],
            outputs=[
                StateType.Output(
                    display_name="state",
                    tooltip="For the Condition Window of the next window, and for Remember Frames.",
                ),
                io.Image.Output(display_name="images", tooltip="The frames that this window adds to the animation."),
                io.Latent.Output(display_name="latent", tooltip="The window's latents without the reference's."),
            ],
        )

    @classmethod
    @in_its_name
    def execute(cls, ends, plan, window_index, samples, vae, tiled) -> io.NodeOutput:
        if window_index == NEXT:
            window_index = ends.index
        plan.check_index(window_index, "window_index")
        if ends.index != window_index:
            raise InputError("ends", f"must be of window {window_index}", "its LongAnimation Sampler", ends.index)
        if ends.fuse and ends.fusion is None:
            rule = "must come from the sampler that made the samples"
            raise InputError("ends", rule, "its LongAnimation Sampler", "those of one that has not run")
        _check_plan(plan, ends.plan)
        check_made_for(window_index, samples, "window")
        whole = samples["samples"]
        expected = (1, LATENT_CHANNELS, 1 + latent_frames(plan.chunk_frames), *whole.shape[3:])
        if tuple(whole.shape) != expected:
            rule = f"must be as long as Condition Window's latent, {expected[2]} latent frames"
            raise InputError("samples", rule, f"{list(expected)}", list(whole.shape))
        check_finite("samples", whole)
        latents = own_latents(whole)
        frames = CogHostCodec(vae, tiled).decode(latents)
        state = {} if ends.fusion is None else {"tails": ends.fusion.kept}
        return io.NodeOutput(Handed(window_index, plan, state), frames[plan.kept(window_index)], {"samples": latents})


def condition(positive, negative, request: WindowRequest):
    """The two CONDITIONINGs of one window: the host multiplies the reference's latents by its scale, the network was
    trained to read them as they are."""
    values = {"concat_latent_image": request.reference / cog().scale}
    return tuple(node_helpers.conditioning_set_values(prompt, values) for prompt in (positive, negative))


def empty_latent(request: WindowRequest) -> dict:
    """The LATENT that a sampler starts from: zeros of the window's shape, the reference's slot included."""
    return {"samples": torch.zeros(request.latents_shape, device=comfy.model_management.intermediate_device())}


def own_latents(samples: Tensor) -> Tensor:
    """The window's own latents [1, 16, T, h, w] of sampled ones, the reference's slot cut."""
    return samples[:, :, SLOT_OF_REFERENCE + 1 :].float().cpu().contiguous()
