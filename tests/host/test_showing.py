"""What a node shows while it runs: texts, pictures, the video so far, and after Cancel what is finished."""

import json
import re
import struct
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image
from graphs import ANCHORS, CHUNKS, STEPS, TOTAL
from long_runs import BASES, knows_the_bases, long_run_prompt, total
from native_chain import STEPS as BASE_STEPS
from server_process import RunError
from test_animate import animate_prompt

from everanimate_core.runs.progress import Making, Progress
from everanimate_core.runs.takes import TakeChunk

__all__ = ["knows_the_bases"]
TEXT = 3


def prompt_of(server, run_name, **changes):
    server.add_image("reference.png", reference_image())
    server.add_video("pose.mov", moving_pattern(TOTAL))
    prompt = animate_prompt(run_name)
    prompt["animate"]["inputs"].update(changes)
    return prompt


def texts(events):
    """What the node showed, in order."""
    found = []
    for data in [data for kind, data in events if kind == "preview"]:
        kind, length = struct.unpack(">II", data[:8])
        if kind == TEXT:
            assert data[8 : 8 + length] == b"animate"
            found.append(data[8 + length :].decode().splitlines()[0])
    return found


def without_times(text):
    """The time left is that of this machine."""
    place, _, _ = text.partition(" s left")
    return place.rstrip("0123456789").removesuffix(", ") if place != text else text


def videos(events, kind):
    """The files that were shown with messages of that kind."""
    return [data["output"]["images"][0]["filename"] for name, data in events if name == kind and data["output"]]


def test_chunk_candidate_step_and_time_left_are_told(server):
    events = server.run(prompt_of(server, "told", candidates=2)).events
    check_told(events, CHUNKS, STEPS)


def check_told(events, chunks, steps):
    """Of a run with two candidates."""
    told, expected = texts(events), []
    for chunk in range(1, chunks + 1):
        for candidate in (1, 2):
            place = f"chunk {chunk} of {chunks}, candidate {candidate} of 2"
            expected += [place, *(f"{place}, step {step} of {steps}" for step in range(1, steps + 1))]
    assert list(map(without_times, told)) == [*expected, f"{chunks} of {chunks} chunks are finished."]
    # From the second step on there is a time.
    assert [text for text in told[2:-1] if "step" in text and not text.endswith(" s left")] == []


@BASES
@pytest.mark.usefixtures("knows_the_bases")
def test_a_long_run_on_a_base_tells_the_same(comfy, server, base):
    prompt = long_run_prompt(comfy, server, base, f"{base.name}_told", total(base, 2), candidates=2)
    events = server.run(prompt).events
    check_told(events, 2, BASE_STEPS)
    bar = [(data["value"], data["max"]) for kind, data in events if kind == "progress" and data["node"] == "animate"]
    whole = 2 * 2 * BASE_STEPS
    assert list(dict.fromkeys(bar)) == [(step, whole) for step in range(1, whole + 1)]


def test_the_video_so_far_is_shown_after_each_chunk_and_the_whole_at_the_end(server):
    events = server.run(prompt_of(server, "grown")).events
    assert videos(events, "everanimate.so_far") == ["grown_00001_.mp4"] * (CHUNKS - 1)
    assert videos(events, "executed") == ["grown_00001_.mp4"]
    shown = [data for kind, data in events if kind == "everanimate.so_far"]
    assert {(data["node"], data["display_node"]) for data in shown} == {("animate", "animate")}


def test_after_cancel_what_is_finished_is_shown_with_how_to_go_on(server):
    check_cancelled(server, prompt_of(server, "stopped"), "stopped", CHUNKS, STEPS)


def check_cancelled(server, prompt, run_name, chunks, steps):
    """A run that is cancelled in its second chunk."""
    sent = []

    def cancel_in_the_second_chunk(kind, data):
        if kind == "progress" and data["value"] == steps + 1 and not sent:
            sent.append(server.interrupt())

    with pytest.raises(RunError) as caught:
        server.run(prompt, on_event=cancel_in_the_second_chunk)
    events = caught.value.events
    assert videos(events, "executed") == [f"{run_name}_00001_.mp4"]
    finished = len(videos(events, "everanimate.so_far"))
    assert 1 <= finished < chunks
    assert texts(events)[-1] == f"{finished} of {chunks} chunks are finished. Queue the same graph again to go on."


@BASES
@pytest.mark.usefixtures("knows_the_bases")
def test_after_cancel_a_long_run_on_a_base_goes_on(comfy, server, base):
    name = f"{base.name}_stopped"
    prompt = long_run_prompt(comfy, server, base, name, total(base, 3))
    check_cancelled(server, prompt, name, 3, BASE_STEPS)
    assert texts(server.run(prompt).events)[-1] == "3 of 3 chunks are finished."


@pytest.fixture
def previews(comfy):
    """What the bar of the node shows, {method: [(value, total, preview)]}."""
    import comfy.utils as host_utils
    from comfy.cli_args import args

    method, shown = args.preview_method, []
    host_utils.set_progress_bar_global_hook(lambda value, total, preview, **_: shown.append((value, total, preview)))
    yield shown
    args.preview_method = method
    host_utils.set_progress_bar_global_hook(None)


def progress_of(comfy):
    hidden = SimpleNamespace(unique_id="1", dynprompt=None)
    return comfy.module(PACK, "nodes.showing").RunProgress(comfy.load_model(), hidden, chunks=3, steps=2)


def test_preview_shows_the_chunk_and_not_the_anchors(comfy, previews):
    from comfy.cli_args import LatentPreviewMethod, args

    args.preview_method = LatentPreviewMethod.Latent2RGB
    progress = progress_of(comfy)
    progress.on_making(Making(1, 3, 0, 1, left=1))
    clean = torch.randn(1, 16, 7, 8, 8, generator=torch.Generator().manual_seed(0))
    progress.on_step(ANCHORS)(0, 2, clean)
    kind, image, _ = progress.previewer.decode_latent_to_preview_image("JPEG", clean[:, :, ANCHORS:])
    value, total, preview = previews[0]
    assert (value, total, preview[0]) == (3, 6, kind)
    assert preview[1].tobytes() == image.tobytes()


@pytest.mark.parametrize("kept", [True, False])
def test_without_previews_the_last_finished_frame_is_shown(comfy, previews, kept):
    """One that was there before, while the next chunk is made."""
    from comfy.cli_args import LatentPreviewMethod, args

    args.preview_method = LatentPreviewMethod.NoPreviews
    progress = progress_of(comfy)
    if not kept:
        progress.on_making(Making(0, 3, 0, 1, left=0))
    frame = torch.tensor([0.0, 0.5, 1.0]).expand(4, 6, 3)
    progress.on_chunk(
        Progress(0, 3, TakeChunk("key", 0, 9, 0, 1.0, 0.0, None), kept, "drift", lambda: frame, lambda: None)
    )
    progress.on_making(Making(1, 3, 0, 1, left=1))
    progress.on_step(ANCHORS)(0, 2, torch.zeros(1, 16, 7, 8, 8))
    (picture,) = [preview for _, _, preview in previews if preview is not None]
    assert picture[1].size == (6, 4)
    assert picture[1].getpixel((0, 0)) == (0, 128, 255)


def test_a_long_video_is_shown_when_it_has_grown_by_a_twentieth(comfy):
    """Each time, all of it is joined."""
    progress, shown = progress_of(comfy), []
    for index in range(40):
        progress.on_making(Making(index, 41, 0, 1, left=1))
        record, frame = TakeChunk("key", 0, 9, 0, 1.0, 0.0, None), torch.zeros(4, 6, 3)
        so_far = partial(shown.append, index + 1)
        progress.on_chunk(Progress(index, 41, record, False, "drift", lambda frame=frame: frame, so_far))
    assert shown == [*range(1, 22), *range(23, 41, 2)]


def test_a_refused_input_asks_for_no_other_start_of_the_same_graph(comfy, monkeypatch):
    """What was said of the run before stays where nothing was made."""
    showing, errors = (comfy.module(PACK, name) for name in ("nodes.showing", "everanimate_core.errors"))
    refused = errors.InputError("only_chunk", "needs another seed or another setting", "seed 1", "the seed 0")
    told = []
    monkeypatch.setattr(showing.host, "tell", lambda node, text: told.append(text))
    with pytest.raises(errors.InputError), progress_of(comfy) as progress:
        there = TakeChunk("key", 0, 9, 0, 1.0, 0.0, None)
        progress.on_chunk(Progress(0, 3, there, True, "drift", lambda: torch.zeros(4, 6, 3), lambda: None))
        raise refused
    assert told == []
    with pytest.raises(errors.InputError), progress_of(comfy) as progress:
        progress.on_making(Making(0, 3, 0, 1, left=2))
        raise refused
    assert told == ["chunk 1 of 3", "0 of 3 chunks are finished."]


def test_every_node_that_makes_a_whole_video_shows_it_so_far(comfy):
    """The script of the pack knows these nodes by their ids."""
    script = (Path(__file__).resolve().parents[2] / "nodes" / "web" / "finished_video.js").read_text(encoding="utf-8")
    (known,) = re.findall(r"^const NODES = (\[.*\])$", script, re.MULTILINE)
    whole = {
        name
        for name, node in comfy.nodes.items()
        if getattr(node, "RELATIVE_PYTHON_MODULE", "").endswith(PACK)
        and getattr(node, "OUTPUT_NODE", False)
        and "run_name" in node.INPUT_TYPES()["required"]
        and "model" in node.INPUT_TYPES()["required"]
    }
    assert sorted(json.loads(known)) == sorted(whole)
