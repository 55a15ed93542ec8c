"""`everanimate prepare`: what it writes is what the core writes, it goes on where it stopped, and what it refuses."""

import hashlib
import json
import shlex
from fractions import Fraction
from pathlib import Path

import av
import pytest
from cli_parts import DATA, state, unboxed, write_dance
from driving.dancers import HEIGHT, WIDTH

from everanimate_core.cli import prepare as cli_prepare
from everanimate_core.cli.command import Command
from everanimate_core.downloads import Download
from everanimate_core.driving import found_store
from everanimate_core.driving.engines import fetch, weights
from everanimate_core.driving.engines.fetch import install_command
from everanimate_core.driving.prepare import prepare
from everanimate_core.driving.settings import Settings
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.sound import FileSound
from everanimate_core.runs.store import locked_folder

COUNT = 21
FILES = ["face.mp4", "keypoints.safetensors", "openpose.json", "pose.mp4", "report.json"]
# At these sizes the encoder is deterministic.
SIZE = ["--width", "64", "--height", "48"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """dance.mp4, a painted dancer with sound, keypoints.json, and keypoints that cannot serve; where they are."""
    folder = tmp_path_factory.mktemp("inputs")
    frames = write_dance(folder, COUNT)
    (folder / "short.json").write_text(json.dumps(frames[1:]))
    (folder / "list.json").write_text("{}")
    (folder / "wrong.json").write_text(json.dumps([{**frames[0], "people": [{"pose_keypoints_2d": 5}]}] * COUNT))
    return folder


@pytest.fixture
def prepared(command, inputs, monkeypatch, tmp_path):
    """prepared(*more) -> (exit code, what was said, what was complained of), with the keypoints, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    arguments = ["prepare", str(inputs / "dance.mp4"), "--keypoints", str(inputs / "keypoints.json"), *SIZE]
    return lambda *more: command([*arguments, "--out", "new/made", *map(str, more)])


def contents(folder):
    """{name: content} of what was made."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def by_the_core(inputs, folder, settings):
    """What the core makes of the same inputs."""
    frames = json.loads((inputs / "keypoints.json").read_text())
    with VideoFrames(inputs / "dance.mp4") as video, FileSound(inputs / "dance.mp4") as sound:
        prepare(video, None, settings, folder, None, frames, sound)
    return contents(folder)


def test_it_is_what_the_core_makes_of_the_same_inputs(prepared, inputs, tmp_path):
    code, said, complaints = prepared()
    assert (code, complaints) == (0, "")
    assert said.splitlines() == [
        f"looked at {COUNT} of {COUNT} frames",
        f"drew {COUNT} of {COUNT} frames",
        f"Seen in {COUNT} frames: body 100%, left hand 100%, right hand 100%, face 100%",
        "Wrote pose.mp4, face.mp4, keypoints.safetensors, openpose.json and report.json to new/made",
    ]
    made = contents("new/made")
    assert sorted(made) == FILES
    assert made == by_the_core(inputs, tmp_path / "core", Settings(width=64, height=48))
    with av.open("new/made/pose.mp4") as container:
        assert container.streams.audio


def test_without_out_the_folder_lies_beside_the_video(command, inputs, tmp_path):
    video, keypoints = tmp_path / "my dance.mp4", str(inputs / "keypoints.json")
    video.write_bytes((inputs / "dance.mp4").read_bytes())
    assert command(["prepare", str(video), "--keypoints", keypoints, *SIZE])[0] == 0
    assert sorted(contents(tmp_path / "my dance.driving")) == FILES


def test_every_setting_reaches_the_core(prepared, inputs, tmp_path):
    given = {
        "fps": Fraction(30000, 1001),
        "person": "index",
        "person_index": 0,
        "retarget": "fit",
        "template_frame": 3,
        "smoothing": False,
        "max_gap": 5,
        "mask_grow": 3,
        "mask_blocks": 0,
        "width": 96,
        "height": 64,
    }
    options = [
        part
        for name, value in given.items()
        for part in (["--no-smoothing"] if value is False else [f"--{name.replace('_', '-')}", str(value)])
    ]
    assert prepared(*options)[0] == 0
    report = json.loads(Path("new/made/report.json").read_text())
    assert report["settings"] == {**vars(Settings(**given)), "fps": 30000 / 1001}
    assert report["fps"] == "30000/1001"
    assert contents("new/made") == by_the_core(inputs, tmp_path / "core", Settings(**given))


@pytest.fixture
def small_windows(monkeypatch):
    """Seven frames each."""
    monkeypatch.setattr(found_store, "WINDOW_BYTES", 7 * 12 * WIDTH * HEIGHT)


def test_stopped_it_says_how_to_go_on_and_goes_on(prepared, monkeypatch, small_windows):
    assert prepared()[0] == 0
    expected = contents("new/made")

    def stop(self, line):
        if line.startswith("looked at 14"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Command, "say", stop)
        code, _, complaints = prepared("--out", "other")
    assert code == 1
    words, _, again = complaints.partition(": everanimate ")
    assert words == "Stopped; what was found is kept. Go on with"
    assert shlex.split(again)[-2:] == ["--out", "other"]
    # The videos come after it all, and only when whole.
    assert not contents("other")
    found = state(Path("other"))
    assert len(found) == 2
    assert prepared("--out", "other")[0] == 0
    assert contents("other") == expected
    after = state(Path("other"))
    assert {name: after[name] for name in found} == found


def test_one_program_at_a_time(prepared, tmp_path):
    with locked_folder(tmp_path / "new" / "made", "a folder of driving videos"):
        code, said, complaints = prepared()
    assert (code, said) == (2, "")
    assert complaints == (
        "a folder of driving videos is written by one program at a time (choose another run name or --out, or wait); "
        f"got a second one for {tmp_path / 'new' / 'made'}.\n"
    )
    assert prepared()[0] == 0


@pytest.mark.parametrize("name", ["pose.mp4", "mask.mp4"])
def test_no_other_video_is_replaced_or_deleted(prepared, name):
    Path("here").mkdir()
    (Path("here") / name).write_bytes(b"mine")
    code, _, complaints = prepared("--out", "here")
    assert code == 2
    assert complaints == (
        "the folder of driving videos must be a new one, or one that this program made (choose another --out); "
        f"got here, which has another {name}.\n"
    )
    assert contents("here") == {name: b"mine"}


REFUSED = [
    (["--out", "file"], "the folder of driving videos must be a new one, or one that this program made (choose"),
    (["--width", "60"], "--width: must be a multiple of 16 (832); got 60."),
    (["--fps", "1000"], "--fps: must be between 0.0 and 240.0 (0.0); got 1000."),
    (["--person", "index", "--person-index", "1"], "--person-index: must be within 0..0: the people in this video"),
    (["--template-frame", "-2"], "--template-frame: must be between -1 and 1000000 (-1); got -2."),
    (["--reference", "none.png"], "--reference: must be a readable picture; got none.png (No such file or directory)."),
    (["--keypoints", "{inputs}/short.json"], "--keypoints: must be of all 21 frames of the driving video; got 20."),
    (["--keypoints", "{inputs}/list.json"], "--keypoints: must be POSE_KEYPOINT as JSON, a list of frames (openpose."),
    (["--keypoints", "{inputs}/dance.mp4"], "--keypoints: must be POSE_KEYPOINT as JSON, a list of frames (openpose."),
    (["--keypoints", "none.json"], "--keypoints: must be POSE_KEYPOINT as JSON, a list of frames (openpose."),
    (
        ["--keypoints", "{inputs}/wrong.json"],
        "--keypoints: must have x, y and score of 18 points in pose_keypoints_2d of frame 0 (or none); got 5.",
    ),
    (["--pose-models", "none"], "--pose-models: must be there (or be left out); got none."),
    (["--mode", "replacement"], "--mode: must be animation with an engine that finds points only (the engine litert"),
]


@pytest.mark.parametrize(("more", "message"), REFUSED)
def test_arguments_that_cannot_serve(prepared, inputs, more, message):
    Path("file").touch()
    code, said, complaints = prepared(*[part.format(inputs=inputs) for part in more])
    assert (code, "Wrote" in said) == (2, False)
    assert complaints.startswith(message)
    assert complaints.count("\n") == 1
    assert not list(Path().rglob("*.mp4"))


@pytest.mark.parametrize(
    ("more", "words"), [(["--keypoints"], "--keypoints"), (["a.mp4", "--person", "tallest"], "'tallest'")]
)
def test_arguments_that_do_not_parse(command, more, words):
    code, said, complaints = command(["prepare", *more])
    assert (code, said) == (2, "")
    assert words in unboxed(complaints) and "everanimate prepare --help" in unboxed(complaints)


def test_a_video_or_a_fetch(command):
    code, said, complaints = command(["prepare"])
    assert (code, said) == (2, "")
    assert complaints == "a VIDEO or --fetch-models must be given (everanimate prepare dance.mp4); got none.\n"


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """A wheel of a few bytes in the folder "models" and in the cache, whose address is of no server."""
    wheel = Download("http://127.0.0.1:9/some.whl", hashlib.sha256(b"wheel").hexdigest(), 5)
    monkeypatch.setattr(fetch, "WHEEL", wheel)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for folder in ("models", "everanimate"):
        Path(folder).mkdir()
        (Path(folder) / "some.whl").write_bytes(b"wheel")


@pytest.mark.parametrize(("more", "place"), [([], "{cache}/everanimate"), (["--pose-models", "models"], "models")])
@pytest.mark.parametrize("there", [True, False])
def test_networks_are_fetched(command, fetched, monkeypatch, tmp_path, more, place, there):
    monkeypatch.setattr(cli_prepare, "PACKAGE", "json" if there else "no_such_package")
    code, said, complaints = command(["prepare", "--fetch-models", *more])
    assert (code, complaints) == (0, "")
    wheel = f"{place.format(cache=tmp_path)}/some.whl"
    lines = [f"{wheel} is there already", f"The networks are in {wheel}"]
    package = "The engine litert also needs ai-edge-litert, the extra pose: pip install 'ai-edge-litert>=2.3'"
    assert said.splitlines() == (lines if there else [*lines, package])


def test_networks_that_cannot_be_fetched(command, fetched):
    code, said, complaints = command(["prepare", "none.mp4", "--fetch-models", "--pose-models", "new"])
    assert (code, said) == (1, "Fetching http://127.0.0.1:9/some.whl (0 MB)\n")
    assert complaints.startswith("PyPI must be reachable (or fetch http://127.0.0.1:9/some.whl elsewhere); got ")


def test_after_the_fetch_the_video_is_prepared(prepared, fetched):
    code, said, _ = prepared("--fetch-models")
    assert (code, said.splitlines()[-1].startswith("Wrote pose.mp4, ")) == (0, True)


def test_networks_that_are_not_there_are_named_with_size_and_command(command, inputs, fetched, monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    Path("empty").mkdir()
    arguments = ["prepare", str(inputs / "dance.mp4"), "--engine", "litert", "--pose-models", "empty"]
    code, said, complaints = command(arguments)
    assert (code, said) == (2, "")
    way = f"get what is missing with: {install_command(Path('empty'))}"
    assert complaints.startswith(f"--pose-models: must hold MediaPipe's networks, 36 MB ({way}); got none in empty, ")
    assert not (inputs / "dance.driving").exists()


def test_a_video_that_cannot_be_read(command):
    code, said, complaints = command(["prepare", "none.mp4"])
    assert (code, said) == (2, "")
    assert complaints == "VIDEO: must be a readable video; got none.mp4 (No such file or directory).\n"


def test_a_folder_that_cannot_be_made(prepared, tmp_path):
    Path("new").touch()
    code, said, complaints = prepared()
    assert (code, said) == (1, "")
    assert complaints.startswith(
        f"the files in {tmp_path / 'new' / 'made'} must be writable and the disk not full; got "
    )


def test_keypoints_need_no_engine_but_the_reference_does(prepared, inputs, monkeypatch):
    monkeypatch.setattr("everanimate_core.cli.driving.chosen_engine", lambda *_: pytest.fail("asked for"))
    picture = str(DATA / "reference.jpg")
    for more in ([], ["--reference", picture, "--retarget", "off"]):
        assert prepared(*more)[0] == 0
    with pytest.raises(pytest.fail.Exception):
        prepared("--reference", picture)
