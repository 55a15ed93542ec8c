"""Two independent networks with the same weights: ComfyUI's under our alignment, diffusers' under our driving."""

import pytest
import tiny_models
import torch
from base_folder import PACK
from clips import moving_pattern
from graphs import ANCHORS, TOTAL, aligned, condition, first_memory, network_inputs, plan, run_chunks, sample
from safetensors.torch import save_file
from tensor_parts import relative_error

pytest.importorskip("diffusers", reason="needs diffusers in COMFYUI_PYTHON (pip install --no-deps diffusers)")


@pytest.fixture(scope="module")
def transformer(comfy):
    path = comfy.base / "models" / "diffusion_models" / tiny_models.MODEL_FILES[torch.float32]
    load = comfy.module(PACK, "everanimate_core.backends.wan_checkpoint").load_transformer
    return load(path, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def codec(comfy, tmp_path_factory):
    """The tiny VAE under diffusers."""
    path = tmp_path_factory.mktemp("vae") / "vae.safetensors"
    save_file(tiny_models.vae_state_dict(tiny_models.NARROW_VAE_WIDTH), path)
    vae = comfy.module(PACK, "everanimate_core.backends.wan_checkpoint").load_vae(path, device="cpu")
    return comfy.module(PACK, "everanimate_core.backends.wan_codec").WanCodec(vae)


def test_velocity_with_four_anchors_pose_and_face(comfy, transformer):
    model, velocities = aligned(comfy), []
    network = model.model.diffusion_model
    memory, drawn = first_memory(comfy), plan(comfy, total=5, frames=5)
    chunk = condition(comfy, memory, drawn, face_video=moving_pattern(5, size=128))
    hook = network.register_forward_hook(lambda module, inputs, output: velocities.append(output.clone()))
    with network_inputs(network) as calls:
        sample(comfy, model, *chunk, steps=1)
    hook.remove()
    call = calls[0]

    alignment = comfy.module(PACK, "everanimate_core.backends.wan_alignment")
    driving = alignment.encode_driving(
        transformer, anchors=ANCHORS, latents=2, pose=call["pose_latents"], face=call["face_pixel_values"]
    )
    velocity = alignment.predict_velocity(transformer, driving, call[0], call[1], call["context"], call["clip_fea"])
    error = relative_error(velocity, velocities[0])
    print(f"velocity, relative error: {error:.2e}")
    assert error < 1e-5


@pytest.mark.parametrize("motion_latents", [1, 2])
def test_a_chunk_with_a_given_end(comfy, transformer, motion_latents):
    """The same request through the host's euler behind a noise mask, and through the core's loop on diffusers."""
    host = comfy.module(PACK, "nodes.host")
    frames = comfy.module(PACK, "everanimate_core.media.frames").TensorFrames(moving_pattern(9))
    driving = comfy.module(PACK, "everanimate_core.everanimate.drivers").Drivers(pose=frames).chunk(plan(comfy), 0)
    memory, text = first_memory(comfy, motion_latents=motion_latents), comfy.conditioning()
    end = torch.randn(1, 16, motion_latents, 8, 8, generator=torch.Generator().manual_seed(1))
    codec, propagation = host.HostCodec(comfy.load_vae()), "everanimate_core.everanimate.propagation"
    request = comfy.module(PACK, propagation).request_chunk(driving, memory, codec, end=end)
    sigmas = comfy.module(PACK, "everanimate_core.everanimate.flow").sigma_schedule(4)

    (euler,) = comfy.call("KSamplerSelect", sampler_name="euler")
    conditioning = host.condition(text, text, request, comfy.clip_vision())
    found = host.sample(aligned(comfy), *conditioning, request, euler, sigmas, 1.0, 3, lambda *_: None)

    clip = comfy.clip_vision().encode_image(request.clip_image, crop=False)["penultimate_hidden_states"]
    engine = comfy.module(PACK, "everanimate_core.backends.diffusers_wan").DiffusersWan
    expected = engine(transformer, codec, text[0][0], lambda image: clip).sample_chunk(request, 3, sigmas=sigmas)
    assert torch.equal(found[:, :, -motion_latents:], end)
    assert torch.equal(expected[:, :, -motion_latents:], end)
    error = relative_error(found, expected)
    print(f"a chunk with a given end, relative error: {error:.2e}")
    assert error < 1e-5


def test_codecs_agree(comfy, codec):
    host = comfy.module(PACK, "nodes.host").HostCodec(comfy.load_vae())
    frames = moving_pattern(9)
    latents = host.encode(frames)
    assert relative_error(codec.encode(frames), latents) < 1e-4
    torch.testing.assert_close(codec.decode(latents), host.decode(latents), rtol=0, atol=1e-4)


def test_three_chunks_agree_across_backends(comfy, transformer, codec):
    """Latents to 1e-4 with the CLIP features given, the reference's for every chunk."""
    chunks = run_chunks(comfy, aligned(comfy), first_memory(comfy), plan(comfy), clip_source="reference")

    core = "everanimate_core"
    clip = comfy.clip_vision().encode_image(first_memory(comfy).references, crop=False)["penultimate_hidden_states"]
    text = comfy.conditioning()[0][0]
    backend = comfy.module(PACK, f"{core}.backends.diffusers_wan").DiffusersWan(
        transformer, codec, text, lambda image: clip
    )
    propagation = comfy.module(PACK, f"{core}.everanimate.propagation")
    drivers = comfy.module(PACK, f"{core}.everanimate.drivers")
    frames = comfy.module(PACK, f"{core}.media.frames").TensorFrames(moving_pattern(TOTAL))
    memory = comfy.module(PACK, f"{core}.everanimate.memory").build_memory(first_memory(comfy).references, codec)
    sigmas = comfy.module(PACK, f"{core}.everanimate.flow").sigma_schedule(2)
    results = propagation.animate(
        comfy.module(PACK, f"{core}.plan").ChunkPlan(TOTAL, 9, 4),
        memory,
        lambda request, seed: backend.sample_chunk(request, seed, sigmas=sigmas),
        codec,
        drivers.Drivers(pose=frames),
        comfy.module(PACK, f"{core}.everanimate.settings").Settings(clip_source="reference"),
    )
    to_network = comfy.module(PACK, "nodes.host").to_network
    for chunk, result in zip(chunks, results, strict=True):
        error = relative_error(result.latents, to_network(chunk.latents))
        print(f"chunk {result.index}, relative error: {error:.2e}")
        assert error < 1e-4
