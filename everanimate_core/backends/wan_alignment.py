"""Pose and face, aligned to N identity anchors, for diffusers' Wan-Animate transformer.

The transformer was written for one anchor: it adds the pose to latent frames 1.. and puts one zero motion vector in
front. EverAnimate (arXiv 2605.15042, Eq. 3) has N anchors, which must receive neither pose nor face. Both signals are
the same at every sampling step, so they are computed once a chunk with the transformer's own modules, shifted by N - 1
frames, and handed to the transformer in place of those modules' answers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..everanimate.context import prepend_null
from ..plan import pixel_frames
from .wan_checkpoint import has_face_path


@dataclass(frozen=True)
class Driving:
    """What drives one chunk, as the transformer's blocks take it in.

    pose: [B, dim, N - 1 + T, h/2, w/2], pose tokens behind N - 1 zero frames, or None. face: [B, N - 1 + T, 5, dim],
    motion vectors behind N - 1 zero frames, or None. The transformer itself leaves out one frame more, the first.
    """

    pose: Tensor | None
    face: Tensor | None


def encode_driving(
    transformer: nn.Module, *, anchors: int, latents: int, pose: Tensor | None, face: Tensor | None
) -> Driving:
    """Run the pose embedding, the motion encoder and the face encoder once.

    anchors: N. latents: T. pose: normalised latents [B, 16, T, h, w], or None. face: [B, 3, F, S, S] in -1..1 with
    F = 4(T - 1) + 1 and S the motion encoder's size (512), or None. Raises ValueError when the frames do not fit or the
    checkpoint has no face path.
    """
    if pose is not None and pose.shape[2] != latents:
        raise InputError("pose_latents", f"must have T = {latents} latent frames", "", pose.shape[2])
    if face is not None and face.shape[2] != pixel_frames(latents):
        raise InputError(
            "face_pixels",
            f"must have {pixel_frames(latents)} frames",
            f"4(T - 1) + 1 for T = {latents} latent frames",
            face.shape[2],
        )
    if face is not None and not has_face_path(transformer):
        raise InputError(
            "a face video",
            "needs the motion encoder, face encoder and face adapter",
            "Wan2.2-Animate-14B has them; or leave the face video out",
            "a checkpoint without",
        )
    weight = transformer.patch_embedding.weight
    if pose is not None:
        pose = prepend_null(transformer.pose_patch_embedding(pose.to(weight.device, weight.dtype)), anchors - 1, dim=2)
    if face is not None:
        face = prepend_null(_motion_vectors(transformer, face.to(weight.device, weight.dtype)), anchors - 1)
    return Driving(pose, face)


def predict_velocity(
    transformer: nn.Module, driving: Driving, model_input: Tensor, timestep: Tensor, text: Tensor, clip: Tensor | None
) -> Tensor:
    """Velocity [B, 16, N + T, h, w] in the transformer's dtype.

    model_input: [B, 36, N + T, h, w], noisy latents, mask and context. timestep: [B] in 0..1000 (1000 sigma).
    text: [B, 512, text_dim]. clip: [B, 257, image_dim], or None for a transformer without an image embedder (text is
    then of any length). With N = 1 this is the stock transformer, bit for bit; without a face the face adapters are
    skipped. transformer: the diffusers model itself (PEFT layers inside are fine, a wrapper around it is not). Not for
    two threads at once: the model's modules are swapped during the call.
    """
    batch = len(model_input)
    with _driven(transformer, driving, batch):
        return transformer(
            hidden_states=model_input,
            timestep=timestep,
            encoder_hidden_states=text,
            encoder_hidden_states_image=clip,
            pose_hidden_states=None,
            # Only their number is looked at: the motion vectors are ready.
            face_pixel_values=model_input.new_zeros(batch, 1, 1, 1, 1),
            motion_encode_batch_size=batch,
            return_dict=False,
        )[0]


def _motion_vectors(transformer: nn.Module, face: Tensor) -> Tensor:
    """[B, 3, F, S, S] -> [B, T, 5, dim]. Frames go in the stock transformer's batches, which decide the last bits."""
    frames = face.movedim(2, 1).flatten(0, 1).split(transformer.config.motion_encoder_batch_size)
    codes = torch.cat([transformer.motion_encoder(batch) for batch in frames])
    return transformer.face_encoder(codes.unflatten(0, (face.shape[0], -1)))


class _Ready(nn.Module):
    """Stands in for a module and answers every call with one ready tensor."""

    def __init__(self, answer: Tensor):
        super().__init__()
        self.answer = answer

    def forward(self, *_: Tensor) -> Tensor:
        return self.answer


@contextmanager
def _driven(transformer: nn.Module, driving: Driving, batch: int) -> Iterator[None]:
    """Replace the transformer's pose and face modules by their ready answers, for one call."""
    nothing = torch.zeros(())  # added to tokens of any shape, dtype and device without a change
    stand_ins = {
        "pose_patch_embedding": _Ready(nothing if driving.pose is None else driving.pose),
        "motion_encoder": _Ready(torch.zeros(batch, 1)),  # read by the face encoder's stand-in alone
        "face_encoder": _Ready(torch.zeros(1, 1, 1, 1) if driving.face is None else driving.face),
    }
    if driving.face is None:
        adapters = len(transformer.blocks) // transformer.config.inject_face_latents_blocks
        stand_ins["face_adapter"] = nn.ModuleList([_Ready(nothing)] * adapters)
    stock = {name: getattr(transformer, name) for name in stand_ins}
    try:
        for name, module in stand_ins.items():
            setattr(transformer, name, module)
        yield
    finally:
        for name, module in stock.items():
            setattr(transformer, name, module)
