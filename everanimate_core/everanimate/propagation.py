"""Persistent Latent Propagation: the loop over chunks (arXiv 2605.15042, section 4).

For each chunk: memory and driving frames -> request -> sampled latents -> memory of the next. `sample_chunk` is
supplied by a host (ComfyUI's sampler) or a backend (our Euler loop); nothing here knows files, devices or widgets.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import InputError
from ..plan import ChunkPlan, latent_frames, pixel_frames
from ..ports import Codec, FrameSource
from .context import METHOD, Context, ContextPolicy, Replacement, chunk_context
from .drivers import FACE_SIZE, Drivers
from .flow import chunk_seed
from .geometry import LATENT_CHANNELS, chunk_geometry
from .memory import ContextMemory, channel_statistics, check_keyframes, retake_identity, select_keyframes
from .restoration import OFF, Correction, Restoration, correction

CLIP_SOURCES = ("last_frame", "reference")


@dataclass(frozen=True)
class ChunkRequest:
    """All that the network is told about one chunk.

    index: the chunk. context: y and its mask. identity: N. pose_latents: [1, 16, T, h, w] or None. face_pixels:
    [1, 3, F, 512, 512] in -1..1 or None. clip_image: [1, H, W, 3] in 0..1, what CLIP vision looks at, None when there
    is neither a decoded frame nor a reference. correct: explicit restoration while sampling, None for none.
    """

    index: int
    context: Context
    identity: int
    pose_latents: Tensor | None
    face_pixels: Tensor | None
    clip_image: Tensor | None
    correct: Correction | None = None

    @property
    def latents_shape(self) -> tuple[int, ...]:
        """Shape [1, 16, N + T, h, w] of the state that is sampled."""
        return tuple(self.context.y.shape)


@dataclass(frozen=True)
class ChunkResult:
    """A finished chunk: latents [1, 16, T, h, w], its frames of the animation [n, H, W, 3], the memory it leaves.

    frames is None for a recalled chunk that need not be decoded again.
    """

    index: int
    latents: Tensor
    frames: Tensor | None
    memory: ContextMemory


def request_chunk(
    plan: ChunkPlan,
    memory: ContextMemory,
    index: int,
    drivers: Drivers,
    codec: Codec,
    clip_source: str = "last_frame",
    policy: ContextPolicy = METHOD,
    restoration: Restoration = OFF,
) -> ChunkRequest:
    """Gather what chunk `index` is conditioned on; encodes the pose (F frames), and the background if there is one.

    clip_source: `last_frame` shows CLIP vision the last decoded frame of the chunk before (released code; the reference
    for chunk 0), `reference` always the reference. restoration: its low_frequency target looks at the chunk's pose.
    """
    plan.check_index(index)
    drivers.check(plan)
    geometry = chunk_geometry(plan, memory.identity_count, memory.motion_count)
    if index and memory.motion is None:
        raise InputError(
            "memory",
            f"must come from the chunk before for chunk_index {index}",
            f"the one after chunk {index - 1}",
            "a memory that has seen no chunk",
        )

    def frames_of(source: FrameSource, width: int = memory.width, height: int = memory.height) -> Tensor:
        frames = source.read(drivers.source_indices(plan, index, source))
        if frames.shape[1:3] != (height, width):
            raise InputError(
                "driving videos", f"must be fitted to {width}x{height}", "", f"{frames.shape[2]}x{frames.shape[1]}"
            )
        return frames

    replacement = None
    if drivers.background is not None:
        replacement = Replacement(frames_of(drivers.background), frames_of(drivers.mask).mean(dim=-1))
    face = None
    if drivers.face is not None:
        face = (frames_of(drivers.face, FACE_SIZE, FACE_SIZE) * 2 - 1).movedim(-1, 0)[None]
    pose = None if drivers.pose is None else frames_of(drivers.pose)
    return ChunkRequest(
        index=index,
        context=chunk_context(geometry, memory, codec, replacement, policy),
        identity=geometry.identity,
        pose_latents=None if pose is None else codec.encode(pose),
        face_pixels=face,
        clip_image=clip_frame(memory, clip_source),
        correct=correction(restoration, memory, pose),
    )


def clip_frame(memory: ContextMemory, clip_source: str) -> Tensor | None:
    """The image [1, H, W, 3] that CLIP vision looks at for the next chunk, None when the memory has none."""
    if clip_source not in CLIP_SOURCES:
        raise InputError("clip_source", f"must be one of {', '.join(CLIP_SOURCES)}", "", repr(clip_source))
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


def check_latents(latents: object, plan: ChunkPlan, memory: ContextMemory, index: int) -> None:
    """Raise InputError unless `latents` can be those of chunk `index`.

    They are a float32 tensor [1, 16, T, h, w] of finite numbers, of the plan's length and the memory's size.
    """
    kind, expected = (1, LATENT_CHANNELS), (latent_frames(plan.chunk_frames), *memory.identity.shape[3:])
    if not isinstance(latents, Tensor) or latents.dtype != torch.float32:
        got = latents.dtype if isinstance(latents, Tensor) else type(latents).__name__
        raise InputError("a chunk's latents", "must be a float32 tensor", "", f"{got} for chunk {index}")
    if latents.ndim != 5 or tuple(latents.shape[:2]) != kind:
        raise InputError(
            "a chunk's latents",
            "must be Wan latents of one video",
            [*kind, *expected],
            f"{list(latents.shape)} for chunk {index}",
        )
    if tuple(latents.shape[2:]) != expected:
        raise InputError(
            "a chunk's latents",
            f"must be {list(expected)} frames, height, width, anchors cut",
            "",
            list(latents.shape[2:]),
        )
    bad = int((~latents.isfinite()).sum())
    if bad:
        raise InputError(
            "a chunk's latents",
            "must be finite numbers",
            "sample with the model in bf16 or fp32 instead of fp16, without fast modes, with a lower cfg, "
            "or with another sampler or other sigmas",
            f"{bad} of {latents.numel()} values that are NaN or infinite in chunk {index}",
        )


def hand_over(
    plan: ChunkPlan,
    memory: ContextMemory,
    index: int,
    latents: Tensor,
    codec: Codec,
    keyframes: str = "random",
    seed: int = 0,
    pose: FrameSource | None = None,
    policy: ContextPolicy = METHOD,
    latent_context: bool = False,
) -> ChunkResult:
    """Decode chunk `index` and build the memory of the next from its latents [1, 16, T, h, w] (anchors already cut).

    keyframes, seed: how the identity memory is completed after the first chunk, by a generator of its own; `pose` is
    read for the selector of that name only. latent_context: see decode_chunk.
    """
    plan.check_index(index)
    check_keyframes(keyframes, pose)
    check_latents(latents, plan, memory, index)
    frames = decode_chunk(latents, memory, codec, latent_context)
    if not frames.isfinite().all():
        raise InputError(
            f"the decoded frames of chunk {index}",
            "must be finite numbers",
            "decode with the VAE in bf16 or fp32 instead of fp16",
            "NaN or infinity",
        )
    if memory.statistics is None:
        memory = replace(memory, statistics=channel_statistics(latents))
    missing = memory.identity_count - memory.reference_latents.shape[2]
    if missing and (policy.identity == "last_chunk" or (policy.identity == "fixed" and not memory.frozen)):
        pose_frames = pose.read(plan.source_indices(index, pose.frame_count)) if keyframes == "pose" else None
        chosen = select_keyframes(keyframes, frames.shape[0], missing, torch.Generator().manual_seed(seed), pose_frames)
        memory = retake_identity(memory, frames, chosen, codec)
    tail = max(1, plan.overlap) if policy.carry == "pixel" else 1
    # Laid out as they would be read from a file: sums over another layout differ in the last bit, and a run that was
    # stopped and continued must not.
    plain = torch.contiguous_format
    memory = replace(
        memory,
        motion=latents[:, :, -memory.motion_count :].clone(memory_format=plain),
        last_frames=frames[-tail:].clone(memory_format=plain),
    )
    return ChunkResult(index, latents, frames[plan.kept(index)], memory)


def animate(
    plan: ChunkPlan,
    memory: ContextMemory,
    sample_chunk: Callable[[ChunkRequest, int], Tensor],
    codec: Codec,
    drivers: Drivers,
    seed: int = 0,
    seed_mode: str = "released",
    keyframes: str = "random",
    clip_source: str = "last_frame",
    policy: ContextPolicy = METHOD,
    latent_context: bool = False,
    recall: Callable[[int, ContextMemory], ChunkResult | None] = lambda index, memory: None,
    restoration: Restoration = OFF,
) -> Iterator[ChunkResult]:
    """Animate all chunks of the plan, yielding each as it is finished.

    sample_chunk(request, noise_seed) -> latents [1, 16, T, h, w] of the chunk, anchors cut. recall(index, memory) gives
    back a chunk that was made before, None to make it now. Only one chunk is held at a time: what a consumer does not
    keep is gone.
    """
    drivers.check(plan)
    check_keyframes(keyframes, drivers.pose)
    for index in range(plan.chunk_count):
        result = recall(index, memory)
        if result is None:
            request = request_chunk(plan, memory, index, drivers, codec, clip_source, policy, restoration)
            latents = sample_chunk(request, chunk_seed(seed, index, seed_mode))
            result = hand_over(
                plan, memory, index, latents, codec, keyframes, seed, drivers.pose, policy, latent_context
            )
        memory = result.memory
        yield result
