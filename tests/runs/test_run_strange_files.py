"""Files of a run that hold anything at all: refused in words of our own, or made again, or whole."""

import json
import random
from dataclasses import replace

import pytest
import torch
from mutations import mutations
from run_parts import Sampler, Stop, refused
from safetensors.torch import load, save_file

from everanimate_core.digests import file_digest
from everanimate_core.runs.chunks import ChunkRecord
from everanimate_core.runs.names import run_folder
from everanimate_core.runs.sealed import seal
from everanimate_core.runs.store import RunError
from everanimate_core.runs.takes import Take

WRONG = [None, True, -1, 1.5, 10**30, "x", "\x1b[2J", [], {}, [[]], "0" * 5000, {"0": "x"}, 1e308, 0, 5, "0" * 32]
TEXTS = [b"[" * 10**5, b'{"format":' * 5000, b"1" * 5000, b'{"content": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}"]


def contents(kind, whole, places, chance):
    """What a file of that kind might hold: anything, altered bytes, and bodies whose digest fits.

    places: gives the dicts in a body in which values are changed.
    """
    found = [*TEXTS, *[seal(kind, value) for value in WRONG], seal(f"{kind}9\x1b[2J", {})]
    for _ in range(mutations(100)):
        altered = json.loads(whole)["content"]
        place = chance.choice(places(altered))
        name = chance.choice(list(place))
        if chance.random() < 0.3:
            del place[name]
        else:
            place[chance.choice([name, "other"])] = chance.choice(WRONG)
        found.append(seal(kind, altered))
        cut = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.5 else whole)
        for _ in range(chance.randrange(4)):
            cut[chance.randrange(len(cut))] = chance.randrange(256) if cut else 0
        found.append(bytes(cut))
    return found


def test_takes_of_anything_get_words_of_our_own(finished, job):
    path, chance = finished.store.take_path(1), random.Random(0)
    whole, before = path.read_bytes(), finished.files()

    def places(body):
        return [body, body["settings"], body["output"], body["widgets"], chance.choice(body["chunks"])]

    used = 0
    for number, content in enumerate(contents("everanimate-take-1", whole, places, chance)):
        path.write_bytes(content)
        try:
            found = finished.store.read_take(1)
        except RunError as error:
            assert str(error).startswith("take 00001.json must be as it was written")
            assert str(error).isprintable()
            continue
        assert isinstance(found, Take)
        assert Take.from_json(found.to_json()) == found
        # What passes can be used: with the run, or refused in words of our own.
        if number % 4 == 0:
            used += 1

            def sample(request, seed):
                raise Stop

            try:
                finished.start(job(), sample)
            except Stop:
                pass
            except RunError as error:
                assert str(error).isprintable()
            path.write_bytes(whole)
            for other in finished.store.take_numbers()[1:]:
                finished.store.take_path(other).unlink()
            for older in finished.store.folder.glob("takes/*.mp4"):
                older.unlink()
    assert used > 5
    path.write_bytes(whole)
    assert finished.files() == before
    finished.start(job())
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])


def test_records_of_anything_are_damaged_or_whole(finished):
    key, chance = finished.take().chunks[2].key, random.Random(0)
    path = finished.store.record_path(key)
    whole, record = path.read_bytes(), finished.record(2)

    def places(body):
        return [body, body["recipe"], body["recipe"]["seen"], body["segments"], *body["segments"].values()]

    for content in contents("everanimate-chunk-1", whole, places, chance):
        path.write_bytes(content)
        found = finished.store.read_record(key)
        if found is not None:
            assert found.key == key
            assert ChunkRecord.from_json(found.to_json()) == found
    path.write_bytes(whole)
    assert finished.store.read_record(key) == record


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["recipe"].update(noise_seed=7),
        lambda body: body["recipe"].update(settings="other"),
        lambda body: body.update(earlier=1),
        lambda body: body.update(latents="0" * 32),
        lambda body: body.update(segments={}),
        lambda body: body.update(key="0" * 32),
        None,
    ],
)
def test_a_chunk_whose_record_is_another_one_is_made_again_alone(finished, job, change):
    # What its file holds is what was sampled for it, and is not sampled again.
    path, result = finished.store.record_path(finished.take().chunks[2].key), finished.result()
    before = finished.files()
    if change is None:
        path.unlink()
    else:
        body = json.loads(path.read_bytes())["content"]
        change(body)
        path.write_bytes(seal("everanimate-chunk-1", body))
    finished.start(job())
    assert finished.made == []
    assert finished.take().number == 1
    assert finished.result()[2:] == result[2:]
    assert {name: content for name, (content, _) in finished.files().items()}.keys() == before.keys()


def test_chunk_files_of_anything_are_damaged_or_whole(finished, job):
    store, task, chance = finished.store, job(), random.Random(0)
    record, path = finished.record(0), finished.chunk_path(0)
    whole = path.read_bytes()
    tensors = load(whole)
    contents = [b"", b"x", b"\xff" * 99, whole[:99], b"\x10\0\0\0\0\0\0\0" + b"[" * 16]
    for _ in range(mutations(150)):
        content = bytearray(whole)
        for _ in range(1 + chance.randrange(3)):
            content[chance.randrange(len(content) if chance.random() < 0.3 else 400)] = chance.randrange(256)
        contents.append(bytes(content[: chance.randrange(len(content))] if chance.random() < 0.2 else content))
    for content in contents:
        path.write_bytes(content)
        found = store.read_sampled(record.key, ())
        assert found is None or torch.equal(found.latents, tensors["latents"])
        assert store.load(record, task.method) is None or content == whole
        # Whoever can write the file can write a digest that fits.
        loaded = store.load(replace(record, latents=file_digest(path)), task.method)
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
def test_a_chunk_that_holds_something_else_is_made_again(finished, job, change):
    store, result = finished.store, finished.result()
    record, path = finished.record(0), finished.chunk_path(0)
    tensors = load(path.read_bytes())
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    store.write_record(replace(record, latents=file_digest(path)))
    assert store.load(finished.record(0), job().method) is None
    finished.start(job(), Sampler())
    assert (finished.made, finished.kept) == ([0], [1, 2, 3, 4, 5])
    assert finished.take().number == 1
    assert torch.equal(finished.latents()[0], result[1][0]["latents"])


def test_names_are_shown_with_their_control_characters_escaped(tmp_path):
    assert refused(run_folder, tmp_path, "a\x1b[2J\n").isprintable()
