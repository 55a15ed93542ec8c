"""Inputs for the nodes of the pack, small and each made once, for tests that change them one by one."""

from dataclasses import replace
from fractions import Fraction
from functools import wraps

import av
import numpy as np
import pytest
import torch
from clips import write_video
from exact_parts import exact_pictures
from graphs import aligned
from loras import write_released
from safetensors.torch import save_file

# Wider than high, so that swapped sides are seen.
WIDTH, HEIGHT, FRAMES, OVERLAP = 32, 16, 9, 4
# Two chunks.
TOTAL = 2 * FRAMES - OVERLAP
FPS = 25
# Sound of a video: this many frames of one pitch, then another.
TONES, CHANGE = (500, 2000), 5


def once(make):
    """A method that makes what it is asked for once."""

    @wraps(make)
    def found(self, *arguments, **named):
        key = make.__name__, arguments, tuple(named.items())
        if key not in self.made:
            self.made[key] = make(self, *arguments, **named)
        return self.made[key]

    return found


class Parts:
    """Inputs of nodes, each made once."""

    def __init__(self, comfy):
        self.comfy, self.made = comfy, {}

    @once
    def pictures(self, count, seed=0, height=HEIGHT, width=WIDTH):
        """Pictures that no two are alike."""
        return exact_pictures(count, height, width, seed)

    @once
    def vae(self, brighter=False):
        """A VAE of exact arithmetic that keeps in `work` what it did."""
        from exact_vae import ExactVae

        class SeenVae(ExactVae):
            def __init__(self):
                super().__init__()
                self.work = []

            def encode(self, frames):
                self.work.append(["encode", len(frames)])
                return super().encode(frames / 2 if brighter else frames)

            def decode(self, latents):
                self.work.append(["decode", latents.shape[2]])
                return self.pictures(latents)

            def decode_tiled(self, latents, **tiles):
                self.work.append(["decode in tiles", latents.shape[2], tiles])
                return self.pictures(latents)

            def pictures(self, latents):
                """No frame is like another, within a latent too."""
                frames = super().decode(latents)
                return frames * torch.linspace(1, 0.5, frames.shape[1]).view(1, -1, 1, 1, 1) * (0.5 if brighter else 1)

            def spacial_compression_decode(self):
                return 8

        return SeenVae()

    @once
    def model(self, dtype=torch.float32):
        """The tiny model, aligned."""
        return aligned(self.comfy, self.comfy.load_model(dtype))

    @once
    def text(self, seed=0):
        """A prompt."""
        return self.comfy.conditioning(seed)

    @once
    def sampler(self, name="heun"):
        """A SAMPLER of the host."""
        return self.comfy.call("KSamplerSelect", sampler_name=name)[0]

    @once
    def plan(self, total=TOTAL, frames=FRAMES):
        """A plan of chunks."""
        inputs = {"total_frames": total, "chunk_frames": frames, "overlap": OVERLAP}
        return self.comfy.call("EverAnimatePlanChunks", **inputs)[0]

    @once
    def memory(self, seed=0):
        """The memory before chunk 0."""
        inputs = {"vae": self.vae(), "reference_images": self.pictures(1, seed), "width": WIDTH, "height": HEIGHT}
        return self.comfy.call("EverAnimateMemory", **inputs)[0]

    @once
    def samples(self, seed=0):
        """What a sampler may have made of a chunk, anchors included."""
        shape = 1, 16, 4 + (FRAMES - 1) // 4 + 1, HEIGHT // 8, WIDTH // 8
        return {"samples": torch.randn(shape, generator=torch.Generator().manual_seed(seed))}

    @once
    def latents(self, frames, seed=0):
        """Latents without a story."""
        shape = 1, 16, frames, HEIGHT // 8, WIDTH // 8
        return {"samples": torch.randn(shape, generator=torch.Generator().manual_seed(seed))}

    @once
    def later_memory(self, seed=0):
        """The memory after chunk 0, as one that does not know it: it goes with every index and plan."""
        inputs = {"memory": self.memory(seed), "plan": self.plan(), "samples": self.samples(seed), "vae": self.vae()}
        return replace(self.comfy.call("EverAnimatePropagate", **inputs)[0], made_by=None, plan=None)

    @once
    def video(self, frames=2 * TOTAL, seed=1, sound=False):
        """A VIDEO of a file."""
        from comfy_api.latest import InputImpl

        path = self.comfy.base / "input" / f"every_{frames}_{seed}_{sound}.mov"
        write_video(path, self.pictures(frames, seed), FPS)
        if sound:
            add_tones(path, frames / FPS)
        return InputImpl.VideoFromFile(str(path))

    @once
    def trimmed(self):
        """The same VIDEO from CHANGE frames on; skips where a host cannot cut one."""
        if not hasattr(self.video(sound=True), "as_trimmed"):
            pytest.skip("this host cannot trim a VIDEO")
        return self.video(sound=True).as_trimmed(CHANGE / FPS, TOTAL / FPS)

    @once
    def audio(self, tone=TONES[0]):
        """An AUDIO of one pitch, as long as the animation."""
        time = torch.arange(round(TOTAL / FPS * 48000)) / 48000
        return {"waveform": (2 * torch.pi * tone * time).sin().view(1, 1, -1) / 2, "sample_rate": 48000}

    @once
    def lora(self, scale=1.0):
        """The name of a LoRA file."""
        name, tensors = write_released(self.comfy)
        path = self.comfy.base / "models" / "loras" / f"every_{scale}.safetensors"
        save_file({key: value * scale for key, value in tensors.items()}, path)
        (path.parent / name).unlink()
        return path.name

    @once
    def grey(self, *, slow=False):
        """A film of even greys: steps of 0.1, then, after a jump of 0.2 at frame 13, of 0.02."""
        levels = [0.3]
        for frame in range(1, 22):
            step = 0.2 if frame == 13 else (0.01 if slow else 0.1) if frame < 13 else 0.02
            levels.append(levels[-1] + (step if frame % 2 else -step))
        return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 32, 32, 3).contiguous()


def add_tones(path, seconds):
    """Give a file sound, of another pitch after CHANGE frames."""
    rate, silent = 48000, path.with_suffix(".silent.mov")
    path.rename(silent)
    time = np.arange(round(seconds * rate)) / rate
    low, high = (np.sin(2 * np.pi * tone * time) for tone in TONES)
    samples = (16000 * np.where(time < CHANGE / FPS, low, high)).astype(np.int16)[None]
    with av.open(str(silent)) as pictures, av.open(str(path), "w") as file:
        copied = file.add_stream_from_template(pictures.streams.video[0])
        heard = file.add_stream("pcm_s16le", rate=rate, layout="mono")
        for packet in pictures.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                file.mux(packet)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        file.mux([*heard.encode(frame), *heard.encode(None)])


def pitch(path):
    """The loudest frequency of the first tenth of a second, rounded to 100 Hz; None for a silent file."""
    with av.open(str(path)) as file:
        if not file.streams.audio:
            return None
        resampler = av.AudioResampler("flt", "mono", 48000)
        parts = [part.to_ndarray()[0] for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    return round(int(np.abs(np.fft.rfft(np.concatenate(parts)[:4800])).argmax()) / 10) * 100
