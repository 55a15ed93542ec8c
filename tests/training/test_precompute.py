"""Films into a set: real video files, usable and not, and a set that is gone on with."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from everanimate_core.cli.toy_training import ToyEntry
from everanimate_core.media.frames import fit_frames
from everanimate_core.media.writer import VideoWriter
from everanimate_core.training.precompute import precompute
from everanimate_core.training.records import FilmSet, as_frames, as_pixels
from everanimate_core.training.sources import list_films


def write(path, frames):
    with VideoWriter(path, Fraction(25), 32, 32, codec="libx264rgb", crf=0, pix_fmt="rgb24") as video:
        video.write(frames)


@pytest.fixture
def folder(tmp_path):
    """Two good films, and three that are not."""
    folder = tmp_path / "films"
    folder.mkdir()
    for number, name in enumerate(("a", "b", "short", "posed")):
        frames = torch.rand(12 if name == "short" else 22, 32, 32, 3, generator=torch.Generator().manual_seed(number))
        write(folder / f"{name}.mp4", frames)
        write(folder / f"{name}.pose.mp4", 1 - frames)
    (folder / "posed.pose.mp4").unlink()
    (folder / "torn.mp4").write_bytes(b"torn")
    (folder / "b.txt").write_text("b")
    return folder


def test_bad_films_are_named_counted_and_left_out(folder, tmp_path, settings, toy, codec):
    said = []
    films = precompute(list_films(folder), settings, toy, codec, tmp_path / "set", said.append)
    assert films == FilmSet.open(tmp_path / "set")
    assert films.records == ("000000.safetensors", "000001.safetensors")
    assert films.skipped.keys() == {"posed.mp4", "short.mp4", "torn.mp4"}
    assert films.skipped["posed.mp4"] == "the pose video must be there (NAME.pose.mp4); got none"
    assert films.skipped["short.mp4"] == "the film video must have 22 frames; got 12"
    assert said[1] == "short.mp4: left out; the film video must have 22 frames; got 12."
    assert said[-1] == "5 of 5 films done, 3 left out"
    pixels = films.read(1, ["target_pixels"])["target_pixels"]
    truth = torch.rand(22, 32, 32, 3, generator=torch.Generator().manual_seed(1))[13:]
    assert torch.equal(pixels, (truth * 255).round().byte())


def test_nothing_left_is_an_error(folder, tmp_path, settings, toy, codec):
    bad = [entry for entry in list_films(folder) if entry.name in ("short.mp4", "torn.mp4")]
    with pytest.raises(
        ValueError, match=r"^data must hold a film that can be used; got 2 .* short\.mp4: the film .* got 12\.$"
    ):
        precompute(bad, settings, toy, codec, tmp_path / "set", lambda line: None)


def test_a_set_is_gone_on_with_and_only_what_changed_is_made_again(folder, tmp_path, settings, toy, codec):
    entries, out = list_films(folder)[:2], tmp_path / "set"

    def made(number):
        path = out / f"{number:06}.safetensors"
        return path.read_bytes(), path.stat().st_mtime_ns

    precompute(entries[:1], settings, toy, codec, out, lambda line: None)
    first = made(0)
    precompute(entries, settings, toy, codec, out, lambda line: None)
    second = made(1)
    assert made(0) == first
    precompute([entries[0], replace(entries[1], prompt="c")], settings, toy, codec, out, lambda line: None)
    assert made(0) == first
    assert made(1) != second


def test_a_film_that_went_bad_leaves_no_record_behind(folder, tmp_path, settings, toy, codec):
    precompute(list_films(folder)[:2], settings, toy, codec, tmp_path / "set", lambda line: None)
    (folder / "b.mp4").write_bytes(b"torn")
    films = precompute(list_films(folder)[:2], settings, toy, codec, tmp_path / "set", lambda line: None)
    assert films.records == ("000000.safetensors",)
    assert films.skipped.keys() == {"b.mp4"}


def test_a_set_of_other_settings_is_refused_and_stays(folder, tmp_path, settings, toy, codec):
    entries = list_films(folder)[:1]
    films = precompute(entries, settings, toy, codec, tmp_path / "set", lambda line: None)
    with pytest.raises(
        ValueError, match=r"^out must be a new folder or a set of the same settings \(SetSettings.*\); got SetSettings"
    ):
        precompute(entries, replace(settings, candidates=5), toy, codec, tmp_path / "set", lambda line: None)
    assert FilmSet.open(tmp_path / "set") == films


def test_every_film_has_its_prompts_states_and_clip_tokens_of_its_targets_first_frame(tmp_path, settings, toy, codec):
    asked = []

    def texts(prompts):
        asked.append(list(prompts))
        return torch.stack([torch.full((3, 8), float(ord(prompt[0]))) for prompt in prompts])

    parts = replace(toy, texts=texts, image_encoder=lambda: lambda image: image.flatten(2))
    entries = [ToyEntry(0, "x"), ToyEntry(1, "y"), ToyEntry(2, "x")]
    films = precompute(entries, settings, parts, codec, tmp_path / "set", lambda line: None)
    assert asked == [["x", "y"]]
    for number, prompt in enumerate("xyx"):
        record = films.read(number, ["text", "clip", "target_pixels"])
        assert torch.equal(record["text"], torch.full((1, 3, 8), float(ord(prompt))))
        target = as_frames(record["target_pixels"])
        assert torch.equal(record["clip"], target[:1].flatten(2))
        assert not torch.equal(target[0], target[-1])


def test_faces_are_kept_as_crops_of_the_target(folder, tmp_path, settings, toy, codec):
    faces = torch.rand(22, 32, 32, 3, generator=torch.Generator().manual_seed(9))
    write(folder / "a.face.mp4", faces)
    settings = replace(settings, faces=True)
    films = precompute(list_films(folder)[:2], settings, toy, codec, tmp_path / "set", lambda line: None)
    assert films.skipped == {"b.mp4": "the face video must be there (NAME.face.mp4); got none"}
    face = films.read(0, ["face"])["face"]
    assert face.shape == (9, 512, 512, 3) and face.dtype == torch.uint8
    shown = as_frames((faces[13:] * 255).round().byte())
    assert torch.equal(face, as_pixels(fit_frames(shown, 512, 512, "stretch")))


def test_a_film_whose_latents_are_no_numbers_is_left_out(folder, tmp_path, settings, toy, codec):
    """As a VAE in half precision gives them for some films."""

    class Overflowing(type(codec)):
        def encode(self, frames):
            # Film a alone: its first frame, whatever it is encoded with.
            return super().encode(frames) * (float("nan") if torch.equal(frames[0], first) else 1)

    with list_films(folder)[0].open(settings.demands) as film:
        first = as_frames(as_pixels(film.frames.read([13])))[0]
    films = precompute(list_films(folder)[:2], settings, toy, Overflowing(codec.vae), tmp_path / "set", print)
    assert films.records == ("000001.safetensors",)
    assert films.skipped == {"a.mp4": "all values must be finite numbers; got NaN or infinity in target"}


def test_what_a_killed_precompute_left_is_cleared_away(folder, tmp_path, settings, toy, codec):
    left = tmp_path / "set" / ".everanimate-0123456789abcdef-01234567.part.safetensors"
    left.parent.mkdir()
    left.touch()
    films = precompute(list_films(folder)[:1], settings, toy, codec, tmp_path / "set", print)
    assert {path.name for path in films.folder.iterdir()} == {"set.json", "shared.safetensors", "000000.safetensors"}
    assert films.title(0) == "000000.safetensors (a.mp4)"


def test_a_name_that_no_terminal_shows_is_shown_escaped(folder, tmp_path, settings, toy, codec):
    entries = [*list_films(folder)[:1], replace(list_films(folder)[0], name="a\udcff\x1b.mp4", pose=None)]
    said = []
    films = precompute(entries, settings, toy, codec, tmp_path / "set", said.append)
    assert said[0].startswith("a\\udcff\\x1b.mp4: left out; the pose video must be there")
    assert FilmSet.open(films.folder).skipped.keys() == {"a\\udcff\\x1b.mp4"}
