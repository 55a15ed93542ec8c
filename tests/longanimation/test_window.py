"""A whole window against the authors' pipeline."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from colour_authors import module, needs_authors, on_the_cpu
from colour_parts import CONFIG, SCALE, SKETCH_CONFIG, TEXT_DIM, TEXT_TOKENS, base_network, sketch_network, vae
from safetensors.torch import load_file, save_file

from everanimate_core.backends.cog_codec import CogCodec
from everanimate_core.backends.diffusers_cog import DiffusersCog
from everanimate_core.longanimation.settings import Settings
from everanimate_core.longanimation.windows import WindowRequest

H, W, FRAMES = 48, 64, 33
SLOTS, CELLS = (FRAMES - 1) // 4 + 2, (H // 8, W // 8)


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative(mine, theirs):
    return ((mine - theirs).norm() / theirs.norm()).item()


@pytest.fixture(scope="module")
def engine():
    text, negative = randn(1, TEXT_TOKENS, TEXT_DIM, seed=3), randn(1, TEXT_TOKENS, TEXT_DIM, seed=4)
    return DiffusersCog(base_network(), sketch_network(), CogCodec(vae()), SCALE, text, negative)


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
    )


GOLDEN = Path(__file__).parents[1] / "data" / "longanimation" / "window.safetensors"


def made(engine, inputs, later):
    """A window of 50 steps, cfg 6, SketchDiT behind every second block; later: with its overlap blended."""
    request = WindowRequest(0, inputs.sketch, inputs.reference, inputs.tails[31:] if later else None)
    return engine.sample_window(request, 11, settings=Settings(window_frames=FRAMES))


@pytest.mark.parametrize("later", [False, True])
def test_a_window_has_the_golden_numbers(engine, inputs, later):
    """They were made by the authors' pipeline: see the test below."""
    golden, mine = load_file(GOLDEN), made(engine, inputs, later)
    assert relative(SCALE * mine.latents, golden[f"latents_{later}"]) < 1e-5
    assert relative(mine.extras["tails"][[0, -1]], golden[f"tails_{later}"]) < 1e-5


@pytest.mark.parametrize("later", [False, True])
def test_a_window_ends_as_it_has_to(engine, inputs, later):
    # Three latents are held: the network reads two as one, so that the one in front of them feels it most.
    settings = Settings(window_frames=FRAMES, overlap=13, steps=5, fuse_from=3)
    free = WindowRequest(0, inputs.sketch, inputs.reference, inputs.tails[:2, :, :3] if later else None)
    end = randn(1, 16, 3, *CELLS, seed=8)
    held = replace(free, end=end)
    made, other = (engine.sample_window(request, 11, settings=settings) for request in (held, free))
    assert torch.equal(made.latents[:, :, -3:], end)
    assert relative(made.latents[:, :, -4], other.latents[:, :, -4]) > 1e-3
    # What it keeps at the last step, scaled as the network has it, is the end.
    torch.testing.assert_close(made.extras["tails"][-1], SCALE * end[0], rtol=1e-6, atol=1e-6)


@needs_authors
def test_a_window_is_the_authors(engine, inputs, tmp_path, monkeypatch):
    found = {}
    for later in (False, True):
        latents, tails = authors_window(engine, inputs, later, tmp_path, monkeypatch)
        mine = made(engine, inputs, later)
        assert relative(SCALE * mine.latents, latents) < 1e-5
        assert relative(mine.extras["tails"], tails) < 1e-5
        found |= {f"latents_{later}": latents.contiguous(), f"tails_{later}": tails[[0, -1]].contiguous()}
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        save_file(found, GOLDEN)


def authors_window(engine, inputs, later, tmp_path, monkeypatch):
    """Latents [1, 16, T, h, w] and ends [19, 16, 4, h, w] by the authors' pipeline with the same weights."""
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
    for index, ends in enumerate(inputs.tails):
        torch.save(ends.transpose(0, 1)[None], tmp_path / f"{index}.pt")
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
        )
        theirs = theirs[1] if isinstance(theirs, tuple) else theirs
    ends = torch.stack([torch.load(tmp_path / f"{index}.pt")[0].transpose(0, 1) for index in range(31, 50)])
    return theirs.transpose(1, 2)[:, :, 1:], ends
