"""Align Wan2.2-Animate to N anchors: pose and face drive the chunk's latents only (arXiv 2605.15042, Eq. 3).

The host's network adds pose and face from latent frame 1 on, one reference in front. With N anchors they belong N
frames in, so for the time of a model call its `after_patch_embedding` is called on the view from frame N - 1 on.
N travels with the conditioning: a model serves any N, and conditioning of other nodes is left alone.
"""

import comfy.model_base
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..everanimate_core.errors import InputError
from ..everanimate_core.everanimate.context import check_alignment, prepend_null
from .node import SamplingError

WRAPPER_KEY = "everanimate"
CONDITION_KEY = "everanimate_identity"


class IdentityCount(int):
    """N as it travels with the conditioning.

    The alignment wrapper takes it out of a model call; without the wrapper the host would ignore it and drive the
    anchors. Looking at its dtype is the first thing the host does with what is left over: there it speaks up.
    """

    @property
    def dtype(self):
        raise SamplingError(
            "Condition Chunk",
            "its conditioning",
            "needs an aligned model",
            "from Load EverAnimate LoRA or Align Model to Memory",
            "a model without the alignment",
        )


class FaceVectors:
    """Motion vectors of the face videos seen during one sampling run: the encoders get equal input at every step."""

    def __init__(self):
        self.seen: list[tuple[Tensor, Tensor]] = []

    def find(self, face: Tensor) -> Tensor | None:
        """The vectors that were computed for exactly this face video, on this device and in this type."""
        for known, vectors in self.seen:
            if known is face or (
                known.shape == face.shape
                and known.dtype == face.dtype
                and known.device == face.device
                and torch.equal(known, face)
            ):
                return vectors
        return None

    def keep(self, face: Tensor, vectors: Tensor) -> None:
        """Remember the vectors [B, T + 1, heads, dim] of `face` [B, 3, F, 512, 512]."""
        self.seen.append((face, vectors))

    def clear(self) -> None:
        """Forget all, so that nothing stays in memory between sampling runs."""
        self.seen.clear()


def aligned_embedding(
    stock, anchors: int, faces: FaceVectors, tokens: Tensor, pose: Tensor | None, face: Tensor | None
):
    """`after_patch_embedding` for N anchors.

    stock: the host's method, which takes one reference in front. tokens: [B, dim, N + T, h/2, w/2] patch embeddings.
    pose: [B, 16, T, h, w] latents. face: [B, 3, F, 512, 512] pixels. Returns the tokens with the pose added, and the
    face's motion vectors [B, N + T, heads, dim], zero for the anchors.
    """
    if pose is not None:
        check_alignment(anchors, tokens.shape[2], pose.shape[2])
    vectors = None if face is None else faces.find(face)
    driven, fresh = stock(tokens[:, :, anchors - 1 :], pose, face if vectors is None else None)
    if fresh is not None:
        faces.keep(face, fresh)
        vectors = fresh
    tokens = torch.cat([tokens[:, :, : anchors - 1], driven], dim=2)
    return tokens, None if vectors is None else prepend_null(vectors, anchors - 1)


class Alignment:
    """The two wrappers of an aligned model and the face vectors that they share."""

    def __init__(self):
        self.faces = FaceVectors()

    def apply_model(
        self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **conds
    ):
        """Around each model call: swap the method in, where the conditioning says how many anchors there are."""
        anchors = conds.pop(CONDITION_KEY, None)
        arguments = (x, t, c_concat, c_crossattn, control, transformer_options)
        if anchors is None:
            return executor(*arguments, **conds)
        network = executor.class_obj.diffusion_model
        # torch.compile puts a module of its own around the network and traces the one inside.
        network = getattr(network, "_orig_mod", network)
        stock = network.after_patch_embedding

        def after_patch_embedding(tokens, pose_latents, face_pixel_values):
            return aligned_embedding(stock, int(anchors), self.faces, tokens, pose_latents, face_pixel_values)

        network.after_patch_embedding = after_patch_embedding
        try:
            return executor(*arguments, **conds)
        finally:
            del network.after_patch_embedding

    def outer_sample(self, executor, noise, *arguments, **keywords):
        """Around each sampling run: check what the chunk is sampled with, forget the faces afterwards."""
        check_run(executor.class_obj, noise)
        try:
            return executor(noise, *arguments, **keywords)
        finally:
            self.faces.clear()


def check_run(guider, noise: Tensor) -> None:
    """Raise SamplingError, before any step, when this guider cannot sample a chunk from noise [B, 16, N + T, h, w].

    Conditioning that Condition Chunk did not make is not looked at.
    """
    ours = [cond for conds in guider.conds.values() for cond in conds if CONDITION_KEY in cond["model_conds"]]
    if ours and guider.model_options.get("context_handler") is not None:
        # The host's windows count on one reference latent in front.
        raise SamplingError(
            "Align Model to Memory",
            "context windows",
            "cannot be combined with memory, the chunks replace them",
            "remove the context windows node",
            "a model with context windows",
        )
    for cond in ours:
        expected = cond["concat_latent_image"].shape
        if noise.shape[2:] != expected[2:]:
            raise SamplingError(
                "Condition Chunk",
                "the sampler's latent",
                "must be the one that Condition Chunk gives",
                f"{list(expected[2:])} latent frames, height, width",
                list(noise.shape[2:]),
            )
        if guider.model_patcher.model.diffusion_model.img_emb is not None and "clip_vision_output" not in cond:
            # Without image tokens the host takes the first text tokens for them.
            example = "connect clip_vision, clip_vision_h"
            raise SamplingError("Condition Chunk", "this model", "reads CLIP vision features", example, "none")


def align_model(model):
    """A clone of the MODEL that puts pose and face behind the anchors that its conditioning names.

    Raises ValueError for a model that is not Wan2.2-Animate.
    """
    if not isinstance(model.model, comfy.model_base.WAN22_Animate):
        example = "Wan2_2-Animate-14B, not Wan 2.1, Wan-Animate 2 or another network"
        raise InputError("model", "must be Wan2.2-Animate", example, type(model.model).__name__)
    model = model.clone()
    alignment = Alignment()
    for place, wrapper in (
        (WrappersMP.APPLY_MODEL, alignment.apply_model),
        (WrappersMP.OUTER_SAMPLE, alignment.outer_sample),
    ):
        # A second alignment on top of the first would shift pose and face twice.
        model.remove_wrappers_with_key(place, WRAPPER_KEY)
        model.add_wrapper_with_key(place, WRAPPER_KEY, wrapper)
    return model
