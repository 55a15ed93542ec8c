"""The two ways of decoding a chunk, at the joins: on its own, or behind the motion memory (`latent_context`).

    python tests/benchmarks/bench_joins.py [--worlds 20] [--chunks 6]

Clips of the toy world are encoded chunk by chunk with the toy VAE, as a perfect network would give them, and decoded
both ways. `fresh`: the first latent is that of one frame, as in training. `carried`: it is the motion memory itself, a
latent of four frames, as a network that copies it would leave it. PSNR in dB of the first four frames that a chunk adds
and of all others; seam: the seam index relative to that of the true video (1: no seam).
"""

import argparse
from dataclasses import replace
from statistics import mean

import torch

from everanimate_core.evaluation.drift import seam_index
from everanimate_core.evaluation.frame_metrics import steps
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.everanimate.propagation import decode_chunk
from everanimate_core.everanimate.settings import RELEASED
from everanimate_core.toy.learning.scores import psnr
from everanimate_core.toy.network.vae import ToyCodec, load_vae
from everanimate_core.toy.world.world import World

JOIN = 4


def seam(frames, join):
    """The package's seam index of the join that frame `join` begins."""
    return seam_index(steps(frames, frames[0]), join)


def measure(codec, seed, chunks, first_latent, latent_context):
    """PSNR at the join, PSNR elsewhere, seam: means over the joins of one world."""
    plan = RELEASED.plan(77 + (chunks - 1) * 73)
    truth = World(seed).frames(range(plan.total_frames))
    memory, video, found = build_memory(truth[:1], codec), None, []
    for index in range(plan.chunk_count):
        latents = codec.encode(truth[index * plan.stride : index * plan.stride + plan.chunk_frames]).clone()
        if index and first_latent == "carried":
            latents[:, :, :1] = memory.motion
        frames = decode_chunk(latents, memory, codec, latent_context)[plan.kept(index)]
        video = frames if video is None else torch.cat([video, frames])
        memory = replace(memory, motion=latents[:, :, -1:])
        if index:
            join, end = plan.output_range(index).start, plan.output_range(index).stop
            found.append(
                (
                    psnr(video[join : join + JOIN], truth[join : join + JOIN]),
                    psnr(video[join + JOIN : end], truth[join + JOIN : end]),
                    seam(video, join) / seam(truth, join),
                )
            )
    return [mean(column) for column in zip(*found, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--chunks", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    codec = ToyCodec(load_vae())
    print("| first latent | decoded | PSNR at the join | PSNR elsewhere | seam |\n|---|---|---|---|---|")
    worlds = range(options.worlds)
    for first_latent in ("fresh", "carried"):
        for latent_context in (False, True):
            rows = [measure(codec, seed, options.chunks, first_latent, latent_context) for seed in worlds]
            join, elsewhere, seams = (mean(column) for column in zip(*rows, strict=True))
            way = "behind the motion memory" if latent_context else "on its own"
            print(f"| {first_latent} | {way} | {join:.2f} | {elsewhere:.2f} | {seams:.2f} |", flush=True)


if __name__ == "__main__":
    main()
