import pytest
import torch

from everanimate_core.backends.wan_codec import WanCodec


@pytest.fixture
def clip_frames():
    return torch.rand(5, 16, 24, 3, generator=torch.Generator().manual_seed(4))


def test_encode_is_the_normalised_posterior_mean(vae, clip_frames):
    video = clip_frames.permute(3, 0, 1, 2)[None] * 2 - 1
    raw = vae.encode(video).latent_dist.mean
    latents = WanCodec(vae).encode(clip_frames)
    assert latents.shape == (1, 16, 2, 2, 3)
    for channel, (mean, std) in enumerate(zip(vae.config.latents_mean, vae.config.latents_std, strict=True)):
        assert torch.equal(latents[:, channel], (raw[:, channel] - mean) / std)


def test_one_frame_is_the_first_latent_of_a_clip(vae, clip_frames):
    codec = WanCodec(vae)
    torch.testing.assert_close(codec.encode(clip_frames[:1]), codec.encode(clip_frames)[:, :, :1], atol=1e-6, rtol=0)


def test_decode_inverts_the_normalisation(vae, clip_frames):
    latents = WanCodec(vae).encode(clip_frames)
    raw = vae.encode(clip_frames.permute(3, 0, 1, 2)[None] * 2 - 1).latent_dist.mean
    frames = WanCodec(vae).decode(latents)
    expected = (vae.decode(raw).sample[0].permute(1, 2, 3, 0) + 1) / 2
    assert frames.shape == (5, 16, 24, 3)
    assert frames.std() > 0.01
    torch.testing.assert_close(frames, expected, atol=1e-6, rtol=0)


def test_decoded_frames_stay_within_0_and_1(vae):
    frames = WanCodec(vae).decode(torch.full((1, 16, 1, 2, 2), 1e4))
    assert frames.min() >= 0
    assert frames.max() <= 1


def test_tiling_is_for_decoding_alone(vae):
    frame = torch.rand(1, 272, 64, 3, generator=torch.Generator().manual_seed(5))
    whole, tiled = WanCodec(vae), WanCodec(vae, tiled=True)
    latents = whole.encode(frame)
    assert torch.equal(tiled.encode(frame), latents)
    decoded = tiled.decode(latents)
    assert torch.equal(tiled.encode(frame), latents)
    assert decoded.shape == frame.shape
    assert not torch.equal(decoded, whole.decode(latents))


def test_frames_that_the_vae_would_drop_are_refused(vae):
    with pytest.raises(ValueError, match=r"^the number of frames must be 4n \+ 1 for the VAE \(1, 5, 77\); got 4\.$"):
        WanCodec(vae).encode(torch.zeros(4, 16, 16, 3))


def test_sizes_that_the_vae_would_crop_are_refused(vae):
    with pytest.raises(ValueError, match=r"^width and height must be multiples of 8 \(832x480\); got 20x16\.$"):
        WanCodec(vae).encode(torch.zeros(1, 16, 20, 3))
