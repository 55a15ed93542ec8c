"""Persistent Latent Propagation: from chunk to chunk (arXiv 2605.15042, section 4).

For each chunk: memory and driving frames -> request -> sampled latents -> memory of the next. `sample_chunk` is
supplied by a host (ComfyUI's sampler) or a backend (our Euler loop); nothing here knows files, devices or widgets. A
run on disk takes the same steps one by one, see `method`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import InputError
from ..latents import channel_statistics, check_frames, check_latents
from ..noise import chunk_seed
from ..plan import ChunkPlan, latent_frames, pixel_frames
from ..ports import Codec, SampleChunk
from .context import METHOD, Context, ContextPolicy, Replacement, chunk_context
from .drivers import FACE_SIZE, ChunkFrames, Drivers
from .geometry import LATENT_CHANNELS, chunk_geometry
from .keyframes import check_keyframes, select_keyframes
from .memory import ContextMemory, motion_memory, retake_identity
from .order import next_chunk
from .restoration import Correction, Restoration, correction
from .settings import RELEASED, Settings


@dataclass(frozen=True)
class ChunkRequest:
    """All that the network is told about one chunk, and how it has to end.

    index: the chunk. context: y and its mask. anchors: N. pose_latents: [1, 16, T, h, w] or None. face_pixels:
    [1, 3, F, 512, 512] in -1..1 or None. clip_image: [1, H, W, 3] in 0..1, what CLIP vision looks at, None when there
    is neither a decoded frame nor a reference. correct: explicit restoration while sampling, None for none. end:
    [1, 16, M, h, w], latents that the chunk has to end with; None: it ends as it will.
    """

    index: int
    context: Context
    anchors: int
    pose_latents: Tensor | None
    face_pixels: Tensor | None
    clip_image: Tensor | None
    correct: Correction | None = None
    end: Tensor | None = None

    @property
    def latents_shape(self) -> tuple[int, ...]:
        """Shape [1, 16, N + T, h, w] of the state that is sampled."""
        return tuple(self.context.y.shape)


@dataclass(frozen=True)
class MadeChunk:
    """A finished chunk: latents [1, 16, T, h, w], its frames of the animation [n, H, W, 3], the memory it leaves."""

    index: int
    latents: Tensor
    frames: Tensor
    memory: ContextMemory


def prepare_chunk(chunk: ChunkFrames, memory: ContextMemory, codec: Codec) -> None:
    """Encode what the chunk before has no say in, pose, background and face; the chunk keeps it for its request.

    memory: any of the animation, which says its size.
    """
    chunk.drivers.check(chunk.plan)
    for name in ("pose", "background"):
        frames = getattr(chunk, name)
        if frames is not None:
            _of_size(memory, frames)
            chunk.encoded(name, codec)
    if chunk.face is not None:
        _of_size(memory, chunk.face, FACE_SIZE, FACE_SIZE)
        _ = chunk.face_pixels


def request_chunk(
    chunk: ChunkFrames,
    memory: ContextMemory,
    codec: Codec,
    settings: Settings = RELEASED,
    policy: ContextPolicy = METHOD,
    end: Tensor | None = None,
) -> ChunkRequest:
    """Gather what a chunk is conditioned on; encodes the pose (F frames), and the background if there is one, unless
    `prepare_chunk` did.

    memory: what the chunk before left. end: see ChunkRequest.
    """
    plan, index = chunk.plan, chunk.index
    next_chunk(plan, memory, index)
    chunk.drivers.check(plan)
    geometry = chunk_geometry(plan, memory.anchors, memory.motion_count)
    replacement = None
    if chunk.background is not None and chunk.mask is not None:
        scene, character = _of_size(memory, chunk.background), _of_size(memory, chunk.mask)
        # Frames that are carried over change it before it is encoded.
        latents = None if policy.carry == "pixel" else chunk.encoded("background", codec)
        replacement = Replacement(scene, character.mean(dim=-1), latents)
    if chunk.face is not None:
        _of_size(memory, chunk.face, FACE_SIZE, FACE_SIZE)
    pose = None if chunk.pose is None else _of_size(memory, chunk.pose)
    return ChunkRequest(
        index=index,
        context=chunk_context(geometry, memory, codec, replacement, policy),
        anchors=geometry.anchors,
        pose_latents=None if pose is None else chunk.encoded("pose", codec),
        face_pixels=chunk.face_pixels,
        clip_image=clip_frame(memory, settings.clip_source),
        correct=correction(Restoration.of(settings), memory, pose),
        end=end,
    )


def _of_size(memory: ContextMemory, frames: Tensor, width: int | None = None, height: int | None = None) -> Tensor:
    """Driving frames [F, H, W, 3]; InputError unless they are of the animation's size, or of the given one."""
    size = width or memory.width, height or memory.height
    if (frames.shape[2], frames.shape[1]) != size:
        got = f"{frames.shape[2]}x{frames.shape[1]}"
        raise InputError("driving videos", f"must be fitted to {size[0]}x{size[1]}", "", got)
    return frames


def clip_frame(memory: ContextMemory, clip_source: str) -> Tensor | None:
    """The image [1, H, W, 3] that CLIP vision looks at for the next chunk, None when the memory has none.

    clip_source: `last_frame` is the last decoded frame of the chunk before (released code; the reference for chunk 0),
    `reference` always the reference.
    """
    if clip_source == "last_frame" and memory.last_frames is not None:
        return memory.last_frames[-1:]
    return memory.references[-1:] if memory.references.shape[0] else None


def decode_chunk(latents: Tensor, memory: ContextMemory, codec: Codec, latent_context: bool = False) -> Tensor:
    """Decode a chunk's latents [1, 16, T, h, w] to its F frames [F, H, W, 3].

    latent_context: decode the motion memory in front and drop its frames, so that the causal VAE does not start anew at
    the join; the last F frames are the chunk's.
    """
    if not latent_context or memory.motion is None:
        return codec.decode(latents)
    frames = codec.decode(torch.cat([memory.motion, latents], dim=2))
    return frames[-pixel_frames(latents.shape[2]) :]


def chunk_shape(plan: ChunkPlan, memory: ContextMemory) -> tuple[int, ...]:
    """[1, 16, T, h, w] of a chunk's latents, anchors cut."""
    return (1, LATENT_CHANNELS, latent_frames(plan.chunk_frames), *memory.identity.shape[3:])


def hand_over(
    chunk: ChunkFrames,
    memory: ContextMemory,
    latents: Tensor,
    codec: Codec,
    settings: Settings = RELEASED,
    policy: ContextPolicy = METHOD,
) -> MadeChunk:
    """Decode a chunk and build the memory of the next from its latents [1, 16, T, h, w] (anchors already cut)."""
    plan, index = chunk.plan, chunk.index
    next_chunk(plan, memory, index)
    check_keyframes(settings.keyframes, chunk.drivers.pose)
    check_latents(latents, chunk_shape(plan, memory), index)
    frames = decode_chunk(latents, memory, codec, settings.latent_context)
    check_frames(frames, index)
    after = next_memory(chunk, memory, latents, frames, codec, settings, policy)
    return MadeChunk(index, latents, frames[plan.kept(index)], after)


def memory_of_latents(chunk: ChunkFrames, memory: ContextMemory, latents: Tensor) -> ContextMemory:
    """What a chunk's latents [1, 16, T, h, w] alone say of the memory that it leaves; not what is seen in frames."""
    return replace(
        memory,
        motion=motion_memory(latents, memory.motion_count),
        statistics=channel_statistics(latents) if memory.statistics is None else memory.statistics,
        made_by=chunk.index,
        plan=chunk.plan,
    )


def missing_identity(memory: ContextMemory, policy: ContextPolicy = METHOD) -> int:
    """How many identity latents the frames of the next chunk have to give."""
    taken = policy.identity == "last_chunk" or (policy.identity == "fixed" and not memory.frozen)
    return memory.anchors - memory.reference_latents.shape[2] if taken else 0


def next_memory(
    chunk: ChunkFrames,
    memory: ContextMemory,
    latents: Tensor,
    frames: Tensor,
    codec: Codec,
    settings: Settings = RELEASED,
    policy: ContextPolicy = METHOD,
) -> ContextMemory:
    """The memory that a chunk leaves: of its latents [1, 16, T, h, w] and of what they decode to, [F, H, W, 3].

    The identity memory is completed after the first chunk, by a generator of its own (`settings.seed`). Of the driving
    frames only the pose is read, and only by keyframes = pose.
    """
    after = memory_of_latents(chunk, memory, latents)
    missing = missing_identity(memory, policy)
    if missing:
        pose = chunk.pose if settings.keyframes == "pose" else None
        generator = torch.Generator().manual_seed(settings.seed)
        chosen = select_keyframes(settings.keyframes, frames.shape[0], missing, generator, pose)
        after = retake_identity(after, frames, chosen, codec)
    tail = max(1, chunk.plan.overlap) if policy.carry == "pixel" else 1
    return replace(after, last_frames=frames[-tail:].clone(memory_format=torch.contiguous_format))


def make_chunk(
    chunk: ChunkFrames,
    memory: ContextMemory,
    sample_chunk: SampleChunk[ChunkRequest],
    codec: Codec,
    settings: Settings = RELEASED,
    policy: ContextPolicy = METHOD,
) -> MadeChunk:
    """One chunk: what it is conditioned on, its latents from noise, and the memory that it leaves."""
    request = request_chunk(chunk, memory, codec, settings, policy)
    latents = sample_chunk(request, chunk_seed(settings.seed, chunk.index, settings.seed_mode))
    return hand_over(chunk, memory, latents, codec, settings, policy)


def animate(
    plan: ChunkPlan,
    memory: ContextMemory,
    sample_chunk: SampleChunk[ChunkRequest],
    codec: Codec,
    drivers: Drivers,
    settings: Settings = RELEASED,
    policy: ContextPolicy = METHOD,
    change: Callable[[MadeChunk], MadeChunk] | None = None,
) -> Iterator[MadeChunk]:
    """The loop: all chunks of the plan, each as it is finished.

    change: what becomes of a chunk, and of the memory that it leaves, before the next one. Only one chunk is held at a
    time: what a consumer does not keep is gone.
    """
    check_keyframes(settings.keyframes, drivers.pose)
    drivers.check(plan)
    for index in range(plan.chunk_count):
        made = make_chunk(drivers.chunk(plan, index), memory, sample_chunk, codec, settings, policy)
        made = made if change is None else change(made)
        memory = made.memory
        yield made
