"""Training of the colouring toy's networks: base, then what steers it, trained as it is tested."""

import json
from dataclasses import replace

import pytest
import torch

from everanimate_core.backends.cog_codec import CogCodec
from everanimate_core.backends.cog_networks import rotary_embedding
from everanimate_core.longanimation.dpm import trained_alpha_bars
from everanimate_core.toy.learning import colour_films, films, learner, train_colour
from everanimate_core.toy.learning.colour_films import make_colour_film, reference_slots
from everanimate_core.toy.learning.train_colour import SKETCHES, TASKS, Training, draw_batch, loss_of, rotary_of
from everanimate_core.toy.network import colour_dit
from everanimate_core.toy.network.colour_dit import load_base, load_sketch, new_network, write_network
from everanimate_core.toy.network.colour_state import SETTINGS
from everanimate_core.toy.network.colour_vae import SCALE, new_vae


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Windows of 9 frames, two films a shard, networks of two blocks, an untrained VAE; the folder of the run."""
    monkeypatch.setattr(train_colour, "load_vae", lambda: new_vae(0).eval().requires_grad_(False))
    monkeypatch.setattr(films, "SHARD", 2)
    settings = replace(SETTINGS, window_frames=9, overlap=5, steps=2, fuse_from=1)
    monkeypatch.setattr(colour_films, "FRAMES", 9)
    sizes = {
        "SETTINGS": settings,
        "SHARDS": 1,
        "HELD_OUT_SHARD": 1,
        "RUNS": (1,),
        "PAIRS": 4,
        "WARMUP": 2,
        "HELD_OUT": 1,
        "LOG_EVERY": 2,
        "SAVE_EVERY": 2,
    }
    for name, value in {**sizes, "UNSEEN": range(1)}.items():
        monkeypatch.setattr(train_colour, name, value)
    for name in ("BASE_SIZES", "SKETCH_SIZES"):
        monkeypatch.setattr(colour_dit, name, replace(getattr(colour_dit, name), blocks=2))
    tasks = (replace(TASKS[0], steps=4), *(replace(task, steps=2) for task in SKETCHES))
    monkeypatch.setattr(train_colour, "TASKS", tasks)
    return tmp_path


def test_the_patterns_differ_in_nothing_else():
    assert [task.blocks for task in SKETCHES] == ["skip-layer", "full", "former half", "latter half"]
    assert len({replace(task, name="", blocks=None) for task in SKETCHES}) == 1
    assert len({task.name for task in TASKS}) == len(TASKS)


def test_a_film_is_a_window_behind_its_reference(small):
    codec = CogCodec(new_vae(0).eval())
    film = make_colour_film(3, codec)
    assert {name: tuple(value.shape) for name, value in film.items()} == {
        "colour": (16, 4, 8, 8),
        "lines": (16, 4, 8, 8),
    }
    world = films.World(films.FIRST_SEED + 3)
    assert torch.equal(film["colour"][:, :1], codec.encode(world.reference()[None])[0])
    slots = reference_slots(film["colour"][None])
    assert torch.equal(slots[0, :, 0], film["colour"][:, 0])
    assert not slots[:, :, 1:].any()


def test_the_loss_by_hand(small):
    """Of a base that answers zeros: the mean square of v."""
    base = new_network(False, 0)
    with torch.no_grad():
        base.proj_out.weight.zero_()
        base.proj_out.bias.zero_()
    films_of = {name: torch.randn(3, 16, 4, 8, 8) for name in ("colour", "lines")}
    batch = draw_batch(films_of, torch.Generator().manual_seed(0))
    assert batch["colour"].shape == (2, 16, 4, 8, 8)
    level = trained_alpha_bars()[batch["timestep"]].view(-1, 1, 1, 1, 1)
    v = level.sqrt() * batch["noise"] - (1 - level).sqrt() * SCALE * batch["colour"]
    assert loss_of(base, None, None, batch).item() == pytest.approx(v.square().mean().item(), rel=1e-5)
    # A SketchDiT begins as if it were not there.
    steered = loss_of(base, new_network(True, 0), "full", batch)
    assert steered.item() == pytest.approx(v.square().mean().item(), rel=1e-5)


def test_a_batch_shows_the_reference_and_a_run_of_every_film(monkeypatch):
    """Slot t of film n holds 100 n + t, in colour and in lines."""
    monkeypatch.setattr(train_colour, "RUNS", (3,))
    monkeypatch.setattr(train_colour, "PAIRS", 9)
    numbers = (100.0 * torch.arange(5)[:, None] + torch.arange(22)).view(5, 1, 22, 1, 1)
    firsts = set()
    for seed in range(60):
        batch = draw_batch({"colour": numbers, "lines": numbers}, torch.Generator().manual_seed(seed))
        first = int(batch["pairs"][1])
        firsts.add(first)
        assert batch["pairs"].tolist() == [0, first, first + 1, first + 2]
        shown = [0.0, 1.0, *(float(slot) for slot in range(2 * first, 2 * first + 6))]
        for name in ("colour", "lines"):
            assert (batch[name][:, 0, :, 0, 0] % 100).tolist() == [shown, shown]
        assert torch.equal(batch["colour"], batch["lines"])
    assert firsts == set(range(1, 9))


def test_slots_keep_their_places_in_time():
    base, state = new_network(False, 0), torch.zeros(1, 22, 16, 8, 8)
    whole = rotary_embedding(base, state)
    pairs = torch.tensor([0, 4, 5])
    for values, all_values in zip(rotary_of(base, state[:, :6], pairs), whole, strict=True):
        assert torch.equal(values, torch.cat([all_values[:16], all_values[64:96]]))


def test_it_trains_the_base_then_what_steers_it(small):
    train_colour.main(["--out", str(small), "--only", "colour_base", "colour_full"])
    facts = {name: json.loads((small / f"{name}.json").read_text()) for name in ("colour_base", "colour_full")}
    assert facts["colour_base"]["psnr"] == []
    assert len(facts["colour_full"]["psnr"]) == 1
    assert facts["colour_full"]["task"]["blocks"] == "full"
    for name in facts:
        heading, *rows = (small / f"{name}.csv").read_text().splitlines()
        assert heading == "step,loss,loss_unseen,psnr_unseen"
        assert rows[-1].split(",")[2]


def test_the_minutes_are_those_of_all_networks_together(small, monkeypatch):
    """The clock goes on a minute with each look at it: the base, of four steps, is done, and the next one begun."""
    clock = iter(range(100))
    monkeypatch.setattr(learner.time, "monotonic", lambda: 60.0 * next(clock))
    train_colour.main(["--out", str(small), "--only", "colour_base", "colour_full", "--minutes", "5"])
    assert (small / "colour_base.json").exists()
    assert (small / "colour_full.state.safetensors").exists() and not (small / "colour_full.json").exists()


def test_it_goes_on_where_it_was_left(small):
    run = Training(train_colour.TASKS[0], small, 0)
    learnt, _ = run.films()
    run.advance(learnt)
    run.learner.save(run.state)
    again = Training(train_colour.TASKS[0], small, 0)
    assert [run.advance(learnt) for _ in range(2)] == [again.advance(learnt) for _ in range(2)]


def test_a_sketch_begins_as_the_first_blocks_of_its_base(small):
    write_network(small / "colour_base.safetensors", new_network(False, 5))
    sketch, base = Training(SKETCHES[0], small, 0).network.state_dict(), load_base(small / "colour_base.safetensors")
    base = base.state_dict()
    assert sketch.keys() - base.keys() == {"zero_conv.weight"}
    assert not sketch["zero_conv.weight"].any()
    assert all(torch.equal(value, base[name]) for name, value in sketch.items() if name in base)


def test_a_network_begins_with_what_an_earlier_training_left(small, tmp_path):
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    write_network(earlier / "colour_base.safetensors", new_network(False, 5))
    (earlier / "colour_base.json").write_text('{"command": "as before"}', encoding="utf-8")
    run = Training(TASKS[0], small, 0, earlier)
    begun = load_base(earlier / "colour_base.safetensors").state_dict()
    for values in (run.network.state_dict(), run.learner.average):
        assert all(torch.equal(value, begun[name]) for name, value in values.items())
    run.export("command")
    facts = json.loads((small / "colour_base.json").read_text(encoding="utf-8"))
    assert facts["after"] == {"command": "as before"}


def test_steering_leaves_the_base_as_it_is(small):
    write_network(small / "colour_base.safetensors", new_network(False, 0))
    run = Training(train_colour.TASKS[1], small, 0)
    before = {name: value.clone() for name, value in run.base.named_parameters()}
    run.advance(run.films()[0])
    assert all(torch.equal(value, before[name]) for name, value in run.base.named_parameters())
    assert not any(block._forward_hooks for block in run.base.transformer_blocks)


@pytest.mark.parametrize(("sketch", "load"), [(False, load_base), (True, load_sketch)])
def test_what_is_written_is_read_again(small, sketch, load):
    network = new_network(sketch, 1)
    write_network(small / "network.safetensors", network)
    for name, value in load(small / "network.safetensors").state_dict().items():
        # Matrices have 8 bits with a scale a row, the rest half precision.
        tolerance = value.abs().amax() / 200
        torch.testing.assert_close(value, network.state_dict()[name], rtol=0, atol=float(tolerance))
