"""Inputs that several nodes share, and the widgets of all settings, drawn from where the settings are declared."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from comfy_api.latest import io

from ..everanimate_core.everanimate.settings import Settings
from ..everanimate_core.knobs import Knob, knobs
from ..everanimate_core.plan import NEXT
from ..everanimate_core.runs.settings import RunSettings

Memory = io.Custom("EVERANIMATE_MEMORY")
Plan = io.Custom("EVERANIMATE_PLAN")
CATEGORY = "EverAnimate"

# What nodes do beside sampling is all that the host allows: there is nothing to choose.
_KNOBS = {name: knob for name, knob in (knobs(Settings) | knobs(RunSettings)).items() if name != "beside"}
# Newer hosts hide what is rarely set until it is asked for.
_HIDES = "advanced" in signature(io.Int.Input.__init__).parameters


def of(*names: str, optional: bool = False, among: Mapping[str, Knob] = _KNOBS) -> list[io.Input]:
    """The widgets of these settings, in this order. among: the settings of another method."""
    return [widget(name, optional=optional, among=among) for name in names]


def newer_than(listed: list[io.Input], among: Mapping[str, Knob] = _KNOBS) -> list[io.Input]:
    """The widgets of all settings that are not among the listed inputs: what came later stands at a node's end.

    Saved graphs store the values of widgets by their place. among: the settings of another method.
    """
    there = {shown.id for shown in listed}
    return of(*(name for name in among if name not in there), optional=True, among=among)


def widget(
    name: str, called: str = "", optional: bool = False, among: Mapping[str, Knob] = _KNOBS, **other: Any
) -> io.Input:
    """The widget of one setting. called, other: its name, default or tooltip at a node where it has another one."""
    knob = among[name]
    shown = {"id": called or name, "optional": optional, "default": knob.default, "tooltip": knob.help} | other
    if _HIDES and knob.rare:
        shown["advanced"] = True
    return _of_kind(knob, shown)


def _of_kind(knob: Knob, shown: dict[str, Any]) -> io.Input:
    if knob.choices is not None:
        return io.Combo.Input(options=list(knob.choices), **shown)
    if knob.kind is bool:
        return io.Boolean.Input(**shown)
    if knob.kind is str:
        return io.String.Input(**shown)
    limits = {"min": knob.low, "max": knob.high} | ({} if knob.step is None else {"step": knob.step})
    if knob.kind is float:
        return io.Float.Input(**limits, **shown)
    if knob.name == "seed":
        # Editors draw a new "seed" after every run unless told not to; this one belongs to the run.
        shown["control_after_generate"] = False
    return io.Int.Input(**limits, **shown)


def chosen(settings: type, values: dict[str, Any]) -> Any:
    """The settings of that class that a node was given, among other values."""
    return settings(**{name: value for name, value in values.items() if name in knobs(settings)})


def model() -> io.Model.Input:
    """Wan2.2-Animate."""
    return io.Model.Input("model", tooltip="Wan2.2-Animate, from any loader, with or without LoRAs.")


def vae() -> io.Vae.Input:
    """The VAE."""
    return io.Vae.Input("vae", tooltip="The Wan 2.1 VAE (16 channels).")


def positive() -> io.Conditioning.Input:
    """The prompt."""
    return io.Conditioning.Input(
        "positive", tooltip="The prompt. The released code has one for everything: 视频中的人在做动作."
    )


def negative() -> io.Conditioning.Input:
    """The negative prompt."""
    return io.Conditioning.Input("negative", tooltip="The negative prompt; used only when cfg is not 1.")


def plan() -> Plan.Input:
    """The chunks."""
    return Plan.Input("plan", tooltip="The plan of all chunks.")


def chunk_index() -> io.Int.Input:
    """Which chunk."""
    return index_of("chunk_index", "Which chunk this is, from 0. -1: the one after the chunk that left the memory.")


def index_of(name: str, tooltip: str) -> io.Int.Input:
    """Which chunk or window, the next one unless it is said."""
    return io.Int.Input(name, default=NEXT, min=NEXT, max=99999, tooltip=tooltip)


def reference_images() -> io.Image.Input:
    """The person."""
    return io.Image.Input(
        "reference_images",
        tooltip="The person: 1 to identity_latents pictures, usually one. With fewer than identity_latents, the first "
        "chunk completes the memory.",
    )


def run_name(default: str) -> io.String.Input:
    """The name of a run."""
    return io.String.Input(
        "run_name",
        default=default,
        tooltip="Name of the run, in the folder everanimate of the output folder. If a run of this name is there, it "
        "is continued.",
    )


def sampling() -> list[io.Input]:
    """A sampler and noise levels of one's own."""
    return [
        io.Sampler.Input("sampler", optional=True, tooltip="Any sampler; euler when nothing is connected."),
        io.Sigmas.Input("sigmas", optional=True, tooltip="Noise levels of your own; steps and shift then do nothing."),
    ]


def prompts(part: str = "chunk") -> io.Conditioning.Input:
    """A prompt for each chunk. part: what the method calls a chunk."""
    return io.Conditioning.Input(
        "prompts",
        optional=True,
        tooltip=f"A prompt for each {part}: entry k of this list serves {part} k, the last one all that follow. "
        "Replaces positive.",
    )


def finished_video() -> io.Video.Output:
    """What a run made."""
    return io.Video.Output(display_name="video", tooltip="The whole animation, as written to the output folder.")


def last_chunk() -> io.Image.Output:
    """What can be looked at without a file."""
    return io.Image.Output(
        display_name="last chunk",
        tooltip="The frames that the last chunk adds, to look at. The whole animation is in `video`.",
    )


def report() -> io.String.Output:
    """What a run says of its chunks."""
    return io.String.Output(display_name="report", tooltip="JSON: frames and seconds of every chunk.")


def restoration() -> list[io.Input]:
    """strength, schedule and target of explicit restoration, at a node whose purpose it is."""
    return [
        widget("restore_strength", called="strength", default=1.0),
        widget("restore_schedule", called="schedule"),
        widget("restore_target", called="target"),
    ]


def pose_video(tooltip: str, optional: bool = True) -> io.MultiType.Input:
    """The driving pose."""
    return io.MultiType.Input("pose_video", [io.Image, io.Video], optional=optional, tooltip=tooltip)


def audio(video: str) -> io.Audio.Input:
    """Sound for the result. video: the input whose sound it replaces."""
    return io.Audio.Input(
        "audio",
        optional=True,
        tooltip=f"Sound of the result, from its first frame on: images have none. Replaces that of a VIDEO in {video}.",
    )


def optional_drivers() -> list:
    """face_video, background_video, character_mask and clip_vision."""
    return [
        io.MultiType.Input(
            "face_video",
            [io.Image, io.Video],
            optional=True,
            tooltip="The whole video of the driving face, cropped to the face; used at 512x512. A VIDEO goes by the "
            "time of a pose VIDEO, images frame by frame.",
        ),
        io.MultiType.Input(
            "background_video",
            [io.Image, io.Video],
            optional=True,
            tooltip="Replacement: the scene that stays, with the old person covered. Needs character_mask. The "
            "released LoRA was not trained for it.",
        ),
        io.MultiType.Input(
            "character_mask",
            [io.Mask, io.Video],
            optional=True,
            tooltip="Replacement: white where the new person is drawn, frame by frame as the background. A shorter one "
            "goes on as continuation says.",
        ),
        io.ClipVision.Input(
            "clip_vision", optional=True, tooltip="CLIP vision H. Wan2.2-Animate needs it to see the person."
        ),
    ]
