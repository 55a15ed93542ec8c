"""Explicit restoration on Wan-Animate 2 and SCAIL-2: towards a first chunk, behind references and carried frames."""

from types import SimpleNamespace

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image
from graphs import SIZE
from test_restoration import sampled, select

FRAMES = 17
# At 4, the correction goes all of the way in one model call, and no further.
STRENGTH = 4.0
# Each base, the sampler of its template, the latents in front of its chunks, and those that its second chunk holds.
SAMPLERS = {"animate2": "lcm", "scail2": "euler"}
LEADING, HELD = {"animate2": 1, "scail2": 0}, {"animate2": 0, "scail2": 2}
each_base = pytest.mark.parametrize("base", LEADING)


def conditioned(comfy, base, frames=None):
    """positive, negative and latent of a chunk by the host's own node. frames: those of the chunk before."""
    text, looked = comfy.conditioning(), comfy.clip_vision().encode_image(reference_image(), crop=False)
    inputs = {"positive": text, "negative": text, "vae": comfy.load_vae(), "clip_vision_output": looked}
    inputs |= {"width": SIZE, "height": SIZE, "length": FRAMES, "reference_image": reference_image()}
    inputs |= {"pose_video": moving_pattern(2 * FRAMES), "video_frame_offset": 0 if frames is None else FRAMES}
    node, carries = {
        "animate2": ("WanAnimate2ToVideo", "continue_motion"),
        "scail2": ("WanSCAILToVideo", "previous_frames"),
    }[base]
    return comfy.call(node, **inputs, **({} if frames is None else {carries: frames}))[:3]


@pytest.fixture(scope="module")
def core(comfy):
    """The core's restoration and statistics."""
    restoration = comfy.module(PACK, "everanimate_core.everanimate.restoration")
    return SimpleNamespace(
        Restoration=restoration.Restoration,
        correction=restoration.correction_of_statistics,
        statistics=comfy.module(PACK, "everanimate_core.latents").channel_statistics,
        to_network=comfy.module(PACK, "nodes.host").to_network,
    )


@pytest.fixture(scope="module")
def bases(comfy, core):
    """{base: its model, its first chunk sampled, the statistics of that, and the second chunk}."""
    if "WanAnimate2ToVideo" not in comfy.nodes:
        pytest.skip("this host knows neither Wan-Animate 2 nor SCAIL-2")
    found = {}
    with torch.inference_mode():
        for base, leading in LEADING.items():
            model, first = comfy.load_base(base), conditioned(comfy, base)
            samples = sampled(comfy, model, select(comfy, SAMPLERS[base]), first)
            frames = comfy.load_vae().decode(samples[:, :, leading:])[0].float()
            found[base] = SimpleNamespace(
                model=model,
                first=first,
                inputs={"first_chunk": {"samples": samples}, "leading_latents": leading, "strength": STRENGTH},
                statistics=core.statistics(core.to_network(samples)[:, :, leading:]),
                second=conditioned(comfy, base, frames),
            )
    return found


def on_sampler(comfy, of, sampler, **inputs):
    """The SAMPLER of Restorative Sampler."""
    return comfy.call("EverAnimateRestorativeSampler", sampler=sampler, **(of.inputs | inputs))[0]


def on_model(comfy, of, **inputs):
    """The MODEL of Restore Flow."""
    return comfy.call("EverAnimateRestoreFlow", model=of.model, **(of.inputs | inputs))[0]


@each_base
def test_the_correction_is_that_of_the_first_chunks_own_latents(comfy, core, bases, base):
    of, sigma = bases[base], torch.tensor([0.6])
    x0 = torch.randn(1, 16, LEADING[base] + 5, 8, 8, generator=torch.Generator().manual_seed(0))
    ours = on_sampler(comfy, of, select(comfy, "euler"), schedule="fixed").correct
    expected = core.correction(core.Restoration(STRENGTH, "fixed"), of.statistics, LEADING[base])
    assert torch.equal(ours(x0, sigma), expected(x0, sigma))
    assert not ours(x0, sigma)[:, :, : LEADING[base]].any()
    # A reference in front, taken for a part of the chunk, would change its statistics.
    assert base == "scail2" or not torch.equal(
        on_sampler(comfy, of, select(comfy, "euler"), schedule="fixed", leading_latents=0).correct(x0, sigma)[:, :, 1:],
        expected(x0, sigma)[:, :, 1:],
    )


@each_base
@pytest.mark.parametrize("name", ["euler", "lcm"])
def test_both_nodes_give_equal_latents(comfy, bases, base, name):
    of, plain = bases[base], select(comfy, name)
    around = sampled(comfy, of.model, on_sampler(comfy, of, plain), of.second)
    assert torch.equal(around, sampled(comfy, on_model(comfy, of), plain, of.second))
    assert not torch.equal(around, sampled(comfy, of.model, plain, of.second))


@each_base
def test_the_free_latents_come_nearer_to_the_first_chunk(comfy, core, bases, base):
    """... with the held ones in the head; as a part of what is measured, they would drive the rest away from it."""
    of, plain = bases[base], select(comfy, SAMPLERS[base])

    def distance(samples):
        own = core.statistics(core.to_network(samples)[:, :, LEADING[base] + HELD[base] :])
        return float((own - of.statistics).norm() / of.statistics.norm())

    before = distance(sampled(comfy, of.model, plain, of.second))
    assert distance(sampled(comfy, of.model, on_sampler(comfy, of, plain), of.second)) < before / 2
    if HELD[base]:
        correct, measured = core.correction(core.Restoration(STRENGTH), of.statistics, LEADING[base]), of.model.clone()
        measured.set_model_sampler_post_cfg_function(
            lambda arguments: correct.estimate(arguments["denoised"], arguments["sigma"])
        )
        assert distance(sampled(comfy, measured, plain, of.second)) > before * 1.2


@pytest.mark.parametrize("name", ["euler", "lcm", "heun"])
def test_held_latents_are_those_of_the_latent(comfy, bases, name):
    of = bases["scail2"]
    given = of.second[2]["samples"][:, :, : HELD["scail2"]]
    found = sampled(comfy, of.model, on_sampler(comfy, of, select(comfy, name)), of.second)
    torch.testing.assert_close(found[:, :, : HELD["scail2"]], given, rtol=0, atol=1e-5)
    assert given.any()


def test_one_patched_model_samples_chunks_that_hold_latents_and_chunks_that_do_not(comfy, bases):
    """What one sampling holds says nothing of the next one."""
    of, plain = bases["scail2"], select(comfy, "euler")
    patched = on_model(comfy, of)
    for chunk in (of.second, of.first, of.second):
        assert torch.equal(
            sampled(comfy, patched, plain, chunk), sampled(comfy, of.model, on_sampler(comfy, of, plain), chunk)
        )
    assert torch.equal(sampled(comfy, of.model, plain, of.first), of.inputs["first_chunk"]["samples"])


@each_base
def test_strength_0_gives_back_what_came(comfy, bases, base):
    of, plain = bases[base], select(comfy, "euler")
    assert on_sampler(comfy, of, plain, strength=0.0) is plain
    assert on_model(comfy, of, strength=0.0) is of.model


def test_a_first_chunk_of_another_size_serves(comfy, bases):
    """Statistics have no size."""
    of, plain = bases["scail2"], select(comfy, "euler")
    doubled = {"samples": of.inputs["first_chunk"]["samples"].repeat(1, 1, 1, 1, 2)}
    around = sampled(comfy, of.model, on_sampler(comfy, of, plain, first_chunk=doubled), of.second)
    expected = sampled(comfy, of.model, on_sampler(comfy, of, plain), of.second)
    torch.testing.assert_close(around, expected, rtol=0, atol=1e-4)
