"""The host's CogVideoX, steered and sampled by the pack, against diffusers' classes with the same weights."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from base_folder import PACK
from tensor_parts import randn, relative_error
from tiny_colour import host_class, load_base, write_networks

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


@pytest.fixture(scope="module")
def networks():
    import colour_parts

    return colour_parts.base_network(), colour_parts.sketch_network(), colour_parts.dglm_network()


@pytest.fixture(scope="module")
def files(networks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cog")
    write_networks(folder, **dict(zip(("base", "sketch", "memory"), networks, strict=True)))
    return folder


@pytest.fixture(scope="module")
def model(cog, files):
    return load_base(cog, files)


@pytest.fixture(scope="module")
def vaes():
    """The same random VAE in the host's class and in diffusers'."""
    import colour_parts

    theirs = colour_parts.vae()
    return host_class(theirs), theirs


def window(comfy, tails=None):
    reference = torch.zeros(1, 16, SLOTS, *CELLS)
    reference[:, :, :1] = randn(1, 16, 1, *CELLS, seed=5)
    request = core(comfy, "longanimation.windows").WindowRequest
    return request(0, randn(1, 16, SLOTS, *CELLS, seed=6), reference, tails)


def control_of(cog, files, memory=True):
    """SketchDiT, with the DGLM or without."""
    return cog.load_sketch(str(files / "sketch.safetensors"), str(files / "memory.safetensors") if memory else None)


def test_a_picture_in_the_vae_is_diffusers(cog, vaes):
    """But for the last bit: a tensor of one frame may lie in memory in two ways, and is summed in two orders."""
    mine, theirs = vaes
    video = torch.rand(1, 3, 1, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert relative_error(cog._encode_batched(mine, video), theirs.encode(video).latent_dist.mode()) < 1e-6


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


def test_a_vae_without_room_says_at_what(cog, vaes):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    codec = cog.CogHostCodec(SimpleNamespace(first_stage_model=vaes[0], encode=full, decode=full))
    with pytest.raises(torch.cuda.OutOfMemoryError, match="while encoding frames; got CUDA out of memory"):
        codec.encode(torch.zeros(1, 32, 48, 3))
    with pytest.raises(torch.cuda.OutOfMemoryError, match="while decoding latents; got CUDA out of memory"):
        codec.decode(torch.zeros(1, 16, 1, 4, 6))


def test_sketch_is_diffusers(cog, files, networks):
    from everanimate_core.backends.cog_networks import rotary_embedding

    control, theirs = cog.load_sketch(str(files / "sketch.safetensors")), networks[1]
    x, text, timestep = randn(2, SLOTS, 32, *CELLS, seed=1), randn(2, 7, 48, seed=2), torch.tensor([500, 500])
    expected = theirs(x, text, timestep, rotary_embedding(theirs, x))
    found = control.patcher.model(x.transpose(1, 2), timestep.float(), text, torch.full((2,), 2.0), {})
    assert relative_error(found, expected) < 1e-5


def test_dglm_is_the_cores(cog, files, networks):
    control, theirs = control_of(cog, files).memory, networks[2]
    memory, answer = randn(2, 3, 60, 512, seed=1), randn(2, 30, 128, seed=2)
    expected = theirs(theirs.project(memory), answer)
    found = control.patcher.model(control.patcher.model.project(memory), answer)
    assert relative_error(found, expected) < 1e-5
    # The host casts as it computes.
    found = control.patcher.model(control.patcher.model.project(memory.bfloat16()), answer.bfloat16())
    assert found.dtype == torch.bfloat16 and relative_error(found.float(), expected) < 0.05


@pytest.mark.parametrize(("later", "memory"), [(False, False), (True, False), (True, True)])
def test_a_window_is_that_of_the_core(comfy, cog, model, files, networks, later, memory):
    """50 steps, cfg 6; later: with its overlap blended. The core's is the authors' (tests/longanimation)."""
    from comfy.sample import sample_custom
    from comfy.samplers import calculate_sigmas

    engines, windows = core(comfy, "backends.diffusers_cog"), core(comfy, "longanimation.windows")
    settings = core(comfy, "longanimation.settings").Settings(window_frames=FRAMES, steps=STEPS, fuse_from=FIRST)
    text, negative = randn(1, 7, 48, seed=3), randn(1, 7, 48, seed=4)
    request = window(comfy, randn(STEPS - FIRST, 16, 4, *CELLS, seed=7) if later else None)
    request = replace(request, memory=randn(2, 3, 60, 512, seed=8) if memory else None)
    engine = engines.DiffusersCog(*networks[:2], None, cog.cog().scale, text, negative, networks[2])
    expected = engine.sample_window(request, 11, settings=settings)

    steered = cog.steered_model(model, control_of(cog, files), request, 0.5, "skip-layer")
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
    assert relative_error(latents[:, :, 1:], expected.latents) < 1e-5
    assert relative_error(fusion.kept, expected.extras["tails"]) < 1e-5
    # It leaves no trace in the network.
    assert not any(block._forward_hooks for block in model.model.diffusion_model.blocks)


def sampled(comfy, model, control, request, steps=2):
    """The latents of a window of a few steps, by the function that Colour Long Animation samples with."""
    settings = core(comfy, "longanimation.settings").Settings(window_frames=FRAMES, steps=steps, fuse=False)
    texts = ([[randn(1, 7, 48, seed=seed), {}]] for seed in (3, 4))
    nodes = comfy.module(PACK, "nodes.longanimation_animate")
    return nodes.sampled(model, control, *texts, request, settings, 11, lambda *_: None).latents


def test_a_window_without_memory_is_as_without_the_dglm(comfy, cog, model, files):
    request, control = window(comfy), control_of(cog, files)
    plain = sampled(comfy, model, control, request)
    assert torch.equal(plain, sampled(comfy, model, control_of(cog, files, memory=False), request))
    remembered = sampled(comfy, model, control, replace(request, memory=randn(2, 3, 60, 512, seed=8)))
    assert relative_error(remembered, plain) > 1e-3
    # And again, once one with memory was there.
    assert torch.equal(sampled(comfy, model, control, request), plain)


def test_a_memory_is_projected_once_a_sampling_and_forgotten_with_it(comfy, cog, model, files, monkeypatch):
    from comfy.patcher_extension import CallbacksMP

    control, memory = control_of(cog, files), randn(2, 3, 60, 512, seed=8)
    network, seen, steered = control.memory.patcher.model, [], []
    project = network.project
    monkeypatch.setattr(network, "project", lambda memory: seen.append(memory) or project(memory))
    nodes = comfy.module(PACK, "nodes.longanimation_animate")
    monkeypatch.setattr(nodes, "steered_model", lambda *told: steered.append(cog.steered_model(*told)) or steered[0])
    request = replace(window(comfy), memory=memory)
    sampled(comfy, model, control, request, steps=4)
    assert len(seen) == 1 and torch.equal(seen[0], memory)
    (first,) = steered
    (forget,) = first.callbacks[CallbacksMP.ON_CLEANUP][cog.SKETCH_KEY]
    assert forget.__self__.projected is None
    # A second one replaces the first, one without memory lets go of it.
    second = cog.steered_model(first, control, replace(request, index=1), 0.5, "full")
    third = cog.steered_model(second, control, window(comfy), 0.5, "full")
    for steered, count in ((first, 1), (second, 1), (third, 0)):
        assert len(steered.callbacks.get(CallbacksMP.ON_CLEANUP, {}).get(cog.SKETCH_KEY, [])) == count
        assert len(steered.get_additional_models_with_key(cog.SKETCH_KEY)) == 1 + count


def test_a_memory_that_cannot_be_read_is_refused_before_sampling(comfy, cog, model, files):
    request = replace(window(comfy), memory=randn(2, 3, 60, 256, seed=8))
    with pytest.raises(ValueError) as caught:
        cog.steered_model(model, control_of(cog, files), request, 0.5, "full")
    assert str(caught.value) == "the memory must be of the width that the DGLM reads, 512; got 256."
    with pytest.raises(ValueError) as caught:
        cog.steered_model(model, control_of(cog, files, memory=False), request, 0.5, "full")
    rule = "control must come with a DGLM where there is a memory (memory_file of Load LongAnimation)"
    assert str(caught.value) == f"{rule}; got SketchDiT alone."


def test_a_dglm_of_another_width_is_refused_as_it_is_loaded(comfy, cog, files, tmp_path):
    import colour_parts
    from safetensors.torch import save_file

    sizes = core(comfy, "longanimation.dglm").DglmSizes(width=64, kv=8, narrow=6, wide=10, inner=96)
    save_file(colour_parts.dglm_network(sizes=sizes).state_dict(), tmp_path / "memory.safetensors")
    with pytest.raises(ValueError) as caught:
        cog.load_sketch(str(files / "sketch.safetensors"), str(tmp_path / "memory.safetensors"))
    assert str(caught.value) == "memory_file must be of SketchDiT's width, 128; got 64."


@pytest.mark.parametrize("later", [False, True])
def test_a_window_with_a_given_end_is_that_of_the_core(comfy, cog, model, files, networks, later):
    """By the function that Colour Long Animation samples with. Three latents are held: the network reads two as one, so
    that the one in front of them feels it most."""
    engines = core(comfy, "backends.diffusers_cog")
    settings = core(comfy, "longanimation.settings").Settings(window_frames=FRAMES, overlap=13, steps=10, fuse_from=6)
    text, negative = randn(1, 7, 48, seed=3), randn(1, 7, 48, seed=4)
    free = window(comfy, randn(4, 16, 3, *CELLS, seed=7) if later else None)
    request = replace(free, end=randn(1, 16, 3, *CELLS, seed=8))
    engine = engines.DiffusersCog(*networks[:2], None, cog.cog().scale, text, negative)
    expected = engine.sample_window(request, 11, settings=settings)

    control, shown = cog.load_sketch(str(files / "sketch.safetensors")), []
    sampled = comfy.module(PACK, "nodes.longanimation_animate").sampled
    inputs = model, control, [[text, {}]], [[negative, {}]]
    found = sampled(*inputs, request, settings, 11, lambda step, steps, clean: shown.append(clean))
    for made in (found, expected):
        assert torch.equal(made.latents[:, :, -3:], request.end)
    assert relative_error(found.latents, expected.latents) < 1e-5
    # The late states, as noisy at the end as elsewhere.
    assert relative_error(found.extras["tails"], expected.extras["tails"]) < 1e-5
    assert relative_error(shown[-1][:, :, -3:], cog.cog().scale * request.end) < 1e-6
    unheld = sampled(*inputs, free, settings, 11, lambda *_: None)
    assert relative_error(found.latents[:, :, -4], unheld.latents[:, :, -4]) > 1e-3
