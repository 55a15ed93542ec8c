"""What a window is conditioned on, and the windows of line art that it is read from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..errors import InputError
from ..plan import ChunkPlan
from ..ports import Codec, FrameSource
from .fusion import Fusion, shared_latents
from .lines import white_on_black
from .settings import Settings

# In front of the window's own latents stands the reference's.
SLOT_OF_REFERENCE = 0


@dataclass(frozen=True)
class Window:
    """The line art that one window sees, read once, when first asked for. latents: what was encoded for it, by name."""

    lineart: FrameSource
    plan: ChunkPlan
    index: int
    latents: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def frames(self) -> Tensor:
        """[F, H, W, 3] in 0..1; behind the end of the animation its last frame goes on."""
        return self.lineart.read(self.plan.source_indices(self.index, self.lineart.frame_count))

    def all(self) -> dict[str, Tensor]:
        """The same, by name."""
        return {"lineart": self.frames}

    def encoded(self, name: str, frames: Callable[[], Tensor], codec: Codec) -> Tensor:
        """Latents of frames that this window alone, or all windows alike, are told of, encoded when first asked for.

        Candidates for one window share them, and so does whoever encodes them before they are needed.
        """
        if name not in self.latents:
            self.latents[name] = codec.encode(frames())
        return self.latents[name]


@dataclass(frozen=True)
class WindowRequest:
    """All that the network is told about one window, and how it has to end.

    Slot 0 of T is the reference's, slots 1.. are the window's. Latents are as the VAE makes them. sketch:
    [1, 16, T, h, w], of the lines, white on black: the reference's, then the window's; the network reads them times the
    VAE's scale. reference: [1, 16, T, h, w], the reference's, then zeros; the network reads them as they are (so it was
    trained). tails: of the window before, see fusion.Fusion; None in the first, and without fusion. memory:
    [2, 3, N, kv], of the frames made so far, for networks with a DGLM; None for none. end: [1, 16, n, h, w], latents
    that the window has to end with; None: it ends as it will.
    """

    index: int
    sketch: Tensor
    reference: Tensor
    tails: Tensor | None = None
    memory: Tensor | None = None
    end: Tensor | None = None

    @property
    def latents_shape(self) -> tuple[int, ...]:
        """[1, 16, T, h, w] of the state that is sampled."""
        return tuple(self.sketch.shape)


@dataclass(frozen=True)
class Pictures:
    """What a window is told of the colours: a picture and its lines, [1, H, W, 3] in 0..1."""

    reference: Tensor
    lineart: Tensor


def prepare_window(window: Window, pictures: Pictures | None, codec: Codec, *, style: str, threshold: float) -> None:
    """Encode what the window before has no say in; the window keeps it for its request.

    pictures: None where they come from that window.
    """
    _encode_lines(window, codec, style, threshold)
    if pictures is not None:
        _encode_pictures(window, pictures, codec, style, threshold)


def _encode_lines(window: Window, codec: Codec, style: str, threshold: float) -> Tensor:
    """Latents [1, 16, T, h, w] of a window's own lines."""
    return window.encoded("lineart", lambda: white_on_black(window.frames, style, threshold), codec)


def _encode_pictures(
    window: Window, pictures: Pictures, codec: Codec, style: str, threshold: float
) -> tuple[Tensor, Tensor]:
    """Latents [1, 16, 1, h, w] of the lines of a reference, and of the reference itself."""
    lineart = window.frames
    for name, picture in (("reference", pictures.reference), ("reference_lineart", pictures.lineart)):
        if picture.shape != (1, *lineart.shape[1:]):
            raise InputError(
                name,
                "must be one picture of the line art's size",
                f"{lineart.shape[2]}x{lineart.shape[1]}",
                f"{picture.shape[0]} of {picture.shape[2]}x{picture.shape[1]}",
            )
    lines = window.encoded("lines", lambda: white_on_black(pictures.lineart, style, threshold), codec)
    return lines, window.encoded("reference", lambda: pictures.reference, codec)


def window_request(
    window: Window,
    pictures: Pictures,
    codec: Codec,
    tails: Tensor | None = None,
    *,
    style: str,
    threshold: float,
    memory: Tensor | None = None,
    end: Tensor | None = None,
) -> WindowRequest:
    """Encode what a window sees, unless `prepare_window` did: its line art, the reference and its line art.

    tails, memory, end: see WindowRequest.
    """
    lines, reference = _encode_pictures(window, pictures, codec, style, threshold)
    sketch = torch.cat([lines, _encode_lines(window, codec, style, threshold)], dim=2)
    slots = torch.zeros_like(sketch)
    slots[:, :, SLOT_OF_REFERENCE] = reference[:, :, 0]
    return WindowRequest(window.index, sketch, slots, tails, memory, end)


def window_fusion(request: WindowRequest, settings: Settings) -> Fusion | None:
    """The fusion of a window, None where it is off; InputError for tails of a run with other steps or overlap."""
    if not settings.fuse:
        return None
    _, channels, _, *cells = request.latents_shape
    shared = shared_latents(settings.overlap)
    expected = (settings.fused_steps, channels, shared, *cells)
    if request.tails is not None and tuple(request.tails.shape) != expected:
        raise InputError(
            "the window before",
            "must have been made with as many steps, fuse_from, overlap and size",
            f"{list(expected)}: late steps, channels, latents, height, width",
            list(request.tails.shape),
        )
    return Fusion(settings.fuse_from, shared, request.tails, held=request.end is not None)
