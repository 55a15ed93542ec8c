"""The procedural world: a figure that moves before a background, with the truth about every frame."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from ...errors import InputError
from .background import Backdrop
from .figure import cover_behind, draw_behind, draw_look, draw_prop, paint_figure, trace_figure
from .light import apply_light, light_at
from .motion import Motion, Posture
from .pose import draw_pose
from .raster import SIZE
from .scene import PLAIN, Scene
from .sides import facing
from .skeleton import JOINTS, KEYPOINTS, draw_proportions, joints, visible

# Frames drawn at a time: few enough that the planes stay in the processor's cache.
_BLOCK = 16
# The moment of a far reference lies so many frames behind the world's first, where the light is another.
FAR = 25_000
# Frames between which the prop comes into the hand.
TAKEN = (8, 16)


class World:
    """All that belongs to a seed (an int): one figure, one background, one endless motion (that of `motion_seed`, if
    there is one: the same figure, moving otherwise), and what the scene adds.

    Everything is a pure function of the seed and the frame number, bit for bit, in whatever order and company frames
    are asked for. Frame numbers are 0 or more; any sequence of them will do; others raise ValueError. Pictures are
    64x64, float32 in 0..1.
    """

    def __init__(self, seed: int, motion_seed: int | None = None, scene: Scene = PLAIN):
        self.seed = seed
        self.scene = scene
        self.motion = Motion(seed if motion_seed is None else motion_seed)
        self.body = draw_proportions(Random(f"{seed}/body"))
        self.look = draw_look(Random(f"{seed}/look"))
        if scene.two_sided:
            self.look = replace(self.look, behind=draw_behind(Random(f"{seed}/behind")))
        self._prop = draw_prop(Random(f"{seed}/prop")) if scene.prop else None
        self._backdrop = Backdrop(Random(f"{seed}/background"), scene.pan)

    def frames(self, indices: Sequence[int]) -> Tensor:
        """[n, 64, 64, 3], the film."""

        def draw(block: Sequence[int]) -> Tensor:
            moments = [0] * len(block) if self.scene.light == "constant" else block
            return self._lit(self._figure(block, self._backdrop)[0], moments)

        return self._draw(draw, indices, (3,))

    def frame(self, index: int) -> Tensor:
        """[64, 64, 3], one frame of the film."""
        return self.frames([index])[0]

    def reference(self) -> Tensor:
        """[64, 64, 3], frame 0: the figure from the front, hiding what is behind it; see Scene for where it differs."""
        backdrop = self._backdrop
        if self.scene.other_background:
            backdrop = Backdrop(Random(f"{self.seed}/other background"), False)
        return self._lit(self._figure([0], backdrop)[0], [FAR if self.scene.far_reference else 0])[0]

    def lineart(self, indices: Sequence[int]) -> Tensor:
        """[n, 64, 64, 3], the lines of the film, black on white: of the figure, and of what is behind it."""

        def draw(block: Sequence[int]) -> Tensor:
            lines = self._traced(block, self._backdrop)
            return (1 - lines).movedim(1, -1).expand(-1, -1, -1, 3)

        return self._draw(draw, indices, (3,))

    def reference_lineart(self) -> Tensor:
        """[64, 64, 3], the lines of the reference, black on white."""
        return self.lineart([0])[0]

    def background(self, index: int = 0) -> Tensor:
        """[64, 64, 3], what is behind the figure in that frame, in even light."""
        return self._backdrop.seen([index])[0].movedim(0, -1).contiguous()

    def silhouette(self, indices: Sequence[int]) -> Tensor:
        """[n, 64, 64], how much of each pixel is the figure: 0 background, 1 figure, between at its rim."""
        return self._draw(lambda block: self._figure(block, self._backdrop)[1], indices, ())

    def behind(self, indices: Sequence[int]) -> Tensor:
        """[n, 64, 64], how much of each pixel shows the clothes of a two-sided world from behind, 0 to 1."""

        def draw(block: Sequence[int]) -> Tensor:
            posture, canvas = self._posture(block), torch.zeros(len(block), 3, SIZE, SIZE)
            return cover_behind(canvas, joints(posture, self.body), posture.yaw, self.body, self.look)

        return self._draw(draw, indices, ())

    def pose(self, indices: Sequence[int]) -> Tensor:
        """[n, 64, 64, 3], the pose maps in OpenPose's style."""
        return self._draw(lambda block: draw_pose(*self._keypoints(block)), indices, (3,))

    def keypoints(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """OpenPose's 18 points, [n, 18, 2] as x, y in pixels (pixel centres lie at .5), and which are seen, bool."""
        _check(indices)
        points, found = self._keypoints(indices)
        return points[:, : len(KEYPOINTS), :2].contiguous(), found

    def yaw(self, indices: Sequence[int]) -> Tensor:
        """[n], radians: 0 is the front, positive turns to the viewer's right, an odd multiple of pi is the back."""
        _check(indices)
        return self._posture(indices).yaw

    def face_box(self, index: int) -> tuple[int, int, int, int]:
        """The head's box as left, top, right, bottom in pixels, right and bottom exclusive, inside the picture."""
        _check([index])
        x, y, _ = joints(self._posture([index]), self.body)[0, JOINTS.index("head")].tolist()
        reach = self.body.head + 1
        low, high = ([min(max(round(v + by), 0), SIZE) for v in (x, y)] for by in (-reach, reach))
        return (*low, *high)

    def _posture(self, indices: Sequence[int]) -> Posture:
        posture = self.motion.posture(indices)
        if self.scene.two_sided:
            posture = replace(posture, yaw=facing(f"{self.seed}", indices, posture.yaw))
        return posture

    def _keypoints(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        points = joints(self._posture(indices), self.body)
        return points, visible(points, self.body)

    def _figure(self, indices: Sequence[int], backdrop: Backdrop) -> tuple[Tensor, Tensor]:
        posture, canvas = self._posture(indices), backdrop.seen(indices)
        held = None if self._prop is None else (self._prop, _held(indices))
        covered = paint_figure(canvas, joints(posture, self.body), posture.yaw, self.body, self.look, held)
        return canvas.clamp_(0, 1).movedim(1, -1), covered

    def _traced(self, indices: Sequence[int], backdrop: Backdrop) -> Tensor:
        posture, canvas = self._posture(indices), backdrop.lines_seen(indices)
        held = None if self._prop is None else (self._prop, _held(indices))
        trace_figure(canvas, joints(posture, self.body), posture.yaw, self.body, self.look, held)
        return canvas

    def _lit(self, frames: Tensor, moments: Sequence[int]) -> Tensor:
        if self.scene.light == "off":
            return frames
        return apply_light(frames, light_at(f"{self.seed}", moments))

    def _draw(self, draw: Callable[[Sequence[int]], Tensor], indices: Sequence[int], channels: tuple) -> Tensor:
        _check(indices)
        out = torch.empty(len(indices), SIZE, SIZE, *channels)
        for start in range(0, len(indices), _BLOCK):
            block = indices[start : start + _BLOCK]
            out[start : start + len(block)] = draw(block)
        return out


def _held(indices: Sequence[int]) -> Tensor:
    """[n]: how far the thing is in the figure's hand, 0 to 1; it is taken up within the first second."""
    first, last = TAKEN
    return torch.tensor([min(max((index - first) / (last - first), 0.0), 1.0) for index in indices])


def _check(indices: Sequence[int]) -> None:
    if len(indices) and min(indices) < 0:
        raise InputError("frame numbers", "must be 0 or more", "", min(indices))
