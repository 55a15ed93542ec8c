"""Run folders that 0.1.0 left on its users' disks go on as they are."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from exact_parts import ExactCodec, exact_sampler
from run_parts import Place, Stop, Stopping, refused, small_job, video_of

from everanimate_core.cli import main as cli
from everanimate_core.digests import digest
from everanimate_core.runs.earlier import FIRST_FORMAT
from everanimate_core.toy.network.vae import ToyCodec

OLD = Path(__file__).parents[1] / "data" / "old_runs"
# What 0.1.0 took for the network and the prompt of the run in `core`.
NETWORK = {"network": "ea7b9e304d97bffeb34ab2c7f4575889", "sigmas": [1.0, 0.5, 0.0]}
PROMPTS = [digest("")]
# The run of `core`, as a version makes it whose digests are others; and as 0.1.0 made it.
job = partial(
    small_job,
    network={**NETWORK, "network": "another digest of the same"},
    prompts=["another digest of the same"],
    earlier={FIRST_FORMAT: (NETWORK, PROMPTS)},
)
first_job = partial(small_job, network=NETWORK, prompts=PROMPTS)


def start(job, root, sample=exact_sampler, **options):
    """Start the run in `root`: which chunks were made, which were kept."""
    place = Place(root)
    place.start(job, sample, **options)
    return place.made, place.kept


@pytest.fixture
def core(tmp_path):
    """The run that 0.1.0 was stopped in after it had sampled chunk 4 of 6, before that was decoded."""
    shutil.copytree(OLD / "core", tmp_path / "core")
    return tmp_path / "core"


def latents(root):
    return Place(root).latents()


def frames(path):
    return video_of(path)[0]


def contents(folder, first, last):
    """{name: (content, time of change)} of the files of chunks first..last."""
    files = [path for path in folder.iterdir() if any(f"_{index:04d}." in path.name for index in range(first, last))]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def manifest(root):
    return json.loads((root / "dance" / "manifest.json").read_bytes())


def test_it_goes_on_where_it_was_stopped(core, tmp_path):
    before = contents(core / "dance", 0, 4)
    assert len(before) == 8
    assert start(job(), core) == ([5], [0, 1, 2, 3])
    assert contents(core / "dance", 0, 4) == before
    fresh = tmp_path / "fresh"
    assert start(job(), fresh) == ([0, 1, 2, 3, 4, 5], [])
    for old, new in zip(latents(core), latents(fresh), strict=True):
        assert torch.equal(old, new)
    for old, new in zip(manifest(core)["run"]["chunks"], manifest(fresh)["run"]["chunks"], strict=True):
        assert (old["frames"], old["start"], old["stop"]) == (new["frames"], new["start"], new["stop"])
    assert torch.equal(frames(core / "dance.mp4"), frames(fresh / "dance.mp4"))


def test_it_keeps_its_format_and_new_runs_have_the_new_one(core, tmp_path):
    start(job(), core)
    assert manifest(core)["format"] == "everanimate-run-1"
    assert manifest(core)["run"]["settings"]["network"] == NETWORK["network"]
    assert start(job(), core) == ([], [0, 1, 2, 3, 4, 5])
    start(job(9), core, resume=False)
    assert manifest(core)["format"] == "everanimate-run-2"
    assert manifest(core)["run"]["settings"]["network"] == "another digest of the same"
    assert len(list((core / "dance.1").iterdir())) == 13


def test_without_digests_of_that_version_the_run_has_its_own(core):
    assert start(first_job(), core) == ([5], [0, 1, 2, 3])


def test_it_can_be_longer_and_made_again_from_a_chunk(core):
    assert start(job(44), core) == ([5, 6, 7], [0, 1, 2, 3])
    before = contents(core / "dance", 0, 2)
    assert start(job(44, seed=9), core, from_chunk=2) == ([2, 3, 4, 5, 6, 7], [0, 1])
    assert contents(core / "dance", 0, 2) == before
    assert manifest(core)["run"]["seeds"] == {"0": 0, "2": 9}
    assert len(frames(core / "dance.mp4")) == 44


@pytest.mark.parametrize("changes", [{"network": "0" * 32}, {"sigmas": [1.0, 0.0]}])
def test_another_network_is_refused(core, changes):
    before = contents(core / "dance", 0, 6)
    other = job(earlier={FIRST_FORMAT: (NETWORK | changes, PROMPTS)})
    assert f"got {next(iter(changes))} " in refused(start, other, core)
    assert contents(core / "dance", 0, 6) == before


def test_another_prompt_is_another_run(core):
    other = job(earlier={FIRST_FORMAT: (NETWORK, [digest("turns")])})
    assert "the prompt of the first chunk must be the run's own" in refused(start, other, core)


def test_what_was_sampled_for_the_first_chunk_is_not_lost(tmp_path):
    store = Place(tmp_path).store
    with pytest.raises(Stop):
        start(first_job(), tmp_path, codec=Stopping("decode", 0))
    # As 0.1.0 would have written it.
    store.write_manifest(replace(store.read_manifest(), format=FIRST_FORMAT))
    assert start(job(), tmp_path) == ([1, 2, 3, 4, 5], [])
    assert manifest(tmp_path)["format"] == FIRST_FORMAT


def test_a_run_without_a_finished_chunk_is_begun_anew_with_other_settings(tmp_path):
    store = Place(tmp_path).store
    with pytest.raises(Stop):
        start(first_job(), tmp_path, codec=Stopping("decode", 0))
    store.write_manifest(replace(store.read_manifest(), format=FIRST_FORMAT))
    # It is this version's run from here on, with this version's digests, and goes on so.
    assert start(job(seed=5), tmp_path) == ([0, 1, 2, 3, 4, 5], [])
    assert manifest(tmp_path)["format"] == "everanimate-run-2"
    assert manifest(tmp_path)["run"]["settings"]["network"] == "another digest of the same"
    assert start(job(seed=5), tmp_path) == ([], [0, 1, 2, 3, 4, 5])


def nan_from(index):
    """A sampler that 0.1.0 would have believed: NaN from chunk `index` on."""

    def sample(request, seed):
        made = exact_sampler(request, seed)
        return made * float("nan") if request.index >= index else made

    return sample


@pytest.mark.parametrize("bad", [0, 2])
def test_numbers_that_are_none_were_kept_and_are_made_again(core, tmp_path, monkeypatch, bad):
    from everanimate_core.runs import run as runs
    from everanimate_core.runs import store as run_store

    with monkeypatch.context() as old:
        # What 0.1.0 looked at, and what it wrote where there was no value.
        old.setattr(runs, "check_latents", lambda *_: None)
        old.setattr(runs, "check_frames", lambda *_: None)
        old.setattr(torch.Tensor, "isfinite", lambda self: torch.ones_like(self, dtype=torch.bool))
        root = tmp_path / "bad"
        start(first_job(), root, nan_from(bad))
    written = manifest(root)
    body = written["run"]
    for chunk in body["chunks"][bad:]:
        chunk["drift"] = float("nan")
    text = json.dumps({**written, "format": FIRST_FORMAT, "digest": digest(body)})
    assert "NaN" in text
    (root / "dance" / run_store.MANIFEST).write_text(text)

    assert start(job(), root) == (list(range(bad, 6)), list(range(bad)))
    assert "NaN" not in (root / "dance" / run_store.MANIFEST).read_text()
    start(job(), core)
    for one, other in zip(latents(root), latents(core), strict=True):
        assert torch.equal(one, other)


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """The run of `everanimate animate` that 0.1.0 finished; the arguments that made it, with another folder."""
    shutil.copytree(OLD / "cli", tmp_path / "cli")
    monkeypatch.setattr(ToyCodec, "encode", lambda self, frames: ExactCodec().encode(frames))
    folder = tmp_path / "cli"
    arguments = ["animate", "--reference", folder / "reference.mov", "--pose", folder / "pose.mov"]
    arguments += ["--out", folder / "dance.mp4", "--width", 32, "--height", 16]
    arguments += ["--chunk-frames", 9, "--overlap", 4, "--steps", 2]
    return folder, [str(part) for part in arguments]


def test_the_command_line_keeps_a_finished_run_whole(finished, capsys):
    folder, arguments = finished
    before = contents(folder / "dance.run", 0, 4)
    text = (folder / "dance.run" / "manifest.json").read_bytes()
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.count(", kept, ") == 4
    assert contents(folder / "dance.run", 0, 4) == before
    assert (folder / "dance.run" / "manifest.json").read_bytes() == text
    assert torch.equal(frames(folder / "dance.mp4"), frames(OLD / "cli" / "dance.mp4"))


def test_the_command_line_goes_on_with_a_run_and_makes_it_again(finished, capsys):
    folder, arguments = finished
    assert cli.main([*arguments, "--frames", "24"]) == 0
    assert capsys.readouterr().out.count(", kept, ") == 4
    before = contents(folder / "dance.run", 0, 3)
    assert cli.main([*arguments, "--frames", "24", "--from-chunk", "3", "--seed", "5"]) == 0
    assert capsys.readouterr().out.count(", kept, ") == 3
    assert contents(folder / "dance.run", 0, 3) == before


@pytest.mark.parametrize(
    ("more", "message"), [(["--model", "toy-baseline"], "got network "), (["--steps", "3"], "got sigmas ")]
)
def test_the_command_line_refuses_another_network(finished, capsys, more, message):
    folder, arguments = finished
    before = contents(folder / "dance.run", 0, 4)
    assert cli.main([*arguments, *more]) == 2
    assert message in capsys.readouterr().err
    assert contents(folder / "dance.run", 0, 4) == before
