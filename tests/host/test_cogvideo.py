"""The host's CogVideoX, steered and sampled by the pack, against diffusers' classes with the same weights."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from base_folder import PACK

# The parts that the core's tests of LongAnimation share.
sys.path.append(str(Path(__file__).resolve().parents[1]))

pytest.importorskip("diffusers", reason="needs diffusers in COMFYUI_PYTHON (pip install --no-deps diffusers)")
HEIGHT, WIDTH, FRAMES = 48, 64, 33
SLOTS, CELLS = (FRAMES - 1) // 4 + 2, (HEIGHT // 8, WIDTH // 8)
STEPS, FIRST = 50, 31


@pytest.fixture(scope="module")
def cog(comfy):
    """The pack's module; a host without CogVideoX skips what needs it."""
    pytest.importorskip("comfy.ldm.cogvideo", reason="this host has no CogVideoX")
    return comfy.module(PACK, "nodes.cogvideo")


def core(comfy, name):
    return comfy.module(PACK, f"everanimate_core.{name}")


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative(mine, theirs):
    return ((mine - theirs).norm() / theirs.norm()).item()


@pytest.fixture(scope="module")
def networks():
    import colour_parts

    return colour_parts.base_network(), colour_parts.sketch_network()


@pytest.fixture(scope="module")
def files(networks, tmp_path_factory):
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("cog")
    for name, network in zip(("base", "sketch"), networks, strict=True):
        save_file(
            {key: value.contiguous() for key, value in network.state_dict().items()}, folder / f"{name}.safetensors"
        )
    return folder


@pytest.fixture(scope="module")
def model(cog, files):
    """The base as a MODEL; one with so few heads is told the latent format of CogVideoX1.5."""
    import comfy.latent_formats

    model = cog.load_base(str(files / "base.safetensors"), torch.float32)
    model.model.latent_format = comfy.latent_formats.CogVideoX1_5()
    return model


@pytest.fixture(scope="module")
def vaes():
    """The same random VAE in the host's class and in diffusers'."""
    import colour_parts
    from comfy.ldm.cogvideo.vae import AutoencoderKLCogVideoX

    theirs = colour_parts.vae()
    mine = AutoencoderKLCogVideoX(block_out_channels=(8, 8, 8, 8), layers_per_block=1, groups=2).eval()
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


def window(comfy, tails=None):
    reference = torch.zeros(1, 16, SLOTS, *CELLS)
    reference[:, :, :1] = randn(1, 16, 1, *CELLS, seed=5)
    request = core(comfy, "longanimation.windows").WindowRequest
    return request(0, randn(1, 16, SLOTS, *CELLS, seed=6), reference, tails)


def test_a_picture_in_the_vae_is_diffusers(cog, vaes):
    """But for the last bit: a tensor of one frame may lie in memory in two ways, and is summed in two orders."""
    mine, theirs = vaes
    video = torch.rand(1, 3, 1, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert relative(cog._encode_batched(mine, video), theirs.encode(video).latent_dist.mode()) < 1e-6


@pytest.mark.parametrize("frames", [9, 17, 25, 33, 81])
def test_batches_of_the_vae_are_diffusers(cog, vaes, frames):
    mine, theirs = vaes
    video = torch.rand(1, 3, frames, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = theirs.encode(video).latent_dist.mode()
    assert torch.equal(cog._encode_batched(mine, video), latents)
    assert torch.equal(mine._decode_batched(latents), theirs.decode(latents).sample)
    if frames == 81:
        # The host's own are others.
        assert not torch.allclose(mine.encode(video), latents, atol=1e-3)


def test_sketch_is_diffusers(cog, files, networks):
    from everanimate_core.backends.cog_networks import rotary_embedding

    control, theirs = cog.load_sketch(str(files / "sketch.safetensors")), networks[1]
    x, text, timestep = randn(2, SLOTS, 32, *CELLS, seed=1), randn(2, 7, 48, seed=2), torch.tensor([500, 500])
    expected = theirs(x, text, timestep, rotary_embedding(theirs, x))
    found = control.patcher.model(x.transpose(1, 2), timestep.float(), text, torch.full((2,), 2.0), {})
    assert relative(found, expected) < 1e-5


@pytest.mark.parametrize("later", [False, True])
def test_a_window_is_that_of_the_core(comfy, cog, model, files, networks, later):
    """50 steps, cfg 6; later: with its overlap blended. The core's is the authors' (tests/longanimation)."""
    from comfy.sample import sample_custom
    from comfy.samplers import calculate_sigmas

    engines, windows = core(comfy, "backends.diffusers_cog"), core(comfy, "longanimation.windows")
    settings = core(comfy, "longanimation.settings").Settings(window_frames=FRAMES, steps=STEPS, fuse_from=FIRST)
    text, negative = randn(1, 7, 48, seed=3), randn(1, 7, 48, seed=4)
    request = window(comfy, randn(STEPS - FIRST, 16, 4, *CELLS, seed=7) if later else None)
    engine = engines.DiffusersCog(*networks, None, cog.cog().scale, text, negative)
    expected = engine.sample_window(request, 11, settings=settings)

    steered = cog.steered_model(model, cog.load_sketch(str(files / "sketch.safetensors")), request, 0.5, "skip-layer")
    fusion = windows.window_fusion(request, settings)
    sigmas = calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    slots = {"concat_latent_image": request.reference / cog.cog().scale}
    noise = torch.randn(1, SLOTS, 16, *CELLS, generator=torch.Generator().manual_seed(11)).transpose(1, 2)
    latents = sample_custom(
        steered,
        noise,
        6.0,
        cog.DpmSampler(lambda: fusion, STEPS),
        sigmas,
        [[text, dict(slots)]],
        [[negative, dict(slots)]],
        torch.zeros(1, 16, SLOTS, *CELLS),
        disable_pbar=True,
        seed=11,
    )
    assert relative(latents[:, :, 1:], expected.latents) < 1e-5
    assert relative(fusion.kept, expected.extras["tails"]) < 1e-5
    # It leaves no trace in the network.
    assert not any(block._forward_hooks for block in model.model.diffusion_model.blocks)


@pytest.mark.parametrize("later", [False, True])
def test_a_window_with_a_given_end_is_that_of_the_core(comfy, cog, model, files, networks, later):
    """By the function that Colour Long Animation samples with. Three latents are held: the network reads two as one, so
    that the one in front of them feels it most."""
    engines = core(comfy, "backends.diffusers_cog")
    settings = core(comfy, "longanimation.settings").Settings(window_frames=FRAMES, overlap=13, steps=10, fuse_from=6)
    text, negative = randn(1, 7, 48, seed=3), randn(1, 7, 48, seed=4)
    free = window(comfy, randn(4, 16, 3, *CELLS, seed=7) if later else None)
    request = replace(free, end=randn(1, 16, 3, *CELLS, seed=8))
    engine = engines.DiffusersCog(*networks, None, cog.cog().scale, text, negative)
    expected = engine.sample_window(request, 11, settings=settings)

    control, shown = cog.load_sketch(str(files / "sketch.safetensors")), []
    sampled = comfy.module(PACK, "nodes.longanimation_animate").sampled
    inputs = model, control, [[text, {}]], [[negative, {}]]
    found = sampled(*inputs, request, settings, 11, lambda step, steps, clean: shown.append(clean))
    for made in (found, expected):
        assert torch.equal(made.latents[:, :, -3:], request.end)
    assert relative(found.latents, expected.latents) < 1e-5
    # The late states, as noisy at the end as elsewhere.
    assert relative(found.extras["tails"], expected.extras["tails"]) < 1e-5
    assert relative(shown[-1][:, :, -3:], cog.cog().scale * request.end) < 1e-6
    unheld = sampled(*inputs, free, settings, 11, lambda *_: None)
    assert relative(found.latents[:, :, -4], unheld.latents[:, :, -4]) > 1e-3
