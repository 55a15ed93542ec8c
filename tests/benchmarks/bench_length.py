"""What a chunk costs as the video grows: Animate Long Video beside the ways of core nodes, one host, equal weights.

    COMFYUI_PATH=/path/to/ComfyUI python tests/benchmarks/bench_length.py [--chunks 6 30 60] [--face]

Run it with ComfyUI's own interpreter. The stock chain is WanAnimateToVideo with `continue_motion`, KSampler,
TrimVideoLatent, VAEDecode and a growing IMAGE batch, as long videos are wired with core nodes. `windows` makes the
whole video at once, by Wan Context Windows, where the host knows how to cut Wan-Animate's pose into windows (0.33.0
does, 0.3.64 does not); figures for a chunk are then those of the video, divided as for the stock chain. Every case runs
in a process of its own, on tiny random networks and 64x64 pixels: ratios mean something, seconds do not.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

HOST_TESTS = Path(__file__).resolve().parents[1] / "host"
REPOSITORY = HOST_TESTS.parents[1]
SIZE, STEPS = 64, 2
# Frames of a chunk; faces are encoded at 512 pixels and take 1.6 CPU-seconds each, hence the shorter chunk.
FRAMES, FACE_FRAMES = 33, 5
# Stock carries five frames over, which is one more than its shortest chunk here can give.
STOCK_OVERLAP = {FRAMES: 5, FACE_FRAMES: 1}
OVERLAP = {FRAMES: 4, FACE_FRAMES: 1}


class Meter:
    """Seconds inside the network, frames through the VAE and through the motion encoder."""

    def __init__(self, model, vae):
        self.network_seconds, self.counts = 0.0, {"encoded": 0, "decoded": 0, "faces": 0}
        network = model.model.diffusion_model
        network.register_forward_pre_hook(self._enter)
        network.register_forward_hook(self._leave)
        network.motion_encoder.enc.net_app.convs[0].register_forward_pre_hook(
            lambda module, inputs: self._count("faces", inputs[0].shape[0])
        )
        for name, key, frames in (
            ("encode", "encoded", lambda pixels: pixels.shape[0]),
            ("decode", "decoded", lambda latents: 4 * (latents.shape[2] - 1) + 1),
        ):
            setattr(vae, name, self._counted(getattr(vae, name), key, frames))

    def _count(self, key, frames):
        self.counts[key] += frames

    def _counted(self, method, key, frames):
        def call(batch, *rest, **options):
            self._count(key, frames(batch))
            return method(batch, *rest, **options)

        return call

    def _enter(self, *_):
        self._started = time.perf_counter()

    def _leave(self, *_):
        self.network_seconds += time.perf_counter() - self._started


def prepare_ours(comfy, chunks, frames):
    """The pose as a VIDEO on disk."""
    from clips import moving_pattern, write_video
    from comfy_api.latest import InputImpl

    path = comfy.base / "input" / f"pose_{chunks}.mov"
    write_video(path, moving_pattern(frames + (chunks - 1) * (frames - OVERLAP[frames])))
    return InputImpl.VideoFromFile(str(path))


def run_ours(comfy, pose, chunks, frames, face):
    """The whole loop in one node."""
    from clips import moving_pattern, reference_image

    (model,) = comfy.call("EverAnimatePatchModel", model=comfy.load_model())
    text = comfy.conditioning()
    comfy.call(
        "EverAnimateAnimate",
        model=model,
        vae=comfy.load_vae(),
        positive=text,
        negative=text,
        reference_images=reference_image(),
        pose_video=pose,
        width=SIZE,
        height=SIZE,
        steps=STEPS,
        chunk_frames=frames,
        overlap=OVERLAP[frames],
        clip_vision=comfy.clip_vision(),
        run_name=f"chunks_{chunks}",
        **({"face_video": moving_pattern(frames, size=128)} if face else {}),
    )


def prepare_stock(comfy, chunks, frames):
    """The pose as IMAGE, which is what the core node takes."""
    from clips import moving_pattern

    return moving_pattern(frames + (chunks - 1) * (frames - STOCK_OVERLAP[frames]))


def sampled_frames(comfy, model, positive, negative, latent, trim_latent, seed):
    """Core nodes from conditioning to frames."""
    (samples,) = comfy.call(
        "KSampler",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        seed=seed,
        steps=STEPS,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
    )
    (samples,) = comfy.call("TrimVideoLatent", samples=samples, trim_amount=trim_latent)
    return comfy.call("VAEDecode", samples=samples, vae=comfy.load_vae())[0]


def run_stock(comfy, pose, chunks, frames, face):
    """The same length with core nodes."""
    import torch
    from clips import moving_pattern, reference_image

    overlap = STOCK_OVERLAP[frames]
    faces = {"face_video": moving_pattern(pose.shape[0], size=128)} if face else {}
    text, video, offset = comfy.conditioning(), None, 0
    for index in range(chunks):
        image = reference_image() if video is None else video[-1:]
        (look,) = comfy.call("CLIPVisionEncode", clip_vision=comfy.clip_vision(), image=image, crop="none")
        positive, negative, latent, trim_latent, trim_image, offset = comfy.call(
            "WanAnimateToVideo",
            positive=text,
            negative=text,
            vae=comfy.load_vae(),
            width=SIZE,
            height=SIZE,
            length=frames,
            clip_vision_output=look,
            reference_image=reference_image(),
            pose_video=pose,
            continue_motion_max_frames=overlap,
            video_frame_offset=offset,
            **({} if video is None else {"continue_motion": video}),
            **faces,
        )
        images = sampled_frames(comfy, comfy.load_model(), positive, negative, latent, trim_latent, index)
        video = images if video is None else torch.cat([video, images[trim_image:]])


def run_windows(comfy, pose, chunks, frames, face):
    """The same length at once: the network sees one window of frames after another in each step."""
    from clips import moving_pattern, reference_image

    faces = {"face_video": moving_pattern(pose.shape[0], size=128)} if face else {}
    text = comfy.conditioning()
    (look,) = comfy.call("CLIPVisionEncode", clip_vision=comfy.clip_vision(), image=reference_image(), crop="none")
    positive, negative, latent, trim_latent, *_ = comfy.call(
        "WanAnimateToVideo",
        positive=text,
        negative=text,
        vae=comfy.load_vae(),
        width=SIZE,
        height=SIZE,
        length=pose.shape[0],
        clip_vision_output=look,
        reference_image=reference_image(),
        pose_video=pose,
        **faces,
    )
    (model,) = comfy.call("WanContextWindowsManual", model=comfy.load_model(), **window_inputs(frames))
    sampled_frames(comfy, model, positive, negative, latent, trim_latent, 0)


def window_inputs(frames):
    """Widgets of Wan Context Windows as it opens, but for windows of so many frames; they share as large a part."""
    return {
        "context_length": frames,
        "context_overlap": frames * 30 // 81,
        "context_schedule": "standard_uniform",
        "context_stride": 1,
        "closed_loop": False,
        "fuse_method": "pyramid",
        "freenoise": True,
        "retain_first_frame": True,
    }


def knows_windows(comfy):
    """Whether the host cuts the pose of Wan-Animate into windows."""
    from comfy.model_base import WAN22_Animate

    return "resize_cond_for_context_window" in vars(WAN22_Animate)


# Who makes the video: what it needs of the pose, and how it goes.
WAYS = {
    "ours": (prepare_ours, run_ours),
    "stock": (prepare_stock, run_stock),
    "windows": (prepare_stock, run_windows),
}


@contextmanager
def host(base, models):
    """The host in this process on one thread, with the pack linked in; the checkpoints lie in `models`."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (REPOSITORY, HOST_TESTS.parent)]
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    sys.path += [str(HOST_TESTS)]
    for name in ("custom_nodes", "input", "output", "user", "temp"):
        (base / name).mkdir()
    (base / "models").symlink_to(models, target_is_directory=True)
    (base / "custom_nodes" / "comfyui-everanimate").symlink_to(REPOSITORY, target_is_directory=True)
    import tiny_models
    import torch
    from in_process import InProcessHost

    torch.set_num_threads(1)
    comfy = InProcessHost(base)
    if not models.exists():
        (models / "diffusion_models").mkdir(parents=True)
        tiny_models.write_animate(models)
    with torch.inference_mode():
        yield comfy


def measure(who, chunks, face, models):
    """One case in this process; prints its figures as JSON. The case `none` only writes the checkpoints."""
    frames = FACE_FRAMES if face else FRAMES
    with tempfile.TemporaryDirectory() as folder, host(Path(folder), models) as comfy:
        if who == "none":
            return
        prepare, run = WAYS[who]
        if who == "windows" and not knows_windows(comfy):
            print(json.dumps(None))
            return
        # Loads the models; a run of its own, which the measured one does not continue.
        run(comfy, prepare(comfy, 2, frames), 2, frames, face)
        pose = prepare(comfy, chunks, frames)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here (Linux)
        meter = Meter(comfy.load_model(), comfy.load_vae())
        started = time.perf_counter()
        run(comfy, pose, chunks, frames, face)
        seconds = time.perf_counter() - started
        peak = int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    print(json.dumps({"seconds": seconds, "outside": seconds - meter.network_seconds, "peak": peak, **meter.counts}))


def case(who, chunks, face, models):
    """measure() in a process of its own."""
    command = [sys.executable, __file__, "--case", who, "--chunks", str(chunks), "--models", str(models)]
    command += ["--face"] if face else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        sys.exit(result.stderr)
    return json.loads(result.stdout.splitlines()[-1]) if who != "none" else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, nargs="+", default=[6, 30, 60])
    parser.add_argument("--face", action="store_true")
    parser.add_argument("--case", choices=("none", *WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--models", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        measure(options.case, options.chunks[0], options.face, options.models)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(options.chunks, options.face, Path(folder) / "models")


def compare(lengths, face, models):
    """All cases side by side, as a table, and the ratios."""
    case("none", 0, face, models)
    head = ("", "chunks", "s/chunk", "outside network", "encoded/chunk", "decoded/chunk", "faces/chunk", "peak MiB")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    figures = {}
    for chunks in lengths:
        for who in WAYS:
            found = figures[who, chunks] = case(who, chunks, face, models)
            if found is None:
                continue
            cells = [f"{found[name] / chunks:.2f}" for name in ("seconds", "outside")]
            cells += [f"{found[name] / chunks:.1f}" for name in ("encoded", "decoded", "faces")]
            print(f"| {who} | {chunks} | " + " | ".join(cells) + f" | {found['peak']:.0f} |", flush=True)
    first, last = lengths[0], lengths[-1]
    for who in WAYS:
        short, long = figures[who, first], figures[who, last]
        if short is None:
            continue
        pace = (long["seconds"] / last) / (short["seconds"] / first)
        memory = long["peak"] / short["peak"]
        print(f"{who}, {last} chunks against {first}: seconds a chunk x {pace:.3f}, peak memory x {memory:.3f}")
    outside = figures["ours", last]["outside"] / figures["stock", last]["outside"]
    print(f"ours against stock at {last} chunks: seconds outside the network x {outside:.3f}")


if __name__ == "__main__":
    main()
