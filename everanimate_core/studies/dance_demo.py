"""The demo with a dancer: the drawn figure of a world does what a real dancer did in a video, as the toy animates it.

There is no truth to compare with: beside the figure stand the dancer and the pose that was drawn for the figure.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from ..driving.keypoints import Keypoints
from ..media.frames import FittedFrames
from ..media.reader import VideoFrames
from ..media.sound import Sound
from ..ports import FrameSource
from ..toy.network.engine import WorldFrames
from ..toy.world.dancer import figure_points
from ..toy.world.pose import draw_pose
from ..toy.world.raster import SIZE
from ..toy.world.world import World
from .demo import animate_world
from .showing import SCALE, write_beside

DANCE = "dance"
TOY_ONLY = (
    "The figure and its picture are the embedded toy's, 64 pixels wide: they show how an animation is made, and are no "
    "measure of the real network's."
)


def make_dance_demo(
    folder: Path,
    dancer: Keypoints,
    video: FrameSource,
    sound: Sound,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Make in `folder`: dance.mp4, the figure of world `seed`, and comparison.mp4: dancer, pose and figure.

    dancer: the person in each frame of a video at FPS frames a second. video: the same one at that rate, of any size.
    The shorter of both is shown. sound: goes with both videos. The run of dance.mp4 goes on if it is there.
    """
    world = World(seed)
    points, found = figure_points(dancer, world.body)
    frames = min(video.frame_count, len(points))

    def drawn(indices: Sequence[int]) -> Tensor:
        return draw_pose(points[list(indices)], found[list(indices)])

    pose, path = WorldFrames(drawn, frames), folder / f"{DANCE}.mp4"
    animate_world(world, pose, path, DANCE, say, sound)
    side = SCALE * SIZE
    seen = WorldFrames(FittedFrames(video, side, side, "pad").read, frames)
    with VideoFrames(path) as made:
        write_beside(folder / "comparison.mp4", [seen, pose, made], sound)
    say(f"Wrote {DANCE}.mp4, and comparison.mp4 with dancer, pose and figure, to {folder}")
    say(TOY_ONLY)
