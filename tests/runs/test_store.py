"""The files of a run: names that stay inside, files that are whole or not there, and what is refused."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from everanimate_core.runs.manifest import ChunkRecord, Manifest
from run_parts import refused
from safetensors.torch import save_file

import everanimate_core
from everanimate_core.digests import digest, file_digest
from everanimate_core.method import Sampled
from everanimate_core.runs.store import RunStore

KEY = "0123456789abcdef"


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "dance")


def record(**changes):
    fields = {
        "key": KEY,
        "latents": "a",
        "segment": "b",
        "start": 0,
        "stop": 9,
        "frames": "c",
        "noise_seed": 2**64 - 1,
        "seconds": 1.25,
        "drift": 0.1,
    }
    return ChunkRecord(**(fields | changes))


# --- the manifest ----------------------------------------------------------------------------------------------------


def test_the_manifest_comes_back_as_it_was(store):
    store.prepare()
    assert store.read_manifest() is None
    settings = {"network": "é", "sigmas": [1.0, 1 / 3, 0.0], "none": None, "yes": True, "fps": "24000/1001"}
    manifest = Manifest(settings, {"0": 1, "10": 3, "9": 2}, (record(), record(drift=None)))
    store.write_manifest(manifest)
    assert store.read_manifest() == manifest
    assert store.read_manifest().seed == 3
    assert json.loads((store.folder / "manifest.json").read_text())["format"] == "everanimate-run-2"


def altered(text, **changes):
    content = json.loads(text)
    content.update(changes)
    return json.dumps(content)


@pytest.mark.parametrize(
    "alter",
    [
        lambda text: text.replace('"noise_seed": 18446744073709551615', '"noise_seed": 0'),
        lambda text: text.replace('"network": "tiny"', '"network": "other"'),
        lambda text: text.replace('"0": 5', '"0": 6'),
        lambda text: altered(text, format="everanimate-run-1"),
        lambda text: altered(text, digest="0" * 32),
        lambda text: altered(text, run={}),
        lambda text: text[:-1],
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: '"run"',
        lambda text: "{}",
    ],
)
def test_an_altered_manifest_is_refused(store, alter):
    store.prepare()
    store.write_manifest(Manifest({"network": "tiny"}, {"0": 5}, (record(),)))
    path = store.folder / "manifest.json"
    text = path.read_text()
    assert alter(text) != text
    path.write_text(alter(text))
    assert refused(store.read_manifest) == (
        "the run's manifest.json must be as it was written (restore it, or start anew with resume false or "
        f"--no-resume: the old run is set aside, the chunks in {store.folder} are untouched); got an altered one."
    )
    assert path.read_text() == alter(text)


def test_a_manifest_that_is_no_text_is_refused(store):
    store.folder.mkdir()
    (store.folder / "manifest.json").write_bytes(b"\xff\xfe\x00")
    assert "got an altered one" in refused(store.read_manifest)


# --- chunks ----------------------------------------------------------------------------------------------------------


def test_what_was_sampled_is_found_under_its_key(store, latents):
    store.prepare()
    assert store.read_sampled(3, KEY, ()) is None
    chunk = latents(7)[:, :, 4:].contiguous()
    store.save_sampled(3, KEY, Sampled(chunk))
    found = store.read_sampled(3, KEY, ())
    assert torch.equal(found.latents, chunk)
    assert found.extras == {}
    assert store.read_sampled(3, KEY[::-1], ()) is None
    assert store.read_sampled(2, KEY, ()) is None


def test_extras_are_kept_with_the_latents(store, latents):
    store.prepare()
    sampled = Sampled(latents(3), {"tails": latents(2, seed=5)})
    store.save_sampled(0, KEY, sampled)
    found = store.read_sampled(0, KEY, ("tails",))
    assert torch.equal(found.latents, sampled.latents)
    assert found.extras.keys() == {"tails"}
    assert torch.equal(found.extras["tails"], sampled.extras["tails"])
    # Those of a method without extras, or with others, are not taken for them.
    assert store.read_sampled(0, KEY, ()) is None
    assert store.read_sampled(0, KEY, ("heads",)) is None
    save_file(
        {"latents": sampled.latents, "tails": 2 * sampled.extras["tails"]},
        store.chunk_path(0),
        {"key": KEY, "latents": digest(*sampled.extras.values())},
    )
    assert store.read_sampled(0, KEY, ("tails",)) is None


def test_no_altered_byte_gets_through(store, latents):
    store.folder.mkdir()
    store.save_sampled(0, KEY, Sampled(latents(1)))
    path = store.chunk_path(0)
    whole = path.read_bytes()
    for offset in range(len(whole)):
        for bit in (1, 4, 32):
            content = bytearray(whole)
            content[offset] ^= bit
            path.write_bytes(content)
            found = store.read_sampled(0, KEY, ())
            # Only blanks in the header can differ without changing what is read.
            assert found is None or torch.equal(found.latents, latents(1)), (offset, bit)
    for length in (0, 4, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert store.read_sampled(0, KEY, ()) is None


@dataclass(frozen=True)
class Keeper:
    """Of a method, what a store looks at."""

    extras: tuple[str, ...] = ("tails",)

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


def written(store, index):
    return record(latents=file_digest(store.chunk_path(index)))


def test_a_chunk_comes_back_with_what_it_hands_on(store, sampled, kept):
    store.prepare()
    store.save_chunk(0, KEY, sampled, kept)
    found = store.load_chunk(0, written(store, 0), KEEPER)
    assert found.keys() == {"latents", "tails", "last_frames"}
    assert torch.equal(found["latents"], sampled.latents)
    assert torch.equal(found["tails"], sampled.extras["tails"])
    assert torch.equal(found["last_frames"], kept["last_frames"])
    # A finished chunk is one that was sampled, too.
    assert torch.equal(store.read_sampled(0, KEY, KEEPER.extras).latents, sampled.latents)


def test_what_was_read_does_not_change_with_the_file(store, sampled, kept):
    store.prepare()
    store.save_chunk(0, KEY, sampled, kept)
    found, again = store.load_chunk(0, written(store, 0), KEEPER), store.read_sampled(0, KEY, KEEPER.extras)
    path = store.chunk_path(0)
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(found["latents"], sampled.latents)
    assert torch.equal(found["last_frames"], kept["last_frames"])
    assert torch.equal(again.latents, sampled.latents)
    assert torch.equal(again.extras["tails"], sampled.extras["tails"])


@pytest.mark.parametrize(("damage", "got"), [("cut", "an altered"), ("gone", "no"), ("without tails", "an altered")])
def test_a_damaged_chunk_is_refused(store, sampled, kept, damage, got):
    store.prepare()
    store.save_chunk(12, KEY, sampled if damage != "without tails" else Sampled(sampled.latents), kept)
    chunk = written(store, 12)
    path = store.chunk_path(12)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    if damage == "gone":
        path.unlink()
    assert refused(store.load_chunk, 12, chunk, KEEPER) == (
        "chunk_0012.safetensors must be as it was written (make it and all after it again with from_chunk or "
        f"--from-chunk 12; what is before is kept); got {got} file."
    )


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
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
        store.write_manifest(Manifest({}, {"0": 0}))
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]


def test_old_runs_are_set_aside_under_new_names(store):
    store.set_aside()
    assert not store.folder.exists()
    for content in ("first", "second", "third"):
        store.folder.mkdir()
        (store.folder / "file").write_text(content)
        store.set_aside()
        assert not store.folder.exists()
    aside = [store.folder.with_name(f"dance.{number}") / "file" for number in (1, 2, 3)]
    assert [path.read_text() for path in aside] == ["first", "second", "third"]


def test_the_manifest_names_the_versions_that_made_it(tmp_path):
    store = RunStore(tmp_path / "run")
    store.prepare()
    store.write_manifest(Manifest({}, {"0": 0}))
    content = json.loads((store.folder / "manifest.json").read_text())
    assert content["versions"] == {"everanimate": everanimate_core.__version__, "torch": torch.__version__}


def test_the_version_is_the_packages():
    pyproject = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    assert f'version = "{everanimate_core.__version__}"' in pyproject
