"""The ablation of the memory: its rows, the colours from behind, and results that are those of the loop."""

import json
from dataclasses import replace

import pytest
import torch
from colour_parts import drawn
from refusals import refusal

from everanimate_core.backends.cog_codec import CogCodec
from everanimate_core.backends.diffusers_cog import DiffusersCog
from everanimate_core.evaluation.frame_metrics import to_lab
from everanimate_core.evaluation.networks import load_networks
from everanimate_core.longanimation.method import long_animation
from everanimate_core.method import each_made
from everanimate_core.studies import colour_memory
from everanimate_core.studies.ablation import Plan
from everanimate_core.studies.colour_memory import (
    MAIN,
    ROWS,
    ablate_memory,
    behind_colours,
    chosen_memory_rows,
    measure_memory,
)
from everanimate_core.toy.network import colour_dit
from everanimate_core.toy.network.colour_dit import new_network
from everanimate_core.toy.network.colour_memory import MemoryOfToy, new_memory, write_memory
from everanimate_core.toy.network.colour_state import NO_TEXT, SETTINGS
from everanimate_core.toy.network.colour_vae import SCALE, new_vae
from everanimate_core.toy.network.engine import WorldFrames
from everanimate_core.toy.world import sides
from everanimate_core.toy.world.scene import Scene
from everanimate_core.toy.world.world import World

SMALL = replace(SETTINGS, window_frames=9, overlap=5, steps=2, fuse_from=1)
FRAMES = 29
TWO_SIDED = Scene(two_sided=True)


@pytest.fixture
def short(monkeypatch):
    """Showings of 7 frames in 14: two of them in FRAMES."""
    for name, value in {"EVERY": 14, "FIRST": 4, "SPREAD": 2, "LENGTH": 7, "TURN": 2}.items():
        monkeypatch.setattr(sides, name, value)


@pytest.fixture
def memory(tmp_path):
    """Untrained, but it adds something to every control; its file is in tmp_path."""
    memory = new_memory(0).eval().requires_grad_(False)
    memory.dglm.proj_out.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    write_memory(tmp_path / "colour_memory.safetensors", memory)
    return memory


@pytest.fixture
def model(monkeypatch):
    """An untrained toy of two blocks, which all rows get."""
    for name in ("BASE_SIZES", "SKETCH_SIZES"):
        monkeypatch.setattr(colour_dit, name, replace(getattr(colour_dit, name), blocks=2))
    networks = [drawn(new_network(sketch, 0), 5) for sketch in (False, True)]
    codec = CogCodec(new_vae(0).eval().requires_grad_(False))

    def load(memory):
        return DiffusersCog(*networks, codec, SCALE, NO_TEXT, NO_TEXT, None if memory is None else memory.dglm)

    monkeypatch.setattr(colour_memory, "load_colour", load)
    return load


def frames_of(model, memory, world, settings):
    lineart = WorldFrames(world.lineart, FRAMES)
    method = long_animation(lineart, world.reference()[None], settings, 64, 64).with_memory(memory)
    made = each_made(method, lambda *asked: model.sample_window(*asked, settings=settings), model.codec)
    return torch.cat([each.frames[method.plan.kept(each.index)] for each in made])


def test_rows_differ_in_what_is_remembered():
    assert [row.name for row in MAIN] == ["none", "local", "global", "both"]
    parts = [row.memory and (row.memory.memory_frames, row.memory.local_frames) for row in MAIN]
    assert parts == [None, (0, 20), (24, 0), (24, 20)]
    told = [row for row in ROWS.values() if row.told]
    assert [(row.name, row.memory) for row in told] == [(f"{row.name}, told", row.memory) for row in MAIN[2:]]


def test_rows_are_chosen_by_name():
    assert chosen_memory_rows(()) == list(ROWS.values())
    assert [row.name for row in chosen_memory_rows(("both", "none"))] == ["both", "none"]
    assert refusal(chosen_memory_rows, ("all",)).endswith("(both); got all.")


def test_the_colour_from_behind_is_the_mean_over_what_shows_it():
    world = World(3, scene=TWO_SIDED)
    span = sides.showings("3", 500)[0]
    # Of frames that show one colour where clothes are seen from behind, and another one elsewhere.
    behind = world.behind(range(span.stop))[..., None]
    frames = torch.where(behind > 0.9, torch.tensor([0.2, 0.7, 0.4]), torch.tensor([0.9, 0.1, 0.1]))
    found = behind_colours(frames, world, span)
    # Frames of the turning round show too little.
    assert 40 <= len(found) < len(span)
    expected = to_lab(torch.tensor([[[0.2, 0.7, 0.4]]]))[0, 0]
    torch.testing.assert_close(found, expected.expand(len(found), 3), rtol=0, atol=1e-3)


@pytest.mark.parametrize("told", [False, True])
def test_what_is_measured_is_what_the_loop_makes(short, model, memory, told):
    world, settings = World(5, scene=TWO_SIDED), replace(SMALL, seed=3)
    toy, engine = MemoryOfToy(memory.video), model(memory)
    measured = measure_memory(engine, toy, told, SMALL, world, 3, frames=FRAMES, lpips=None)
    first, second = sides.showings("5", FRAMES)
    truth = world.frames(range(FRAMES))
    remember, known = toy.remember, memory.video.crops(truth[: first.stop])

    class Told(MemoryOfToy):
        def remember(self, crops, held=None):
            return remember(torch.cat([known[: len(crops)], crops[len(known) :]]))

    frames = frames_of(engine, Told(memory.video) if told else toy, world, settings)
    error = (frames - truth).square().mean(dim=(1, 2, 3))
    assert measured.curves["psnr"] == pytest.approx((-10 * error.log10()).tolist(), abs=1e-4)
    assert measured.chunks == [9, 4, 4, 4, 4, 4]
    made, true = ([behind_colours(each, world, span) for span in (first, second)] for each in (frames, truth))
    expected = {
        "consistency": (made[1] - made[0].mean(dim=0)).norm(dim=1),
        "behind": (made[1] - true[1]).norm(dim=1),
        "truth": (true[1] - true[0].mean(dim=0)).norm(dim=1),
    }
    for name, values in expected.items():
        assert len(values) >= 2
        assert measured.curves[name] == pytest.approx(values.tolist(), abs=1e-3), name
    # What is remembered changes all windows but the first.
    without = frames_of(model(None), None, world, settings)
    same = (frames == without).flatten(1).all(dim=1)
    assert same[:9].all() and not same[9:].any()


def test_results_are_kept_and_the_table_is_written(short, model, memory, tmp_path, monkeypatch):
    plan, said = Plan(FRAMES / 25, (1, 2), (0,), TWO_SIDED), []
    monkeypatch.setattr(colour_memory, "SETTINGS", SMALL)
    networks = load_networks(None)
    facts = ablate_memory(tmp_path / "out", plan, list(ROWS.values()), tmp_path, networks, said.append)
    rows = {row["name"]: row for row in facts["rows"]}
    assert list(rows) == list(ROWS)
    assert list(rows) == [row["name"] for row in json.loads((tmp_path / "out" / "ablation.json").read_text())["rows"]]
    assert len({row["chunks"][0] for row in rows.values()}) == 1
    assert len({row["chunks"][-1] for row in rows.values()}) == len(rows)
    assert len({row["truth"] for row in rows.values()}) == 1 and rows["none"]["truth"] < 5
    table = said[-1].splitlines()
    assert len(table) == 2 + len(rows) + 1
    assert table[0].endswith("| behind: off its first showing | behind: off the truth |")

    def not_again(*_, **__):
        raise AssertionError("made again")

    monkeypatch.setattr(colour_memory, "measure_memory", not_again)
    assert ablate_memory(tmp_path / "out", plan, list(ROWS.values()), tmp_path, networks, said.append) == facts


def test_an_animation_that_shows_the_back_once_is_refused(tmp_path):
    plan = Plan(10.0, (1, 2), (0,), TWO_SIDED)
    said = refusal(ablate_memory, tmp_path / "out", plan, list(MAIN), None, load_networks(None), print)
    assert said == "seconds must show the back of clothes twice (20); got 10.0."
    assert not (tmp_path / "out").exists()


def test_every_world_has_to_show_it_twice(tmp_path):
    """Of 318 frames, world 107 shows the back once, where others show it twice."""
    assert [len(sides.showings(f"{world}", 318)) for world in (106, 107)] == [2, 1]
    plan = Plan(318 / 25, (106, 107), (0,), TWO_SIDED)
    said = refusal(ablate_memory, tmp_path / "out", plan, list(MAIN), None, load_networks(None), print)
    assert said == "seconds must show the back of clothes twice (20); got 12.72."
