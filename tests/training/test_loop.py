"""The loop in one process, on the toy."""

import re
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from everanimate_core.lora.files import convert, read_lora
from everanimate_core.lora.fit import apply_lora, check_coverage
from everanimate_core.media.reader import VideoFrames
from everanimate_core.toy.network.state import read_state as read_toy
from everanimate_core.training.loop import Pace, train
from everanimate_core.training.network import Network, batch_loss
from everanimate_core.training.recipe import Recipe
from everanimate_core.training.records import FilmSet
from everanimate_core.training.samples import held_out_sample, join, make_sample

RECIPE = Recipe(2, seed=1, rank=4, batch=2, rate=1e-3)


def run(films, toy, folder, steps, recipe=RECIPE, accumulate=1, save_every=3, **options):
    pace = Pace(steps, accumulate, save_every, options.pop("sample_every", 0), workers=options.pop("workers", 0))
    accelerator = Accelerator(log_with="tensorboard", project_dir=folder, cpu=True)
    train(recipe, pace, films, toy, accelerator, folder, **options)
    return load_file(folder / "state.safetensors")


def equal(one, other, tolerance=0.0):
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], rtol=0, atol=tolerance) for name in one)


@pytest.fixture(scope="module")
def trained(films, toy, tmp_path_factory):
    """A training of stage 2 over seven steps, with samples, in one go."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, run(films, toy, folder, 7, sample_every=4)


def test_what_a_training_writes(trained, films):
    folder, state = trained
    assert {path.name for path in folder.iterdir()} == {
        *(f"lora-00000{step}.safetensors" for step in (3, 6, 7)),
        *(f"sample-00000{step}.mp4" for step in (4, 7)),
        *("losses.csv", "state.safetensors", "tensorboard"),
    }
    rows = [row.split(",") for row in (folder / "losses.csv").read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows] == list(range(7))
    assert [float(row[2]) for row in rows] == pytest.approx([1e-3 / 3] * 5 + [1e-3] * 2)
    log = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.value for event in log.Scalars("loss")] == pytest.approx([float(row[1]) for row in rows])
    assert [event.step for event in log.Scalars("loss")] == list(range(7))
    with VideoFrames(folder / "sample-000007.mp4") as video:
        assert video.frame_count == 9
    assert len(state) == 400


def test_a_training_goes_on_bit_for_bit(trained, films, toy, tmp_path):
    folder, whole = trained
    run(films, toy, tmp_path, 4)
    lines = []
    again = run(films, toy, tmp_path, 7, resume=True, say=lines.append)
    assert equal(again, whole)
    assert (tmp_path / "losses.csv").read_text() == (folder / "losses.csv").read_text()
    lora = load_file(tmp_path / "lora-000007.safetensors")
    assert equal(lora, load_file(folder / "lora-000007.safetensors"))
    assert len(lines) == 1 and re.fullmatch(r"step 7 of 7: loss \d\.\d{6}", lines[0])


def test_a_finished_training_stays_as_it_is(trained, films, toy):
    folder, state = trained
    before = (folder / "losses.csv").read_text()
    assert equal(run(films, toy, folder, 7, resume=True), state)
    assert (folder / "losses.csv").read_text() == before


def test_the_loss_of_films_that_are_held_out_is_written_with_every_lora(films, toy, codec, tmp_path):
    recipe = replace(RECIPE, held_out=2)
    run(films, toy, tmp_path / "whole", 7, recipe)
    heading, *rows = (tmp_path / "whole" / "held_out.csv").read_text().splitlines()
    assert heading == "step,loss" and [int(row.split(",")[0]) for row in rows] == [3, 6, 7]
    log = EventAccumulator(str(tmp_path / "whole" / "tensorboard")).Reload()
    assert [event.step for event in log.Scalars("held_out")] == [3, 6, 7]
    # From the LoRA itself.
    network = Network(toy.network("cpu", torch.float32), 4, 4, 0)
    network.start_from(read_lora(tmp_path / "whole" / "lora-000007.safetensors"))
    with torch.no_grad():
        batches = [held_out_sample(recipe, films, number, codec) for number in range(2)]
        losses = [batch_loss(network, batch, "gaussian") for batch in batches]
    assert float(rows[-1].split(",")[1]) == pytest.approx(float(sum(losses) / 2), rel=1e-5)
    # A training that goes on writes what it would have written.
    run(films, toy, tmp_path / "halves", 4, recipe)
    run(films, toy, tmp_path / "halves", 7, recipe, resume=True)
    _, *halves = (tmp_path / "halves" / "held_out.csv").read_text().splitlines()
    assert [row for row in halves if not row.startswith("4,")] == rows and len(halves) == 4


def test_samples_that_are_read_ahead_teach_the_same(trained, films, toy, tmp_path):
    folder, whole = trained
    run(films, toy, tmp_path, 4, workers=2)
    assert equal(run(films, toy, tmp_path, 7, workers=2, resume=True), whole)
    assert (tmp_path / "losses.csv").read_text() == (folder / "losses.csv").read_text()


def test_a_rate_that_falls_to_the_last_step_belongs_to_that_number_of_steps(films, toy, tmp_path):
    recipe = replace(RECIPE, rate_schedule="cosine", warmup=2)
    run(films, toy, tmp_path, 6, recipe)
    rates = [float(row.split(",")[2]) for row in (tmp_path / "losses.csv").read_text().splitlines()[1:]]
    assert rates == pytest.approx([1e-3 * part for part in (1 / 3, 2 / 3, 1, 0.8535534, 0.5, 0.1464466)])
    with pytest.raises(ValueError, match=r"^resume goes on with .*\(steps 6\); got steps 9\.$"):
        run(films, toy, tmp_path, 9, recipe, resume=True)


def test_an_average_goes_on_bit_for_bit_and_is_the_average_of_the_loras(films, toy, tmp_path):
    recipe, decay = replace(RECIPE, ema=0.9), (0.0, 2 / 11, 3 / 12, 4 / 13)
    whole = run(films, toy, tmp_path / "whole", 4, recipe, save_every=1)
    run(films, toy, tmp_path / "halves", 2, recipe)
    assert equal(run(films, toy, tmp_path / "halves", 4, recipe, resume=True), whole)
    loras = [load_file(tmp_path / "whole" / f"lora-00000{step}.safetensors") for step in range(1, 5)]
    assert len(list((tmp_path / "whole").glob("ema-*.safetensors"))) == 4
    for name, value in load_file(tmp_path / "whole" / "ema-000004.safetensors").items():
        expected = loras[0][name]
        for lora, kept in zip(loras[1:], decay[1:], strict=True):
            expected = kept * expected + (1 - kept) * lora[name]
        assert torch.allclose(value, expected, rtol=0, atol=1e-7)


def test_gradients_are_scaled_down_to_their_largest_norm(films, toy, tmp_path):
    """Of the first step, AdamW's first moment is a tenth of the gradients."""
    for norm in (0.0, 1e-3):
        run(films, toy, tmp_path / f"{norm}", 1, replace(RECIPE, clip_norm=norm))
    norms = [
        sum(
            value.square().sum()
            for name, value in load_file(path / "state.safetensors").items()
            if name.startswith("exp_avg.")
        )
        .sqrt()
        .item()
        for path in (tmp_path / "0.0", tmp_path / "0.001")
    ]
    assert norms[0] > 1e-3 and norms[1] == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_base_in_8_bits_is_learnt_on(trained, films, toy, tmp_path, kind):
    pytest.importorskip("torchao")
    _, whole = trained
    state = run(films, toy, tmp_path, 7, replace(RECIPE, quantised=kind))
    assert not equal(state, whole) and equal(state, whole, 0.05)
    with pytest.raises(ValueError, match=rf"^resume goes on with .* \(quantised {kind}\); got quantised off\.$"):
        run(films, toy, tmp_path, 9, resume=True)


def test_something_must_be_left_to_learn_from(films, toy, tmp_path):
    with pytest.raises(ValueError, match=r"^held_out must be below the 5 films of the set \(1\); got 5\.$"):
        run(films, toy, tmp_path, 1, replace(RECIPE, held_out=5))


def test_portions_of_a_batch_are_the_batch(trained, films, toy, tmp_path):
    """The gradients are averaged over the portions; only sums are taken in another order.

    AdamW moves a weight by up to the rate in a step, however small its gradient. Where that is nothing but rounding,
    which is seldom, the weight goes another way.
    """
    _, whole = trained
    parts = run(films, toy, tmp_path, 7, accumulate=2)
    tolerances = {"exp_avg": 1e-6, "exp_avg_sq": 1e-10, "step": 0, "weight": RECIPE.rate}
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.allclose(parts[name], value, rtol=0, atol=tolerances[name.partition(".")[0]]), name
    apart = torch.cat([(parts[name] - whole[name]).abs().flatten() for name in whole if name.startswith("weight")])
    assert (apart > 1e-4).sum() <= len(apart) // 10_000
    moved = max(value.abs().max() for name, value in whole.items() if name.startswith("weight") and "lora_B" in name)
    assert moved > 2e-3


def test_the_lora_has_the_released_names_and_fits_the_model(trained, toy, films, codec, tmp_path):
    path = trained[0] / "lora-000007.safetensors"
    pattern = r"blocks\.[0-4]\.((self|cross)_attn\.[qkvo]|ffn\.[02])\.lora_[AB]\.default\.weight"
    assert len(load_file(path)) == 100
    assert all(re.fullmatch(pattern, name) for name in load_file(path))
    lora = read_lora(path)
    assert (lora.format, lora.has_alpha) == ("released", False)
    assert lora.metadata["stage"] == "2" and lora.metadata["step"] == "7"
    model = read_toy()
    assert check_coverage(lora, model).matched == 50
    for format in ("comfyui", "kohya", "diffusers", "peft"):
        convert(path, tmp_path / format, format)
        assert check_coverage(read_lora(tmp_path / format), model).complete

    # Merged into the weights it does what it did while it was trained.
    network = Network(toy.network("cpu", torch.float32), 4, 4, 0)
    network.start_from(lora)
    merged = toy.network("cpu", torch.float32)
    assert apply_lora(merged, lora).complete
    batch = make_sample(RECIPE, films, 0, codec)
    plain = Network(merged, 4, 1, 0)(batch.clean, batch)
    assert torch.allclose(network(batch.clean, batch), plain, atol=1e-5)
    untrained = Network(toy.network("cpu", torch.float32), 4, 1, 0)(batch.clean, batch)
    assert not torch.allclose(untrained, plain, atol=1e-3)


def test_stage_two_begins_with_the_lora_of_stage_one(films, toy, tmp_path):
    stage_one = Recipe(1, seed=1, rank=4, batch=2, rate=1e-3)
    run(films, toy, tmp_path / "one", 3, stage_one)
    start = read_lora(tmp_path / "one" / "lora-000003.safetensors")
    run(films, toy, tmp_path / "two", 1, start=start, save_every=1)
    first = read_lora(tmp_path / "two" / "lora-000001.safetensors")
    for was, now in zip(start.layers, first.layers, strict=True):
        # A step of AdamW at a third of the rate, and its weight decay.
        assert (now.A - was.A).abs().max() < 4e-4
        assert (now.B - was.B).abs().max() < 4e-4
    assert max(layer.B.abs().max() for layer in first.layers) > 5e-4


def test_a_folder_with_a_training_is_refused_unless_it_is_resumed(trained, films, toy):
    folder, _ = trained
    with pytest.raises(ValueError, match=r"^out must be a new folder \(or --resume what is in it\); got"):
        run(films, toy, folder, 9)
    with pytest.raises(ValueError, match=r"\(rank 4\); got rank 8\.$"):
        run(films, toy, folder, 9, Recipe(2, seed=1, rank=8, batch=2, rate=1e-3), resume=True)


def test_a_perturbed_motion_memory_wants_first_chunks(films, toy, tmp_path):
    message = r"^perturbed_motion must be 0 with a set that keeps no first chunks \(precompute with --motion-pixels\)"
    with pytest.raises(ValueError, match=message):
        run(films, toy, tmp_path, 1, Recipe(1, batch=2, perturbed_motion=0.5))


def test_stage_two_wants_the_vae_that_made_the_set(films, toy, tmp_path):
    other = FilmSet(films.folder, type(films.settings)(**{**vars(films.settings), "vae": "other"}), films.records)
    with pytest.raises(ValueError, match=r"^data must have been made with the model's VAE .* made with other\.$"):
        run(other, toy, tmp_path, 1)
    run(other, toy, tmp_path, 1, Recipe(1, batch=2))


def test_an_unfinished_set_is_refused(films, toy, tmp_path):
    with pytest.raises(ValueError, match=r"^data must be a finished set \(run precompute again\); got"):
        run(FilmSet(films.folder, films.settings), toy, tmp_path, 1)


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("save_every", 0)])
def test_a_pace_that_makes_no_sense_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be between 1 and [0-9]+ \(.*\); got 0\.$"):
        Pace(**{"steps": 1, name: value})


def test_a_training_learns_what_it_has_not_drawn(films, toy, codec, tmp_path):
    """Forty steps, from the network as it is: the loss of samples with other numbers falls."""
    recipe = Recipe(2, rank=8, batch=4, rate=3e-3)
    run(films, toy, tmp_path, 40, recipe, save_every=40)
    before = Network(toy.network("cpu", torch.float32), 4, 8, 0)
    after = Network(toy.network("cpu", torch.float32), 4, 8, 0)
    after.start_from(read_lora(tmp_path / "lora-000040.safetensors"))
    batch = join([make_sample(recipe, films, 1000 + number, codec) for number in range(40)])
    with torch.no_grad():
        losses = [batch_loss(network, batch, recipe.restoration) for network in (before, after)]
    assert losses[1] < 0.75 * losses[0]


def test_a_batch_that_cannot_be_shared_out_is_refused(films, toy, tmp_path):
    with pytest.raises(ValueError, match=r"^batch must be a multiple of .*; got 2 for 1 x 3\.$"):
        run(films, toy, tmp_path, 1, accumulate=3)
