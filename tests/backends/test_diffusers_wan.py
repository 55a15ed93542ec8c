from dataclasses import replace

import pytest
import torch

from everanimate_core.backends.diffusers_wan import DiffusersWan
from everanimate_core.backends.wan_codec import WanCodec
from everanimate_core.everanimate.flow import interpolate, sigma_schedule
from everanimate_core.lora.files import lora_from_tensors
from everanimate_core.lora.fit import apply_lora

SIGMAS = sigma_schedule(2)


@pytest.fixture
def wan(transformer, vae, text, clip):
    return DiffusersWan(transformer, WanCodec(vae), text, lambda image: clip)


def stock_velocity(wan, request, x, sigma, text, face):
    model_input = torch.cat([x, request.context.mask, request.context.y], dim=1)
    clip = wan.image_encoder(request.clip_image)
    timestep = torch.tensor([1000 * sigma])
    return wan.transformer(model_input, timestep, text, clip, request.pose_latents, face).sample


def test_a_chunk_is_two_euler_steps_of_the_stock_model(wan, make_request, text):
    request = make_request(1)
    x = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(7))
    for sigma, following in ((1.0, SIGMAS[1]), (SIGMAS[1], 0.0)):
        x = x + stock_velocity(wan, request, x, sigma, text, request.face_pixels) * (following - sigma)
    assert torch.equal(wan.sample_chunk(request, 7, sigmas=SIGMAS), x[:, :, 1:])


@pytest.mark.parametrize("count", [1, 2])
def test_a_chunk_with_a_given_end_is_two_euler_steps_that_see_it(wan, make_request, text, count):
    generator = torch.Generator().manual_seed(8)
    request = make_request(1, end=torch.randn(1, 16, count, 4, 6, generator=generator))
    noise = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(7))
    x = noise
    for sigma, following in ((1.0, SIGMAS[1]), (SIGMAS[1], 0.0)):
        x = torch.cat([x[:, :, :-count], interpolate(request.end, noise[:, :, -count:], sigma)], dim=2)
        x = x + stock_velocity(wan, request, x, sigma, text, request.face_pixels) * (following - sigma)
    held = wan.sample_chunk(request, 7, sigmas=SIGMAS)
    assert torch.equal(held[:, :, -count:], request.end)
    torch.testing.assert_close(held[:, :, :-count], x[:, :, 1:-count], rtol=1e-5, atol=1e-5)
    free = wan.sample_chunk(replace(request, end=None), 7, sigmas=SIGMAS)
    assert count == 2 or (held - free)[:, :, 0].norm() > 1e-3 * free[:, :, 0].norm()


def test_anchors_are_cut_and_the_seed_decides(wan, make_request):
    request = make_request(4)
    first = wan.sample_chunk(request, 0, sigmas=SIGMAS)
    assert first.shape == (1, 16, 2, 4, 6)
    assert torch.equal(wan.sample_chunk(request, 0, sigmas=SIGMAS), first)
    assert not torch.equal(wan.sample_chunk(request, 1, sigmas=SIGMAS), first)


def test_a_chunk_encodes_its_face_once(wan, make_request):
    calls = {"motion": 0, "face": 0}
    for name, module in (("motion", wan.transformer.motion_encoder), ("face", wan.transformer.face_encoder)):
        module.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    wan.sample_chunk(make_request(4), 0, sigmas=sigma_schedule(3))
    assert calls == {"motion": 3, "face": 1}  # 5 frames, two at a time


def test_chunks_read_their_own_prompt_and_the_last_serves_the_rest(wan, make_request, text):
    three = replace(wan, text=torch.cat([text, -text, 2 * text]))
    for index, own in ((0, text), (1, -text), (2, 2 * text), (5, 2 * text)):
        request = make_request(4, index=index)
        expected = replace(wan, text=own).sample_chunk(request, 0, sigmas=SIGMAS)
        assert torch.equal(three.sample_chunk(request, 0, sigmas=SIGMAS), expected)


def test_a_short_text_is_followed_by_zeros(wan, make_request, text):
    padded = torch.cat([text[:, :9], torch.zeros(1, 503, 8)], dim=1)
    short, long = replace(wan, text=text[:, :9]), replace(wan, text=padded)
    request = make_request(4)
    assert torch.equal(short.sample_chunk(request, 0, sigmas=SIGMAS), long.sample_chunk(request, 0, sigmas=SIGMAS))


def test_guidance_is_away_from_the_negative_text_and_a_silent_face(wan, make_request, text):
    request, x = make_request(1), torch.ones(1, 16, 3, 4, 6)
    v = stock_velocity(wan, request, x, 0.5, text, request.face_pixels)
    negative = stock_velocity(wan, request, x, 0.5, -text, torch.full((1, 3, 5, 16, 16), -1.0))
    guided = replace(wan, cfg=3.0, negative_text=-text).velocity(request)
    assert torch.equal(guided(x, torch.tensor(0.5)), negative + 3.0 * (v - negative))


def test_guidance_works_without_a_face(wan, make_request, text):
    request, x = make_request(4, face_pixels=None), torch.ones(1, 16, 6, 4, 6)
    guided = replace(wan, cfg=3.0, negative_text=text).velocity(request)
    assert torch.equal(guided(x, torch.tensor(0.5)), wan.velocity(request)(x, torch.tensor(0.5)))


def test_steps_are_reported_and_can_be_cancelled(wan, make_request):
    class Cancelled(Exception):
        pass

    seen = []

    def on_step(step, steps, clean):
        seen.append((step, steps, clean.shape))
        if step == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        wan.sample_chunk(make_request(4), 0, sigmas=sigma_schedule(5), on_step=on_step)
    assert seen == [(0, 5, (1, 16, 6, 4, 6)), (1, 5, (1, 16, 6, 4, 6))]


def test_the_network_runs_in_its_own_dtype_and_euler_in_float32(wan, make_request):
    seen = []
    wan.transformer.bfloat16()
    wan.transformer.register_forward_hook(lambda module, args, output: seen.append(output[0].dtype))
    latents = wan.sample_chunk(make_request(4), 0, sigmas=SIGMAS)
    assert seen == [torch.bfloat16, torch.bfloat16]
    assert latents.dtype == torch.float32
    assert torch.isfinite(latents).all()
    assert not torch.equal(latents, latents.bfloat16().float())


def test_a_released_lora_merges_into_the_transformer(wan, make_request):
    request = make_request(4)
    plain = wan.sample_chunk(request, 0, sigmas=SIGMAS)
    a, b = torch.ones(2, 24), torch.ones(24, 2)
    names = [
        f"blocks.{i}.{layer}.lora_{{}}.default.weight" for i in range(10) for layer in ("self_attn.q", "cross_attn.o")
    ]
    lora = lora_from_tensors({name.format(part): value for name in names for part, value in (("A", a), ("B", b))})
    before = wan.transformer.blocks[3].attn2.to_out[0].weight.clone()
    assert apply_lora(wan.transformer, lora).matched == 20
    assert torch.equal(wan.transformer.blocks[3].attn2.to_out[0].weight, before + 2)
    assert not torch.equal(wan.sample_chunk(request, 0, sigmas=SIGMAS), plain)


def test_guidance_without_a_negative_text_is_refused(wan):
    with pytest.raises(ValueError, match=r"^cfg other than 1 needs a negative text .* got 2\.0 without one\.$"):
        replace(wan, cfg=2.0)


def test_a_text_of_more_than_512_tokens_is_refused(wan, make_request):
    long = replace(wan, text=torch.zeros(1, 513, 8))
    with pytest.raises(ValueError, match=r"^text must be \[P, L, C\] with L at most 512 tokens; got \[1, 513, 8\]\.$"):
        long.sample_chunk(make_request(4), 0, sigmas=SIGMAS)
