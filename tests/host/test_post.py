"""`everanimate post` and its example in plain Python, against a real server."""

import _thread
import json
import os
import re
import time
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("tyro", reason="needs tyro in COMFYUI_PYTHON")
pytest.importorskip("websocket", reason="needs websocket-client in COMFYUI_PYTHON")

TOY_WORLD = Path(__file__).resolve().parents[2] / "workflows" / "api" / "toy_world.json"
# Two pictures, each saved on its own. The size of the second is a whole number, as the editor writes 2.0.
TWO_PICTURES = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "one"}},
    "3": {
        "class_type": "ImageScaleBy",
        "inputs": {"image": ["1", 0], "upscale_method": "nearest-exact", "scale_by": 2},
        "_meta": {"title": "Larger"},
    },
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "sub/two"}},
}


@pytest.fixture
def post(server, capsys):
    """post(graph, *changes) -> (exit code, lines of stdout, lines of stderr)."""
    from everanimate_core.cli.main import main

    def call(graph, *changes, url=server.url):
        code = main(["post", str(graph), *changes, "--server", url])
        said, complaints = capsys.readouterr()
        return code, said.splitlines(), complaints.splitlines()

    return call


@pytest.fixture
def two_pictures(tmp_path):
    path = tmp_path / "two_pictures.json"
    path.write_text(json.dumps(TWO_PICTURES))
    return path


def once(condition, act):
    """Do something in another thread once a condition holds."""

    def wait():
        while not condition():
            time.sleep(0.05)
        act()

    Thread(target=wait, daemon=True).start()


def runs(server, name):
    """Whether the run of this name has begun."""
    return lambda: (server.output / "everanimate" / name).exists()


def wait_until_idle(server):
    while server.get("/prompt")["exec_info"]["queue_remaining"]:
        time.sleep(0.05)


@pytest.fixture
def busy(server):
    """A server on which the run `other` of somebody else goes on, as its id; it is stopped in the end."""
    from everanimate_core.remote.server import Server

    graph = json.loads(TOY_WORLD.read_text(encoding="utf-8"))
    graph["2"]["inputs"] |= {"run_name": "other", "steps": 100}
    run_id = Server(server.url).ask("/prompt", {"prompt": graph})["prompt_id"]
    while not runs(server, "other")():
        time.sleep(0.05)
    yield run_id
    server.interrupt()
    wait_until_idle(server)


def test_it_runs_a_graph_with_other_inputs_and_lists_the_files(post, server):
    code, files, notes = post(TOY_WORLD, "Load Toy World.frames=20", "EverAnimateAnimate.run_name=posted")
    assert code == 0
    made, compared = sorted(files)
    assert made == "everanimate/posted_00001_.mp4"
    # Other tests run this graph, too.
    assert re.fullmatch(r"everanimate/toy_world_comparison_\d{5}_\.mp4", compared)
    assert all((server.output / file).is_file() for file in files)
    assert notes[:2] == [f"Posted to {server.url}", "Load Toy World"]
    node = "Animate Long Video"
    steps = [f"{node}: {done} of 4" for done in (1, 2, 3, 4)]
    assert [note for note in notes if note.startswith(node)] == [node, *steps]
    titles = {parts["_meta"]["title"] for parts in json.loads(TOY_WORLD.read_text(encoding="utf-8")).values()}
    assert set(notes[1:]) == titles | set(steps)


def test_a_whole_number_may_become_a_fraction_where_the_server_takes_fractions(post, server, two_pictures):
    from PIL import Image

    code, files, _ = post(two_pictures, "Larger.scale_by=1.5")
    # Two nodes that do not depend on each other: the server chooses which comes first.
    assert (code, sorted(files)) == (0, ["one_00001_.png", "sub/two_00001_.png"])
    with Image.open(server.output / "sub" / "two_00001_.png") as picture:
        assert picture.size == (96, 96)
    said = "width of EmptyImage (node 1) must be a whole number (64); got 1.5."
    assert post(two_pictures, "EmptyImage.width=1.5") == (2, [], [said])


def test_what_the_server_refuses_is_said_in_its_words(post):
    code, files, notes = post(TOY_WORLD, "1.frames=-1")
    assert (code, files) == (1, [])
    assert notes == [
        "The server refuses the graph: Prompt outputs failed validation",
        "Load Toy World (node 1): Value -1 smaller than min of 1: frames",
    ]


def test_a_node_that_fails_is_named_with_its_own_words(post):
    code, files, notes = post(TOY_WORLD, "2.from_chunk=5", "2.run_name=fails")
    assert (code, files) == (1, [])
    rule = "from_chunk must be a finished chunk or the one after the last (0..0); got 5."
    assert notes[-1] == f"Animate Long Video (node 2) failed: Animate Long Video: {rule}"


def test_a_graph_that_somebody_else_interrupts(post, server):
    once(runs(server, "interrupted"), server.interrupt)
    code, files, notes = post(TOY_WORLD, "2.run_name=interrupted", "2.steps=100")
    assert (code, files) == (1, [])
    assert notes[-1] == "The graph was interrupted on the server, at Animate Long Video (node 2)."


def test_ctrl_c_interrupts_a_graph_that_runs(post, server):
    once(runs(server, "stopped_by_ctrl_c"), _thread.interrupt_main)
    code, files, notes = post(TOY_WORLD, "2.run_name=stopped_by_ctrl_c", "2.steps=100")
    assert (code, files) == (1, [])
    assert notes[-1].startswith("Stopped; the server was told to stop too. Go on with: everanimate post ")
    wait_until_idle(server)
    *_, last = server.get("/history").values()
    assert last["prompt"][2]["2"]["inputs"]["run_name"] == "stopped_by_ctrl_c"
    assert "execution_interrupted" in dict(last["status"]["messages"])


def pending(server):
    return server.get("/queue")["queue_pending"]


def test_ctrl_c_takes_a_graph_that_waits_off_the_queue_and_leaves_others_alone(post, server, busy, two_pictures):
    once(lambda: pending(server), _thread.interrupt_main)
    code, files, notes = post(two_pictures)
    assert (code, files) == (1, [])
    assert notes[-1].startswith("Stopped; the server was told to stop too.")
    queue = server.get("/queue")
    assert ([entry[1] for entry in queue["queue_running"]], queue["queue_pending"]) == ([busy], [])


def test_a_graph_of_which_the_server_refuses_a_part_is_taken_off_the_queue(post, server, busy, two_pictures):
    code, files, notes = post(two_pictures, "Larger.scale_by=100")
    assert (code, files) == (1, [])
    assert notes == [
        "The server refuses a part of the graph, and the rest was stopped.",
        "Larger (node 3): Value 100.0 bigger than max of 8.0: scale_by",
    ]
    assert not pending(server)


def test_a_graph_that_somebody_else_takes_off_the_queue(post, server, busy, two_pictures):
    from everanimate_core.remote.server import Server

    once(lambda: pending(server), lambda: Server(server.url).ask("/queue", {"clear": True}))
    code, files, notes = post(two_pictures)
    assert (code, files) == (1, [])
    assert notes[-1] == "The graph was taken off the server's queue before it ran."


def test_a_server_that_goes_away_while_the_graph_runs(post, tmp_path):
    from base_folder import make_base_folder
    from server_process import ComfyServer

    other = ComfyServer(Path(os.environ["COMFYUI_PATH"]), make_base_folder(tmp_path))
    once(runs(other, "left"), other.close)
    code, files, notes = post(TOY_WORLD, "2.run_name=left", "2.steps=100", url=other.url)
    assert (code, files) == (1, [])
    assert notes[-1].startswith(f"the ComfyUI at {other.url} went away while the graph ran (if it is up, ")
