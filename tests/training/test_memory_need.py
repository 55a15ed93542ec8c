"""The arithmetic of a step's memory, against the bytes of tensors that are counted while tiny networks take one."""

import pytest
import torch
from diffusers import AutoencoderKLWan
from tensor_bytes import TensorBytes
from tiny_steps import CASES, Learner

from everanimate_core.backends.wan_checkpoint import empty_vae
from everanimate_core.training.memory_need import VAE_FRAMES, VAE_HELD, VAE_PARAMETERS


@pytest.fixture(scope="module", params=CASES)
def learner(request):
    return Learner(*CASES[request.param])


def test_the_peak_of_a_step_is_within_15_percent(learner):
    with TensorBytes(learner.held()) as counted:
        learner.take()
    # On a CPU, what is offloaded has not far to go.
    assert learner.need.total + sum(learner.need.main.values()) == pytest.approx(counted.peak, rel=0.15)


def test_what_is_saved_for_the_backward_pass_is_within_15_percent(learner):
    if learner.step.offload:
        pytest.skip("what is offloaded passes through hooks of its own")
    assert learner.need.device["activations"] == pytest.approx(learner.saved(), rel=0.15)


def test_base_and_lora_are_exact(learner):
    parameters = dict(learner.network.named_parameters())
    trained = sum(value.numel() for value in parameters.values() if value.requires_grad)
    need = {**learner.need.device, **learner.need.main}
    assert need["base"] == sum(value.nbytes for value in parameters.values() if not value.requires_grad)
    assert need["LoRA"] == need["gradients"] == need["optimiser"] / 2 == 4 * trained


def test_the_vae_is_that_of_wan_and_its_encoder_holds_as_much():
    assert sum(value.numel() for value in empty_vae({}).parameters()) == VAE_PARAMETERS
    vae = AutoencoderKLWan(base_dim=16).eval().requires_grad_(False)
    frames = torch.rand(1, 3, 9, 64, 64)
    with TensorBytes([*vae.parameters(), *vae.buffers(), frames]) as counted:
        before = counted.now
        vae.encode(frames)
    held = (counted.peak - before) / (16 * VAE_FRAMES * 64 * 64 * 4)
    assert held == pytest.approx(VAE_HELD, rel=0.05)
