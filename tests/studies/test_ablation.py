"""The ablation: its numbers are means over worlds and noise seeds, and it goes on where it was stopped."""

import json
from dataclasses import replace
from statistics import mean, stdev

import pytest
from refusals import refusal

from everanimate_core.cli import main as cli
from everanimate_core.errors import InputError
from everanimate_core.evaluation.networks import Networks
from everanimate_core.studies import ablation
from everanimate_core.studies.ablation import Plan, ablate, as_tables, recovery, summary
from everanimate_core.studies.roll_outs import Measured, measure
from everanimate_core.studies.rows import row
from everanimate_core.toy.network.engine import load_toy
from everanimate_core.toy.network.state import FULL_LORA, MEMORY_LORA, MEMORY_WEIGHTS
from everanimate_core.toy.world.scene import Scene
from everanimate_core.toy.world.world import World

ROW = row("memory", "even_memory")


@pytest.fixture
def quick(monkeypatch):
    """Roll-outs of two chunks are looked at after a second, and trips through the VAE are left to test_trips.py."""
    monkeypatch.setattr(ablation, "HORIZONS", (1,))
    monkeypatch.setattr(ablation, "finding_one", lambda worlds: {"static picture": [20.0 + world for world in worlds]})


def flat(value, *chunks):
    """A result of the same number for every frame of a chunk, or of those numbers."""
    values = value if isinstance(value, list) else [value] * len(chunks)
    curve = [number for number, length in zip(values, chunks, strict=True) for _ in range(length)]
    return Measured({"psnr": curve, "colour": [number / 100 for number in curve]}, list(chunks))


def test_a_row_is_the_mean_over_worlds_and_noise_seeds():
    plan = Plan(11, (100, 101), (0, 1))
    # At 10 seconds, frame 249, the third chunk is on show.
    results = {
        (100, 0): flat([30, 20, 10, 1], 100, 100, 60, 15),
        (100, 1): flat([30, 20, 12, 1], 100, 100, 60, 15),
        (101, 0): flat([30, 22, 15, 1], 100, 100, 60, 15),
        (101, 1): flat([30, 22, 15, 1], 100, 100, 60, 15),
    }
    found = summary(results, plan)
    assert found["psnr"] == {"10": pytest.approx((100 * 30 + 100 * 21 + 50 * 13) / 250)}
    assert found["last"] == {"10": pytest.approx(13)}
    assert found["per_world"] == {"100": {"10": pytest.approx(11)}, "101": {"10": pytest.approx(15)}}
    assert found["spread"] == {"10": pytest.approx(stdev([11, 15]))}
    assert found["chunks"] == pytest.approx([30, 21, 13, 1])
    assert found["colour"] == {"first": {"10": pytest.approx(0.23)}, "last": {"10": pytest.approx(0.13)}}


def test_frames_that_equal_the_truth_are_left_out():
    plan = Plan(10, (100, 101), (0,))
    results = {(100, 0): flat([20.0], 250), (101, 0): flat([float("inf")], 250)}
    found = summary(results, plan)
    assert found["last"]["10"] == 20 and found["spread"]["10"] != found["spread"]["10"]


def test_recovery_is_what_the_chunks_after_the_plant_have_lost():
    lengths = [33, *[29] * 17]
    clean = {(1, 0): flat(list(range(40, 22, -1)), *lengths), (2, 0): flat(list(range(40, 22, -1)), *lengths)}
    lost = [0] * 5 + [4, 2, *[0] * 11]
    hit = {
        world: flat([20 - off + 20 - place for place, off in enumerate(lost)], *lengths) for world in ((1, 0), (2, 0))
    }
    found = recovery(clean, hit)
    assert found["chunks"] == pytest.approx([-4, -2, *[0] * 8])
    # Chunks 5 to 14, which have 35 to 26 dB.
    assert found["clean"] == pytest.approx(30.5) and found["planted"] == pytest.approx(29.9)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seconds": 0.01}, "seconds must be a frame or more (60); got 0.01."),
        ({"worlds": (100,)}, "worlds must be at least 2 (8); got 1."),
        ({"noises": ()}, "noises must be at least 1 (2); got 0."),
    ],
)
def test_plans_that_make_no_table_are_refused(wrong, said):
    assert refusal(Plan, kind=InputError, **{"seconds": 1, "worlds": (1, 2), "noises": (0,)} | wrong) == said


def test_horizons_are_those_that_are_reached():
    assert [Plan(seconds, (1, 2), (0,)).horizons for seconds in (9.9, 60, 90)] == [[], [10, 30, 60], [10, 30, 60, 90]]


def test_results_are_kept_and_only_what_is_missing_is_made(tmp_path, quick):
    said = []
    plan = Plan(1.6, (7, 8), (0,))
    first = ablate(tmp_path, plan, [ROW], None, Networks(), said.append)
    assert [line for line in said if line.startswith("memory, world")] == [
        f"memory, world {world}, noise 0: PSNR {mean(curve):.2f} dB"
        for world in (7, 8)
        for curve in [measure(load_toy(MEMORY_WEIGHTS), ROW, World(world), 0, 40, None).curves["psnr"]]
    ]
    said.clear()
    more = ablate(tmp_path, replace(plan, worlds=(7, 8, 9)), [ROW], None, Networks(), said.append)
    assert [line[:17] for line in said if line.startswith("memory, ")] == ["memory, world 9, "]
    assert more["rows"][0]["per_world"]["7"] == first["rows"][0]["per_world"]["7"]
    # Other settings and other scenes are other results.
    for other in (replace(plan, changes={"steps": 2}), replace(plan, scene=Scene(light="constant"))):
        said.clear()
        found = ablate(tmp_path, other, [ROW], None, Networks(), said.append)["rows"][0]["per_world"]
        assert len([line for line in said if line.startswith("memory, ")]) == 2
        changed = replace(ROW, settings=replace(ROW.settings, **other.changes))
        curve = measure(load_toy(MEMORY_WEIGHTS), changed, World(7, scene=other.scene), 0, 40, None).curves["psnr"]
        assert found["7"]["1"] == pytest.approx(mean(curve[:33]))


def test_files(tmp_path, quick):
    said = []
    rows = [ROW, row("baseline", "even_baseline")]
    facts = ablate(tmp_path, Plan(1.6, (7, 8), (0,), planted=True), rows, None, Networks(), said.append)
    written = json.loads((tmp_path / "ablation.json").read_text(encoding="utf-8"))
    assert [each["name"] for each in written["rows"]] == ["memory", "baseline"]
    assert set(written["rows"][0]) >= {"name", "psnr", "last", "spread", "per_world", "chunks", "planted"}
    assert written["settings"]["worlds"] == [7, 8] and written["settings"]["horizons"] == [1]
    assert written["settings"]["trained"]["even_memory"] == {"steps": 6000, "films": 6656, "batch": 8}
    assert written["finding 1"] == {"static picture": [27.0, 28.0]}
    assert (tmp_path / "ablation.png").stat().st_size > 10_000
    assert said[-1] == as_tables(facts)


def test_tables():
    row_facts = {
        "name": "one",
        "psnr": {"10": 25.0, "30": 24.5},
        "last": {"10": 24.123, "30": 23.0},
        "spread": {"10": 1.5, "30": float("nan")},
        "chunks": [26.111, 24],
        "ssim": {"first": {"10": 1, "30": 1}, "last": {"10": 0.9, "30": 0.81234}},
        "planted": {"clean": 24.0, "planted": 22.5, "chunks": [-3.04, 0.0]},
    }
    assert as_tables({"settings": {"horizons": [10, 30]}, "rows": [row_facts]}).splitlines() == [
        "|  | PSNR, first chunk | PSNR at 10 s | PSNR at 30 s | PSNR, first 10 s | PSNR, first 30 s | ssim at 30 s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| one | 26.11 | 24.12 ± 1.50 | 23.00 ± none | 25.00 | 24.50 | 0.812 |",
        "",
        "|  | without drift | after it | lost by chunk |",
        "| --- | --- | --- | --- |",
        "| one | 24.00 | 22.50 | -3.0 +0.0 |",
    ]


def test_command_line(tmp_path, capsys, quick):
    command = ["ablate", "--seconds", "1.6", "--worlds", "2", "--first-world", "7", "--noises", "1", "--out"]
    assert cli.main([*command, str(tmp_path / "new"), "--rows", "even_memory", "even_baseline"]) == 0
    facts = json.loads((tmp_path / "new" / "ablation.json").read_text())
    assert [each["name"] for each in facts["rows"]] == ["even_memory", "even_baseline"]
    assert capsys.readouterr().out.endswith(as_tables(facts) + "\n")


def test_a_missing_lora_is_said_before_anything_is_made(tmp_path, capsys, quick):
    command = ["ablate", "--out", str(tmp_path / "out"), "--lora", str(MEMORY_LORA), str(FULL_LORA), "none.safetensors"]
    assert cli.main(command) == 2
    assert "none.safetensors, which is not a file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
