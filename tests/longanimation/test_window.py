"""A whole window against the authors' pipeline."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from colour_authors import module, needs_authors, on_the_cpu
from colour_parts import (
    CONFIG,
    DGLM_SIZES,
    SCALE,
    SKETCH_CONFIG,
    TEXT_DIM,
    TEXT_TOKENS,
    base_network,
    dglm_network,
    sketch_network,
    vae,
)
from refusals import refusal
from safetensors.torch import load_file, save_file
from tensor_parts import randn, relative_error

from everanimate_core.backends.cog_codec import CogCodec
from everanimate_core.backends.diffusers_cog import DiffusersCog
from everanimate_core.longanimation.dglm import HEAD_DIM
from everanimate_core.longanimation.settings import Settings
from everanimate_core.longanimation.windows import WindowRequest

H, W, FRAMES = 48, 64, 33
SLOTS, CELLS = (FRAMES - 1) // 4 + 2, (H // 8, W // 8)


@pytest.fixture(scope="module")
def engine():
    text, negative = randn(1, TEXT_TOKENS, TEXT_DIM, seed=3), randn(1, TEXT_TOKENS, TEXT_DIM, seed=4)
    return DiffusersCog(base_network(), sketch_network(), CogCodec(vae()), SCALE, text, negative, dglm_network())


@pytest.fixture(scope="module")
def inputs(engine):
    """Latents of line art and reference, and the ends that a window before has kept at every step."""
    picture = torch.rand(1, H, W, 3, generator=torch.Generator().manual_seed(5))
    reference = torch.zeros(1, 16, SLOTS, *CELLS)
    reference[:, :, :1] = engine.codec.encode(picture)
    return SimpleNamespace(
        picture=picture,
        reference=reference,
        sketch=randn(1, 16, SLOTS, *CELLS, seed=6) / SCALE,
        tails=randn(50, 16, 4, *CELLS, seed=7),
        # Of each window, global and local.
        memories=[(randn(2, 3, 40 + k, 512, seed=20 + k), randn(2, 3, 20, 512, seed=30 + k)) for k in range(3)],
    )


DATA = Path(__file__).parents[1] / "data" / "longanimation"
GOLDEN, GOLDEN_MEMORY = DATA / "window.safetensors", DATA / "memory.safetensors"


def made(engine, inputs, later):
    """A window of 50 steps, cfg 6, SketchDiT behind every second block; later: with its overlap blended."""
    request = WindowRequest(0, inputs.sketch, inputs.reference, inputs.tails[31:] if later else None)
    return engine.sample_window(request, 11, settings=Settings(window_frames=FRAMES))


@pytest.mark.parametrize("later", [False, True])
def test_a_window_has_the_golden_numbers(engine, inputs, later):
    """They were made by the authors' pipeline: see the test below."""
    golden, mine = load_file(GOLDEN), made(engine, inputs, later)
    assert relative_error(SCALE * mine.latents, golden[f"latents_{later}"]) < 1e-5
    assert relative_error(mine.extras["tails"][[0, -1]], golden[f"tails_{later}"]) < 1e-5


@pytest.mark.parametrize("later", [False, True])
def test_a_window_ends_as_it_has_to(engine, inputs, later):
    # Three latents are held: the network reads two as one, so that the one in front of them feels it most.
    settings = Settings(window_frames=FRAMES, overlap=13, steps=5, fuse_from=3)
    free = WindowRequest(0, inputs.sketch, inputs.reference, inputs.tails[:2, :, :3] if later else None)
    end = randn(1, 16, 3, *CELLS, seed=8)
    held = replace(free, end=end)
    made, other = (engine.sample_window(request, 11, settings=settings) for request in (held, free))
    assert torch.equal(made.latents[:, :, -3:], end)
    assert relative_error(made.latents[:, :, -4], other.latents[:, :, -4]) > 1e-3
    # What it keeps at the last step, scaled as the network has it, is the end.
    torch.testing.assert_close(made.extras["tails"][-1], SCALE * end[0], rtol=1e-6, atol=1e-6)


@needs_authors
def test_a_window_is_the_authors(engine, inputs, tmp_path, monkeypatch):
    found = {}
    for later in (False, True):
        for index, ends in enumerate(inputs.tails):
            torch.save(ends.transpose(0, 1)[None], tmp_path / f"{index}.pt")
        latents, tails = authors_window(engine, inputs, later, tmp_path, monkeypatch)
        mine = made(engine, inputs, later)
        assert relative_error(SCALE * mine.latents, latents) < 1e-5
        assert relative_error(mine.extras["tails"], tails) < 1e-5
        found |= {f"latents_{later}": latents.contiguous(), f"tails_{later}": tails[[0, -1]].contiguous()}
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        save_file(found, GOLDEN)


def authors_window(engine, inputs, later, tmp_path, monkeypatch, memory=None):
    """Latents [1, 16, T, h, w] and ends [19, 16, 4, h, w] by the authors' pipeline with the same weights.

    tmp_path: has the ends of the window before, where it is a later one, and then those of this one. memory: global and
    local.
    """
    from diffusers import CogVideoXDPMScheduler
    from transformers import T5Config, T5EncoderModel

    networks, pipelines = module("cogvideox_transformer_3d_control"), module("pipeline_cogvideox_image2video")
    base = networks.Controled_CogVideoXTransformer3DModel(**CONFIG).eval()
    base.load_state_dict(engine.base.state_dict())
    sketch = networks.Control3DModel(**SKETCH_CONFIG).eval()
    sketch.load_state_dict(engine.sketch.state_dict())
    scheduler = CogVideoXDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        set_alpha_to_one=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
    )
    encoder = T5EncoderModel(T5Config(vocab_size=32, d_model=TEXT_DIM, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    pipe = pipelines.Controled_Memory_CogVideoXImageToVideoPipeline(
        tokenizer=None,
        text_encoder=encoder,
        vae=engine.codec.vae,
        transformer=base,
        transformer_control=sketch,
        scheduler=scheduler,
    )
    pipe.set_progress_bar_config(disable=True)
    # They draw from the posterior; the mean is what both can have.
    monkeypatch.setattr(pipelines, "retrieve_latents", lambda encoded, *_, **__: encoded.latent_dist.mode())
    with on_the_cpu(), torch.inference_mode():
        theirs = pipe(
            image=inputs.picture.movedim(-1, 1),
            prompt_embeds=engine.text,
            negative_prompt_embeds=engine.negative_text,
            height=H,
            width=W,
            num_frames=FRAMES,
            num_inference_steps=50,
            guidance_scale=6.0,
            generator=torch.Generator().manual_seed(11),
            output_type="latent",
            sketches=SCALE * inputs.sketch[:, :, 1:].transpose(1, 2).clone(),
            sketches_first_frame=SCALE * inputs.sketch[:, :, :1].transpose(1, 2).clone(),
            video_tensor_path=str(tmp_path),
            clip_memory=later,
            max_sequence_length=TEXT_TOKENS,
            **({} if memory is None else authors_memory(engine, memory)),
        )
        theirs = theirs[1] if isinstance(theirs, tuple) else theirs
    ends = torch.stack([torch.load(tmp_path / f"{index}.pt")[0].transpose(0, 1) for index in range(31, 50)])
    return theirs.transpose(1, 2)[:, :, 1:], ends


# --- with memory -----------------------------------------------------------------------------------------------------


def authors_memory(engine, memory):
    """What the authors' pipeline is told of a memory, global and local."""
    kind = module("global_local_memory_module").global_local_memory
    width, heads = DGLM_SIZES.width, DGLM_SIZES.inner // HEAD_DIM
    network = kind(dim=width, dim_head=HEAD_DIM, heads=heads, output_dim=width).eval()
    network.load_state_dict(engine.memory_net.state_dict())
    whole, last = (part[None] for part in memory)
    return {"use_glm": True, "glm": network, "global_memory": whole, "local_memory": last}


def windows(engine, inputs):
    """Three windows, each blended with the one before; all but the first have a memory."""
    tails = None
    for index in range(3):
        memory = torch.cat(inputs.memories[index], dim=2) if index else None
        request = WindowRequest(index, inputs.sketch, inputs.reference, tails, memory)
        sampled = engine.sample_window(request, 11, settings=Settings(window_frames=FRAMES))
        yield sampled
        tails = sampled.extras["tails"]


def test_windows_with_memory_have_the_golden_numbers(engine, inputs):
    """They were made by the authors' pipeline: see the test below."""
    golden = load_file(GOLDEN_MEMORY)
    for index, mine in enumerate(windows(engine, inputs)):
        if index:
            assert relative_error(SCALE * mine.latents, golden[f"latents_{index}"]) < 1e-5


@needs_authors
def test_windows_with_memory_are_the_authors(engine, inputs, tmp_path, monkeypatch):
    found = {}
    for index, mine in enumerate(windows(engine, inputs)):
        memory = inputs.memories[index] if index else None
        latents, tails = authors_window(engine, inputs, index > 0, tmp_path, monkeypatch, memory)
        assert relative_error(SCALE * mine.latents, latents) < 1e-5
        assert relative_error(mine.extras["tails"], tails) < 1e-5
        if index:
            found[f"latents_{index}"] = latents.contiguous()
    if os.environ.get("WRITE_GOLDEN"):
        save_file(found, GOLDEN_MEMORY)


def short(engine, inputs, **changes):
    """The latents of a window of two steps, blended with nothing."""
    request = replace(WindowRequest(0, inputs.sketch, inputs.reference), **changes)
    return engine.sample_window(request, 11, settings=Settings(window_frames=FRAMES, steps=2, fuse=False)).latents


def test_the_whole_memory_counts_and_a_window_without_one_is_as_without_the_network(engine, inputs):
    memory = torch.cat(inputs.memories[0], dim=2)
    plain, remembered = short(engine, inputs), short(engine, inputs, memory=memory)
    assert torch.equal(short(replace(engine, memory_net=None), inputs), plain)
    assert relative_error(remembered, plain) > 1e-3
    for part in inputs.memories[0]:
        assert relative_error(short(engine, inputs, memory=part), remembered) > 1e-4


def test_the_memory_is_projected_once_a_window(engine, inputs, monkeypatch):
    calls = []
    project = engine.memory_net.project
    monkeypatch.setattr(engine.memory_net, "project", lambda memory: calls.append(memory) or project(memory))
    memory = torch.cat(inputs.memories[0], dim=2)
    short(engine, inputs, memory=memory)
    assert len(calls) == 1 and torch.equal(calls[0], memory)


def test_memory_and_network_come_together(engine, inputs, monkeypatch):
    monkeypatch.setattr(engine.sketch, "forward", lambda *_: pytest.fail("sampled"))
    message = "memory must be left out without a DGLM, which reads it; got one."
    memory = torch.cat(inputs.memories[0], dim=2)
    assert refusal(short, replace(engine, memory_net=None), inputs, memory=memory) == message
    message = "memory must be there where a DGLM reads it (of the frames so far); got none for window 1."
    assert refusal(short, engine, inputs, index=1) == message
    message = "memory must be of the width that the DGLM reads, 512; got 256."
    assert refusal(short, engine, inputs, memory=memory[..., :256]) == message
