"""What is seen of a long run while it goes, and after it: chunk and time left, the video so far, takes."""

import json
import time

import pytest
from editor import (
    MISSING,
    look_at,
    open_template,
    queue,
    run,
    seen,
    set_widget,
    shown,
    wait_until_done,
    wait_until_shown,
    wait_until_watched,
    watch,
)

if MISSING:
    pytest.skip(f"browser tests skipped: no {', no '.join(MISSING)}", allow_module_level=True)

NODE = "EverAnimateAnimate"
# The pose of the toy is images; what is to be known of a run stands below the line that says where it is.
SILENT = (
    "pose_video is images, which have no sound and no rate: connect audio for sound; fps sets the rate, now 25 frames "
    "a second."
)


def told(state):
    """The lines of text in a node."""
    return state["text"].splitlines()


def open_toy(page, run_name, frames):
    open_template(page, "toy_world")
    set_widget(page, "EverAnimateLoadToy", "frames", frames)
    set_widget(page, NODE, "run_name", run_name)
    look_at(page, NODE)


def test_chunk_and_time_left_and_the_video_so_far_are_seen_without_previews(page_without_previews):
    page = page_without_previews
    open_toy(page, "watched", 178)
    watch(page, NODE)
    queue(page)
    # In the first chunk too.
    wait_until_watched(page, r"/^chunk 1 of 6, step [2-4] of 4, \d+ s left$/m.test(shown.text)", 60_000)
    later = r"/^chunk [2-5] of 6, step \d of 4, \d+ s left$/m.test(shown.text)"
    state = wait_until_watched(page, f"{later} && shown.videos.length", 60_000)
    assert ["filename=watched_00001_.mp4" in source for source in state["videos"]] == [True]
    # The last finished frame stands in the place of a preview.
    wait_until_watched(page, "shown.pictures && shown.previews")
    wait_until_done(page)
    wait_until_shown(page, NODE, "shown.widgets.includes('video-preview') && shown.videos.length", 20_000)
    state = shown(page, NODE)
    assert told(state) == ["6 of 6 chunks are finished.", SILENT]
    assert "video so far" not in state["widgets"]
    # A frame for each chunk that was made.
    assert seen(page, "b_preview") == 6
    assert page.faults == []


def test_cancel_shows_what_is_finished_and_how_to_go_on(page, server):
    open_toy(page, "cancelled", 1500)
    queue(page)
    page.wait_for_function("window.seen.progress > 9", timeout=300_000)
    page.evaluate("() => app.extensionManager.command.execute('Comfy.Interrupt')")
    page.wait_for_function("window.seen.execution_interrupted", timeout=60_000)
    take = json.loads((server.output / "everanimate" / "cancelled" / "takes" / "00001.json").read_text())["content"]
    finished = len(take["chunks"])
    assert 1 <= finished < 50
    wait_until_shown(page, NODE, "shown.widgets.includes('video-preview') && shown.videos.length", 20_000)
    state = shown(page, NODE)
    assert told(state) == [f"{finished} of 52 chunks are finished. Queue the same graph again to go on.", SILENT]
    assert ["filename=cancelled_00001_.mp4" in source for source in state["videos"]] == [True]
    assert "video so far" not in state["widgets"]
    # The server is free again.
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.get("/queue")["queue_running"]:
        time.sleep(0.2)
    assert server.get("/queue")["queue_running"] == []


def test_another_seed_makes_a_second_take_and_shows_its_video(page, server):
    open_toy(page, "retaken", 62)
    run(page)
    set_widget(page, NODE, "seed", 1)
    watch(page, NODE)
    queue(page)
    # The video of the first take makes room for live previews.
    wait_until_watched(page, "shown.pictures && shown.previews && !shown.widgets.includes('video-preview')")
    wait_until_done(page)
    wait_until_shown(page, NODE, "shown.widgets.includes('video-preview') && shown.videos.length", 20_000)
    state = shown(page, NODE)
    assert ["filename=retaken_00002_.mp4" in source for source in state["videos"]] == [True]
    assert told(state) == ["2 of 2 chunks are finished.", SILENT, "take 2 is opened: seed was 0 and is 1"]
    videos = sorted(path.name for path in (server.output / "everanimate").glob("retaken*.mp4"))
    assert videos == ["retaken_00001_.mp4", "retaken_00002_.mp4"]
    assert page.faults == []
