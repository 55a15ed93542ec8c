"""Everything that touches the host: latent spaces, VAE, conditioning, sampling, its nodes, progress.

LATENT on a wire is in the host's raw space, the core works in the network's normalised space: they meet only here.
"""

import json
import logging
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path

import comfy.cli_args
import comfy.conds
import comfy.latent_formats
import comfy.model_management
import comfy.sample
import comfy.utils
import folder_paths
import latent_preview
import node_helpers
import torch
from comfy_api.latest import io, ui
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer
from torch import Tensor

import nodes

from ..everanimate_core.errors import InputError, check_finite
from ..everanimate_core.everanimate.geometry import LATENT_CHANNELS, chunk_geometry
from ..everanimate_core.everanimate.memory import ContextMemory
from ..everanimate_core.everanimate.propagation import ChunkRequest
from ..everanimate_core.latents import with_end
from ..everanimate_core.plan import ChunkPlan
from ..everanimate_core.runs.stages import DECODING, ENCODING, stage
from .alignment import CONDITION_KEY, IdentityCount

TILE, TILE_OVERLAP = 512, 64
# What the host's VAE calls where whole frames do not fit, what that does, and what follows from it.
_HOST_TILES = (
    ("encode_tiled_3d", "encodes", "there may be seams in the memory and in what drives the person"),
    ("decode_tiled_3d", "decodes", "there may be seams, in time too. With tiled switched on, time is never split"),
)
# Nodes that show notes.
_NOTED: set[str] = set()

_LATENT_FORMAT = comfy.latent_formats.Wan21()


def to_network(raw: Tensor) -> Tensor:
    """The host's raw latents [B, 16, T, h, w] -> the network's normalised space, float32 on the CPU."""
    return _LATENT_FORMAT.process_in(raw.float().cpu())


def to_raw(latents: Tensor) -> Tensor:
    """The network's normalised latents -> the host's raw space; exact zeros become the per-channel mean."""
    return _LATENT_FORMAT.process_out(latents)


class HostCodec:
    """The host's Wan VAE as the core's Codec. tiled: decode in spatial tiles (never in time), for less memory."""

    def __init__(self, vae, tiled: bool = False):
        if vae.latent_channels != LATENT_CHANNELS or vae.latent_dim != 3:
            raise InputError(
                "vae",
                f"must be the Wan 2.1 video VAE with {LATENT_CHANNELS} channels",
                "wan_2.1_vae",
                f"{vae.latent_channels} channels and {vae.latent_dim} dimensions",
            )
        self.vae = vae
        self.tiled = tiled

    def encode(self, frames: Tensor) -> Tensor:
        """[F, H, W, 3] in 0..1 -> [1, 16, T, h, w] normalised."""
        return to_network(self.encode_raw(frames))

    @stage(ENCODING)
    def encode_raw(self, frames: Tensor) -> Tensor:
        """[F, H, W, 3] in 0..1 -> the host's raw latents [1, 16, T, h, w]."""
        return telling_of_tiles(self.vae).encode(frames)

    def decode(self, latents: Tensor) -> Tensor:
        """[1, 16, T, h, w] normalised -> [F, H, W, 3] in 0..1."""
        return self.decode_raw(to_raw(latents))

    @stage(DECODING)
    def decode_raw(self, raw: Tensor) -> Tensor:
        """The host's raw latents [1, 16, T, h, w] -> [F, H, W, 3] in 0..1."""
        return decoded(self.vae, raw, self.tiled)


class RawCodec(HostCodec):
    """The same for methods whose latents stay in the host's raw space, from its sampler to its VAE, bit for bit."""

    def encode(self, frames: Tensor) -> Tensor:
        """[F, H, W, 3] in 0..1 -> [1, 16, T, h, w] raw."""
        return self.encode_raw(frames).float().cpu()

    def decode(self, latents: Tensor) -> Tensor:
        """[1, 16, T, h, w] raw -> [F, H, W, 3] in 0..1."""
        return self.decode_raw(latents)


def decoded(vae, latents: Tensor, tiled: bool) -> Tensor:
    """Latents [1, C, T, h, w] of a video VAE, as the host hands them to it -> [F, H, W, 3] in 0..1, on the CPU.

    tiled: in tiles of TILE pixels.
    """
    if tiled:
        compression = vae.spacial_compression_decode()
        tile, overlap = TILE // compression, TILE_OVERLAP // compression
        # A tile as long as the clip: tiles in time would reset the causal cache at every border.
        frames = vae.decode_tiled(latents, tile_x=tile, tile_y=tile, overlap=overlap, tile_t=latents.shape[2])
    else:
        frames = telling_of_tiles(vae).decode(latents)
    return frames[0].float().cpu()


def telling_of_tiles(vae):
    """A video VAE around the same network, which says in the log when the host, short of memory for whole frames, goes
    on in tiles by itself."""
    other = copy(vae)
    # Other packs have VAEs of their own, which need not have these.
    for method, does, follows in (tiles for tiles in _HOST_TILES if hasattr(vae, tiles[0])):
        setattr(other, method, partial(_in_tiles, getattr(vae, method), does, follows))
    return other


def _in_tiles(method: Callable, does: str, follows: str, *arguments, **named) -> Tensor:
    say(f"the VAE has too little memory for whole frames, and ComfyUI {does} them in tiles: {follows}.")
    return method(*arguments, **named)


def graph_metadata(hidden) -> dict[str, str]:
    """The graph as tags of a video, as the host's SaveVideo writes them; none where the host is told to write none."""
    if comfy.cli_args.args.disable_metadata:
        return {}
    tags = dict(hidden.extra_pnginfo or {})
    if hidden.prompt is not None:
        tags["prompt"] = hidden.prompt
    return {name: json.dumps(value) for name, value in tags.items()}


def say(note: str) -> None:
    """Put into the log what whoever runs the graph should know."""
    logging.warning("EverAnimate: %s", note)


def tell(node_id: str, text: str) -> None:
    """Show a text in a node while it runs; it stays there until another one comes."""
    # The editor that queued the graph: in another one, the same number may be another node.
    PromptServer.instance.send_progress_text(text, node_id, PromptServer.instance.client_id)


def tell_notes(node_id: str, notes: Sequence[str]) -> None:
    """Put into the log and into a node what whoever runs the graph should know before sampling, a line each."""
    for note in notes:
        say(note)
    if notes or node_id in _NOTED:
        # Notes of an earlier run are taken back. The editor passes over a text that is empty.
        tell(node_id, "\n".join(notes) or " ")
    (_NOTED.add if notes else _NOTED.discard)(node_id)


def clip_features(clip_vision, image: Tensor | None):
    """What CLIP vision sees in `image` [1, H, W, 3]; the picture is not cropped, the method stretches it."""
    if image is None:
        raise InputError(
            "clip_vision",
            "needs an image to look at",
            "a memory with a reference image",
            "a memory made from latents only",
        )
    return clip_vision.encode_image(image, crop=False)


def condition(positive, negative, request: ChunkRequest, clip_vision=None):
    """The two CONDITIONINGs of one chunk: context, pose, face, CLIP features and the number of anchors in each.

    The negative pass of classifier-free guidance sees an empty face (-1 everywhere), all else is the same.
    """
    values = {
        "concat_latent_image": to_raw(request.context.y),
        # The host's sense is the other way round: 0 marks what is known.
        "concat_mask": 1 - request.context.mask,
        "model_conds": {CONDITION_KEY: comfy.conds.CONDConstant(IdentityCount(request.anchors))},
    }
    if request.pose_latents is not None:
        values["pose_video_latent"] = to_raw(request.pose_latents)
    if clip_vision is not None:
        values["clip_vision_output"] = clip_features(clip_vision, request.clip_image)
    negative_values = dict(values)
    if request.face_pixels is not None:
        values["face_video_pixels"] = request.face_pixels
        negative_values["face_video_pixels"] = torch.full_like(request.face_pixels, -1.0)
    return (
        node_helpers.conditioning_set_values(positive, values),
        node_helpers.conditioning_set_values(negative, negative_values),
    )


def chunk_latents(samples: dict, plan: ChunkPlan, memory: ContextMemory) -> Tensor:
    """The chunk's own latents of a sampled LATENT: anchors cut, normalised, [1, 16, T, h, w].

    Raises ValueError when the LATENT is not of the plan's and the memory's geometry, or holds NaN or infinity.
    """
    raw = samples["samples"]
    geometry = chunk_geometry(plan, memory.anchors, memory.motion_count)
    expected = [1, LATENT_CHANNELS, geometry.input_latents, *memory.identity.shape[3:]]
    if list(raw.shape) != expected:
        raise InputError(
            "samples",
            "must be what was sampled from Condition Chunk's latent, anchors included",
            f"{expected} for {geometry.anchors} anchors and {geometry.frames} frames",
            list(raw.shape),
        )
    check_finite("samples", raw)
    return to_network(raw)[:, :, geometry.anchors :].contiguous()


def empty_latent(request: ChunkRequest) -> dict:
    """The LATENT that a sampler starts from: zeros of the chunk's and the anchors' shape."""
    return {"samples": torch.zeros(request.latents_shape, device=comfy.model_management.intermediate_device())}


def held_latent(request: ChunkRequest, end: Tensor) -> dict:
    """The LATENT that a chunk with a given end starts from, with a noise mask: 0 where `end` is held, 1 elsewhere.

    end: [1, 16, n, h, w] normalised. Elsewhere stand the network's zeros: the host leaves raw zeros as they are only
    where the whole LATENT is zero.
    """
    empty = torch.zeros(request.latents_shape)
    latent = {
        "samples": to_raw(with_end(empty, end)),
        "noise_mask": with_end(torch.ones_like(empty[:, :1]), torch.zeros_like(end[:, :1])),
    }
    device = comfy.model_management.intermediate_device()
    return {name: value.to(device) for name, value in latent.items()}


def sample(
    model, positive, negative, request: ChunkRequest, sampler, sigmas: Tensor, cfg: float, seed: int, on_step
) -> Tensor:
    """Sample as the host's SamplerCustom does; the chunk's own latents [1, 16, T, h, w], normalised.

    The last ones are `request.end` where there is one, bit for bit. on_step(step, steps, clean) sees the clean estimate
    in the network's space after each step.
    """
    end = request.end
    latent = empty_latent(request) if end is None else held_latent(request, end)
    raw = sample_latent(model, positive, negative, latent, sampler, sigmas, cfg, seed, on_step)
    latents = to_network(raw)[:, :, request.anchors :]
    return latents if end is None else with_end(latents, end)


def sample_latent(
    model, positive, negative, latent: dict, sampler, sigmas: Tensor, cfg: float, seed: int, on_step
) -> Tensor:
    """Sample a LATENT as the host's SamplerCustom does, its noise mask included; raw latents of its shape.

    on_step: see `sample`.
    """
    start = latent["samples"]
    return comfy.sample.sample_custom(
        model,
        comfy.sample.prepare_noise(start, seed),
        cfg,
        sampler,
        sigmas,
        positive,
        negative,
        start,
        noise_mask=latent.get("noise_mask"),
        callback=lambda step, clean, x, steps: on_step(step, steps, clean),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )


def progress_bar(steps: int) -> comfy.utils.ProgressBar:
    """The bar of the node that runs."""
    return comfy.utils.ProgressBar(steps)


def latent_previewer(model) -> latent_preview.LatentPreviewer | None:
    """What shows latents while they are sampled; None where the host has none for them, or shows no previews."""
    return latent_preview.get_previewer(model.load_device, model.model.latent_format)


def preview_of(frame: Tensor) -> tuple:
    """A frame [H, W, 3] as the host's bar takes previews."""
    pixels = (frame.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return "JPEG", Image.fromarray(pixels), latent_preview.MAX_PREVIEW_RESOLUTION


def show_video(hidden, path: Path, finished: bool = True) -> None:
    """Show a video of the output folder in the node whose hidden inputs are given, as the host does at a node's end.

    finished: nothing follows in this node; else it is shown beside live previews, by the pack's own script. Where no
    editor waits, nothing is sent.
    """
    server, context = PromptServer.instance, get_executing_context()
    if server.client_id is None or context is None:
        return
    message = {
        "node": hidden.unique_id,
        "display_node": hidden.dynprompt.get_display_node_id(hidden.unique_id),
        "output": shown_video(path).as_dict(),
        "prompt_id": context.prompt_id,
    }
    server.send_sync("executed" if finished else "everanimate.so_far", message, server.client_id)


def call_node(name: str, **inputs) -> tuple:
    """The outputs of one of the host's own nodes, which is called inside a node of the pack.

    Its progress is not shown: it would move the bar of the node around it. Cancel is seen wherever it reports any.
    """
    bar = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda *progress, **more: check_cancel())
    try:
        return nodes.NODE_CLASS_MAPPINGS[name].execute(**inputs).result
    finally:
        comfy.utils.set_progress_bar_global_hook(bar)


def missing_nodes(*names: str) -> list[str]:
    """Which of these nodes the host does not have."""
    return [name for name in names if name not in nodes.NODE_CLASS_MAPPINGS]


def check_cancel() -> None:
    """Raise the host's own interrupt when the user pressed Cancel."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def shown_video(path: Path) -> ui.PreviewVideo:
    """A finished video in the output folder, as it is shown in the node that made it."""
    folder = path.parent.relative_to(Path(folder_paths.get_output_directory()).resolve())
    return ui.PreviewVideo([ui.SavedResult(path.name, folder.as_posix(), io.FolderType.output)])
