"""Draw the thumbnails that ComfyUI's template browser shows for the graphs: what each of them makes, by the toy.

    python tests/benchmarks/thumbnails.py [OUT] [--only NAME ...]

OUT is workflows/, unless there is another one. Graphs of the toy show their own result. All others need networks of
many gigabytes: the toy does in their place what the graph does, and the picture says so. It takes about five minutes.
"""

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn.functional import max_pool2d

from everanimate_core.driving.keypoints import JOINTS, POINTS, Keypoints
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.flow import sigma_schedule
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.everanimate.propagation import animate
from everanimate_core.longanimation.method import long_animation
from everanimate_core.media.reader import VideoFrames
from everanimate_core.method import each_made
from everanimate_core.studies.rows import ROWS
from everanimate_core.toy.network.colour_dit import load_colour
from everanimate_core.toy.network.colour_state import SETTINGS as COLOUR
from everanimate_core.toy.network.engine import WorldFrames, load_toy, roll_out
from everanimate_core.toy.network.state import SETTINGS
from everanimate_core.toy.world.dancer import figure_points
from everanimate_core.toy.world.pose import draw_pose
from everanimate_core.toy.world.raster import SIZE
from everanimate_core.toy.world.world import World

sys.path.append(str(Path(__file__).parent / "samples"))
from make import true_pose

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
WIDTH, HEIGHT, GAP, LINE = 640, 360, 12, 22
PAPER, INK, PALE = (38, 32, 30), (235, 235, 235), (170, 190, 255)
FULL = ROWS["full"]
# What toy_drift blends into the frames that chunk 0 hands on (Image Blend, overlay), and how much of it.
TINT, BLEND = torch.tensor([255, 160, 64]) / 255, 0.5


def shown(picture, scale):
    """A picture [h, w, 3] in 0..1 as BGR of 8 bits, enlarged without smoothing."""
    pixels = (picture.clamp(0, 1) * 255).round().byte().numpy()[..., ::-1]
    return pixels.repeat(scale, 0).repeat(scale, 1)


def fitted(picture, height):
    """A picture [h, w, 3] in 0..1 as BGR of 8 bits, made smaller."""
    pixels, width = shown(picture, 1), round(picture.shape[1] * height / picture.shape[0])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def write(canvas, text, middle, bottom, colour):
    """A line of text around the column `middle`."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    cv2.putText(canvas, text, (middle - width // 2, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def board(columns, note=""):
    """The thumbnail [360, 640, 3], BGR of 8 bits. columns: each a list of (caption, picture), from top to bottom. note:
    stands below."""
    canvas = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
    widths = [max(picture.shape[1] for _, picture in column) for column in columns]
    left = (WIDTH - sum(widths) - GAP * (len(columns) - 1)) // 2
    room = HEIGHT - LINE * bool(note)
    for column, width in zip(columns, widths, strict=True):
        top = (room - sum(picture.shape[0] + LINE for _, picture in column)) // 2
        for caption, picture in column:
            height, own = picture.shape[:2]
            write(canvas, caption, left + width // 2, top + LINE - 7, INK)
            start = left + (width - own) // 2
            canvas[top + LINE : top + LINE + height, start : start + own] = picture
            top += LINE + height
        left += width + GAP
    write(canvas, note, WIDTH // 2, HEIGHT - 8, PALE)
    return canvas


OF_THE_TOY = "Result of the toy model"


def animated(row, world, frames, **changes):
    """The frames [n, 64, 64, 3] of a world that a row of the ablation animates."""
    settings = replace(row.settings, **changes)
    return torch.cat([made.frames for made in roll_out(row.load(None), world, frames, settings, row.policy)])


def coloured(world, frames):
    """The frames [n, 64, 64, 3] of a world whose line art is coloured."""
    model, lineart = load_colour(), WorldFrames(world.lineart, frames)
    method = long_animation(
        lineart, world.reference()[None], COLOUR, SIZE, SIZE, reference_lineart=world.reference_lineart()[None]
    )
    every = each_made(method, partial(model.sample_window, settings=COLOUR), model.codec)
    return torch.cat([made.frames[method.plan.kept(made.index)] for made in every])


def over_time(first, sources, frames, fps=25):
    """A large picture, and beside it at each of these frames one of every source. first: (caption, picture)."""
    columns = [[(first[0], shown(first[1], 3))]]
    for frame in frames:
        columns.append([(f"{name}, {frame / fps:.0f} s", shown(source[frame], 2)) for name, source in sources.items()])
    return columns


def toy_world():
    world, frame = World(0), 60
    made = torch.cat([chunk.frames for chunk in roll_out(load_toy(), world, frame + 1)])
    pictures = {"pose": world.pose([frame])[0], "animation": made[frame], "truth": world.frame(frame)}
    return board([[(name, shown(picture, 3))] for name, picture in pictures.items()])


def toy_blocks():
    """The reference stands four times in the memory."""
    world, model, frames = World(0), load_toy(), 91
    settings = replace(SETTINGS, restore_strength=1.0)
    memory = build_memory(world.reference().expand(4, -1, -1, -1), model.codec, 4, settings.motion_latents)
    sample = partial(model.sample_chunk, sigmas=sigma_schedule(settings.steps, settings.shift))
    drivers = Drivers(pose=WorldFrames(world.pose, frames))
    made = animate(settings.plan(frames), memory, sample, model.codec, drivers, settings)
    made = torch.cat([chunk.frames for chunk in made])
    columns = []
    for sampler, frame in {"KSampler": 18, "Restorative Sampler": 46, "Restore Flow": 78}.items():
        picture, pose = shown(made[frame], 2), shown(world.pose([frame])[0], 2)
        # As wide as the name of the sampler.
        columns.append([("pose", pose), (sampler, cv2.copyMakeBorder(picture, 0, 0, 24, 24, 0, value=PAPER))])
    return board(columns)


def toy_drift():
    """What chunk 0 hands on is tinted."""
    world, frames = World(0), (20, 45, 75, 105)

    def tinted(made):
        if made.index:
            return made
        last = made.memory.last_frames
        overlay = torch.where(last <= 0.5, 2 * last * TINT, 1 - 2 * (1 - last) * (1 - TINT))
        return replace(made, memory=replace(made.memory, last_frames=last.lerp(overlay, BLEND)))

    made = {}
    for name, row in (("as it is", ROWS["baseline"]), ("restored", ROWS["baseline+restore"])):
        chunks = roll_out(row.load(None), world, 120, row.settings, row.policy, change=tinted)
        made[name] = torch.cat([chunk.frames for chunk in chunks])
    return board(
        [
            [(f"chunk {index}, {name}", shown(source[frame], 2)) for name, source in made.items()]
            for index, frame in enumerate(frames)
        ]
    )


def toy_colour():
    world, frame = World(0), 120
    made = coloured(world, 209)
    pictures = {"line art": world.lineart([frame])[0], "coloured": made[frame], "truth": world.frame(frame)}
    return board([[(name, shown(picture, 3))] for name, picture in pictures.items()])


def animate_long():
    world, frames = World(38), (25, 125, 225)
    made, pose = animated(FULL, world, 250), world.pose(range(250))
    return board(over_time(("photo", world.reference()), {"pose": pose, "animation": made}, frames), OF_THE_TOY)


def animate2_video():
    """The dance of another figure, of which the toy sees the pose; carried on by the last frame, and restored."""
    dancer, frames = World(20), (50, 250, 450)
    world, film = World(9, motion_seed=dancer.seed), {frame: dancer.frame(frame) for frame in frames}
    made = animated(ROWS["baseline+restore"], world, 451)
    return board(over_time(("photo", world.reference()), {"dance": film, "animation": made}, frames), OF_THE_TOY)


def animate2_long():
    """A plain video of another figure drives."""
    film, frames = World(45), (25, 125, 225)
    world, video = World(19, motion_seed=film.seed), film.frames(range(226))
    made = animated(FULL, world, 226)
    return board(over_time(("photo", world.reference()), {"video": video, "animation": made}, frames), OF_THE_TOY)


def animate_chunks():
    world, plan = World(27), FULL.settings.plan(91)
    made, columns = animated(FULL, world, 91), []
    for index in range(plan.chunk_count):
        frames = plan.output_range(index)
        middle, pose = frames[len(frames) // 2], world.pose([frames[0], frames[len(frames) // 2], frames[-1]])
        columns.append([(f"chunk {index}", shown(made[middle], 3)), ("pose", shown(torch.cat([*pose], dim=1), 1))])
    return board(columns, OF_THE_TOY)


def low_vram():
    """Matrices of 8 bits, with a scale each, and fewer steps."""
    world, model, frame = World(14), FULL.load(None), 28
    full = torch.cat([made.frames for made in roll_out(model, world, 33, replace(FULL.settings, steps=20))])
    for weight in model.transformer.parameters():
        if weight.ndim > 1 and weight.any():
            scale = weight.abs().max() / torch.finfo(torch.float8_e4m3fn).max
            weight.data = (weight / scale).to(torch.float8_e4m3fn).float() * scale
    small = torch.cat([made.frames for made in roll_out(model, world, 33, replace(FULL.settings, steps=4))])
    pictures = {"network in full, 20 steps": full[frame], "fp8 network, 4 steps": small[frame]}
    return board([[(name, shown(picture, 4))] for name, picture in pictures.items()], OF_THE_TOY)


def dance_video():
    """The sample's dancer, whose joints are known, and a figure that does the same."""
    world, frame = World(6), 36
    drawn = true_pose()
    points, scores = np.zeros((len(drawn.joints), POINTS, 2)), np.zeros((len(drawn.joints), POINTS))
    for joint, (name, places) in enumerate(JOINTS.items()):
        if name != "neck":
            points[:, places], scores[:, places] = drawn.joints[:, [joint]], 1
    dancer = Keypoints(points, scores, drawn.width, drawn.height)
    joints, found = figure_points(dancer, world.body)
    pose = WorldFrames(lambda frames: draw_pose(joints[list(frames)], found[list(frames)]), len(points))
    chunks = roll_out(FULL.load(None), world, frame + 1, FULL.settings, FULL.policy, pose=pose)
    made = torch.cat([chunk.frames for chunk in chunks])
    columns = []
    for name, caption in (("dance", "video"), ("pose", "pose")):
        with VideoFrames(WORKFLOWS / "inputs" / f"everanimate_{name}.mp4") as video:
            columns.append([(caption, fitted(video.read([frame])[0], 4 * SIZE))])
    return board([*columns, [("the toy dances", shown(made[frame], 4))]], OF_THE_TOY)


class Replaced(World):
    """The figure of one world in the film of another: it does what that one's figure does, before its background."""

    def __init__(self, seed, film):
        super().__init__(seed, motion_seed=film.seed)
        self.film = film

    def reference(self):
        """The toy was not trained for replacement: the background is in its picture, instead of in a video."""
        cover = self.silhouette([0])[0, ..., None]
        return super().reference() * cover + self.film.background() * (1 - cover)


def replace_in_video():
    film, frame = World(3), 24
    world = Replaced(11, film)
    made = animated(FULL, world, frame + 1)
    mask = (max_pool2d(film.silhouette([frame]), 5, 1, 2) > 0).float()[0, ..., None].expand(-1, -1, 3)
    return board(
        [
            [("photo", shown(World(11).reference(), 2)), ("video", shown(film.frame(frame), 2))],
            [("pose", shown(film.pose([frame])[0], 2)), ("mask", shown(mask, 2))],
            [("another person in the video", shown(made[frame], 4))],
        ],
        OF_THE_TOY,
    )


def scail2_replace():
    """The mask in the first of SCAIL-2's colours, on the ground of a replacement."""
    film, frames = World(30), (20, 60, 100)
    world = Replaced(17, film)
    made = animated(ROWS["baseline"], world, 101)
    person = (max_pool2d(film.silhouette([frames[0]]), 5, 1, 2) > 0).float()[0, ..., None]
    mask = person * torch.tensor([0.0, 0, 1]) + 1 - person
    columns = [[("photo", shown(World(17).reference(), 2)), ("who is replaced", shown(mask, 2))]]
    for frame in frames:
        columns.append([("video", shown(film.frame(frame), 2)), (f"frame {frame}", shown(made[frame], 2))])
    return board(columns, OF_THE_TOY)


def colour_long():
    world, frames = World(33), (24, 96, 192)
    made, lineart = coloured(world, 209), world.lineart(range(209))
    first = "first frame in colour", world.reference()
    return board(over_time(first, {"line art": lineart, "coloured": made}, frames, fps=24), OF_THE_TOY)


def colour_window():
    world, frame = World(19), 40
    made = coloured(world, 81)
    return board(
        [
            [("reference", shown(world.reference(), 2)), ("line art", shown(world.lineart([frame])[0], 2))],
            [(f"frame {frame} of a window", shown(made[frame], 4))],
            [("frame 0", shown(made[0], 2)), ("frame 80", shown(made[80], 2))],
        ],
        OF_THE_TOY,
    )


DRAWN = (
    animate2_long, animate2_video, animate_chunks, animate_long, colour_long, colour_window, dance_video, low_vram,
    replace_in_video, scail2_replace, toy_blocks, toy_colour, toy_drift, toy_world,
)  # fmt: skip
BY_NAME = {draw.__name__: draw for draw in DRAWN}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=WORKFLOWS)
    parser.add_argument("--only", nargs="+", choices=BY_NAME, default=list(BY_NAME))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        cv2.imwrite(str(options.out / f"{name}.jpg"), BY_NAME[name](), [cv2.IMWRITE_JPEG_QUALITY, 88])
        print(name, flush=True)


if __name__ == "__main__":
    main()
