"""Run folders of 0.1.0: what is read of them, what is refused, and which of their chunks a job finds in them."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from run_parts import refused, small_job
from safetensors.torch import load

from everanimate_core.digests import digest
from everanimate_core.runs.chunks import Recipe, Segment
from everanimate_core.runs.earlier import (
    FIRST_FORMAT,
    Earlier,
    Manifest,
    clear_earlier_parts,
    earlier_take,
    read_earlier,
)
from everanimate_core.runs.sealed import Altered
from everanimate_core.runs.store import RunStore
from everanimate_core.runs.takes import UNFINISHED, Take, TakeChunk

# It was stopped after chunk 4 of 6 was sampled.
OLD = Path(__file__).parents[1] / "data" / "old_runs" / "core" / "dance"
NETWORK = {"network": "ea7b9e304d97bffeb34ab2c7f4575889", "sigmas": [1.0, 0.5, 0.0]}
job = partial(small_job, network=NETWORK, prompts=[digest("")])


@pytest.fixture
def store(tmp_path):
    shutil.copytree(OLD, tmp_path / "dance")
    return RunStore(tmp_path / "dance")


def written():
    return json.loads((OLD / "manifest.json").read_bytes())


def manifest():
    return Manifest.from_json((OLD / "manifest.json").read_bytes())


def forged(body, version=FIRST_FORMAT):
    """A manifest with a digest that fits."""
    parts = (body,) if version == FIRST_FORMAT else (version, body)
    return json.dumps({"format": version, "digest": digest(*parts), "run": body}).encode()


# --- the manifest ----------------------------------------------------------------------------------------------------


def test_what_0_1_0_wrote_is_read():
    found, told = manifest(), written()["run"]
    assert (found.format, found.settings, found.seeds) == (FIRST_FORMAT, told["settings"], {"0": 0})
    assert [vars(chunk) for chunk in found.chunks] == told["chunks"]


def test_the_seed_is_that_of_the_last_redo():
    body = written()["run"] | {"seeds": {"0": 1, "10": 3, "9": 2}}
    assert Manifest.from_json(forged(body)).seed == 3
    assert Manifest.from_json(forged(body, "everanimate-run-2")).seeds == {"0": 1, "10": 3, "9": 2}


def test_a_drift_without_a_value_was_written_as_nan():
    body = written()["run"]
    body["chunks"][2]["drift"] = float("nan")
    assert [chunk.drift is None for chunk in Manifest.from_json(forged(body)).chunks] == [False, False, True, False]


def altered(content, **changes):
    told = json.loads(content)
    told.update(changes)
    return json.dumps(told).encode()


@pytest.mark.parametrize(
    "alter",
    [
        lambda text: text.replace(b'"noise_seed": 42', b'"noise_seed": 43'),
        lambda text: text.replace(b'"width": 32', b'"width": 48'),
        lambda text: text.replace(b'"0": 0', b'"0": 6'),
        lambda text: altered(text, format="everanimate-run-2"),
        lambda text: altered(text, digest="0" * 32),
        lambda text: altered(text, run={}),
        lambda text: text[:-2],
        lambda text: text[: len(text) // 2],
        *[lambda text, other=other: other for other in (b"", b"[]", b"null", b'"run"', b"{}", b"\xff\xfe\x00")],
    ],
)
def test_an_altered_manifest_is_refused(store, alter):
    path = store.folder / "manifest.json"
    content = alter(path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content)
    assert refused(read_earlier, store) == (
        "the run's manifest.json must be as it was written (restore it, or start anew with resume false or "
        f"--no-resume: that opens the next take, and the chunks in {store.folder} are untouched); got an altered one."
    )
    assert path.read_bytes() == content


def test_a_manifest_that_is_no_file_is_refused(store):
    path = store.folder / "manifest.json"
    path.unlink()
    assert read_earlier(store) is None
    path.mkdir()
    assert refused(read_earlier, store).endswith("; got no file.")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda body: None, "one without a run"),
        (lambda body: [], "one without a run"),
        (lambda body: {}, "one without settings, seeds and chunks"),
        (lambda body: body | {"chunks": {}}, "one without settings, seeds and chunks"),
        (lambda body: body | {"seeds": {}}, "one without whole numbers as seeds"),
        (lambda body: body | {"seeds": {"1": 0}}, "one without whole numbers as seeds"),
        (lambda body: body | {"seeds": {"0": 0, "x": 0}}, "one without whole numbers as seeds"),
        (lambda body: body | {"seeds": {"0": 2**64}}, "one without whole numbers as seeds"),
        (lambda body: body | {"chunks": [None]}, "one whose record of chunk 0 has other fields"),
        (lambda body: body | {"chunks": [{}]}, "one whose record of chunk 0 has other fields"),
    ],
)
def test_a_manifest_of_other_things_is_refused(change, told):
    assert refused(Manifest.from_json, forged(change(written()["run"])), kind=Altered) == told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("start", -1), ("start", 2**31), ("stop", -1), ("stop", 2**31), ("stop", 9.0), ("key", None)],
        *[("noise_seed", -1), ("noise_seed", 2**64), ("seconds", 1e300), ("drift", True), ("segment", 1)],
    ],
)
def test_a_record_of_numbers_that_no_chunk_has_is_refused(name, value):
    body = written()["run"]
    body["chunks"][1][name] = value
    with pytest.raises(Altered) as caught:
        Manifest.from_json(forged(body))
    assert str(caught.value) == f"one whose record of chunk 1 has another kind of {name}"


def test_a_manifest_of_a_version_to_come_is_named():
    with pytest.raises(Altered) as caught:
        Manifest.from_json(forged(written()["run"], "everanimate-run-9\x1b[2J"))
    assert str(caught.value) == "one of another version of EverAnimate (format 'everanimate-run-9\\x1b[2J')"


# --- as a job sees it ------------------------------------------------------------------------------------------------


def earlier(store, task):
    return Earlier(read_earlier(store), task, store)


def test_it_is_take_1(store):
    settings = {name: value for name, value in written()["run"]["settings"].items() if name != "fps"}
    chunks = [
        TakeChunk(
            *(old[name] for name in ("key", "start", "stop", "noise_seed", "seconds", "drift")),
            old["drift"] if old["start"] else None,
        )
        for old in written()["run"]["chunks"]
    ]
    output = {"fps": "24000/1001", "total_frames": None}
    assert earlier_take(manifest()) == Take(1, settings, output, {}, 0, chunks=tuple(chunks), state=UNFINISHED)
    assert earlier(store, job()).count == 4


def test_a_job_is_the_same_or_not(store):
    assert earlier(store, job()).same
    assert earlier(store, job(total=44, prompts=["turns"])).same
    # At another rate, chunks that see the same are the same; the video is another one.
    assert earlier(store, job(fps=25)).same
    assert not earlier(store, job(fps=25)).goes_on()
    for other in (job(seed=5), job(network={}), job(chunk_frames=13), job(identity_latents=3)):
        assert not earlier(store, other).same
    # As another version has digests for the same.
    later = partial(small_job, network={"network": "other", "sigmas": [1.0]}, prompts=["other"])
    assert not earlier(store, later()).same
    assert earlier(store, later(earlier={FIRST_FORMAT: (NETWORK, [digest("")])})).same


@pytest.mark.parametrize(("total", "goes_on"), [(32, True), (24, True), (1000, True), (23, False), (19, False)])
def test_a_job_goes_on_with_chunks_of_its_own_length(store, total, goes_on):
    # The last finished chunk has the frames up to 24.
    assert earlier(store, job(total=total)).goes_on() == goes_on


def recipe(task, index, **changes):
    """What decides a chunk of the job, as the run tells it."""
    pose = task.method.chunk(index).all()["pose"]
    seen = {"pose": digest(pose), "prompt": task.prompt(index)}
    return replace(Recipe("today's", index, seen, task.method.noise_seed(index)), **changes)


def test_a_chunk_that_the_job_would_make_has_a_key_of_today(store):
    task = job()
    found, old = earlier(store, task), manifest().chunks
    for index in range(4):
        own = recipe(task, index)
        record = found.record(own, f"handed {index}")
        assert (record.key, record.recipe) == (own.key(f"handed {index}"), own)
        assert (record.latents, record.seconds, record.drift) == (
            old[index].latents,
            old[index].seconds,
            old[index].drift,
        )
        assert record.score == (old[index].drift if index else None)
        name = ["9x24000-1001", "5x24000-1001"][index > 0]
        assert record.segments == {name: Segment(old[index].segment, old[index].frames)}
        assert record.earlier == index
        assert store.chunk_file(record) == store.folder / f"chunk_{index:04d}.safetensors"
        assert store.segment_path(record, name) == store.folder / f"segment_{index:04d}.mp4"
    assert found.record(recipe(task, 4), "handed 4") is None


def test_a_chunk_that_the_job_would_make_otherwise_is_none(store):
    task = job()
    found = earlier(store, task)
    other = recipe(task, 2, seen={"pose": "other", "prompt": task.prompt(2)})
    assert found.record(other, "handed") is None
    # Where it stays whatever it was made from, its key is that of no inputs: it is not taken for what is asked for.
    record = found.record(other, "handed", any_inputs=True)
    assert record.recipe == replace(other, seen={"earlier": manifest().chunks[2].key})
    assert record.key == record.recipe.key("handed")
    own = recipe(task, 2)
    assert found.record(own, "handed", any_inputs=True) == found.record(own, "handed")
    assert earlier(store, job(prompts=["turns"])).record(recipe(task, 2), "handed") is None
    # A chunk of a redo has its own seed, which its key says.
    record = found.record(recipe(task, 2, noise_seed=5), "handed")
    assert record.recipe == recipe(task, 2)


def test_what_was_sampled_after_the_last_chunk_is_found(store):
    task = job()
    found = earlier(store, task)
    sampled = found.sampled(recipe(task, 4), ())
    assert torch.equal(sampled.latents, load((OLD / "chunk_0004.safetensors").read_bytes())["latents"])
    assert found.sampled(recipe(task, 3), ()) is None
    assert found.sampled(recipe(task, 5), ()) is None
    assert found.sampled(recipe(task, 4, noise_seed=5), ()) is None
    assert found.sampled(recipe(task, 4, seen={"pose": "other"}), ()) is None


def test_leftovers_of_a_killed_0_1_0_are_cleared(store):
    before = {path.name for path in store.folder.iterdir()}
    left = [".manifest.json.part", ".chunk_0001.safetensors.part", "segment_0002.part.mp4"]
    others = ["notes.part", "segment_x.mp4", "dance.part.mp4"]
    for name in left + others:
        (store.folder / name).write_bytes(b"half")
    clear_earlier_parts(store.folder)
    assert {path.name for path in store.folder.iterdir()} == before | set(others)
    clear_earlier_parts(store.folder / "none")
