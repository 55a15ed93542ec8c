"""Drift and seams of a minute of the toy: ours beside what ComfyUI's own nodes can do, in one host, on the same worlds.

    COMFYUI_PATH=/path/to/ComfyUI python tests/benchmarks/bench_chains.py [--chunks 52] [--worlds 2]

Run it with ComfyUI's own interpreter, which also needs the packages of Drift Report. The rows:

- stock: WanAnimateToVideo with `continue_motion`, SamplerCustom, TrimVideoLatent, VAEDecode, chunk after chunk.
- windows: the whole video at once, by Wan Context Windows; on hosts that cut Wan-Animate's pose into windows.
- ours: Build Memory, Condition Chunk, SamplerCustom, Propagate Latents. (Animate Long Video makes the same latents.)

The first two have the toy's `toy-baseline`, which was trained in the way of Wan-Animate, and ours has `toy-full`, which
was trained on the same films in EverAnimate's way. Stock and ours come with and without Restorative Sampler. Every row
is measured by Drift Report against the truth of its world.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import fmean

import torch
from bench_length import host, knows_windows, window_inputs

SIZE, FRAMES, OVERLAP, STEPS, SHIFT = 64, 33, 4, 4, 5.0
# Latents in front of a chunk of the core node: its reference.
LEADING = 1


class World:
    """A world of Load Toy World with one of its networks, and the sampler and noise levels of all rows."""

    def __init__(self, comfy, seed, chunks, network):
        self.comfy, self.seed, self.chunks = comfy, seed, chunks
        self.frames = FRAMES + (chunks - 1) * (FRAMES - OVERLAP)
        loaded = comfy.call("EverAnimateLoadToy", seed=seed, frames=self.frames, network=network)
        self.model, self.vae, self.text, _, self.reference, self.pose, self.truth = loaded
        (self.sampler,) = comfy.call("KSamplerSelect", sampler_name="euler")
        (self.sigmas,) = comfy.call("EverAnimateSigmas", steps=STEPS, shift=SHIFT)

    def condition(self, length, **carried):
        """WanAnimateToVideo, for so many frames; the pose ends with its last one, as often as that takes."""
        pose = torch.cat([self.pose, self.pose[-1:].expand(max(length - len(self.pose), 0), -1, -1, -1)])
        return self.comfy.call(
            "WanAnimateToVideo",
            positive=self.text,
            negative=self.text,
            vae=self.vae,
            width=SIZE,
            height=SIZE,
            length=length,
            batch_size=1,
            reference_image=self.reference,
            pose_video=pose,
            **carried,
        )

    def sampled(self, model, positive, negative, latent, seed, sampler=None):
        """SamplerCustom; what it sampled."""
        return self.comfy.call(
            "SamplerCustom",
            model=model,
            add_noise=True,
            noise_seed=seed,
            cfg=1.0,
            positive=positive,
            negative=negative,
            sampler=sampler or self.sampler,
            sigmas=self.sigmas,
            latent_image=latent,
        )[0]

    def decoded(self, samples, leading):
        """The frames behind the leading latents."""
        (samples,) = self.comfy.call("TrimVideoLatent", samples=samples, trim_amount=leading)
        return self.comfy.call("VAEDecode", samples=samples, vae=self.vae)[0]


def stock(world, strength):
    """The chain of core nodes. strength: of Restorative Sampler, 0 for none."""
    video, first, offset = None, None, 0
    for index in range(world.chunks):
        carried = {} if video is None else {"continue_motion": video}
        positive, negative, latent, leading, _, offset = world.condition(
            FRAMES, continue_motion_max_frames=OVERLAP, video_frame_offset=offset, **carried
        )
        sampler = None
        if strength and first is not None:
            (sampler,) = world.comfy.call(
                "EverAnimateRestorativeSampler",
                sampler=world.sampler,
                first_chunk=first,
                leading_latents=LEADING,
                strength=strength,
            )
        samples = world.sampled(world.model, positive, negative, latent, world.seed + 42 * index, sampler)
        first = samples if first is None else first
        images = world.decoded(samples, leading)
        # The node goes back by all frames that it is handed. Its own count of them is right for 4n + 1 only.
        video = images if video is None else torch.cat([video, images[OVERLAP:]])
    return video


def windows(world):
    """The whole video at once; None where the host cannot."""
    if not knows_windows(world.comfy):
        return None
    # The next length that the VAE can make, 4n + 1.
    positive, negative, latent, leading, *_ = world.condition(world.frames + (1 - world.frames) % 4)
    (model,) = world.comfy.call("WanContextWindowsManual", model=world.model, **window_inputs(FRAMES))
    samples = world.sampled(model, positive, negative, latent, world.seed)
    return world.decoded(samples, leading)[: world.frames]


def ours(world, strength):
    """Build Memory, and of each chunk Condition Chunk, the same sampler, and Propagate Latents."""
    call = world.comfy.call
    (plan, *_) = call("EverAnimatePlanChunks", total_frames=world.frames, chunk_frames=FRAMES, overlap=OVERLAP)
    (memory,) = call("EverAnimateMemory", vae=world.vae, reference_images=world.reference, width=SIZE, height=SIZE)
    frames = []
    for index in range(world.chunks):
        positive, negative, latent = call(
            "EverAnimateChunk",
            positive=world.text,
            negative=world.text,
            vae=world.vae,
            plan=plan,
            memory=memory,
            pose_video=world.pose,
        )
        sampler = None
        if strength:
            (sampler,) = call("EverAnimateRestorativeSampler", sampler=world.sampler, memory=memory, strength=strength)
        samples = world.sampled(world.model, positive, negative, latent, world.seed + 42 * index, sampler)
        memory, images, _ = call(
            "EverAnimatePropagate", memory=memory, plan=plan, samples=samples, vae=world.vae, seed=world.seed
        )
        frames.append(images)
    return torch.cat(frames)


ROWS = {
    "stock": ("toy-baseline", lambda world: stock(world, 0.0)),
    "stock, Restorative Sampler": ("toy-baseline", lambda world: stock(world, 1.0)),
    "windows": ("toy-baseline", windows),
    "ours": ("toy-full", lambda world: ours(world, 0.0)),
    "ours, Restorative Sampler": ("toy-full", lambda world: ours(world, 1.0)),
}


def figures(world, video):
    """What Drift Report says of a video: PSNR of the first and of the last chunk, colours at the end, seams."""
    _, report, _ = world.comfy.call(
        "EverAnimateDriftReport",
        video=video,
        reference_images=world.reference,
        truth=world.truth,
        chunk_frames=FRAMES,
        overlap=OVERLAP,
    )
    report = json.loads(report)
    curves, truth, added = report["curves"], report["truth"], FRAMES - OVERLAP

    def last(name):
        return fmean(curves[name][-added:])

    seams = [seam["index"] / seam["truth"] for seam in report["seams"]]
    return {
        "first chunk": fmean(curves["psnr"][:FRAMES]),
        "last chunk": last("psnr"),
        "colour cast": last("colour_cast"),
        "contrast": last("contrast") / fmean(truth["contrast"][-added:]),
        "seam, mean": fmean(seams),
        "seam, largest": max(seams),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=52, help="chunks of a video; 52 are a minute")
    parser.add_argument("--worlds", type=int, default=2, help="worlds that are animated, from the first one on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, host(Path(folder), Path(folder) / "networks") as comfy:
        compare(comfy, options.chunks, range(options.worlds))


def compare(comfy, chunks, worlds):
    """The table: means over the worlds."""
    head = ("PSNR of the first chunk", "of the last", "lost", "colour cast (ΔE)", "contrast", "seam", "largest seam")
    print(f"| {chunks} chunks | " + " | ".join(head) + " |\n|" + "---|" * (len(head) + 1))
    for name, (network, make) in ROWS.items():
        found = []
        for seed in worlds:
            world = World(comfy, seed, chunks, network)
            video = make(world)
            if video is None:
                break
            found.append(figures(world, video))
        if not found:
            continue
        mean = {part: fmean(each[part] for each in found) for part in found[0]}
        mean["seam, largest"] = max(each["seam, largest"] for each in found)
        lost = mean["first chunk"] - mean["last chunk"]
        cells = [f"{mean['first chunk']:.2f}", f"{mean['last chunk']:.2f}", f"{lost:.2f}", f"{mean['colour cast']:.2f}"]
        cells += [f"x{mean['contrast']:.2f}", f"{mean['seam, mean']:.2f}", f"{mean['seam, largest']:.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
