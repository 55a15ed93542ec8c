"""`everanimate animate`: the video that it makes is what the core makes of the same inputs."""

from fractions import Fraction
from functools import partial

import av
import pytest
import torch
from cli_parts import CHUNKS, DATA, HEIGHT, TOTAL, WIDTH, animate, latents_of, place_of, result
from exact_parts import is_rate
from run_parts import assert_same_result, video_of
from safetensors.torch import load_file

from everanimate_core.everanimate import propagation
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.flow import sigma_schedule
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.everanimate.restoration import Restoration, correction, restored
from everanimate_core.everanimate.sampling import euler
from everanimate_core.everanimate.settings import Settings
from everanimate_core.lora.files import read_lora
from everanimate_core.lora.fit import apply_lora
from everanimate_core.media.frames import FittedFrames, fit_frames
from everanimate_core.media.reader import VideoFrames
from everanimate_core.noise import draw_noise
from everanimate_core.runs.store import RunStore
from everanimate_core.toy.network.engine import load_toy
from everanimate_core.toy.network.state import MEMORY_LORA, TOYS

# What the command's CHUNKING says, without the command line.
SETTINGS = Settings(steps=2, chunk_frames=9, overlap=4)


def test_the_video(uninterrupted):
    frames, fps = video_of(uninterrupted[0])
    assert frames.shape == (TOTAL, HEIGHT, WIDTH, 3)
    assert fps == 25
    with av.open(str(uninterrupted[0])) as container:
        stream = container.streams.audio[0]
        sound = [packet for packet in container.demux(stream) if packet.size]
        seconds = float((sound[-1].pts + sound[-1].duration) * stream.time_base)
    assert abs(seconds - TOTAL / 25) < 0.05
    with av.open(str(DATA / "pose.mp4")) as container:
        source = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    assert [bytes(packet) for packet in sound] == source[: len(sound)]


def test_what_may_not_be_meant_is_said_before_the_first_chunk(tmp_path, command):
    # Of 9 frames, and 1 more.
    code, said, _ = command(animate(tmp_path / "dance.mp4", "--frames", "10", "--overlap", "0", "--fit", "stretch"))
    assert code == 0
    change = "which changes its proportions; --fit crop or pad keeps them."
    assert said.splitlines()[:3] == [
        f"--reference is 256x384 and is stretched to 32x16, {change}",
        f"--pose is 256x384 and is stretched to 32x16, {change}",
        "The last chunk adds only 1 of the 9 frames that a chunk adds, and takes as long. --frames 9 ends before it; "
        "--chunk-frames 5 divides the animation more evenly.",
    ]
    assert said.splitlines()[3].startswith("chunk 1/2")


def by_the_core(model, total):
    """The chunks of the same animation, without the command line."""
    with VideoFrames(DATA / "reference.jpg") as image, VideoFrames(DATA / "pose.mp4") as pose:
        yield from propagation.animate(
            SETTINGS.plan(total),
            build_memory(fit_frames(image.read([0]), WIDTH, HEIGHT, "crop"), model.codec),
            partial(model.sample_chunk, sigmas=sigma_schedule(2, 5.0)),
            model.codec,
            Drivers(pose=FittedFrames(pose, WIDTH, HEIGHT, "crop")),
            SETTINGS,
        )


def test_it_is_what_the_core_makes_of_the_same_inputs(uninterrupted, command):
    place = place_of(uninterrupted[0])
    for made in by_the_core(load_toy(), TOTAL):
        kept = load_file(place.chunk_path(made.index))
        assert torch.equal(kept["latents"], made.latents)
        assert torch.equal(kept["last_frames"], made.memory.last_frames)
    assert made.index == CHUNKS - 1


def test_the_baseline_takes_a_lora_of_its_own(tmp_path, command):
    out = tmp_path / "dance.mp4"
    assert command(animate(out, "--frames", "9", "--model", "toy-baseline", "--lora", str(MEMORY_LORA)))[0] == 0
    model = load_toy(TOYS["toy-baseline"])
    apply_lora(model.transformer, read_lora(MEMORY_LORA))
    (made,) = by_the_core(model, 9)
    assert torch.equal(latents_of(out, 1)[0], made.latents)


def test_the_run_may_lie_elsewhere_and_the_rate_be_another(tmp_path, command):
    out, folder = tmp_path / "new" / "dance.mkv", tmp_path / "runs" / "dance"
    assert command(animate(out, "--run", str(folder), "--frames", "9", "--fps", "30000/1001"))[0] == 0
    assert is_rate(video_of(out)[1], Fraction(30000, 1001), ".mkv")
    store = RunStore(folder)
    ((key, name),) = [(chunk.key, *store.read_record(chunk.key).segments) for chunk in store.read_take(1).chunks]
    assert name == "9x30000-1001"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        *[f"chunks/{key}{ending}" for ending in ("-9x30000-1001.mp4", ".json", ".safetensors")],
        *[f"takes/00001{ending}" for ending in (".jpg", ".json", ".png")],
    ]
    assert sorted(path.name for path in out.parent.iterdir()) == ["dance.mkv"]


def test_guidance_reaches_the_network(tmp_path, command):
    assert command(animate(tmp_path / "a.mp4", "--frames", "9", "--cfg", "2"))[0] == 0


def test_restoration_off_is_no_restoration(finished, tmp_path, command):
    off = ["--restore", "0", "--restore-schedule", "fixed", "--restore-target", "low_frequency"]
    out = tmp_path / "off" / "dance.mp4"
    assert command(animate(out, *off))[0] == 0
    assert_same_result(result(out), result(finished))
    # A run that knows of no restoration goes on with it off.
    assert not [name for name in place_of(finished).take().settings if "restor" in name]
    code, said, _ = command(animate(finished, *off))
    assert (code, said.count(", kept, ")) == (0, CHUNKS)
    assert place_of(finished).store.take_numbers() == [1]


@pytest.mark.parametrize("target", ["statistics", "low_frequency"])
def test_restoration_is_what_the_core_makes_of_it(tmp_path, command, target):
    out = tmp_path / "dance.mp4"
    # Large enough for cells that the pose stays away from.
    width, height = 64, 32
    options = ["--frames", "14", "--width", str(width), "--height", str(height)]
    options += ["--restore", "2", "--restore-schedule", "fixed", "--restore-target", target]
    assert command(animate(out, *options))[0] == 0
    model, plan, sigmas = load_toy(), SETTINGS.plan(14), sigma_schedule(2, 5.0)
    with VideoFrames(DATA / "reference.jpg") as image, VideoFrames(DATA / "pose.mp4") as video:
        memory = build_memory(fit_frames(image.read([0]), width, height, "crop"), model.codec)
        pose = FittedFrames(video, width, height, "crop")
        drivers = Drivers(pose=pose)
        for index, found in enumerate(latents_of(out, 2)):
            chunk = drivers.chunk(plan, index)
            request = propagation.request_chunk(chunk, memory, model.codec, SETTINGS)
            shown = pose.read(plan.source_indices(index, pose.frame_count))
            correct = correction(Restoration(2.0, "fixed", target), memory, shown)
            with torch.no_grad():
                noise = draw_noise(request.latents_shape, 42 * index)
                x = euler(restored(model.velocity(request), correct), noise, sigmas)
                plain = euler(model.velocity(request), noise, sigmas)
            expected = x[:, :, request.anchors :].contiguous()
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
            # The first chunk has no statistics before it.
            assert torch.equal(x, plain) == (index == 0 and target == "statistics")
            memory = propagation.hand_over(chunk, memory, expected, model.codec, SETTINGS).memory
