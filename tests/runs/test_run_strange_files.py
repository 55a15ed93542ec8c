"""Files of a run that hold anything at all: refused in words of our own, or whole."""

import json
import random
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from everanimate_core.runs.manifest import Manifest
from run_parts import refused
from safetensors.torch import load, save_file

from everanimate_core.digests import digest, file_digest
from everanimate_core.runs.names import run_folder
from everanimate_core.runs.run import begin
from everanimate_core.runs.store import RunError


def forged(body, **changes):
    """A manifest with a digest that fits."""
    version = changes.pop("format", "everanimate-run-2")
    return json.dumps({"format": version, "digest": digest(version, body), "run": body, **changes}).encode()


WRONG = [None, True, -1, 1.5, 10**30, "x", "\x1b[2J", [], {}, [[]], "0" * 5000, {"0": "x"}, float("1e308")]


def test_manifests_of_anything_get_words_of_our_own(finished, job):
    path = finished.store.folder / "manifest.json"
    whole = path.read_bytes()
    chance, body = random.Random(0), json.loads(whole)["run"]
    contents = [b"[" * 10**5, b'{"format":' * 5000, b"1" * 5000, b'{"run": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}"]
    contents += [forged(value) for value in WRONG] + [forged(body, format="everanimate-run-9\x1b[2J")]
    for _ in range(300):
        altered = json.loads(whole)["run"]
        place = chance.choice([altered, altered["seeds"], chance.choice(altered["chunks"])])
        name = chance.choice(list(place))
        if chance.random() < 0.3:
            del place[name]
        else:
            place[chance.choice([name, "other"])] = chance.choice(WRONG)
        contents.append(forged(altered))
        cut = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.5 else whole)
        for _ in range(chance.randrange(4)):
            cut[chance.randrange(len(cut))] = chance.randrange(256) if cut else 0
        contents.append(bytes(cut))
    task = job()
    for content in contents:
        path.write_bytes(content)
        try:
            found = finished.take()
        except RunError as error:
            assert str(error).startswith("the run's manifest.json must be as it was written")
            assert str(error).isprintable()
        else:
            assert isinstance(found, Manifest)
            assert Manifest.from_json(found.to_json().encode()) == found
            # What passes can be used: with the run, or refused as another one.
            with suppress(RunError):
                begin(task, found, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("start", -1), ("start", 2**31), ("stop", -1), ("stop", 2**31), ("stop", 9.0)],
        *[("noise_seed", -1), ("noise_seed", 2**64), ("seconds", 1e300), ("drift", True)],
    ],
)
def test_a_record_of_numbers_that_no_chunk_has_is_refused(finished, name, value):
    path = finished.store.folder / "manifest.json"
    body = json.loads(path.read_bytes())["run"]
    body["chunks"][1][name] = value
    path.write_bytes(forged(body))
    assert f"got one whose record of chunk 1 has another kind of {name}." in refused(finished.store.read_manifest)


def test_chunk_files_of_anything_are_damaged_or_whole(finished, job):
    store, task = finished.store, job()
    path, chance = store.chunk_path(0), random.Random(0)
    record, whole, key = store.read_manifest().chunks[0], path.read_bytes(), store.read_manifest().chunks[0].key
    tensors = load(whole)
    contents = [b"", b"x", b"\xff" * 99, whole[:99], b"\x10\0\0\0\0\0\0\0" + b"[" * 16]
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(1 + chance.randrange(3)):
            content[chance.randrange(len(content) if chance.random() < 0.3 else 400)] = chance.randrange(256)
        contents.append(bytes(content[: chance.randrange(len(content))] if chance.random() < 0.2 else content))
    for content in contents:
        path.write_bytes(content)
        found = store.read_sampled(0, key, ())
        assert found is None or torch.equal(found.latents, tensors["latents"])
        for taken in (record, replace(record, latents=file_digest(path))):
            try:
                loaded = store.load_chunk(0, taken, task.method)
            except RunError as error:
                assert "chunk_0000.safetensors must be as it was written" in str(error)
            else:
                assert loaded is None or loaded["latents"].shape == tensors["latents"].shape


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("latents"),
        lambda tensors: tensors.update(references=tensors["last_frames"] * 1),
        lambda tensors: tensors.update(latents=tensors["latents"].half()),
        lambda tensors: tensors.update(latents=tensors["latents"][:, :, :0]),
        lambda tensors: tensors.update(identity=tensors["identity"][:, :, :2]),
        lambda tensors: tensors.update(statistics=torch.zeros(2)),
        lambda tensors: tensors.update(last_frames=tensors["last_frames"][:, :8]),
    ],
)
def test_a_chunk_that_holds_something_else_is_damaged(finished, job, change):
    store = finished.store
    record, path = store.read_manifest().chunks[0], store.chunk_path(0)
    tensors = load(path.read_bytes())
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    assert "must be as it was written" in refused(
        store.load_chunk, 0, replace(record, latents=file_digest(path)), job().method
    )


def test_names_are_shown_with_their_control_characters_escaped(tmp_path):
    assert refused(run_folder, tmp_path, "a\x1b[2J\n").isprintable()
