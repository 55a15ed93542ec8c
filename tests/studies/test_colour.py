"""The ablation of the colouring: rows that differ in one thing, results that are kept and are those of the loop."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from colour_parts import drawn
from refusals import refusal

from everanimate_core.backends.cog_codec import CogCodec
from everanimate_core.backends.diffusers_cog import DiffusersCog
from everanimate_core.evaluation.networks import load_networks
from everanimate_core.longanimation.method import long_animation
from everanimate_core.method import each_made
from everanimate_core.studies import colour
from everanimate_core.studies.ablation import Plan
from everanimate_core.studies.colour import MAIN, PATTERNS, ROWS, ablate_colour, chosen_colour_rows, measure_colour
from everanimate_core.toy.learning.train_colour import SKETCHES
from everanimate_core.toy.network import colour_dit
from everanimate_core.toy.network.colour_dit import new_network
from everanimate_core.toy.network.colour_state import NO_TEXT, SETTINGS
from everanimate_core.toy.network.colour_vae import SCALE, new_vae
from everanimate_core.toy.network.engine import WorldFrames
from everanimate_core.toy.world.world import World

SMALL = replace(SETTINGS, window_frames=9, overlap=5, steps=2, fuse_from=1)
FRAMES = 17


@pytest.fixture
def model(monkeypatch):
    """An untrained toy of two blocks, which all rows get."""
    for name in ("BASE_SIZES", "SKETCH_SIZES"):
        monkeypatch.setattr(colour_dit, name, replace(getattr(colour_dit, name), blocks=2))
    networks = [drawn(new_network(sketch, 0), 5) for sketch in (False, True)]
    model = DiffusersCog(*networks, CogCodec(new_vae(0).eval().requires_grad_(False)), SCALE, NO_TEXT)
    monkeypatch.setattr(colour, "load_colour", lambda path: model)
    return model


def small(row):
    changes = {name: getattr(SMALL, name) for name in ("window_frames", "overlap", "steps", "fuse_from")}
    return replace(row, settings=replace(row.settings, **changes))


def differs(settings):
    plain = asdict(SETTINGS)
    return {name: value for name, value in asdict(settings).items() if value != plain[name]}


def test_rows_differ_in_what_they_are_called():
    assert [differs(row.settings) for row in MAIN] == [{}, {"reference_mode": "autoregressive"}, {"fuse": False}]
    assert len({row.sketch for row in MAIN}) == 1
    assert [differs(row.settings) for row in PATTERNS] == [{"blocks": row.name} for row in PATTERNS]
    # Each is steered by what was trained for its pattern.
    trained = {task.blocks: task.name for task in SKETCHES}
    assert {row.settings.blocks: row.sketch for row in ROWS.values()} == trained


def test_rows_are_chosen_by_name():
    assert chosen_colour_rows(()) == list(MAIN)
    assert [row.name for row in chosen_colour_rows(("full", "skip-layer"))] == ["full", "skip-layer"]
    assert refusal(chosen_colour_rows, ("half",)).endswith("(skip-layer); got half.")


def test_what_is_measured_is_what_the_loop_makes(model):
    world, settings = World(5), replace(SMALL, seed=3)
    method = long_animation(WorldFrames(world.lineart, FRAMES), world.reference()[None], settings, 64, 64)
    made = list(each_made(method, lambda *asked: model.sample_window(*asked, settings=settings), model.codec))
    frames = torch.cat([each.frames[method.plan.kept(each.index)] for each in made])
    measured = measure_colour(model, SMALL, world, 3, frames=FRAMES, lpips=None)
    assert measured.chunks == [9, 4, 4]
    error = (frames - world.frames(range(FRAMES))).square().mean(dim=(1, 2, 3))
    assert measured.curves["psnr"] == pytest.approx((-10 * error.log10()).tolist(), abs=1e-4)


def test_results_are_kept_and_the_table_is_written(model, tmp_path, monkeypatch):
    plan = Plan(FRAMES / 25, (1, 2), (0,))
    rows, said = [small(row) for row in MAIN], []
    networks = load_networks(None)
    facts = ablate_colour(tmp_path, plan, rows, None, networks, said.append)
    assert [row["name"] for row in facts["rows"]] == ["skip-layer", "autoregressive", "without fusion"]
    assert [row["name"] for row in json.loads((tmp_path / "ablation.json").read_text())["rows"]] == list(
        row.name for row in MAIN
    )
    assert said[-1].startswith("|  | PSNR, first chunk |")
    # The first window has nothing to take over.
    assert facts["rows"][0]["chunks"][0] == facts["rows"][2]["chunks"][0] == facts["rows"][1]["chunks"][0]
    assert facts["rows"][0]["chunks"][1] != facts["rows"][2]["chunks"][1]

    def not_again(*_, **__):
        raise AssertionError("made again")

    monkeypatch.setattr(colour, "measure_colour", not_again)
    assert ablate_colour(tmp_path, plan, rows, None, networks, said.append) == facts
