"""The files of a run: whole or not there, each under its own name, and one writer at a time."""

import os
import signal
from dataclasses import dataclass, replace

import pytest
import torch
from run_parts import posix_only, refused
from safetensors.torch import save_file

from everanimate_core.digests import digest, file_digest
from everanimate_core.files import write_whole
from everanimate_core.method import Sampled
from everanimate_core.runs.chunks import ChunkRecord, Recipe, Segment
from everanimate_core.runs.store import RunStore, file_is, sampled_in
from everanimate_core.runs.takes import Take

KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
OUTPUT = {"fps": "25"}


@pytest.fixture
def store(tmp_path):
    """The files of a run whose folders are there."""
    store = RunStore(tmp_path / "dance")
    store.prepare()
    return store


def record(key=KEY, **changes):
    return replace(ChunkRecord(key, Recipe("s", 0, {"pose": "p"}, 2**64 - 1), "a", 1.25, 0.1, 0.1), **changes)


# --- takes -----------------------------------------------------------------------------------------------------------


def test_a_take_comes_back_as_it_was(store):
    assert store.take_numbers() == []
    for number in (1, 12, 100_000):
        take = Take(number, {"network": "é"}, OUTPUT, {}, 5)
        store.write_take(take)
        assert store.read_take(number) == take
    assert [path.name for path in sorted((store.folder / "takes").iterdir())] == [
        "00001.json",
        "00012.json",
        "100000.json",
    ]
    # Other files are none.
    for name in ("1.json", "00002.mp4", "x00003.json", "00004.json.bak", "0000000005.json", "٠٠٠٠٦.json"):
        (store.folder / "takes" / name).touch()
    assert store.take_numbers() == [1, 12, 100_000]


def test_a_run_that_is_not_there_has_no_takes(tmp_path):
    assert RunStore(tmp_path / "none").take_numbers() == []


def refusal_of(number, got, store):
    return (
        f"take {number:05}.json must be as it was written (restore it, or start anew with resume false or --no-resume: "
        f"that opens the next take, and the chunks in {store.folder} are untouched); got {got}."
    )


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (lambda text: text.replace(b'"seed": 5', b'"seed": 6'), "an altered one"),
        (lambda text: text[:-1], "an altered one"),
        (lambda text: b"", "an altered one"),
        (lambda text: Take(1, {}, OUTPUT, {}, 5).to_json(), "that of take 1"),
    ],
)
def test_an_altered_take_is_refused(store, content, got):
    store.write_take(Take(2, {"network": "tiny"}, OUTPUT, {}, 5))
    path = store.take_path(2)
    altered = content(path.read_bytes())
    assert altered != path.read_bytes()
    path.write_bytes(altered)
    assert refused(store.read_take, 2) == refusal_of(2, got, store)
    assert path.read_bytes() == altered


def test_what_is_no_file_is_no_take(store):
    store.take_path(3).mkdir()
    assert store.take_numbers() == [3]
    assert refused(store.read_take, 3) == refusal_of(3, "no file", store)


# --- records ---------------------------------------------------------------------------------------------------------


def test_a_record_is_found_under_its_key(store):
    assert store.read_record(KEY) is None
    store.write_record(record())
    assert store.read_record(KEY) == record()
    assert store.read_record(OTHER) is None
    assert [path.name for path in (store.folder / "chunks").iterdir()] == [f"{KEY}.json"]


def test_a_damaged_record_is_none(store):
    store.write_record(record())
    path = store.record_path(KEY)
    whole = path.read_bytes()
    for content in (whole[:-1], b"", whole.replace(b"1.25", b"2.25"), record(OTHER).to_json()):
        assert content != whole
        path.write_bytes(content)
        assert store.read_record(KEY) is None
    path.unlink()
    path.mkdir()
    assert store.read_record(KEY) is None


def test_how_many_chunks_are_there(store):
    keys = [f"{number:032x}" for number in range(3)]
    for key in keys:
        store.save_sampled(key, Sampled(torch.zeros(1, 16, 1, 2, 4)))
        store.write_record(record(key))
    assert store.there(keys) == 3
    assert store.there([]) == 0
    assert store.there([OTHER, *keys]) == 0
    store.latents_path(keys[2]).unlink()
    assert store.there(keys) == 2
    store.record_path(keys[0]).unlink()
    assert store.there(keys) == 0


def test_where_the_files_of_a_chunk_lie(store):
    (store.folder / "segment_0007.mp4").write_bytes(b"of 0.1.0")
    segments = {"5x25": Segment(file_digest(store.folder / "segment_0007.mp4"), "d")}
    new, earlier = record(segments=segments), record(segments=segments, earlier=7)
    chunks = store.folder / "chunks"
    assert store.chunk_file(new) == chunks / f"{KEY}.safetensors"
    assert store.segment_path(new, "5x25") == chunks / f"{KEY}-5x25.mp4"
    assert store.chunk_file(earlier) == store.folder / "chunk_0007.safetensors"
    assert store.segment_path(earlier, "5x25") == store.folder / "segment_0007.mp4"
    # What 0.1.0 made is never replaced: another video of it, or a new one where it is damaged, lies with the others.
    assert store.segment_path(earlier, "3x25") == chunks / f"{KEY}-3x25.mp4"
    (store.folder / "segment_0007.mp4").write_bytes(b"altered")
    assert store.segment_path(earlier, "5x25") == chunks / f"{KEY}-5x25.mp4"


# --- chunks ----------------------------------------------------------------------------------------------------------


def test_what_was_sampled_is_found_under_its_key(store, latents):
    assert store.read_sampled(KEY, ()) is None
    chunk = latents(7)[:, :, 4:].contiguous()
    store.save_sampled(KEY, Sampled(chunk))
    found = store.read_sampled(KEY, ())
    assert torch.equal(found.latents, chunk)
    assert found.extras == {}
    assert store.read_sampled(OTHER, ()) is None
    # Under another name it is not what is asked for.
    store.latents_path(KEY).rename(store.latents_path(OTHER))
    assert store.read_sampled(OTHER, ()) is None
    assert torch.equal(sampled_in(store.latents_path(OTHER), KEY, ()).latents, chunk)


def test_extras_are_kept_with_the_latents(store, latents):
    sampled = Sampled(latents(3), {"tails": latents(2, seed=5)})
    store.save_sampled(KEY, sampled)
    found = store.read_sampled(KEY, ("tails",))
    assert torch.equal(found.latents, sampled.latents)
    assert found.extras.keys() == {"tails"}
    assert torch.equal(found.extras["tails"], sampled.extras["tails"])
    # Those of a method without extras, or with others, are not taken for them.
    assert store.read_sampled(KEY, ()) is None
    assert store.read_sampled(KEY, ("heads",)) is None
    save_file(
        {"latents": sampled.latents, "tails": 2 * sampled.extras["tails"]},
        store.latents_path(KEY),
        {"key": KEY, "latents": digest(*sampled.extras.values())},
    )
    assert store.read_sampled(KEY, ("tails",)) is None


def test_no_altered_byte_gets_through(store, latents):
    store.save_sampled(KEY, Sampled(latents(1)))
    path = store.latents_path(KEY)
    whole = path.read_bytes()
    for offset in range(len(whole)):
        for bit in (1, 4, 32):
            content = bytearray(whole)
            content[offset] ^= bit
            path.write_bytes(content)
            found = store.read_sampled(KEY, ())
            # Only blanks in the header can differ without changing what is read.
            assert found is None or torch.equal(found.latents, latents(1)), (offset, bit)
    for length in (0, 4, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert store.read_sampled(KEY, ()) is None


@dataclass(frozen=True)
class Keeper:
    """Of a method, what a store looks at."""

    extras: tuple[str, ...] = ("tails",)

    def types(self):
        return {}

    def shapes(self):
        return {"latents": (1, 16, 3, 2, 4), "tails": (1, 16, 2, 2, 4), "last_frames": (None, 16, 32, 3)}


KEEPER = Keeper()


@pytest.fixture
def sampled(latents):
    return Sampled(latents(3, seed=1), {"tails": latents(2, seed=2)})


@pytest.fixture
def kept(pictures):
    """What a chunk hands on; pictures that lie in memory otherwise than in a file."""
    return {"last_frames": pictures(1, seed=4).transpose(1, 2).contiguous().transpose(1, 2)}


def written(store):
    return record(latents=file_digest(store.latents_path(KEY)))


def test_a_chunk_comes_back_with_what_it_hands_on(store, sampled, kept):
    store.save_chunk(KEY, sampled, kept)
    found = store.load(written(store), KEEPER)
    assert found.keys() == {"latents", "tails", "last_frames"}
    assert torch.equal(found["latents"], sampled.latents)
    assert torch.equal(found["tails"], sampled.extras["tails"])
    assert torch.equal(found["last_frames"], kept["last_frames"])
    # A finished chunk is one that was sampled, too.
    assert torch.equal(store.read_sampled(KEY, KEEPER.extras).latents, sampled.latents)


def test_a_chunk_of_0_1_0_is_read_where_it_lies(store, sampled, kept):
    store.save_chunk(KEY, sampled, kept)
    chunk = replace(written(store), earlier=3)
    assert store.load(chunk, KEEPER) is None
    store.latents_path(KEY).rename(store.folder / "chunk_0003.safetensors")
    assert torch.equal(store.load(chunk, KEEPER)["latents"], sampled.latents)


def test_what_was_read_does_not_change_with_the_file(store, sampled, kept):
    store.save_chunk(KEY, sampled, kept)
    found, again = store.load(written(store), KEEPER), store.read_sampled(KEY, KEEPER.extras)
    path = store.latents_path(KEY)
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(found["latents"], sampled.latents)
    assert torch.equal(found["last_frames"], kept["last_frames"])
    assert torch.equal(again.latents, sampled.latents)
    assert torch.equal(again.extras["tails"], sampled.extras["tails"])


def spoiled(sampled, kept, how):
    """The chunk with something else in it."""
    latents, tails = sampled.latents, sampled.extras["tails"]
    return {
        "without tails": (Sampled(latents), kept),
        "more": (sampled, kept | {"references": kept["last_frames"]}),
        "half": (Sampled(latents.half(), {"tails": tails}), kept),
        "short": (Sampled(latents[:, :, :2], {"tails": tails}), kept),
        "none": (Sampled(latents[:, :, :0], {"tails": tails}), kept),
        "a picture less": (sampled, {"last_frames": kept["last_frames"][:0]}),
        "lower": (sampled, {"last_frames": kept["last_frames"][:, :8]}),
    }[how]


@pytest.mark.parametrize("how", ["without tails", "more", "half", "short", "none", "a picture less", "lower"])
def test_a_chunk_that_is_not_what_the_method_keeps_is_none(store, sampled, kept, how):
    store.save_chunk(KEY, *spoiled(sampled, kept, how))
    assert store.load(written(store), KEEPER) is None


def test_a_damaged_chunk_is_none(store, sampled, kept):
    store.save_chunk(KEY, sampled, kept)
    chunk, path = written(store), store.latents_path(KEY)
    whole = path.read_bytes()
    # Of what it was, and with a digest that fits: neither is read.
    for content in (whole[:-1], whole[:99], b"", whole[:-1] + b"\xff"):
        path.write_bytes(content)
        assert store.load(chunk, KEEPER) is None
    path.write_bytes(whole[:-1])
    assert store.load(written(store), KEEPER) is None
    path.unlink()
    assert store.load(chunk, KEEPER) is None
    path.mkdir()
    assert store.load(chunk, KEEPER) is None


def test_numbers_that_are_none_are_not_read(store, sampled, kept):
    # As 0.1.0 kept them.
    tensors = {"latents": sampled.latents.clone(), **sampled.extras, "last_frames": kept["last_frames"].contiguous()}
    for value in (float("nan"), float("inf")):
        tensors["latents"][0, 0, 0, 0, 0] = value
        save_file(tensors, store.latents_path(KEY), {"key": KEY})
        assert store.load(written(store), KEEPER) is None


def test_a_file_is_known_by_its_content(tmp_path):
    path = tmp_path / "file"
    assert not file_is(path, "")
    path.write_bytes(b"content")
    assert file_is(path, file_digest(path))
    assert not file_is(path, "0" * 32)
    assert not file_is(tmp_path, "")


# --- the folder ------------------------------------------------------------------------------------------------------


def test_a_folder_in_which_nothing_was_kept_goes(tmp_path):
    store = RunStore(tmp_path / "dance")
    store.prepare()
    assert sorted(path.name for path in store.folder.iterdir()) == ["chunks", "takes"]
    assert not store.deleted
    store.leave()
    assert list(tmp_path.iterdir()) == []
    # It was left, and nobody deleted it.
    assert not store.deleted
    store.prepare()
    store.write_record(record())
    store.leave()
    assert store.read_record(KEY) == record()
    for folder in ("chunks", "takes"):
        for path in (store.folder / folder).iterdir():
            path.unlink()
        (store.folder / folder).rmdir()
    store.folder.rmdir()
    assert store.deleted


def test_parts_of_files_are_cleared_and_nothing_else(store):
    store.write_record(record())
    left = []
    for path in (store.folder / "file", store.latents_path(KEY), store.take_path(1)):
        with pytest.raises(KeyboardInterrupt), write_whole(path) as part:
            left.append(part)
            raise KeyboardInterrupt
    for part in left:
        part.write_bytes(b"half")
    others = [store.folder / name for name in ("notes.txt", "chunks/.part", "takes/00001.mp4")]
    for path in others:
        path.write_bytes(b"the user's")
    store.clear()
    assert [part for part in left if part.exists()] == []
    assert [path for path in others if not path.exists()] == []
    assert store.read_record(KEY) == record()
    # No folder, nothing to clear.
    RunStore(store.folder / "none").clear()


# --- one writer ------------------------------------------------------------------------------------------------------


def test_one_writer_at_a_time(tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "down" / "dance"
    store = RunStore(folder)
    with store.locked():
        assert not folder.exists()
        monkeypatch.chdir(folder.parent)
        for other in (RunStore(folder), RunStore("dance"), RunStore("./x/../dance"), store):
            assert refused(other.locked().__enter__) == (
                "a run is written by one program at a time (choose another run name or --out, or wait); got a second "
                f"one for {folder}."
            )
        with RunStore(folder.with_name("other")).locked():
            pass
    with pytest.raises(KeyboardInterrupt), store.locked():
        raise KeyboardInterrupt
    with store.locked():
        pass


@posix_only
def test_a_killed_writer_keeps_nobody_out(store):
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with store.locked():
            os.write(told, b"x")
            signal.pause()
    os.read(ready, 1)
    assert "one program at a time" in refused(store.locked().__enter__)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with store.locked():
        pass


def test_a_run_in_the_current_folder(tmp_path, monkeypatch):
    folder = tmp_path / "dance"
    folder.mkdir()
    monkeypatch.chdir(folder)
    store = RunStore(".")
    with store.locked():
        store.prepare()
        store.write_take(Take(1, {}, OUTPUT, {}, 0))
    assert sorted(path.name for path in folder.iterdir()) == ["chunks", "takes"]
    assert store.take_numbers() == [1]
