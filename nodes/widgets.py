"""Inputs that several nodes share, so that one knob has one name, range and explanation everywhere."""

from comfy_api.latest import io

from ..everanimate_core.everanimate.memory import KEYFRAMES
from ..everanimate_core.everanimate.propagation import CLIP_SOURCES
from ..everanimate_core.everanimate.restoration import OFFERED_SCHEDULES, OFFERED_TARGETS
from ..everanimate_core.media.frames import FIT_POLICIES
from ..everanimate_core.plan import CONTINUATIONS

Memory = io.Custom("EVERANIMATE_MEMORY")
Plan = io.Custom("EVERANIMATE_PLAN")
CATEGORY = "EverAnimate"
MAX_SIZE, MAX_FRAMES, MAX_SEED = 8192, 1_000_000, 0xFFFFFFFFFFFFFFFF


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
    return io.Int.Input("chunk_index", default=0, min=0, max=99999, tooltip="Which chunk this is, from 0.")


def reference_images() -> io.Image.Input:
    """The person."""
    return io.Image.Input(
        "reference_images",
        tooltip="The person: 1 to identity_latents pictures, usually one. With fewer than identity_latents, the first "
        "chunk completes the memory.",
    )


def size() -> list[io.Int.Input]:
    """width and height."""
    return [
        io.Int.Input(name, default=default, min=16, max=MAX_SIZE, step=16, tooltip=f"{name.capitalize()} in pixels.")
        for name, default in (("width", 832), ("height", 480))
    ]


def memory_counts() -> list[io.Int.Input]:
    """identity_latents and motion_latents."""
    return [
        io.Int.Input(
            "identity_latents",
            default=4,
            min=1,
            max=16,
            tooltip="How many latents say who is animated (anchors). The released LoRA was trained with 4.",
        ),
        io.Int.Input(
            "motion_latents",
            default=1,
            min=1,
            max=16,
            tooltip="How many latents are carried from chunk to chunk. The released LoRA was trained with 1.",
        ),
    ]


def total_frames() -> io.Int.Input:
    """Length."""
    return io.Int.Input(
        "total_frames",
        default=0,
        min=0,
        max=MAX_FRAMES,
        tooltip="Frames of the whole animation. 0: as many as pose_video has.",
    )


def chunking() -> list:
    """chunk_frames, overlap and continuation."""
    return [
        io.Int.Input(
            "chunk_frames",
            default=77,
            min=5,
            max=161,
            step=4,
            tooltip="Frames of a chunk, 4n + 1. The released LoRA was trained with 77.",
        ),
        io.Int.Input(
            "overlap",
            default=4,
            min=0,
            max=159,
            tooltip="Frames that two neighbouring chunks share. The released LoRA was trained with 4.",
        ),
        io.Combo.Input(
            "continuation",
            options=list(CONTINUATIONS),
            default="pingpong",
            tooltip="How a driving video that is too short goes on: pingpong (back and forth), loop, hold its last "
            "frame, or stop with an error.",
        ),
    ]


def keyframes() -> io.Combo.Input:
    """Selector of the identity memory."""
    return io.Combo.Input(
        "keyframes",
        options=list(KEYFRAMES),
        default="random",
        tooltip="Which frames of chunk 0 complete the identity memory: random (as released), uniform in time, first, "
        "or those whose poses differ most.",
    )


def clip_source() -> io.Combo.Input:
    """What CLIP vision sees."""
    return io.Combo.Input(
        "clip_source",
        options=list(CLIP_SOURCES),
        default="last_frame",
        tooltip="What CLIP vision looks at after chunk 0: the last frame of the chunk before (as released) or always "
        "the reference.",
    )


def fit() -> io.Combo.Input:
    """What happens to pictures of another size."""
    return io.Combo.Input(
        "fit",
        options=list(FIT_POLICIES),
        default="stretch",
        tooltip="What to do with pictures of another size: stretch both sides on their own (as the authors do with the "
        "reference picture), crop the middle to fill the size (as they do with pose and face), pad with black, or stop "
        "with an error.",
    )


def tiled() -> io.Boolean.Input:
    """Tiled decode."""
    return io.Boolean.Input(
        "tiled", default=False, tooltip="Decode in tiles: less memory, slower. Never split in time."
    )


def steps_and_shift() -> list:
    """steps and shift."""
    return [
        io.Int.Input(
            "steps", default=20, min=1, max=1000, tooltip="Sampling steps (20; 4 on the toy or with a distilled LoRA)."
        ),
        io.Float.Input(
            "shift",
            default=5.0,
            min=0.01,
            max=100.0,
            step=0.01,
            tooltip="How far the noise levels are shifted towards noise (5 as released; ComfyUI's own default is 8).",
        ),
    ]


def restoration(prefix: str = "", strength: float = 1.0, optional: bool = False) -> list:
    """strength, schedule and target of explicit restoration; the default strength."""
    return [
        io.Float.Input(
            f"{prefix}strength",
            default=strength,
            min=0.0,
            max=10.0,
            step=0.05,
            optional=optional,
            tooltip="How strongly drift is corrected while sampling. 0: off. Above 4 it may correct too much.",
        ),
        io.Combo.Input(
            f"{prefix}schedule",
            options=list(OFFERED_SCHEDULES),
            default="gaussian",
            optional=optional,
            tooltip="At which noise levels drift is corrected: gaussian (around the middle, as trained), sigma_ramp "
            "(early steps), fixed (all alike) or exact (late steps most; for experiments, too much above strength 1).",
        ),
        io.Combo.Input(
            f"{prefix}target",
            options=list(OFFERED_TARGETS),
            default="statistics",
            optional=optional,
            tooltip="What the picture is corrected towards: statistics (colour and contrast of chunk 0; chunk 0 itself "
            "is not corrected) or low_frequency (what the identity memory shows where nobody moves).",
        ),
    ]


def pose_video(tooltip: str, optional: bool = True) -> io.MultiType.Input:
    """The driving pose."""
    return io.MultiType.Input("pose_video", [io.Image, io.Video], optional=optional, tooltip=tooltip)


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
