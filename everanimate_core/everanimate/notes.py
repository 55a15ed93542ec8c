"""What is said once, before sampling, of the inputs and settings of an animation; see `everanimate_core.notes`."""

from collections.abc import Iterable, Sequence

from ..knobs import knobs
from ..notes import Called, Size, continued, lengths, short_end, stretched, untrained
from ..plan import ChunkPlan
from .drivers import FACE_SIZE, Drivers
from .settings import RELEASED, Settings

# Settings that the released LoRA was trained with.
TRAINED = ("identity_latents", "motion_latents", "chunk_frames", "overlap")


def before_sampling(
    settings: Settings,
    plan: ChunkPlan,
    drivers: Drivers,
    references: Iterable[Size],
    to: Size,
    fit: str,
    called: Called,
    trained: Sequence[str] = TRAINED,
) -> list[str]:
    """All of it. references: sizes of the pictures. to: the animation's size. trained: settings that matter here."""
    return [
        *of_pictures(references, to, fit, called),
        *of_videos(drivers, plan, to, fit, called),
        *of_lengths(None if drivers.pose is None else drivers.pose.frame_count, plan, called),
        *of_settings({name: getattr(settings, name) for name in trained}, called),
    ]


def of_pictures(references: Iterable[Size], to: Size, fit: str, called: Called) -> list[str]:
    """Pictures of the person that are stretched; a size is told once."""
    return [note for size in dict.fromkeys(references) for note in stretched("reference_images", size, to, fit, called)]


def of_videos(drivers: Drivers, plan: ChunkPlan, to: Size, fit: str, called: Called) -> list[str]:
    """Driving videos that are stretched, and those that end before the pose."""
    face = Size(FACE_SIZE, FACE_SIZE)
    sources = {"pose_video": (drivers.pose, to), "face_video": (drivers.face, face)}
    sources |= {"background_video": (drivers.background, to), "character_mask": (drivers.mask, to)}
    found = []
    for name, (source, size) in sources.items():
        if source is not None:
            found += stretched(name, Size(source.width, source.height), size, fit, called)
    for early in drivers.ending_early(plan):
        found += continued(early.name, early.frames, early.needed, "the pose", _goes_on(plan, called), called)
    return found


def of_lengths(pose_frames: int | None, plan: ChunkPlan, called: Called) -> list[str]:
    """A pose that is shorter than the animation, and a last chunk for a handful of frames. pose_frames: None without a
    pose."""
    choices = knobs(Settings)["chunk_frames"].steps
    pose = [] if pose_frames is None else lengths("pose_video", pose_frames, plan, _goes_on(plan, called), called)
    return [*pose, *short_end(plan, "chunk", "chunk_frames", choices, called)]


def of_settings(values: dict[str, int], called: Called) -> list[str]:
    """Settings, {name: value}, that are not those that the released LoRA was trained with."""
    return [
        note
        for name, value in values.items()
        for note in untrained(name, value, getattr(RELEASED, name), "the released LoRA", called)
    ]


def _goes_on(plan: ChunkPlan, called: Called) -> str:
    return f"it goes on by {called('continuation')} {plan.continuation}"
