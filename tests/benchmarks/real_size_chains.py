"""Two ways to a long animation inside the host, and what a chunk of each costs: our chunk graph and the core nodes."""

import threading
import time
from dataclasses import dataclass

import torch

# The stock node carries whole latents of frames over, ours one latent: four frames.
OVERLAP, STOCK_OVERLAP = 4, 5
# Pixels of a face crop, whatever the size of the animation.
FACE = 512
GIB = 2**30


@dataclass(frozen=True)
class Case:
    """A row of the table. chain: ours or stock. weights: see real_size_networks. card: GB of the card that is
    simulated, 0 for the whole of this one."""

    chain: str = "ours"
    weights: str = "bf16"
    width: int = 832
    height: int = 480
    frames: int = 77
    steps: int = 4
    face: bool = False
    tiled: bool = False
    card: int = 0

    @property
    def pixels(self):
        """Of a frame."""
        return self.width * self.height


def ours(host, model, vae, look, text, case):
    """Our chunk graph. Yields after each of two chunks; the first is sampled in one step, to have a memory."""
    import comfy.samplers

    total = 2 * case.frames - OVERLAP
    pose, face = driving(case, total)
    faces = {} if face is None else {"face_video": face}
    (model,) = host.call("EverAnimatePatchModel", model=model)
    (plan, *_) = host.call("EverAnimatePlanChunks", total_frames=total, chunk_frames=case.frames, overlap=OVERLAP)
    size = {"width": case.width, "height": case.height}
    (memory,) = host.call("EverAnimateMemory", vae=vae, reference_images=picture(case), **size)
    for index in (0, 1):
        (sigmas,) = host.call("EverAnimateSigmas", steps=case.steps if index else 1)
        chunk = {"memory": memory, "plan": plan, "chunk_index": index, "vae": vae}
        driven = {"positive": text, "negative": text, "pose_video": pose, "clip_vision": look, **faces}
        positive, negative, latent = host.call("EverAnimateChunk", **chunk, **driven)
        euler = comfy.samplers.sampler_object("euler")
        (sampler,) = host.call("EverAnimateRestorativeSampler", memory=memory, sampler=euler)
        samples = sampled(model, positive, negative, latent, sampler, sigmas, index)
        memory, *_ = host.call("EverAnimatePropagate", samples=samples, tiled=case.tiled, **chunk)
        yield


def stock(host, model, vae, look, text, case):
    """The same with core nodes, as long videos are wired with them."""
    total, video, offset = 2 * case.frames - STOCK_OVERLAP, None, 0
    pose, face = driving(case, total)
    faces = {} if face is None else {"face_video": face}
    for index in (0, 1):
        carried = {} if video is None else {"continue_motion": video}
        positive, negative, latent, trim_latent, trim_image, offset = host.call(
            "WanAnimateToVideo",
            positive=text,
            negative=text,
            vae=vae,
            width=case.width,
            height=case.height,
            length=case.frames,
            clip_vision_output=look.encode_image(picture(case)),
            reference_image=picture(case),
            pose_video=pose,
            continue_motion_max_frames=STOCK_OVERLAP,
            video_frame_offset=offset,
            **carried,
            **faces,
        )
        (samples,) = host.call(
            "KSampler",
            model=model,
            positive=positive,
            negative=negative,
            latent_image=latent,
            seed=index,
            steps=case.steps if index else 1,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
        )
        (images,) = host.call("VAEDecode", vae=vae, samples={"samples": samples["samples"][:, :, trim_latent:]})
        video = images if video is None else torch.cat([video, images[trim_image:]])
        yield


def sampled(model, positive, negative, latent, sampler, sigmas, seed):
    """As SamplerCustom does it, without previews; a LATENT."""
    import comfy.sample

    start = latent["samples"]
    noise = comfy.sample.prepare_noise(start, seed)
    conditioned = sampler, sigmas, positive, negative, start
    samples = comfy.sample.sample_custom(model, noise, 1.0, *conditioned, disable_pbar=True, seed=seed)
    return latent | {"samples": samples}


def picture(case):
    """The person: noise, which costs what any picture costs."""
    return torch.rand(1, case.height, case.width, 3, generator=torch.Generator().manual_seed(2))


def driving(case, frames):
    """The pose video, and the face video or None."""
    generator = torch.Generator().manual_seed(3)
    pose = torch.rand(frames, case.height, case.width, 3, generator=generator)
    return pose, torch.rand(frames, FACE, FACE, 3, generator=generator) if case.face else None


class Meter:
    """Seconds inside the network, and its calls, since it was last emptied."""

    def __init__(self, host, model):
        self.host, network = host, model.model.diffusion_model
        self.hooks = [
            network.register_forward_pre_hook(self._enter),
            network.register_forward_hook(self._leave),
        ]
        self.empty()

    def empty(self):
        """Begin anew."""
        self.seconds, self.calls = 0.0, 0

    def remove(self):
        """Measure no longer."""
        for hook in self.hooks:
            hook.remove()

    def _enter(self, *_):
        self._started = now(self.host)

    def _leave(self, *_):
        self.seconds += now(self.host) - self._started
        self.calls += 1


def now(host):
    """Seconds, once the card has done all it was asked to."""
    if host.cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


class Peak:
    """The largest memory while the block runs, GiB: of torch, and of the whole card, which newer hosts also use without
    torch. None on a CPU."""

    def __init__(self, host):
        self.host, self.torch, self.card = host, None, None

    def __enter__(self):
        if self.host.cuda:
            torch.cuda.reset_peak_memory_stats()
            self._least, self._done = torch.cuda.mem_get_info()[0], threading.Event()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def _watch(self):
        while not self._done.wait(0.02):
            self._least = min(self._least, torch.cuda.mem_get_info()[0])

    def __exit__(self, *_):
        if self.host.cuda:
            self._done.set()
            self._thread.join()
            self.torch = torch.cuda.max_memory_allocated() / GIB
            self.card = (torch.cuda.mem_get_info()[1] - self._least) / GIB


def measure(host, model, vae, look, text, case):
    """The figures of a case, those of its second chunk."""
    meter = Meter(host, model)
    try:
        with Peak(host) as peak:
            begun = now(host)
            for _ in (ours if case.chain == "ours" else stock)(host, model, vae, look, text, case):
                chunk, network, calls = now(host) - begun, meter.seconds, meter.calls
                meter.empty()
                begun = now(host)
    finally:
        meter.remove()
    outside = chunk - network
    return {
        "step_s": network / calls,
        "chunk_s": chunk,
        "outside_s": outside,
        "outside_share": outside / chunk,
        "peak_gib": peak.torch,
        "card_gib": peak.card,
    }
