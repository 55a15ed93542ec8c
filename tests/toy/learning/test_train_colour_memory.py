"""Training of the colouring toy's memory: clips of two-sided clothes, a video model that tells, a DGLM that reads."""

import json
from dataclasses import replace

import pytest
import torch

from everanimate_core.backends.cog_codec import CogCodec
from everanimate_core.toy.learning import colour_memory_films, films, learner, train_colour_memory
from everanimate_core.toy.learning.colour_memory_films import FIRST_SEED, LEAST, SCENE, make_memory_film
from everanimate_core.toy.learning.train_colour import errors_of, loss_of
from everanimate_core.toy.learning.train_colour_memory import (
    PARTS,
    Remembering,
    Teller,
    Telling,
    corrected,
    draw_batch,
    draw_told,
    films_in,
    main,
    told_errors,
    weighted,
    with_memories,
)
from everanimate_core.toy.network import colour_dit
from everanimate_core.toy.network.colour_dit import new_network
from everanimate_core.toy.network.colour_memory import SIDE, USED, load_memory, new_memory
from everanimate_core.toy.network.colour_vae import new_vae
from everanimate_core.toy.world.sides import showings
from everanimate_core.toy.world.world import World


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Clips of 9 frames, two a shard, base and SketchDiT of two blocks, nothing trained; the folder of the run."""
    monkeypatch.setattr(films, "SHARD", 2)
    monkeypatch.setattr(colour_memory_films, "FRAMES", 9)
    for name in ("BASE_SIZES", "SKETCH_SIZES"):
        monkeypatch.setattr(colour_dit, name, replace(getattr(colour_dit, name), blocks=2))
    sizes = {
        "load_vae": lambda: new_vae(0).eval().requires_grad_(False),
        "load_base": lambda: new_network(False, 0).requires_grad_(False),
        "load_sketch": lambda: new_network(True, 0).requires_grad_(False),
        "SHARDS": (0,),
        "ANYWHERE": (),
        "HELD_OUT_SHARD": 1,
        "HELD_OUT": 1,
        "WARMUP": 2,
        "TELL_STEPS": 3,
        "TELL_BATCH": 2,
        "STEPS": 4,
        "BATCH": 2,
        "LOG_EVERY": 2,
        "SAVE_EVERY": 2,
    }
    for name, value in sizes.items():
        monkeypatch.setattr(train_colour_memory, name, value)
    return tmp_path


@pytest.fixture
def learnt(small):
    return films_in(small / "films", (0,))


def test_a_clip_comes_behind_what_the_video_was_until_then(small):
    codec = CogCodec(new_vae(0).eval())
    film = make_memory_film(3, codec)
    world = World(FIRST_SEED + 3, scene=SCENE)
    assert {name: tuple(value.shape) for name, value in film.items()} == {
        "colour": (16, 4, 8, 8),
        "lines": (16, 4, 8, 8),
        "behind": (4, 8, 8),
        "past": (24, SIDE, SIDE, 3),
        "recent": (20, SIDE, SIDE, 3),
        "past_turned": (24,),
        "recent_turned": (20,),
        "colours": (3, 3),
    }
    assert torch.equal(film["colour"][:, :1], codec.encode(world.reference()[None])[0])
    assert torch.equal(film["colours"], torch.stack([world.look.shirt, world.look.trousers, world.look.behind]))

    def seen(indices):
        return (world.frames(indices)[:, 12:52, 12:52] * 255).round().to(torch.uint8)

    # Where the clip begins is not told: the last frames that are remembered say it.
    count = next(at for at in range(40, 460) if torch.equal(seen([at - 1])[0], film["recent"][-1]))
    start = count - 17
    assert torch.equal(film["colour"][:, 1:], codec.encode(world.frames(range(start, start + 9)))[0])
    assert torch.equal(film["recent"], seen(range(count - 20, count)))
    assert torch.equal(film["past"][[0, -1]], seen([0, count - 1]))
    assert any(-20 <= start - span.start <= 30 for span in showings(f"{world.seed}", 540))
    covered = world.behind(range(start, start + 9))
    assert not film["behind"][0].any()
    torch.testing.assert_close(
        film["behind"].mean(dim=(1, 2))[1:3], torch.stack([covered[0], covered[1:5].mean(0)]).mean(dim=(1, 2))
    )
    assert torch.equal(film["recent_turned"], (world.behind(range(count - 20, count)) > 0.9).sum((1, 2)) >= LEAST)


def test_some_clips_begin_anywhere(small, monkeypatch):
    """Number 3 as one of them: it begins at the only frame that is allowed, which shows no back."""
    monkeypatch.setattr(colour_memory_films, "ANYWHERE", range(3, 4))
    monkeypatch.setattr(colour_memory_films, "STARTS", (200, 200))
    film = make_memory_film(3, CogCodec(new_vae(0).eval()))
    shown = World(FIRST_SEED + 3, scene=SCENE).frames([216])[:, 12:52, 12:52]
    assert torch.equal(film["recent"][-1:], (shown * 255).round().to(torch.uint8))
    assert not film["behind"].any() and not film["recent_turned"].any()


def test_what_is_told_is_the_colour_of_the_side_that_is_seen(learnt):
    for crops, colours, turned in draw_told(learnt, torch.Generator().manual_seed(0), changed=False):
        number = next(at for at in range(2) if any(torch.equal(crops[-1], learnt[part][at, -1]) for part in PARTS))
        shirt, trousers, behind = learnt["colours"][number].float()
        assert torch.equal(colours[~turned], torch.stack([shirt, trousers]).expand(int((~turned).sum()), 2, 3))
        assert torch.equal(colours[turned], behind.expand(int(turned.sum()), 2, 3))


def test_channels_change_in_pictures_as_in_colours(learnt):
    plain = draw_told(learnt, torch.Generator().manual_seed(1), changed=False)[0]
    # The first film of a batch is drawn before anything is changed.
    crops, colours, turned = draw_told(learnt, torch.Generator().manual_seed(1))[0]
    assert torch.equal(turned, plain[2])
    for channel in range(3):
        found = [
            (other, inverted)
            for other in range(3)
            for inverted in (False, True)
            if torch.equal(crops[..., channel], 255 - plain[0][..., other] if inverted else plain[0][..., other])
        ]
        ((other, inverted),) = found
        expected = plain[1][..., other]
        assert torch.equal(colours[..., channel], 1 - expected if inverted else expected)


def test_errors_of_the_telling_by_hand(learnt):
    teller = Teller(new_memory(0).video)
    for linear in (teller.value, teller.key):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.constant_(linear.bias, 0.5)
    ((crops, colours, turned),) = draw_told(learnt, torch.Generator().manual_seed(0))[:1]
    errors = told_errors(teller, [(crops, colours, turned)])
    off = (colours - 0.5).square().mean(dim=-1)
    behind = off[turned].mean() if turned.any() else torch.tensor(0.0)
    torch.testing.assert_close(errors, torch.stack([off.mean(), behind, torch.tensor(0.25)]))


def test_without_memory_the_control_is_that_of_the_shipped_toy(small, learnt):
    part = Remembering(small, 0)
    films_with = with_memories(learnt, new_memory(0).video)
    batch = draw_batch(films_with, torch.Generator().manual_seed(0))
    plain = errors_of(part.base, part.sketch, "skip-layer", batch)
    dglm = new_memory(0).dglm
    assert torch.equal(part.errors(dglm, batch, [()] * 2), plain)
    # An untrained DGLM adds nothing.
    assert torch.equal(part.errors(dglm, batch, [PARTS] * 2), plain)
    assert plain.mean().item() == loss_of(part.base, part.sketch, "skip-layer", batch).item()


def test_each_film_looks_up_in_its_own_memory(learnt):
    memory = new_memory(0)
    torch.nn.init.normal_(memory.dglm.proj_out)
    batch = draw_batch(with_memories(learnt, memory.video), torch.Generator().manual_seed(0))
    control = torch.randn(2, 3, USED, generator=torch.Generator().manual_seed(0))
    found = corrected(memory.dglm, batch, [("recent",), ()], control)
    kept = memory.video.memory(
        next(
            learnt["recent"][at]
            for at in range(2)
            if torch.equal(with_memories(learnt, memory.video)["recent_memory"][at], batch["recent_memory"][0])
        )
    )
    one = control[:1] + memory.dglm(memory.dglm.project(kept), control[:1])
    torch.testing.assert_close(found, torch.cat([one, control[1:]]))


def test_cells_that_show_the_back_count_more():
    errors, behind = torch.tensor([[[[[1.0, 3.0]]]]]), torch.tensor([[[[0.0, 1.0]]]])
    assert weighted(errors, behind).item() == pytest.approx((1 + 5 * 3) / 6)


@pytest.mark.parametrize("kind", [Telling, Remembering])
def test_it_goes_on_where_it_was_left(small, learnt, kind):
    films_with = with_memories(learnt, new_memory(0).video)
    run = kind(small, 0)
    run.advance(films_with)
    run.learner.save(run.state)
    again = kind(small, 0)
    assert [run.advance(films_with) for _ in range(2)] == [again.advance(films_with) for _ in range(2)]


def test_it_trains_both_and_writes_what_is_read(small, learnt, monkeypatch):
    main(["--out", str(small)])
    facts = json.loads((small / "colour_memory.json").read_text())
    assert facts["command"].endswith("train_colour_memory --out DIR --seed 0")
    assert list(facts["colour_memory"]["unseen"])[4:] == ["behind_none", "behind_local", "behind_global", "behind_both"]
    for name, steps in (("colour_video", 3), ("colour_memory", 4)):
        assert facts[name]["steps"] == steps
        *_, last = (small / f"{name}.csv").read_text().splitlines()
        assert last.startswith(f"{steps},") and all(last.split(","))
    memory, untrained = load_memory(small / "colour_memory.safetensors"), new_memory(0)
    assert memory.dglm.proj_out.any() and not memory.dglm.layers[0][1][1].weight[USED:].any()
    assert not torch.equal(memory.video.vision.projector[0].bias, untrained.video.vision.projector[0].bias)
    # Stopped and gone on with, it is the same.
    whole = (small / "colour_memory.safetensors").read_bytes()
    for path in small.glob("colour_*"):
        path.unlink()
    ended = iter([True] * 20)
    clock = iter(range(10**6))
    monkeypatch.setattr(learner.time, "monotonic", lambda: 60.0 * next(clock))
    while next(ended) and not (small / "colour_memory.json").exists():
        main(["--out", str(small), "--minutes", "2"])
    assert (small / "colour_memory.safetensors").read_bytes() == whole
