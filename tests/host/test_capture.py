"""What the network receives for the first and for a later chunk, seen in the host, in its normalised space."""

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image
from graphs import ANCHORS, CHUNKS, FRAMES, aligned, first_memory, network_inputs, plan, run_chunks

T = 3


@pytest.fixture(scope="module")
def run(comfy):
    with torch.inference_mode():
        model = aligned(comfy)
        with network_inputs(model.model.diffusion_model) as calls:
            chunks = run_chunks(comfy, model, first_memory(comfy), plan(comfy))
    steps = len(calls) // CHUNKS
    return chunks, calls[::steps]


@pytest.fixture
def codec(comfy):
    host = comfy.module(PACK, "nodes.host")
    return host.HostCodec(comfy.load_vae())


@pytest.mark.parametrize("index", [0, 2])
def test_mask_marks_the_anchors_and_nothing_else(run, index):
    mask = run[1][index][0][:, 16:20]
    expected = torch.zeros(1, 4, ANCHORS + T, 8, 8)
    expected[:, :, :ANCHORS] = 1
    assert torch.equal(mask, expected)


@pytest.mark.parametrize(("index", "known"), [(0, 0), (2, 1)])
def test_null_slots_are_exactly_zero(run, index, known):
    slots = run[1][index][0][:, 20:, ANCHORS + known :]
    assert torch.equal(slots, torch.zeros_like(slots))
    assert run[1][index][0][:, 20:, : ANCHORS + known].abs().min() > 0


def test_motion_slot_is_the_last_latent_of_the_chunk_before(comfy, run):
    chunks, calls = run
    host = comfy.module(PACK, "nodes.host")
    carried = host.to_network(chunks[1].samples)[:, :, -1]
    torch.testing.assert_close(calls[2][0][:, 20:, ANCHORS], carried, rtol=0, atol=1e-6)


def test_anchors_of_the_first_chunk_are_the_reference(run, codec):
    alone = codec.encode(reference_image())
    torch.testing.assert_close(run[1][0][0][:, 20:, :ANCHORS], alone.expand(-1, -1, ANCHORS, -1, -1), rtol=0, atol=1e-6)


def test_anchors_of_a_later_chunk_are_single_frames_and_the_reference(run, codec):
    chunks, calls = run
    drawn = torch.randperm(FRAMES - 1, generator=torch.Generator().manual_seed(0))[: ANCHORS - 1]
    frames = [chunks[0].images[number : number + 1] for number in sorted((1 + drawn).tolist())]
    alone = torch.cat([codec.encode(frame) for frame in [*frames, reference_image()]], dim=2)
    torch.testing.assert_close(calls[2][0][:, 20:, :ANCHORS], alone, rtol=0, atol=1e-6)
    assert torch.equal(calls[1][0][:, 20:, :ANCHORS], calls[2][0][:, 20:, :ANCHORS])


@pytest.mark.parametrize("index", [0, 2])
def test_pose_is_the_encoding_of_the_frames_that_the_chunk_shows(run, codec, index):
    start = index * 5
    pose = codec.encode(moving_pattern(19)[start : start + FRAMES])
    torch.testing.assert_close(run[1][index]["pose_latents"], pose, rtol=0, atol=1e-6)


def test_noise_is_drawn_from_the_chunk_seed(run):
    for index in (0, 2):
        noise = torch.randn(1, 16, ANCHORS + T, 8, 8, generator=torch.Generator().manual_seed(42 * index))
        assert torch.equal(run[1][index][0][:, :16], noise)


def test_timesteps_are_a_thousand_times_the_shifted_levels(comfy, run):
    model = aligned(comfy)
    assert float(run[1][0][1]) == 1000
    assert model.model.model_sampling.timestep(torch.tensor(0.25)) == 250


def test_first_clip_features_see_the_reference_later_ones_the_last_frame(comfy, run):
    chunks, calls = run
    for index, image in ((0, reference_image()), (2, chunks[1].images[-1:])):
        seen = comfy.clip_vision().encode_image(image, crop=False)["penultimate_hidden_states"]
        assert torch.equal(calls[index]["clip_fea"], seen)
