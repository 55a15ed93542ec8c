"""Ten changes of ten widgets through the API give ten takes, whose chunks are shared; a restart in between counts for
nothing."""

import json
import os
from pathlib import Path

import pytest
from base_folder import make_base_folder
from kept import takes
from server_process import ComfyServer

# Two chunks of 33 frames that share 4, and a third one.
SHORT, LONG = 62, 91
# What is changed from then on, and how many chunks that makes. The pose is IMAGE: at another rate it is the same.
CHANGES = [
    ({"total_frames": SHORT}, 2),
    ({"total_frames": LONG}, 1),
    ({"fps": 12.0}, 0),
    ({"seed": 3}, 3),
    ({"steps": 3}, 3),
    ({"shift": 6.0}, 3),
    ({"keyframes": "first"}, 3),
    ({"latent_context": True}, 3),
    ({"restore_strength": 0.5}, 3),
    ({"overlap": 8}, 4),
]


def prompt(**changes):
    graph = json.loads((Path(__file__).parents[2] / "workflows" / "api" / "toy_world.json").read_text())
    toy, animate = graph["1"], graph["2"]
    toy["inputs"]["frames"] = LONG
    animate["inputs"] |= {"run_name": "changed", **changes}
    return {"1": toy, "2": animate}


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """The run's folder, and what each start showed: six changes on one server, and the others on the next one."""
    base = make_base_folder(tmp_path_factory.mktemp("takes"))
    asked, shown = {}, []
    for changes in (CHANGES[:6], CHANGES[6:]):
        server = ComfyServer(Path(os.environ["COMFYUI_PATH"]), base)
        try:
            # After a restart, what was asked for last is there.
            for change, _ in [({}, 0), *changes] if asked else changes:
                asked |= change
                run = server.run(prompt(**asked))
                shown.append(run.outputs["2"]["images"][0]["filename"])
        finally:
            server.close()
    return base / "output" / "everanimate" / "changed", shown


def test_each_change_has_a_take_and_a_video(after):
    folder, shown = after
    assert [take.number for take in takes(folder)] == list(range(1, 11))
    assert {take.state for take in takes(folder)} == {"finished"}
    names = [f"changed_{number:05}_.mp4" for number in range(1, 11)]
    # The seventh start asked for what the sixth had made.
    assert shown == [*names[:6], names[5], *names[6:]]
    assert all((folder.parent / name).is_file() for name in names)


def test_chunks_are_shared_where_their_keys_are_equal(after):
    folder, _ = after
    seen = set()
    for take, (change, made) in zip(takes(folder), CHANGES, strict=True):
        keys = {chunk.key for chunk in take.chunks}
        assert len(keys - seen) == made, change
        seen |= keys
    assert {path.stem for path in folder.glob("chunks/*.safetensors")} == seen
    assert len(seen) == sum(made for _, made in CHANGES)
