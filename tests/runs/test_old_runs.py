"""Run folders that 0.1.0 left on its users' disks go on as they are."""

import json
import shutil
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
import torch
from exact_parts import ExactCodec, exact_sampler
from run_parts import Place, refused, small_job, video_of
from safetensors import safe_open
from safetensors.torch import load, save_file

from everanimate_core.cli import main as cli
from everanimate_core.digests import digest, file_digest
from everanimate_core.runs.earlier import FIRST_FORMAT
from everanimate_core.runs.listing import all_takes, prune, to_prune
from everanimate_core.runs.ownership import OwnershipLost
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


def contents(folder):
    """{name: (content, time of change)} of the files that 0.1.0 wrote."""
    files = [path for path in folder.iterdir() if path.is_file()]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def rewrite(folder, change):
    """Change the manifest, as 0.1.0 would have written it. change: of its content."""
    path = folder / "manifest.json"
    written = json.loads(path.read_bytes())
    change(written["run"])
    path.write_text(json.dumps({**written, "digest": digest(written["run"])}))


def test_it_goes_on_where_it_was_stopped(core, tmp_path):
    before, video = contents(core / "dance"), (core / "dance.mp4").read_bytes()
    assert len(before) == 10
    assert start(job(), core) == ([5], [0, 1, 2, 3])
    assert contents(core / "dance") == before
    fresh = tmp_path / "fresh"
    assert start(job(), fresh) == ([0, 1, 2, 3, 4, 5], [])
    for old, new in zip(latents(core), latents(fresh), strict=True):
        assert torch.equal(old, new)
    assert [chunk.key for chunk in Place(core).take().chunks] == [chunk.key for chunk in Place(fresh).take().chunks]
    for index in range(6):
        old, new = (Place(root).record(index).segments.values() for root in (core, fresh))
        assert [segment.frames for segment in old] == [segment.frames for segment in new]
    assert torch.equal(frames(core / "dance.mp4"), frames(fresh / "dance.mp4"))
    assert (core / "dance.mp4").read_bytes() != video


def test_it_is_take_1_from_then_on(core):
    assert Place(core).store.take_numbers() == []
    start(job(), core)
    take = Place(core).take()
    assert (take.number, take.settings["network"]) == (1, "another digest of the same")
    before = Place(core).everything()
    assert start(job(), core) == ([], [0, 1, 2, 3, 4, 5])
    assert Place(core).everything() == before
    assert start(job(9), core, resume=False) == ([0], [])
    assert Place(core).take().number == 2


def test_without_digests_of_that_version_the_run_has_its_own(core):
    assert start(first_job(), core) == ([5], [0, 1, 2, 3])


def test_it_can_be_longer_and_made_again_from_a_chunk(core):
    before = contents(core / "dance")
    assert start(job(44), core) == ([5, 6, 7], [0, 1, 2, 3])
    assert start(job(44, seed=9), core, from_chunk=2) == ([2, 3, 4, 5, 6, 7], [0, 1])
    assert [chunk.noise_seed for chunk in Place(core).take().chunks] == [0, 42] + [9 + 42 * k for k in range(2, 8)]
    assert contents(core / "dance") == before
    assert len(frames(core / "dance.mp4")) == 44


def test_it_is_made_again_from_a_chunk_at_once(core):
    before = contents(core / "dance")
    assert start(job(seed=9), core, from_chunk=2) == ([2, 3, 4, 5], [0, 1])
    assert (Place(core).take().number, Place(core).take().of) == (2, 1)
    assert contents(core / "dance") == before
    # Asked again, and as a longer one.
    assert start(job(seed=9), core, from_chunk=2) == ([], [0, 1, 2, 3, 4, 5])
    assert start(job(37, seed=9), core) == ([6], [0, 1, 2, 3, 4, 5])


def test_one_chunk_of_it_alone_is_made_again(core):
    before, old = contents(core / "dance"), [load(path.read_bytes()) for path in sorted(OLD.glob("core/*/chunk_*"))]
    assert start(job(24, seed=9), core, only_chunk=1) == ([1], [0, 2, 3])
    assert contents(core / "dance") == before
    # It ends with what the next one was made from.
    again = latents(core)
    assert [torch.equal(again[i], old[i]["latents"]) for i in range(4)] == [True, False, True, True]
    assert torch.equal(again[1][:, :, -1:], old[1]["latents"][:, :, -1:])
    assert start(job(24, seed=9), core, only_chunk=1) == ([], [0, 1, 2, 3])


@pytest.mark.parametrize("name", ["from_chunk", "only_chunk"])
def test_a_chunk_of_it_that_would_be_made_as_it_is_is_refused(core, name):
    before = contents(core / "dance")
    assert refused(start, job(24), core, **{name: 1}) == (
        f"{name} needs another seed or another setting, to make the chunk differently (seed 1); got the seed 0 and the "
        "settings of before."
    )
    assert contents(core / "dance") == before


def test_at_another_rate_all_chunks_are_kept(core):
    before = contents(core / "dance")
    assert start(job(fps=Fraction(12)), core) == ([5], [0, 1, 2, 3])
    assert (Place(core).take().number, Place(core).take().output["fps"]) == (2, "12")
    assert contents(core / "dance") == before


def test_a_shorter_one_is_the_next_take(core):
    before = contents(core / "dance")
    assert start(job(14), core) == ([], [0, 1])
    assert Place(core).take().number == 2
    assert contents(core / "dance") == before
    # The older video has gone into the run's folder.
    assert (core / "dance" / "takes" / "00001.mp4").exists()


@pytest.mark.parametrize("changes", [{"network": "0" * 32}, {"sigmas": [1.0, 0.0]}])
def test_another_network_makes_another_take(core, changes):
    before = contents(core / "dance")
    other = job(earlier={FIRST_FORMAT: (NETWORK | changes, PROMPTS)}, network={**NETWORK, **changes})
    assert start(other, core) == ([0, 1, 2, 3, 4, 5], [])
    assert Place(core).take().number == 2
    assert contents(core / "dance") == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"earlier": {FIRST_FORMAT: (NETWORK | {"sigmas": [1.0, 0.0]}, PROMPTS)}},
            "sigmas was [1.0, 0.5, 0.0] and is [1.0, 0.0]",
        ),
        ({"fps": Fraction(30), "seed": 4}, "seed was 0 and is 4, fps was 24000/1001 and is 30"),
        ({"overlap": 5}, "overlap was 4 and is 5"),
        ({"total": 14}, "its chunks or its length are others"),
    ],
)
def test_what_differs_from_it_is_told_in_its_digests(core, changes, told):
    before = contents(core / "dance")
    place = Place(core)
    assert refused(place.start, job(**changes), on_change="stop").endswith(f"got {told}.")
    assert contents(core / "dance") == before


def test_an_input_that_changes_later_is_told_alone(core):
    place = Place(core)
    prompts = ["another digest of the same", "", "turns"]
    later = job(prompts=prompts, earlier={FIRST_FORMAT: (NETWORK, [*PROMPTS, *PROMPTS, digest("turns")])})
    assert refused(place.start, later, on_change="stop").endswith("got its chunks or its length are others.")


def test_another_prompt_makes_another_take(core):
    other = job(earlier={FIRST_FORMAT: (NETWORK, [digest("turns")])}, prompts=["turns"])
    assert start(other, core) == ([0, 1, 2, 3, 4, 5], [])
    assert Place(core).take().number == 2


def test_when_it_is_pruned_the_take_goes_before_its_chunks(core):
    start(job(9, seed=5), core)
    store, looks = Place(core).store, []
    pruned = to_prune(store, [2])
    assert {path.name for path in pruned.files} == set(contents(OLD / "core" / "dance"))

    def check():
        looks.append(1)
        if len(looks) == 2:
            raise OwnershipLost

    with pytest.raises(OwnershipLost):
        prune(pruned, check)
    assert [take.number for take in all_takes(store)] == [2]
    prune(pruned)
    assert contents(core / "dance") == {}


def without_finished(body):
    body["chunks"] = []


def test_what_was_sampled_for_the_first_chunk_is_not_lost(core):
    rewrite(core / "dance", without_finished)
    assert start(job(), core) == ([1, 2, 3, 4, 5], [])
    assert Place(core).take().number == 1


def test_a_run_without_a_finished_chunk_is_begun_anew_with_other_settings(core):
    rewrite(core / "dance", without_finished)
    assert start(job(seed=5), core) == ([0, 1, 2, 3, 4, 5], [])
    assert Place(core).take().number == 1
    assert start(job(seed=5), core) == ([], [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("bad", [0, 2])
def test_numbers_that_are_none_were_kept_and_are_made_again(core, tmp_path, bad):
    good = latents_of_all(core)
    folder = core / "dance"

    def with_nan(body):
        for index in range(bad, 4):
            path = folder / f"chunk_{index:04d}.safetensors"
            tensors = load(path.read_bytes())
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
            save_file({**tensors, "latents": tensors["latents"] * float("nan")}, path, metadata)
            body["chunks"][index] |= {"latents": file_digest(path), "drift": float("nan")}

    rewrite(folder, with_nan)
    assert "NaN" in (folder / "manifest.json").read_text()
    before = contents(folder)
    assert start(job(), core) == ([4, 5][: 6 - bad] if bad > 4 else list(range(bad, 6)), list(range(bad)))
    assert contents(folder) == before
    for one, other in zip(latents(core), good, strict=True):
        assert torch.equal(one, other)


def latents_of_all(core):
    """The latents of all six chunks, from a copy of the run that goes on."""
    copy = core.with_name("copy")
    shutil.copytree(core, copy)
    start(job(), copy)
    return latents(copy)


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
    before = contents(folder / "dance.run")
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.count(", kept, ") == 4
    assert contents(folder / "dance.run") == before
    assert torch.equal(frames(folder / "dance.mp4"), frames(OLD / "cli" / "dance.mp4"))


def test_the_command_line_goes_on_with_a_run_and_makes_it_again(finished, capsys):
    folder, arguments = finished
    before = contents(folder / "dance.run")
    assert cli.main([*arguments, "--frames", "24"]) == 0
    assert capsys.readouterr().out.count(", kept, ") == 4
    assert cli.main([*arguments, "--frames", "24", "--from-chunk", "3", "--seed", "5"]) == 0
    assert capsys.readouterr().out.count(", kept, ") == 3
    assert contents(folder / "dance.run") == before


@pytest.mark.parametrize("more", [["--model", "toy-baseline"], ["--steps", "3"]])
def test_the_command_line_makes_another_take_with_another_network(finished, capsys, more):
    folder, arguments = finished
    before, video = contents(folder / "dance.run"), (folder / "dance.mp4").read_bytes()
    assert cli.main([*arguments, *more]) == 0
    assert "take 2 is opened" in capsys.readouterr().out
    assert contents(folder / "dance.run") == before
    assert (folder / "dance.run" / "takes" / "00001.mp4").read_bytes() == video
