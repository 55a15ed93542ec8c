"""What is said once, before sampling, of line art and settings; see `everanimate_core.notes`."""

from collections.abc import Mapping

from ..knobs import knobs
from ..notes import Called, Size, lengths, short_end, stretched, untrained
from ..plan import ChunkPlan
from ..ports import FrameSource
from .settings import RELEASED, Settings


def before_sampling(
    plan: ChunkPlan, lineart: FrameSource, pictures: Mapping[str, Size], to: Size, fit: str, called: Called
) -> list[str]:
    """All of it. pictures: sizes of `reference` and `reference_lineart`, by name. to: the animation's size."""
    return [*of_pictures(lineart, pictures, to, fit, called), *of_lengths(lineart.frame_count, plan, called)]


def of_pictures(lineart: FrameSource, pictures: Mapping[str, Size], to: Size, fit: str, called: Called) -> list[str]:
    """Line art and pictures that are stretched."""
    sizes = {"lineart": Size(lineart.width, lineart.height), **pictures}
    return [note for name, size in sizes.items() for note in stretched(name, size, to, fit, called)]


def of_lengths(lineart_frames: int | None, plan: ChunkPlan, called: Called) -> list[str]:
    """Line art that is shorter than the animation, a last window for a handful of frames, and windows of another length
    than in training. lineart_frames: None where no line art is there yet."""
    choices = knobs(Settings)["window_frames"].steps
    lines = [] if lineart_frames is None else lengths("lineart", lineart_frames, plan, "its last frame is held", called)
    return [
        *lines,
        *short_end(plan, "window", "window_frames", choices, called),
        *untrained("window_frames", plan.chunk_frames, RELEASED.window_frames, "the released network", called),
    ]


def unread_memory(control: str, called: Called) -> list[str]:
    """A DGLM of the input `control`, where nothing remembers the frames for it."""
    lacks = f"it reads a memory, and {called('video_model')} is not connected"
    return [f"{called(control)} has a DGLM, which is not used: {lacks}."]
