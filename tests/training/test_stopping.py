"""Trainings that cannot go on: what stops them, what is kept, and the way on that the message names."""

import os
import shutil
from dataclasses import replace

import pytest
import torch
import windows_rules
from accelerate import Accelerator
from refusals import refusal
from safetensors.torch import load_file, save_file

from everanimate_core.cli.toy_training import ToyEntry
from everanimate_core.lora.files import read_lora, save_lora
from everanimate_core.runs.run import RunFailed
from everanimate_core.training.loop import Pace, train
from everanimate_core.training.precompute import precompute
from everanimate_core.training.recipe import Recipe
from everanimate_core.training.records import FilmSet
from everanimate_core.training.samples import film_of

RECIPE = Recipe(1, seed=1, rank=4, batch=2, rate=1e-3)
NAN = float("nan")


def run(films, toy, folder, steps, recipe=RECIPE, save_every=3, **options):
    accelerator = Accelerator(log_with="tensorboard", project_dir=folder, cpu=True)
    pace = Pace(steps, options.pop("accumulate", 1), save_every, options.pop("sample_every", 0), workers=0)
    train(recipe, pace, films, toy, accelerator, folder, **options)


def rows(folder):
    return [row.split(",") for row in (folder / "losses.csv").read_text(encoding="utf-8").splitlines()[1:]]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".safetensors", ".csv")}


@pytest.fixture
def own(films, tmp_path):
    """A copy of the set, to do damage to."""
    folder = tmp_path / "set"
    shutil.copytree(films.folder, folder)
    return FilmSet.open(folder)


def change(films, film, name, value):
    """Put a value into a record, as a version that looked at nothing wrote it."""
    path = films.folder / films.records[film]
    tensors = load_file(path)
    tensors[name].view(-1)[5] = value
    save_file(dict(tensors), path, {"stamp": "stamp", "film": "dance\x1b.mp4"})


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_not_finite_stops_before_its_step_and_the_good_state_stays(own, toy, tmp_path, accumulate):
    out = tmp_path / "out"
    run(own, toy, out, 4, save_every=4)
    before = contents(out)
    change(own, 2, "target", 1e30)  # finite, but its square is not
    message = refusal(run, own, toy, out, 8, save_every=1, resume=True, accumulate=accumulate, kind=RunFailed)
    assert message.startswith("stopped after ") and " of 8 steps: loss and gradients of the next one" in message
    assert "000002.safetensors (dance\\x1b.mp4)" in message and "a lower --rate (now 0.001)" in message
    assert "--precision" not in message  # it is `no` already
    step = int(message.split(" of 8")[0].split()[-1])
    assert 4 <= step < 7 and f"--lora {out / f'lora-{step:06}.safetensors'}" in message
    # What was good is there, up to the step before, and nothing else.
    assert [int(row[0]) for row in rows(out)] == list(range(step))
    assert all(torch.isfinite(value).all() for value in load_file(out / "state.safetensors").values())
    assert not (out / f"lora-{step + 1:06}.safetensors").exists()
    if step == 4:
        assert contents(out) == before
    # The way that the message names.
    change(own, 2, "target", 0.5)
    run(own, toy, tmp_path / "new", 2, replace(RECIPE, rate=1e-4), start=read_lora(out / f"lora-{step:06}.safetensors"))


def test_a_rate_that_blows_up_leaves_the_last_finite_state(films, toy, tmp_path):
    with pytest.raises(RunFailed, match=r"got loss (nan|inf), .*\(now 1e\+12\)"):
        run(films, toy, tmp_path, 9, replace(RECIPE, rate=1e12), save_every=1)
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / "state.safetensors").values())


def test_gradients_that_are_not_finite_stop_it_where_the_loss_still_is(films, toy, tmp_path):
    run(films, toy, tmp_path / "one", 1)
    lora = read_lora(tmp_path / "one" / "lora-000001.safetensors")
    extreme = [replace(layer, A=layer.A * 1e25, B=torch.full_like(layer.B, 1e-33)) for layer in lora.layers]
    path = tmp_path / "extreme.safetensors"
    save_lora(path, replace(lora, layers=tuple(extreme)))
    with pytest.raises(
        RunFailed, match=r"after 0 of 3 steps: .*; got loss \d.*, gradients of norm inf\. .*Begin a new --out, "
    ):
        run(films, toy, tmp_path / "two", 3, start=read_lora(path))
    assert not list((tmp_path / "two").glob("*.safetensors"))


@pytest.mark.parametrize("value", [NAN, float("inf"), float("-inf")])
def test_values_of_a_record_that_are_no_numbers_are_refused_by_its_name(own, toy, tmp_path, value):
    change(own, 3, "motion", value)
    message = r"got .*000003\.safetensors, where motion has values that are NaN or infinite\. Nothing was saved yet"
    with pytest.raises(RunFailed, match=message):
        run(own, toy, tmp_path / "out", 6)


@pytest.mark.parametrize(
    ("name", "value", "way"),
    [
        ("motion", NAN, "Step 2 is kept in {out}: add --resume to go on from there."),
        ("target", 1e30, "Begin a new --out with --lora {out}/lora-000002.safetensors (the last that was saved)"),
    ],
)
def test_the_way_on_is_from_the_last_step_that_this_training_saved(own, toy, tmp_path, name, value, way):
    out = tmp_path / "out"
    # The fifth sample, in the third step.
    change(own, film_of(RECIPE.seed, 4, len(own.records)), name, value)
    with pytest.raises(RunFailed, match=r"^stopped after 2 of 6 steps") as stopped:
        run(own, toy, out, 6, save_every=1)
    assert way.format(out=out) in str(stopped.value)
    assert [int(row[0]) for row in rows(out)] == [0, 1]


def test_a_set_that_is_not_whole_is_refused_before_anything_starts(own, toy, tmp_path):
    (own.folder / own.records[4]).unlink()
    with pytest.raises(ValueError, match=r"got .*000004\.safetensors, which is not a file\.$"):
        run(own, toy, tmp_path / "out", 6)
    assert not (tmp_path / "out").exists()


def test_a_lost_black_pose_is_named(own, toy, tmp_path):
    (own.folder / "shared.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(ValueError, match=r"got .*shared\.safetensors, which is not a complete safetensors file"):
        _ = own.black_pose


class Meddling(FilmSet):
    """A set that does something to the training when film 1 is read for a step."""

    def read(self, film, names):
        names = tuple(names)
        if film == 1 and names and self.meddle():
            object.__setattr__(self, "meddle", lambda: False)
        return super().read(film, names)


def meddling(films, meddle):
    own = Meddling(films.folder, films.settings, films.records, films.skipped)
    object.__setattr__(own, "meddle", meddle)
    return own


def test_a_folder_that_was_deleted_in_mid_training_is_said_and_nothing_is_claimed(films, toy, tmp_path):
    out = tmp_path / "out"
    run(films, toy, out, 2)
    with pytest.raises(
        RunFailed, match=r"The folder .*out is gone, and with it what was saved: bring it back"
    ) as stopped:
        run(meddling(films, lambda: shutil.rmtree(out) or True), toy, out, 9, resume=True)
    assert "is kept" not in str(stopped.value)
    assert not out.exists()
    run(films, toy, out, 2)


def test_a_state_that_was_deleted_in_mid_training_is_written_anew(films, toy, tmp_path):
    run(films, toy, tmp_path, 2)
    state = tmp_path / "state.safetensors"
    run(meddling(films, lambda: state.unlink() or True), toy, tmp_path, 6, resume=True)
    assert state.exists()


def test_loras_without_their_state_are_not_written_over(films, toy, tmp_path):
    run(films, toy, tmp_path, 6)
    (tmp_path / "state.safetensors").unlink()
    before = contents(tmp_path)
    for resume in (False, True):
        with pytest.raises(
            ValueError, match=r"\(begin a new one with --lora .*lora-000006\.safetensors .*\); got LoRAs"
        ):
            run(films, toy, tmp_path, 9, resume=resume)
    assert contents(tmp_path) == before


def test_a_state_whose_lora_a_kill_prevented_gets_it(films, toy, tmp_path):
    run(films, toy, tmp_path, 3)
    lora = tmp_path / "lora-000003.safetensors"
    before = load_file(lora)
    lora.unlink()
    run(films, toy, tmp_path, 4, resume=True)
    again = load_file(lora)
    assert before.keys() == again.keys() and all(torch.equal(before[name], again[name]) for name in before)


def test_everything_saved_is_on_the_disk_before_it_has_its_name(films, toy, tmp_path, monkeypatch):
    synced, replaced, late = set(), [], []
    fsync, replace_file = os.fsync, os.replace

    def note_sync(handle):
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def note_replace(source, destination):
        if os.stat(source).st_ino not in synced:
            late.append(str(destination))
        replaced.append(os.path.basename(destination))
        replace_file(source, destination)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    run(films, toy, tmp_path, 2)
    assert not late
    assert {"state.safetensors", "losses.csv"} <= set(replaced)
    assert (tmp_path / "losses.csv").stat().st_ino in synced and tmp_path.stat().st_ino in synced


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_training_and_its_set_obey_the_rules_of_windows(settings, toy, codec, tmp_path, monkeypatch):
    windows_rules.install(monkeypatch)
    entries = [ToyEntry(number) for number in range(3)]
    films = precompute(entries[:2], settings, toy, codec, tmp_path / "set", lambda line: None)
    run(films, toy, tmp_path / "out", 3, save_every=1)
    before = windows_rules.handles()
    # The set grows while the one that was read from is still at hand.
    precompute(entries, settings, toy, codec, tmp_path / "set", lambda line: None)
    run(films, toy, tmp_path / "out", 5, save_every=1, resume=True)
    assert windows_rules.handles() <= before
    assert not [path for path in windows_rules.opened() if path.startswith(str(tmp_path))]
    assert not list(tmp_path.rglob(".everanimate-*"))
