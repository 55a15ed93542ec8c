"""Three tries that gained nothing and are no setting of the pack, on the toy in even light, 60 seconds a world.

    python tests/benchmarks/bench_tries.py [--worlds 4] [--only novelty lengths temporal]

`novelty`: the identity memory holds, of all finished chunks, the three latents of the most novel poses, as they were
sampled. `lengths`: chunks of 17 frames where the pose moves more (or less) than usual, else of 33. `temporal`:
restoration towards the low frequencies of the chunk before at the join, fading out over the first latents. Printed:
PSNR in dB against the truth, mean of all frames and of the last 29, and the jump at the joins, in 1/255 more than the
true video's.
"""

import argparse
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean, median

import torch
from torch.nn.functional import avg_pool2d

from everanimate_core.evaluation.frame_metrics import psnr
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.flow import sigma_schedule
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.everanimate.propagation import make_chunk
from everanimate_core.everanimate.restoration import low_pass
from everanimate_core.plan import TEMPORAL_FACTOR
from everanimate_core.studies.rows import ROWS
from everanimate_core.toy.network.engine import WorldFrames, roll_out
from everanimate_core.toy.network.state import GEOMETRY
from everanimate_core.toy.world.world import World

FRAMES, FIRST_WORLD = 1500, 100
SHORT, LONG = 17, GEOMETRY.frames
STRIDE = LONG - GEOMETRY.overlap
# How much of the chunk before the first latents of a chunk are held to.
FADE = torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2])


class NovelPoses:
    """What becomes of the memory: its views are the latents of all chunks whose poses lie farthest from each other."""

    def __init__(self, world):
        self.world, self.latents, self.poses = world, [], []

    def pose(self, frame):
        """A coarse picture of a frame's pose, [3 * 16 * 16]."""
        return avg_pool2d(self.world.pose([frame])[0].movedim(-1, 0)[None], 4).flatten()

    def __call__(self, made):
        for number in range(made.latents.shape[2]):
            self.latents.append(made.latents[:, :, number : number + 1])
            self.poses.append(self.pose(made.index * STRIDE + max(0, TEMPORAL_FACTOR * number - 2)))
        chosen, taken = [], [self.pose(0)]
        for _ in range(GEOMETRY.anchors - 1):
            nearest = torch.stack([min((pose - other).square().sum() for other in taken) for pose in self.poses])
            chosen.append(int(nearest.argmax()))
            taken.append(self.poses[chosen[-1]])
        views = [self.latents[number] for number in sorted(chosen)]
        identity = torch.cat([*views, made.memory.identity[:, :, -1:]], dim=2)
        return replace(made, memory=replace(made.memory, identity=identity))


def chunks_of(model, row, world, length):
    """Animate in chunks of length(start) frames; the first has LONG."""
    settings = row.settings
    memory = build_memory(world.reference()[None], model.codec, settings.identity_latents, settings.motion_latents)
    sample = partial(model.sample_chunk, sigmas=sigma_schedule(settings.steps, settings.shift))
    start, number = 0, 0
    while start + GEOMETRY.overlap < FRAMES:
        frames = length(start) if number else LONG
        own = replace(settings, seed=number, chunk_frames=frames)
        # The chunk is the second of a plan of its own, so that it is carried what the one before handed on.
        offset = start - (frames - GEOMETRY.overlap) if number else 0

        def pose_at(indices, offset=offset):
            return world.pose([index + offset for index in indices])

        pose = WorldFrames(pose_at, 10 * frames)
        chunk = Drivers(pose=pose).chunk(own.plan(10 * frames), min(number, 1))
        made = make_chunk(chunk, memory, sample, model.codec, own, row.policy)
        # It forgets the plan and the chunk that it comes from: the next one is of a plan of its own.
        memory = replace(made.memory, made_by=None, plan=None)
        start, number = start + frames - GEOMETRY.overlap, number + 1
        yield made


@dataclass
class Temporal:
    """The toy, but for what its correction aims at."""

    model: object

    @property
    def codec(self):
        """Of the toy."""
        return self.model.codec

    def sample_chunk(self, request, noise_seed, *, sigmas):
        """The chunk's latents, led at their beginning to the low frequencies of the chunk before."""
        if request.correct is not None:
            carried = request.anchors + GEOMETRY.motion
            last = request.context.y[:, :, carried - 1 : carried]
            everywhere = torch.ones(1, 1, 1, *last.shape[3:])
            low = low_pass(last, everywhere)

            def target(x0):
                fade = torch.zeros(x0.shape[2])
                fade[: len(FADE)] = FADE
                return x0 + fade.view(-1, 1, 1) * (low - low_pass(x0, everywhere))

            request = replace(request, correct=replace(request.correct, target=target))
        return self.model.sample_chunk(request, noise_seed, sigmas=sigmas)


def report(name, worlds, animate):
    """Print a line: what `animate(world)` yields, chunk by chunk, against the truth."""
    means, lasts, jumps = [], [], []
    for world in worlds:
        chunks = [made.frames for made in animate(world)]
        frames = torch.cat(chunks)[:FRAMES]
        truth = world.frames(range(len(frames)))
        curve = psnr(frames, truth)
        joins = torch.tensor([len(part) for part in chunks]).cumsum(0)[:-1] - 1
        mine, true = ((video[1:] - video[:-1]).abs().mean(dim=(1, 2, 3))[joins] for video in (frames, truth))
        means.append(curve.mean().item())
        lasts.append(curve[-STRIDE:].mean().item())
        jumps.append(255 * (mine - true).mean().item())
    print(f"{name:<42} mean {mean(means):.2f}  last {mean(lasts):.2f}  jump {mean(jumps):.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=4)
    tries = ("novelty", "lengths", "temporal")
    parser.add_argument("--only", nargs="+", choices=tries, default=tries)
    options = parser.parse_args()
    worlds = [World(FIRST_WORLD + number) for number in range(options.worlds)]
    row = ROWS["memory"]
    model = row.load(None)

    def plain(world, model=model, row=row, **given):
        return roll_out(model, world, FRAMES, row.settings, row.policy, **given)

    report("memory", worlds, plain)
    if "novelty" in options.only:
        report("memory, the most novel poses", worlds, lambda world: plain(world, change=NovelPoses(world)))
    if "lengths" in options.only:

        def moves(world, start):
            pose = world.pose(range(start, start + LONG))
            return (pose[1:] - pose[:-1]).abs().mean().item()

        usual = median(moves(world, start) for world in worlds for start in range(0, FRAMES, STRIDE))
        for name, shorter in (("more", True), ("less", False)):

            def vary(world, shorter=shorter):
                lengths = {True: SHORT, False: LONG}
                moved = partial(moves, world)
                return chunks_of(model, row, world, lambda start: lengths[(moved(start) > usual) == shorter])

            report(f"memory, {SHORT} frames where it moves {name}", worlds, vary)
    if "temporal" in options.only:
        for name in ("baseline", "full"):
            held = ROWS[name]
            own, strong = held.load(None), replace(held, settings=replace(held.settings, restore_strength=1.0))
            report(name, worlds, partial(plain, model=own, row=held))
            report(f"{name}, temporal", worlds, partial(plain, model=Temporal(own), row=strong))


if __name__ == "__main__":
    with torch.no_grad():
        main()
