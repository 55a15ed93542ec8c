"""VIDEO inputs as graphs bring them: rates, sound, parts; opened once, closed at the end; the graph in the result."""

import gc
import json
import os
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from clips import moving_pattern, reference_image, write_video
from graphs import FRAMES, OVERLAP, SIZE, STEPS, TOTAL
from test_animate import animate, kept_latents


def create_video(comfy, frames, fps, audio=None):
    """The host's Create Video."""
    (video,) = comfy.call("CreateVideo", images=frames, fps=fps, **({} if audio is None else {"audio": audio}))
    return video


def sound(seconds, rate=48000, channels=2):
    time = torch.arange(round(seconds * rate)) / rate
    return {"waveform": (0.5 * torch.sin(2 * torch.pi * 440 * time)).expand(1, channels, -1), "sample_rate": rate}


def result_of(comfy, run_name):
    return comfy.base / "output" / "everanimate" / f"{run_name}_00001_.mp4"


@pytest.mark.parametrize(
    ("fps", "rate"), [(16.67, "1667/100"), (23.976, "2997/125"), (29.97, "2997/100"), (59.94, "2997/50"), (30.0, "30")]
)
def test_rates_of_create_video(comfy, fps, rate):
    name = f"rate_{fps}".replace(".", "_")
    animate(comfy, name, pose_video=create_video(comfy, moving_pattern(FRAMES), fps))
    with av.open(str(result_of(comfy, name))) as container:
        assert container.streams.video[0].average_rate == Fraction(rate)


@pytest.mark.parametrize(("rate", "channels"), [(48000, 2), (44100, 1)])
def test_the_sound_of_create_video(comfy, rate, channels):
    name = f"sound_{rate}"
    seconds = FRAMES / 24
    animate(comfy, name, pose_video=create_video(comfy, moving_pattern(FRAMES), 24.0, sound(seconds, rate, channels)))
    with av.open(str(result_of(comfy, name))) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.channels == channels
        packets = [packet for packet in container.demux(stream) if packet.size]
    length = float((packets[-1].pts + packets[-1].duration) * packets[-1].time_base)
    assert abs(length - seconds) < 0.05


def test_images_and_create_video_give_the_same(comfy):
    animate(comfy, "created", pose_video=create_video(comfy, moving_pattern(TOTAL), 29.97))
    animate(comfy, "loose")
    for one, other in zip(kept_latents(comfy, "created"), kept_latents(comfy, "loose"), strict=True):
        assert torch.equal(one, other)


def test_a_rate_by_hand_keeps_the_time_of_a_video(comfy):
    """Frame i shows the pose at i / fps; loose images only get the name of a rate."""
    from comfy_api.latest import InputImpl

    path = comfy.base / "input" / "fifty.mov"
    frames = moving_pattern(2 * FRAMES)
    write_video(path, frames, fps=50)
    animate(comfy, "by_hand", pose_video=InputImpl.VideoFromFile(str(path)), fps=25.0)
    animate(comfy, "by_hand_created", pose_video=create_video(comfy, frames, 50.0), fps=25.0)
    animate(comfy, "every_second", pose_video=frames[::2], fps=25.0)
    for name in ("by_hand", "by_hand_created"):
        assert torch.equal(*(kept_latents(comfy, run)[0] for run in (name, "every_second")))
        with av.open(str(result_of(comfy, name))) as container:
            assert (container.streams.video[0].average_rate, container.streams.video[0].frames) == (25, FRAMES)


def test_a_face_of_another_rate_goes_by_the_time_of_the_pose(comfy):
    from comfy_api.latest import InputImpl

    folder = comfy.base / "input"
    face = moving_pattern(10, size=64, phase=1.0)
    write_video(folder / "pose30.mov", moving_pattern(10), fps=30)
    write_video(folder / "face15.mov", face[::2], fps=15)
    videos = {name: InputImpl.VideoFromFile(str(folder / f"{name}.mov")) for name in ("pose30", "face15")}
    small = {"chunk_frames": 5, "overlap": 1, "total_frames": 5}
    animate(comfy, "by_time", pose_video=videos["pose30"], face_video=videos["face15"], **small)
    animate(comfy, "paired", pose_video=moving_pattern(10), face_video=face[[0, 0, 2, 2, 4, 4, 6, 6, 8, 8]], **small)
    assert torch.equal(kept_latents(comfy, "by_time")[0], kept_latents(comfy, "paired")[0])


@pytest.fixture
def opened(monkeypatch):
    """The names of what av.open opened to read, in order."""
    names, open_file = [], av.open

    def counted(file, mode="r", *arguments, **keywords):
        if mode == "r":
            names.append(Path(str(file)).name)
        return open_file(file, mode, *arguments, **keywords)

    monkeypatch.setattr(av, "open", counted)
    return names


def handles(name):
    """Open handles of this process on files of this name."""
    gc.collect()
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(Path(os.readlink(link)).name)
        except OSError:
            continue
    return links.count(name)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("fails", [False, True])
def test_a_video_is_opened_once_for_its_pictures_and_once_for_its_sound(comfy, opened, fails):
    from comfy_api.latest import InputImpl

    path = comfy.base / "input" / f"once_{fails}.mov"
    write_video(path, moving_pattern(TOTAL), fps=25)
    video = InputImpl.VideoFromFile(str(path))
    if fails:
        with pytest.raises(ValueError, match="motion_latents"):
            animate(comfy, "once_failed", pose_video=video, motion_latents=16)
    else:
        animate(comfy, "once", pose_video=video)
    assert opened.count(path.name) == 2
    assert handles(path.name) == 0


def metadata(path):
    with av.open(str(path)) as container:
        return dict(container.metadata)


def animate_with_graph(comfy, run_name, graph, workflow):
    """The node as the executor calls it, with the graph that it stands in."""
    import execution

    node = comfy.nodes["EverAnimateAnimate"]
    text = comfy.conditioning()
    from graphs import aligned

    values = comfy._with_defaults(node, {
        "model": aligned(comfy), "vae": comfy.load_vae(), "positive": text, "negative": text,
        "reference_images": reference_image(), "pose_video": moving_pattern(FRAMES), "width": SIZE, "height": SIZE,
        "steps": STEPS, "chunk_frames": FRAMES, "overlap": OVERLAP, "clip_vision": comfy.clip_vision(),
        "run_name": run_name,
    })  # fmt: skip
    import asyncio

    extra = {"extra_pnginfo": workflow}
    data, _, hidden = execution.get_input_data(values, node, "1", None, execution.DynamicPrompt(graph), extra)
    asyncio.run(execution.get_output_data("test", "1", node(), data, None, None, hidden))


@pytest.mark.parametrize("disabled", [False, True])
def test_the_result_carries_the_graph_as_the_hosts_own_videos_do(comfy, monkeypatch, disabled):
    from comfy.cli_args import args

    monkeypatch.setattr(args, "disable_metadata", disabled)
    graph = {"1": {"class_type": "EverAnimateAnimate", "inputs": {"seed": 7}}}
    workflow = {"workflow": {"nodes": [{"id": 1, "title": "Größe"}]}}
    name = f"graph_{disabled}"
    animate_with_graph(comfy, name, graph, workflow)
    ours = metadata(result_of(comfy, name))
    if disabled:
        assert not ours.keys() & {"prompt", "workflow"}
        return
    assert json.loads(ours["prompt"]) == graph
    assert json.loads(ours["workflow"]) == workflow["workflow"]
    # What the host's own writer makes of the same.
    theirs = comfy.base / "output" / "theirs.mp4"
    create_video(comfy, moving_pattern(FRAMES), 25.0).save_to(str(theirs), metadata={**workflow, "prompt": graph})
    assert {name: ours[name] for name in ("prompt", "workflow")} == {
        name: metadata(theirs)[name] for name in ("prompt", "workflow")
    }
