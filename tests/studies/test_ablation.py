"""The ablation: its rows differ in what they say, its table is the mean over the worlds, its trips are the VAE's."""

import json
from dataclasses import replace
from itertools import pairwise
from statistics import mean, stdev

import pytest
import torch

from everanimate_core.cli import main as cli
from everanimate_core.evaluation.networks import Networks
from everanimate_core.everanimate.context import METHOD
from everanimate_core.lora.files import read_lora
from everanimate_core.lora.fit import apply_lora
from everanimate_core.media.frames import TensorFrames
from everanimate_core.studies import ablation
from everanimate_core.studies.ablation import ROWS, as_table, carried_trips, measure, round_trips, summary
from everanimate_core.studies.ablation_plot import save_ablation_plot
from everanimate_core.toy.learning.material import WAN_ANIMATE
from everanimate_core.toy.learning.scores import psnr
from everanimate_core.toy.network.engine import FPS, load_toy, roll_out
from everanimate_core.toy.network.state import (
    BASELINE_WEIGHTS,
    MEMORY_WEIGHTS,
    SETTINGS,
    STAGE_1,
    STAGE_1_LONGER,
    STAGE_2,
    STAGE_2_EXACT,
)
from everanimate_core.toy.network.vae import ToyCodec, load_vae
from everanimate_core.toy.world.world import World

FRAMES = 40


@pytest.fixture(scope="module")
def codec():
    return ToyCodec(load_vae())


def test_the_rows():
    found = [(row.weights, row.lora, row.settings.identity_latents, row.policy) for row in ROWS]
    strengths = [row.settings.restore_strength for row in ROWS]
    assert [(*parts, strength) for parts, strength in zip(found, strengths, strict=True)] == [
        (BASELINE_WEIGHTS, None, 1, WAN_ANIMATE, 0),
        (BASELINE_WEIGHTS, None, 1, replace(WAN_ANIMATE, carry="latent"), 0),
        (BASELINE_WEIGHTS, STAGE_1, 4, METHOD, 0),
        (BASELINE_WEIGHTS, STAGE_1_LONGER, 4, METHOD, 0),
        (BASELINE_WEIGHTS, STAGE_2, 4, replace(METHOD, carry="pixel"), 0),
        (BASELINE_WEIGHTS, STAGE_2, 4, METHOD, 0),
        (BASELINE_WEIGHTS, STAGE_2_EXACT, 4, METHOD, 0),
        (BASELINE_WEIGHTS, STAGE_2, 4, METHOD, 2),
        (BASELINE_WEIGHTS, STAGE_2, 4, replace(METHOD, identity="reference"), 0),
        (BASELINE_WEIGHTS, STAGE_2, 4, replace(METHOD, identity="last_chunk"), 0),
        (MEMORY_WEIGHTS, None, 4, METHOD, 0),
    ]
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_a_row_is_its_roll_out_against_the_truth():
    row = ROWS[0]
    report = measure(row.load(), row, 3, FRAMES, Networks())
    world = World(3)
    one_anchor = replace(SETTINGS, identity_latents=1)
    chunks = roll_out(load_toy(BASELINE_WEIGHTS), world, FRAMES, one_anchor, WAN_ANIMATE)
    made = torch.cat([chunk.frames for chunk in chunks])
    truth = world.frames(range(FRAMES))
    assert report.joins == [33]
    assert report.curves["psnr"][35] == pytest.approx(psnr(made[35], truth[35]), abs=1e-4)
    assert report.fps == FPS


def test_a_row_has_its_lora_and_its_restoration():
    """By hand: the LoRA merged into the network; restoration from chunk 1 on, where the first one's statistics are."""
    row = next(row for row in ROWS if row.settings.restore_strength)
    model = load_toy(row.weights)
    apply_lora(model.transformer, read_lora(row.lora))
    world = World(3)
    plain, restored = (
        torch.cat([chunk.frames for chunk in roll_out(model, world, FRAMES, settings)])
        for settings in (SETTINGS, row.settings)
    )
    found = measure(row.load(), row, 3, FRAMES, Networks()).curves["psnr"]
    truth = world.frames(range(FRAMES))
    assert found[35] == pytest.approx(psnr(restored[35], truth[35]), abs=1e-4)
    assert torch.equal(plain[:33], restored[:33]) and not torch.equal(plain[33:], restored[33:])


def test_the_summary_is_mean_and_spread_over_the_worlds():
    truth = TensorFrames(torch.rand(300, 32, 32, 3, generator=torch.Generator().manual_seed(0)), FPS)
    # Off by 0.1 and 0.2 everywhere: 20 and 14 dB.
    reports = [
        ablation.evaluate(TensorFrames(truth.read(range(300)) + off, FPS), truth, joins=[100]) for off in (0.1, 0.2)
    ]
    found = summary(reports)
    assert list(found) == ["psnr 10 s", "ssim 10 s", "seam index", "PSNR slope"]
    values = [20, 20 * (1 - torch.log10(torch.tensor(2.0)).item())]
    assert found["psnr 10 s"] == pytest.approx([mean(values), stdev(values)], abs=1e-3)
    assert found["seam index"] == pytest.approx([1, 0], abs=1e-3)
    assert found["PSNR slope"] == pytest.approx([0, 0], abs=1e-3)


def test_worlds_that_equal_the_truth_are_left_out():
    truth = TensorFrames(torch.rand(260, 32, 32, 3, generator=torch.Generator().manual_seed(0)), FPS)
    reports = [ablation.evaluate(TensorFrames(truth.read(range(260)) + off, FPS), truth) for off in (0.1, 0, 0.2)]
    values = [20, 20 * (1 - torch.log10(torch.tensor(2.0)).item())]
    assert summary(reports)["psnr 10 s"] == pytest.approx([mean(values), stdev(values)], abs=1e-3)
    found = summary(reports[:2])["psnr 10 s"]
    assert found == pytest.approx([20, float("nan")], abs=1e-3, nan_ok=True)
    assert as_table({"one": {"psnr": found}}).endswith("| one | 20.000 ± none |")


def test_trips_that_lose_nothing(tmp_path):
    class Lossless:
        def encode(self, frames):
            return frames

        def decode(self, latents):
            return latents

    picture = World(1).reference()[None]
    trips = round_trips(Lossless(), picture, 2)
    assert trips == [float("inf")] * 2
    save_ablation_plot({"row": [float("inf"), float("nan")] * 30}, {"trips": trips}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_table():
    lines = as_table({"one": {"psnr 10 s": [20.1234, 1.5]}, "two": {"psnr 10 s": [19, 0.25]}}).splitlines()
    assert lines == [
        "|  | psnr 10 s |",
        "| --- | --- |",
        "| one | 20.123 ± 1.500 |",
        "| two | 19.000 ± 0.250 |",
    ]


def test_round_trips_by_hand(codec):
    picture = World(1).reference()[None]
    once = codec.decode(codec.encode(picture))
    twice = codec.decode(codec.encode(once))
    assert round_trips(codec, picture, 2) == pytest.approx([psnr(once, picture), psnr(twice, picture)])


def test_carried_trips_by_hand(codec):
    frame = World(1).reference()
    last = codec.decode(codec.encode(frame.expand(5, -1, -1, -1)))[-1]
    second = codec.decode(codec.encode(last.expand(5, -1, -1, -1)))[-1]
    assert carried_trips(codec, frame, 5, 2) == pytest.approx([psnr(last, frame), psnr(second, frame)])


def test_every_trip_loses(codec):
    values = round_trips(codec, World(1).reference()[None], 10)
    assert all(after < before for before, after in pairwise(values))


def test_command_line_with_loras_of_ones_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ablation, "HORIZONS", (1,))
    threads = torch.get_num_threads()
    command = ["ablate", "--out", str(tmp_path), "--seconds", "1.6", "--seeds", "7", "8", "--lora", str(STAGE_2)]
    assert cli.main(command) == 0
    torch.set_num_threads(threads)
    facts = json.loads((tmp_path / "ablation.json").read_text())
    assert list(facts["rows"]) == [str(STAGE_2)]
    (shipped,) = (row for row in ROWS if (row.lora, row.policy, row.settings) == (STAGE_2, METHOD, SETTINGS))
    curves = [measure(shipped.load(), shipped, seed, FRAMES, Networks()).curves["psnr"] for seed in (7, 8)]
    assert facts["psnr"][str(STAGE_2)] == pytest.approx(
        [mean(values) for values in zip(*curves, strict=True)], abs=1e-3
    )


def test_loras_of_one_name_are_two_rows_and_a_missing_one_is_said_first(tmp_path, capsys, monkeypatch):
    """The trainer gives the LoRAs of all its runs the same names."""
    monkeypatch.setattr(ablation, "HORIZONS", (1,))
    paths = [tmp_path / folder / "lora-004000.safetensors" for folder in ("one", "two")]
    for path, source in zip(paths, (STAGE_1, STAGE_2), strict=True):
        path.parent.mkdir()
        path.write_bytes(source.read_bytes())
    threads, out = torch.get_num_threads(), tmp_path / "out"
    command = ["ablate", "--out", str(out), "--seconds", "1.6", "--seeds", "7", "8", "--lora", *map(str, paths)]
    assert cli.main([*command, "none.safetensors"]) == 2
    assert "none.safetensors, which is not a file" in capsys.readouterr().err
    assert not out.exists()
    assert cli.main(command) == 0
    torch.set_num_threads(threads)
    rows = json.loads((out / "ablation.json").read_text())["rows"]
    assert list(rows) == [str(path) for path in paths]
    assert rows[str(paths[0])] != rows[str(paths[1])]


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("everanimate_core.cli.ablate.ROWS", ROWS[:2])
    monkeypatch.setattr(ablation, "HORIZONS", (1,))
    threads = torch.get_num_threads()
    command = ["ablate", "--out", str(tmp_path / "new"), "--seconds", "1.6", "--seeds"]
    assert cli.main([*command, "7", "8"]) == 0
    torch.set_num_threads(threads)
    said = capsys.readouterr().out
    facts = json.loads((tmp_path / "new" / "ablation.json").read_text())
    assert (facts["seconds"], facts["seeds"], list(facts["rows"])) == (1.6, [7, 8], [row.name for row in ROWS[:2]])
    assert said.endswith(as_table(facts["rows"]) + "\n")
    assert len(facts["psnr"][ROWS[0].name]) == 40 and len(facts["finding 1"]["static picture"]) == ablation.TRIPS
    assert (tmp_path / "new" / "ablation.png").stat().st_size > 10_000
    assert cli.main([*command, "7"]) == 2
    assert capsys.readouterr().err == "--seeds: must be at least 2 (100 101 102 103); got [7].\n"
