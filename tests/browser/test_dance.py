"""From a photo and a dance video to an animation: the graph dance_video, with the toy in the place of the network.

MEDIAPIPE_WHEEL: the wheel of mediapipe 0.10.21, with ai-edge-litert in ComfyUI's interpreter. They find the dancer of
the sample video, which is drawn.
"""

import os
import shutil

import av
import pytest
from editor import ROOT, open_template, queue, seen, set_widget, wait_until_done

WHEEL = os.environ.get("MEDIAPIPE_WHEEL")
pytestmark = pytest.mark.skipif(not WHEEL, reason="MEDIAPIPE_WHEEL names no wheel")
SAMPLE = ROOT / "workflows" / "inputs" / "everanimate_dance.mp4"
SIZE, TEN_MINUTES = 64, 600_000
# The same sockets; the toy sees neither a face nor what CLIP Vision makes of a picture.
TOY_IN_PLACE = """() => {
    const animate = app.graph._nodes.find(node => node.type === "EverAnimateAnimate")
    const toy = LiteGraph.createNode("EverAnimateLoadToy")
    app.graph.add(toy)
    for (const name of ["model", "vae", "positive", "negative"])
        toy.connect(toy.findOutputSlot(name), animate, animate.findInputSlot(name))
    for (const name of ["clip_vision", "face_video"]) animate.disconnectInput(animate.findInputSlot(name))
    const kept = ["EverAnimateAnimate", "EverAnimateLoadToy", "EverAnimatePrepare", "LoadImage", "LoadVideo"]
    for (const node of [...app.graph._nodes]) if (!kept.includes(node.type)) app.graph.remove(node)
}"""


@pytest.fixture
def graph(page):
    """The template as it opens, made small and given the toy."""
    open_template(page, "dance_video")
    assert page.faults == []
    # Older editors say in a dialog which models are missing.
    dialog = page.locator(".p-dialog-mask")
    if dialog.count():
        page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")
    page.evaluate(TOY_IN_PLACE)
    for node_type in ("EverAnimatePrepare", "EverAnimateAnimate"):
        for side in ("width", "height"):
            set_widget(page, node_type, side, SIZE)
    set_widget(page, "EverAnimateAnimate", "chunk_frames", 33)
    set_widget(page, "EverAnimateAnimate", "steps", 2)
    return page


def run_until_done(page):
    queue(page)
    wait_until_done(page, TEN_MINUTES)


def facts(path):
    """Frames, rate and the number of streams of sound."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return sum(1 for _ in file.decode(stream)), stream.average_rate, len(file.streams.audio)


def test_without_networks_the_node_says_the_command_that_gets_them(graph, server):
    graph.evaluate("() => app.api.addEventListener('execution_error', event => { window.refusal = event.detail })")
    run_until_done(graph)
    refusal = graph.evaluate("() => window.refusal")
    assert refusal["node_type"] == "EverAnimatePrepare"
    said, folder = refusal["exception_message"], str(server.base / "models" / "detection")
    assert "36 MB" in said and "install.py" in said and folder in said


def test_a_photo_and_a_dance_video_become_an_animation(graph, server):
    folder = server.base / "models" / "detection"
    folder.mkdir(exist_ok=True)
    shutil.copy(WHEEL, folder)
    run_until_done(graph)
    assert seen(graph, "execution_error") == 0
    frames, rate, sounds = facts(SAMPLE)
    assert sounds == 1
    assert facts(server.output / "everanimate" / "dance_00001_.mp4") == (frames, rate, sounds)
    assert facts(server.output / "everanimate" / "dance.driving" / "pose.mp4") == (frames, rate, sounds)
    graph.wait_for_selector("video", timeout=20_000)
    assert graph.faults == []
