"""The figure's looks and how it is drawn: capsules for the limbs, a round head, marks that only one side shows."""

from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from .background import colour
from .raster import PIXEL_X, PIXEL_Y, SIZE, blend, capsule, column, coverage, edge, paint, rim, smooth_step
from .skeleton import JOINTS, Proportions

# Radius of a thing in the hand, in pixels.
PROP = 3.0
_MARKS = ("stripe", "disc", "column", "cross")
# How far behind the middle of the side clothes change their colour, in radii: a figure that is turned by less than 25
# degrees does not show it.
_SEAM = 0.5
_ONES = torch.ones(3)


@dataclass(frozen=True)
class Look:
    """Colours, RGB [3] in 0..1, and the shapes of the marks on chest and back.

    behind: the colour of all clothes behind, in the place of a mark there; None where they are as in front.
    """

    skin: Tensor
    hair: Tensor
    shirt: Tensor
    sleeves: Tensor
    trousers: Tensor
    shoes: Tensor
    eyes: Tensor
    chest_mark: Tensor
    back_mark: Tensor
    hair_mark: Tensor
    chest_shape: str
    back_shape: str
    behind: Tensor | None = None


def draw_look(random: Random) -> Look:
    """The looks of a new figure; nothing on its front tells what its back carries."""
    vivid, dark, light = ((0.5, 1.0), (0.6, 1.0)), ((0.4, 0.9), (0.15, 0.4)), ((0.2, 0.5), (0.8, 1.0))
    skin, hair, shirt, trousers, shoes = (colour(random, *kind) for kind in (light, dark, vivid, vivid, dark))
    sleeves = shirt if random.random() < 0.4 else colour(random, *vivid)
    return Look(
        skin=skin,
        hair=hair,
        shirt=shirt,
        sleeves=sleeves,
        trousers=trousers,
        shoes=shoes,
        eyes=torch.full((3,), 0.08),
        chest_mark=colour(random, *vivid),
        back_mark=colour(random, (0.3, 1.0), (0.75, 1.0)),
        hair_mark=colour(random, *vivid),
        chest_shape=random.choice(_MARKS),
        back_shape=random.choice(_MARKS),
    )


def draw_behind(random: Random) -> Tensor:
    """The colour [3] of clothes behind."""
    return colour(random, (0.6, 1.0), (0.6, 1.0))


def draw_prop(random: Random) -> Tensor:
    """The colour [3] of a thing to hold."""
    return colour(random, (0.8, 1.0), (0.8, 1.0))


def paint_figure(
    canvas: Tensor,
    points: Tensor,
    yaw: Tensor,
    body: Proportions,
    look: Look,
    held: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Draw the figure over canvas [n, 3, 64, 64], in place; what it covers, [n, 64, 64] in 0..1.

    points: [n, len(JOINTS), 3] in pixels. yaw: [n] in radians. held: the colour [3] of a thing in its right hand, and
    how far it is there [n], 0 to 1.
    """
    return _in_order(_Drawing(canvas, points, torch.cos(yaw), torch.sin(yaw), body, look, held))


def trace_figure(
    canvas: Tensor,
    points: Tensor,
    yaw: Tensor,
    body: Proportions,
    look: Look,
    held: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Draw the figure's lines over those of canvas [n, 1, 64, 64] (1 = line), in place; see `paint_figure`.

    Lines stand along the rim of every part, and wherever the colour of a part changes.
    """
    return _in_order(_Tracing(canvas, points, torch.cos(yaw), torch.sin(yaw), body, look, held))


def cover_behind(canvas: Tensor, points: Tensor, yaw: Tensor, body: Proportions, look: Look) -> Tensor:
    """[n, 64, 64]: how much of each pixel shows the clothes from behind, 0 to 1; canvas [n, 3, 64, 64] is zeros."""
    dark: dict[str, Any] = {part.name: torch.zeros(3) for part in fields(Look) if part.type is Tensor}
    look = replace(look, **dark, behind=_ONES)
    _in_order(_Covering(canvas, points, torch.cos(yaw), torch.sin(yaw), body, look, None))
    return canvas[:, 0]


def _in_order(drawing: "_Drawing") -> Tensor:
    """Draw all parts, those that are behind others first; what they cover, [n, 64, 64]."""
    points = drawing.points
    right, left = (points[:, JOINTS.index(f"knee {side}"), 2] for side in ("right", "left"))
    drawing.leg("right", right <= left)
    drawing.leg("left")
    drawing.leg("right", right > left)
    behind = {}
    for side in ("right", "left"):
        elbow, wrist = (points[:, JOINTS.index(f"{joint} {side}"), 2] for joint in ("elbow", "wrist"))
        # Arms beside the body count as in front of it.
        behind[side] = elbow + wrist < -4.0
        drawing.arm(side, behind[side])
    drawing.torso()
    drawing.head()
    for side, hidden in behind.items():
        drawing.arm(side, ~hidden)
    return 1 - drawing.uncovered


class _Drawing:
    def __init__(
        self,
        canvas: Tensor,
        points: Tensor,
        cos: Tensor,
        sin: Tensor,
        body: Proportions,
        look: Look,
        held: tuple[Tensor, Tensor] | None,
    ):
        self.canvas, self.points, self.body, self.look, self.held = canvas, points, body, look, held
        self.cos, self.sin = column(cos), column(sin)
        self.uncovered = torch.ones(len(points), SIZE, SIZE)

    def joint(self, name: str) -> Tensor:
        return self.points[:, JOINTS.index(name)]

    def mix(self, one: Tensor, other: Tensor, share: Tensor) -> Tensor:
        """Colours of a part, mixed pixel by pixel; share [n, 64, 64]: of `other`."""
        return blend(one, other, share)

    def lay(self, alpha: Tensor, shade: Tensor, pigment: Tensor) -> None:
        """Put a part over what is there. alpha, shade: [n, 64, 64], what it covers and how bright it is."""
        if pigment.ndim == 1:
            pigment = pigment.view(1, 3, 1, 1)
        paint(self.canvas, alpha, pigment * shade[:, None])
        self.uncovered *= 1 - alpha

    def limb(self, names: tuple[str, str], radius: float, colours: tuple[Tensor, Tensor], which: Tensor | None) -> None:
        start, end = self.joint(names[0]), self.joint(names[1])
        squared, position = capsule(start, end)
        alpha = coverage(squared, radius)
        if which is not None:
            alpha *= column(which)
        # Darker to the rim, so that an arm shows before a body of the same colour.
        shade = (1 - squared * (0.35 / radius**2)).clamp_(min=0.6)
        pigment = colours[0]
        if self.look.behind is not None:
            axis = column(start[:, 0]) + position * column(end[:, 0] - start[:, 0])
            pigment = self.sided(pigment, self.turned(((PIXEL_X - axis) / radius).clamp_(-1, 1))[1])
        if colours[0] is not colours[1]:
            pigment = self.mix(pigment, colours[1], smooth_step(position - 0.75, 8.0))
        self.lay(alpha, shade, pigment)

    def arm(self, side: str, which: Tensor | None = None) -> None:
        sleeve, skin = self.look.sleeves, self.look.skin
        self.limb((f"shoulder {side}", f"elbow {side}"), self.body.arm_radius, (sleeve, sleeve), which)
        self.limb((f"elbow {side}", f"wrist {side}"), self.body.arm_radius, (sleeve, skin), which)
        if self.held is not None and side == "right":
            pigment, there = self.held
            wrist = self.joint(f"wrist {side}")
            squared = (PIXEL_X - column(wrist[:, 0])).square() + (PIXEL_Y - column(wrist[:, 1])).square()
            shown = column(there if which is None else there * which)
            self.lay(coverage(squared, PROP) * shown, (1 - squared * (0.35 / PROP**2)).clamp_(min=0.6), pigment)

    def leg(self, side: str, which: Tensor | None = None) -> None:
        trousers, shoes = self.look.trousers, self.look.shoes
        self.limb((f"hip {side}", f"knee {side}"), self.body.leg_radius, (trousers, trousers), which)
        self.limb((f"knee {side}", f"ankle {side}"), self.body.leg_radius, (trousers, shoes), which)

    def turned(self, across: Tensor, height: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """Across and towards the front on the surface of a round body, in its radii, as the figure itself sees it."""
        near = (1 - across * across - height * height).clamp_(min=0).sqrt_()
        return across * self.cos - near * self.sin, across * self.sin + near * self.cos

    def sided(self, pigment: Tensor, front: Tensor) -> Tensor:
        """Clothes that have another colour behind, from a little beyond the seams at their sides; front [n, 64, 64]:
        see `turned`."""
        if self.look.behind is None:
            return pigment
        return self.mix(pigment, self.look.behind, smooth_step(-front - _SEAM, 4.0))

    def torso(self) -> None:
        look, radius = self.look, self.body.torso_radius
        neck, pelvis = self.joint("neck"), self.joint("pelvis")
        # From a little under the neck: the capsule's round end makes the shoulders.
        top = neck + (pelvis - neck) * 0.25
        squared, position = capsule(top, pelvis)
        axis = column(top[:, 0]) + position * column(pelvis[:, 0] - top[:, 0])
        across, front = self.turned(((PIXEL_X - axis) / radius).clamp_(-1, 1))
        pigment = look.shirt
        for shape, mark, side in (
            (look.chest_shape, look.chest_mark, front),
            (look.back_shape, look.back_mark, -front),
        ):
            if side is not front and look.behind is not None:
                continue
            inside = _mark(shape, across, (position - 0.4) * 0.9) * smooth_step(side, 4.0)
            pigment = self.mix(pigment, mark, inside)
        belt = smooth_step(position - 0.95, 8.0)
        pigment = self.sided(self.mix(pigment, look.trousers, belt), front)
        self.lay(coverage(squared, radius), (1 - squared * (0.25 / radius**2)).clamp_(min=0.6), pigment)

    def head(self) -> None:
        look, radius = self.look, self.body.head
        centre = self.joint("head")
        x, y = (PIXEL_X - column(centre[:, 0])) / radius, (PIXEL_Y - column(centre[:, 1])) / radius
        squared = x * x + y * y
        across, front = self.turned(x.clamp(-1, 1), y.clamp(-1, 1))
        face = smooth_step(front - 0.1, radius / 2) * smooth_step(y + 0.4, radius / 2)
        pigment = self.mix(look.hair, look.skin, face)
        ahead = smooth_step(front - 0.2, radius / 2)
        for middle in (-0.36, 0.36):
            eye = smooth_step(0.17 - ((across - middle).square() + y.square()).sqrt(), radius)
            pigment = self.mix(pigment, look.eyes, eye * ahead)
        mouth = smooth_step(0.25 - across.abs(), radius / 2) * smooth_step(0.1 - (y - 0.5).abs(), radius)
        pigment = self.mix(pigment, look.eyes, mouth * ahead * 0.7)
        clip = smooth_step(0.45 - (across.square() + (y + 0.1).square()).sqrt(), radius / 2)
        pigment = self.mix(pigment, look.hair_mark, clip * smooth_step(-front - 0.1, radius / 2))
        self.lay(coverage(squared * radius**2, radius), (1 - 0.25 * squared).clamp_(min=0.6), pigment)


class _Covering(_Drawing):
    """The same without shades, so that a part that is white is 1 wherever it is seen."""

    def lay(self, alpha: Tensor, shade: Tensor, pigment: Tensor) -> None:
        """Put a part over what is there."""
        super().lay(alpha, torch.ones_like(shade), pigment)


class _Tracing(_Drawing):
    """The same in lines: in the place of a colour stands how much of each pixel is a line, [n, 1, 64, 64]."""

    def mix(self, one: Tensor, other: Tensor, share: Tensor) -> Tensor:
        """The lines of a part so far, if there are any, and one where its colour changes."""
        line = edge(share)[:, None]
        return line if one.ndim == 1 else torch.maximum(one, line)

    def lay(self, alpha: Tensor, shade: Tensor, pigment: Tensor) -> None:
        """Put a part with its lines over those that are there; a colour alone has none."""
        lines = rim(alpha)[:, None]
        if pigment.ndim > 1:
            lines = torch.maximum(lines, pigment * alpha[:, None])
        self.canvas.mul_(1 - alpha[:, None]).add_(lines).clamp_(max=1)
        self.uncovered *= 1 - alpha


def _mark(shape: str, across: Tensor, down: Tensor) -> Tensor:
    """A mark on chest or back, 0..1; both coordinates are in radii of the body, from the middle of the mark."""
    sharpness = 3.0
    if shape == "disc":
        return smooth_step(0.5 - (across.square() + (2.2 * down).square()).sqrt(), sharpness)
    stripe = smooth_step(0.17 - down.abs(), 2 * sharpness)
    upright = smooth_step(0.3 - across.abs(), sharpness)
    if shape == "stripe":
        return stripe
    return upright if shape == "column" else torch.maximum(stripe, upright)
