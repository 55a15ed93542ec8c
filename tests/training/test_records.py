import pytest
import torch
from safetensors.torch import save_file

from everanimate_core.cli.toy_training import ToyEntry
from everanimate_core.everanimate.geometry import ChunkGeometry
from everanimate_core.everanimate.memory import encode_singly
from everanimate_core.training.records import (
    FilmSet,
    SetSettings,
    as_frames,
    as_pixels,
    candidate_frames,
    encode_film,
    read_stamp,
    write_record,
)


def test_pixels_of_eight_bits_stay_as_they_are():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_pixels(as_frames(pixels)), pixels)
    assert as_pixels(torch.tensor([-0.1, 1.2])).tolist() == [0, 255]


def test_candidates_are_frames_of_the_first_chunk_in_time_order(settings):
    draws = [candidate_frames(settings, number) for number in range(50)]
    for frames in draws:
        assert len(set(frames)) == 6 and frames == sorted(frames)
    assert {frame for frames in draws for frame in frames} == set(range(4, 17))
    assert draws[3] == candidate_frames(settings, 3)


def test_a_record_is_the_encoding_of_the_frames_that_the_layout_names(settings, codec):
    with ToyEntry(1).open(settings.demands) as film:
        record = encode_film(film, settings, 1, codec)
        frames, pose = (as_frames(as_pixels(source.read(range(22)))) for source in (film.frames, film.pose))
    chosen = candidate_frames(settings, 1)
    assert torch.equal(record["references"], encode_singly(frames[:4], codec))
    assert torch.equal(record["motion"], codec.encode(frames[4:17])[:, :, 3:])
    assert torch.equal(record["singles"], encode_singly(frames[chosen], codec))
    assert torch.equal(record["target"], codec.encode(frames[13:22]))
    assert torch.equal(record["pose"], codec.encode(pose[13:22]))
    assert torch.equal(as_frames(record["target_pixels"]), frames[13:22])
    assert torch.equal(as_frames(record["single_pixels"]), frames[chosen])
    assert record["target"].shape == (1, 16, 3, 4, 4) and record["motion"].shape[2] == 1
    assert "face" not in record


def test_a_set_reads_what_it_wrote(films):
    again = FilmSet.open(films.folder)
    assert again == films
    assert len(again.records) == 5
    assert again.read(2, ["target", "face"]).keys() == {"target"}


def test_the_black_pose_is_an_encoded_black_video(films, codec):
    assert torch.equal(films.black_pose, codec.encode(torch.zeros(9, 32, 32, 3)))


def test_a_stamp_of_no_file_and_of_a_damaged_one(tmp_path):
    path = tmp_path / "record.safetensors"
    assert read_stamp(path) is None
    write_record(path, {"target": torch.zeros(2)}, "stamp", "film")
    assert read_stamp(path) == "stamp"
    path.write_bytes(path.read_bytes()[:-4])
    assert read_stamp(path) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.safetensors"]


def test_a_damaged_record_and_a_missing_one_are_named(films, tmp_path):
    (tmp_path / "000000.safetensors").write_bytes(b"{")
    broken = FilmSet(tmp_path, films.settings, ("000000.safetensors", "000001.safetensors"))
    for film in range(2):
        with pytest.raises(ValueError, match=rf"^a file of a training set .* got .*00000{film}\.safetensors, which"):
            broken.read(film, ["target"])


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^data must be a folder that `everanimate train precompute` made; got"):
        FilmSet.open(tmp_path)
    save_file({}, tmp_path / "x.safetensors")
    (tmp_path / "set.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match=r"got format 'other' instead of everanimate-training-1 in .*set\.json\.$"):
        FilmSet.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"candidates": 3},
            r"^candidates must be between the 4 anchors and the 13 frames .*; got 3\.$",
        ),
        ({"candidates": 14}, r"got 14\.$"),
        ({"width": 40}, r"^width must be a multiple of 16"),
        ({"geometry": ChunkGeometry(9, overlap=5)}, r"^overlap must be 4 frames"),
    ],
)
def test_settings_that_make_no_set_are_refused(settings, change, message):
    with pytest.raises(ValueError, match=message):
        SetSettings(**{**vars(settings), **change})


def test_the_digest_of_the_vae_is_that_of_sets_that_0_1_0_made(settings):
    """Or none of them could be trained on any more; states of trainings have such a digest of their network."""
    assert settings.vae == "cd105d02218c8a76ad31bcb8b753190e"
