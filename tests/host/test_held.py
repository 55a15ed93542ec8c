"""A chunk with a given end, sampled by the host: its noise mask against the core's Euler loop."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern
from graphs import ANCHORS, TOTAL, aligned, first_memory, network_inputs, plan
from test_restoration import by_hand, relative_error, select

STEPS, SEED = 4, 42


@pytest.fixture
def core(comfy):
    names = ("propagation", "drivers", "sampling", "flow", "restoration", "settings")
    return SimpleNamespace(**{name: comfy.module(PACK, f"everanimate_core.everanimate.{name}") for name in names})


@pytest.fixture
def host(comfy):
    return comfy.module(PACK, "nodes.host")


@pytest.fixture
def chunk(comfy, core, host):
    """chunk(motion_latents, **settings): model, request with a given end, conditioning and noise levels of chunk 0."""

    def make(motion_latents=1, **settings):
        memory, drawn = first_memory(comfy, motion_latents=motion_latents), plan(comfy)
        codec, text = host.HostCodec(comfy.load_vae()), comfy.conditioning()
        end = torch.randn(1, 16, motion_latents, 8, 8, generator=torch.Generator().manual_seed(1))
        frames = comfy.module(PACK, "everanimate_core.media.frames").TensorFrames(moving_pattern(TOTAL))
        driving, chosen = core.drivers.Drivers(pose=frames).chunk(drawn, 0), core.settings.Settings(**settings)
        request = core.propagation.request_chunk(driving, memory, codec, chosen, end=end)
        positive, negative = host.condition(text, text, request, comfy.clip_vision())
        return SimpleNamespace(
            model=aligned(comfy),
            request=request,
            end=end,
            conditioning=(positive, negative),
            sigmas=core.flow.sigma_schedule(STEPS),
        )

    return make


def sampled(host, chunk, sampler, request=None, cfg=1.0, on_step=lambda *_: None):
    """The chunk's own latents, as Animate Long Video samples them."""
    request = chunk.request if request is None else request
    return host.sample(chunk.model, *chunk.conditioning, request, sampler, chunk.sigmas, cfg, SEED, on_step)


@pytest.mark.parametrize("motion_latents", [1, 2])
@pytest.mark.parametrize("target", [None, "low_frequency"])
def test_euler_holds_the_end_as_the_core_loop_does(comfy, core, host, chunk, motion_latents, target):
    restoring = {} if target is None else {"restore_strength": 2.0, "restore_target": target}
    held = chunk(motion_latents, **restoring)
    assert (held.request.correct is None) == (target is None)

    def loop(estimate, x, sigmas):
        def velocity(x, sigma):
            return (x - estimate(x, sigma)) / sigma

        return core.sampling.euler(core.restoration.restored(velocity, held.request.correct), x, sigmas, end=held.end)

    free = replace(held.request, end=None)
    expected = sampled(host, held, by_hand(loop), free)
    restored = comfy.module(PACK, "nodes.sampling").restored_sampler
    euler = restored("Animate Long Video", select(comfy, "euler"), held.request.correct)
    found = sampled(host, held, euler)
    assert torch.equal(found[:, :, -motion_latents:], held.end)
    assert relative_error(found, expected) < 1e-5
    # It is felt in front of it.
    unheld = sampled(host, held, euler, free)
    assert relative_error(found[:, :, :-motion_latents], unheld[:, :, :-motion_latents]) > 1e-3


def test_the_network_sees_the_end_as_noisy_as_the_rest_and_its_own_mask(comfy, core, host, chunk):
    """... at every step; what stands beside the state is what it is without a given end."""
    held = chunk()
    noise = torch.randn(held.request.latents_shape, generator=torch.Generator().manual_seed(SEED))
    seen = []
    with network_inputs(held.model.model.diffusion_model) as calls:
        for request in (held.request, replace(held.request, end=None)):
            sampled(host, held, select(comfy, "euler"), request)
            seen.append([call[0] for call in calls])
            calls.clear()
    for sigma, with_end, without in zip(held.sigmas[:-1], *seen, strict=True):
        expected = core.flow.interpolate(held.end, noise[:, :, -1:], sigma)
        torch.testing.assert_close(with_end[:, :16, -1:], expected, rtol=0, atol=2e-6)
        assert torch.equal(with_end[:, 16:], without[:, 16:])
        assert torch.equal(with_end[:, 16:20], held.request.context.mask)
    # At pure noise there is nothing of the end in it: all is the same.
    assert torch.equal(seen[0][0], seen[1][0])


@pytest.mark.parametrize("name", ["heun", "euler_ancestral", "dpmpp_2m", "uni_pc"])
@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_any_sampler_ends_as_it_has_to(comfy, host, chunk, name, cfg):
    held, shown = chunk(), []

    def on_step(step, steps, clean):
        shown.append(clean[:, :, -1:])

    found = sampled(host, held, select(comfy, name), cfg=cfg, on_step=on_step)
    assert torch.equal(found[:, :, -1:], held.end)
    assert found.shape == (1, 16, held.request.latents_shape[2] - ANCHORS, 8, 8)
    torch.testing.assert_close(shown[-1], held.end, rtol=0, atol=1e-5)


def test_from_a_lower_noise_level_the_rest_starts_as_without_an_end(comfy, host, chunk):
    """The host leaves a LATENT of zeros as it is, and takes any other for raw: those must not become another start."""
    held, seen = chunk(), []
    held.sigmas = torch.tensor([0.8, 0.4, 0.0])
    with network_inputs(held.model.model.diffusion_model) as calls:
        for request in (held.request, replace(held.request, end=None)):
            sampled(host, held, select(comfy, "euler"), request)
            seen.append(calls[0][0])
            calls.clear()
    assert torch.equal(seen[0][:, :, :-1], seen[1][:, :, :-1])
