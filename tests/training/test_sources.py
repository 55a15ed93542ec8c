"""Where films come from: real video files, and every way in which they can be unusable."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
import torch
from PIL import Image

from everanimate_core.cli.toy_training import ToyEntry
from everanimate_core.errors import InputError
from everanimate_core.media.writer import VideoWriter
from everanimate_core.toy.learning.films import MOMENTS, STARTS
from everanimate_core.toy.world.light import apply_light, light_at
from everanimate_core.toy.world.world import World
from everanimate_core.training.sources import Demands, VideoEntry, list_films

DEMANDS = Demands(frames=5, fps=Fraction(25), width=32, height=16, fit="stretch")


def write(path, frames=6, width=32, height=16, fps=25, seed=0):
    generator = torch.Generator().manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, Fraction(fps), width, height, codec="libx264rgb", crf=0, pix_fmt="rgb24") as video:
        video.write(torch.rand(frames, height, width, 3, generator=generator))
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "b.pose.mp4", "a.mp4", "a.pose.mp4", "a.face.mkv", "lonely.mkv"):
        write(tmp_path / name)
    (tmp_path / "a.txt").write_text("a woman dances\n")
    (tmp_path / "notes.md").write_text("no film")
    return tmp_path


def test_a_folder(folder):
    entries = list_films(folder)
    assert [entry.name for entry in entries] == ["a.mp4", "b.mp4", "lonely.mkv"]
    assert [entry.prompt for entry in entries] == ["a woman dances", "", ""]
    assert entries[0].pose == folder / "a.pose.mp4" and entries[0].face == folder / "a.face.mkv"
    assert (entries[2].pose, entries[2].face) == (None, None)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_list(folder, suffix):
    rows = [{"video": "a.mp4", "pose": "a.pose.mp4", "prompt": "one, two"}, {"video": "b.mp4", "pose": "b.pose.mp4"}]
    path = folder / f"films{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    else:
        path.write_text('video,pose,prompt\na.mp4,a.pose.mp4,"one, two"\nb.mp4,b.pose.mp4,\n')
    assert list_films(path) == [
        VideoEntry("a.mp4", folder / "a.mp4", folder / "a.pose.mp4", None, "one, two"),
        VideoEntry("b.mp4", folder / "b.mp4", folder / "b.pose.mp4"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("films.csv", "pose\nx.mp4\n", r"^data must have the columns .*; got pose in line 1 of .*films.csv\.$"),
        ("films.csv", "video,pose\na.mp4,b.mp4,c.mp4\n", "got 3 values for 2 columns in line 2 of"),
        ("films.csv", "video,poses\na.mp4,b.mp4\n", "must have the columns video and .* got video,poses in line 1"),
        ("films.csv", "video,pose\n", r"^data must hold films .* got none in .*films.csv\.$"),
        (
            "films.jsonl",
            '{"video": "a.mp4"}\n{"video": \n',
            r"must have a row in JSON on every line .*; got no JSON .* in line 2 of .*films.jsonl",
        ),
        ("films.jsonl", '{"video": 5}\n', r"got 'video' 5, which is not text in line 1"),
        ("films.jsonl", '["a.mp4"]\n', "must have a video in every row"),
        ("films.txt", "a.mp4\n", r"must be a folder, a .csv or a .jsonl file that exists"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        list_films(tmp_path / name)


def test_no_folder_and_an_empty_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^data must be a folder.* got .*nowhere\.$"):
        list_films(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"^data must hold films \(dance\.mp4 and dance\.pose\.mp4\); got none in"):
        list_films(tmp_path)


def test_an_open_film_reads_its_files_at_the_size_of_the_set(folder):
    large = write(folder / "large.mp4", width=64, height=32, seed=1)
    pose = write(folder / "large.pose.mp4", width=64, height=32, seed=2)
    face = write(folder / "large.face.mp4", width=48, height=48, seed=3)
    entry = VideoEntry("large", large, pose, face)
    with entry.open(DEMANDS) as film:
        assert film.face is None
        assert film.frames.read([4, 5]).shape == film.pose.read([0, 1]).shape == (2, 16, 32, 3)
        assert not torch.equal(film.frames.read([0]), film.pose.read([0]))
    with entry.open(Demands(5, Fraction(25), 64, 32, "crop", faces=True)) as film:
        assert film.face.read([0]).shape == (1, 512, 512, 3)
        exact = torch.rand(6, 32, 64, 3, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(film.frames.read(range(6)), exact, atol=0.5 / 255 + 1e-6)


BAD = {
    "no pose": ({"pose": None}, r"^the pose video must be there \(NAME\.pose\.mp4\); got none\.$"),
    "pose file gone": ({"pose": "gone.mp4"}, r"^the pose video must be there .* got .*gone\.mp4\.$"),
    "film gone": ({"video": "gone.mp4"}, r"^the film video must be there"),
    "no face": ({"face": None}, r"^the face video must be there"),
    "short film": ({"video": {"frames": 4}}, r"^the film video must have 5 frames; got 4\.$"),
    "short pose": ({"pose": {"frames": 4}}, r"^the pose video must have 5 frames; got 4\.$"),
    "short face": ({"face": {"frames": 4}}, r"^the face video must have 5 frames; got 4\.$"),
    "film of another rate": ({"video": {"fps": 24}}, r"^the film video must have 25 frames a second; got 24\.$"),
    "pose of another rate": ({"pose": {"fps": 30}}, r"^the pose video must have 25 frames a second; got 30\.$"),
    "pose of another size": (
        {"pose": {"width": 16}},
        r"^the pose video must be of the film's size \(32x16\); got 16x16\.$",
    ),
    "no video": ({"video": b"not a video"}, r"must be a readable video; got"),
    "cut film": (
        {"video": "cut"},
        r"^the film video must be whole; got video\.mp4: the file ends early; .*[^.]\.$",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_film_that_cannot_serve_says_why(tmp_path, case):
    changes, message = BAD[case]
    paths = {}
    for kind in ("video", "pose", "face"):
        path, change = tmp_path / f"{kind}.mp4", changes.get(kind, {})
        if isinstance(change, dict):
            write(path, **change)
        elif isinstance(change, bytes):
            path.write_bytes(change)
        elif change == "cut":
            data = write(path, frames=40).read_bytes()
            path.write_bytes(data[: len(data) // 2])
        else:
            path = change and tmp_path / change
        paths[kind] = path
    faces = Demands(**{**vars(DEMANDS), "faces": True})
    with pytest.raises(ValueError, match=message), VideoEntry("film", **paths).open(faces) as film:
        film.frames.read(range(film.frames.frame_count))


def test_close_rates_are_the_same(tmp_path):
    video, pose = (write(tmp_path / name, fps=Fraction(30000, 1001)) for name in ("a.mp4", "a.pose.mp4"))
    with VideoEntry("film", video, pose).open(Demands(**{**vars(DEMANDS), "fps": Fraction(30)})) as film:
        assert film.frames.frame_count == 6


def test_a_stamp_changes_with_prompt_and_files(folder):
    entry, same = list_films(folder)[0], list_films(folder)[0]
    assert entry.stamp == same.stamp
    other = VideoEntry(entry.name, entry.video, entry.pose, entry.face, "another prompt")
    write(folder / "a.pose.mp4", frames=7)
    assert len({entry.stamp, same.stamp, other.stamp}) == 2
    assert entry.stamp != other.stamp


def test_a_film_of_the_toy_is_a_world_of_its_own_from_a_random_frame_on():
    demands = Demands(frames=5, fps=Fraction(25), width=64, height=64, fit="error")
    starts = []
    for number in (0, 1):
        world = World(2_000_000 + number)
        with ToyEntry(number).open(demands) as film:
            frames, pose = film.frames.read(range(5)), film.pose.read(range(5))
        same = (world.frames(range(640)) == frames[0]).flatten(1).all(dim=1)
        start = int(same.nonzero()[0])
        assert torch.equal(frames, world.frames(range(start, start + 5)))
        assert torch.equal(pose, world.pose(range(start, start + 5)))
        starts.append(start)
    assert starts[0] != starts[1]


def test_a_lit_film_of_the_toy_is_in_the_light_of_a_moment_and_its_reference_in_that_of_another():
    demands = Demands(frames=5, fps=Fraction(25), width=64, height=64, fit="error", reference=True)
    random = Random("training 1")
    start, moment, other = random.randrange(STARTS), random.randrange(MOMENTS), random.randrange(MOMENTS)
    world, seed = World(2_000_001), "2000001"
    with ToyEntry(1, lit=True).open(demands) as film, ToyEntry(1).open(demands) as even:
        frames = apply_light(world.frames(range(start, start + 5)), light_at(seed, range(moment, moment + 5)))
        assert torch.equal(film.frames.read(range(5)), frames)
        assert torch.equal(film.frames.read([3]), frames[3:4])
        assert torch.equal(film.pose.read(range(5)), even.pose.read(range(5)))
        reference = film.reference.read([0])
        assert torch.equal(reference, apply_light(world.frames([0]), light_at(seed, [other])))
        assert torch.equal(even.reference.read([0])[0], world.reference())
    assert ToyEntry(1, lit=True).stamp != ToyEntry(1).stamp
    with ToyEntry(1, lit=True).open(replace(demands, reference=False)) as film:
        assert film.reference is None


@pytest.mark.parametrize("where", ["folder", "list"])
def test_a_reference_of_its_own_stands_beside_a_film(folder, where):
    picture = (torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(0)) * 255).byte()
    Image.fromarray(picture.numpy()).save(folder / "a.reference.png")
    source = folder
    if where == "list":
        source = folder / "films.csv"
        source.write_text("video,pose,reference\na.mp4,a.pose.mp4,a.reference.png\n", encoding="utf-8")
    entry = list_films(source)[0]
    before, demands = entry.stamp, replace(DEMANDS, reference=True)
    with entry.open(demands) as film:
        assert torch.equal((film.reference.read([0])[0] * 255).round().byte(), picture)
    with entry.open(DEMANDS) as film:
        assert film.reference is None
    (folder / "a.reference.png").unlink()
    assert entry.stamp != before
    message = r"^the reference must be there \(NAME\.reference\.png\); got .*a\.reference\.png\.$"
    with pytest.raises(InputError, match=message), entry.open(demands):
        pass


@pytest.mark.parametrize("name", ["12:30.mp4", "http://127.0.0.1:9/y.mp4", "concat:a.mp4", "-i.mp4", "file:a.mp4"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_name_that_looks_like_an_address_is_a_file_beside_the_list(tmp_path, monkeypatch, name, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(tmp_path / "plain.mp4").rename(path)
    write(tmp_path / "pose.mp4", seed=1)
    row = {"video": name, "pose": "pose.mp4"}
    text = "video,pose\n" + ",".join(row.values()) if suffix == ".csv" else json.dumps(row)
    Path(f"films{suffix}").write_text(text, encoding="utf-8")
    (entry,) = list_films(Path(f"films{suffix}"))
    with entry.open(DEMANDS) as film:
        exact = torch.rand(6, 16, 32, 3, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(film.frames.read(range(6)), exact, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("name", ["http://127.0.0.1:9/y.mp4", "tcp://127.0.0.1:9", "/dev/stdin", "a\tb"])
def test_an_address_is_not_opened(tmp_path, name):
    """There is no such file: that is what is said, and no socket and no device was touched."""
    (tmp_path / "films.jsonl").write_text(json.dumps({"video": name, "pose": name}), encoding="utf-8")
    message = r"^the film video must be there|control character"
    with pytest.raises(ValueError, match=message), list_films(tmp_path / "films.jsonl")[0].open(DEMANDS):
        pass


def test_a_caption_that_is_no_text_is_named(folder):
    (folder / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"^data must have captions in UTF-8 text .* in .*a\.txt\.$"):
        list_films(folder)


def test_a_name_that_would_steer_a_terminal_is_shown_escaped(tmp_path):
    entry = VideoEntry("x", tmp_path / "a\x1b[31m.mp4", None)
    with pytest.raises(ValueError, match=r"got .*a\\x1b\[31m\.mp4\.$"), entry.open(DEMANDS):
        pass
