"""The arithmetic of a step's memory, against the bytes of tensors that are counted while tiny networks take one."""

from contextlib import nullcontext

import pytest
import torch
from tensor_bytes import TensorBytes
from tiny_wan import FACE_SIZE, tiny_wan
from torch.autograd.graph import saved_tensors_hooks

from everanimate_core.everanimate.geometry import ChunkGeometry
from everanimate_core.training.checkpointing import enable_checkpointing
from everanimate_core.training.memory_need import Step, step_need
from everanimate_core.training.network import Network, batch_loss
from everanimate_core.training.samples import Batch

GEOMETRY = ChunkGeometry(frames=9, anchors=2)
SIZE = 256
# (heads, layers, step): with and without checkpointing, face, bfloat16, more than one sample.
CASES = {
    "plain": (4, 5, {"faces": False, "half": False, "checkpointing": False}),
    "face, two samples": (2, 10, {"half": False, "checkpointing": False, "samples": 2}),
    "bfloat16": (4, 5, {"checkpointing": False}),
    "checkpointing": (8, 10, {"half": False}),
    "checkpointing, bfloat16, no face": (8, 5, {"faces": False, "rank": 8}),
    "checkpointing, bfloat16, two samples": (8, 10, {"samples": 2}),
    "offload": (8, 10, {"offload": True}),
}


def drawn(step):
    """A batch of a step's sizes."""
    generator, latents = torch.Generator().manual_seed(0), SIZE // 8
    count, anchored = step.samples, GEOMETRY.anchors + GEOMETRY.latents

    def draw(*shape):
        return torch.randn(count, *shape, generator=generator)

    return Batch(
        clean=draw(16, anchored, latents, latents),
        drifted=draw(16, GEOMETRY.latents, latents, latents),
        noise=draw(16, anchored, latents, latents),
        context=draw(20, anchored, latents, latents),
        pose=draw(16, GEOMETRY.latents, latents, latents),
        text=draw(512, 8),
        clip=draw(257, 16),
        face=draw(3, GEOMETRY.frames, FACE_SIZE, FACE_SIZE) if step.faces else None,
        sigma=torch.full((count,), 0.5),
    )


class Learner:
    """A network as the loop has it, and what a step of it is."""

    def __init__(self, heads, layers, options):
        transformer = tiny_wan(heads, layers)
        self.step = Step(transformer, GEOMETRY, SIZE, SIZE, **{"rank": 4, **options})
        if self.step.half:
            float32 = set(transformer._keep_in_fp32_modules)
            for name, value in transformer.named_parameters():
                if not float32.intersection(name.split(".")):
                    value.data = value.data.to(torch.bfloat16)
        self.need = step_need(self.step)
        self.network = Network(transformer, GEOMETRY.anchors, self.step.rank, 0)
        if self.step.half:
            self.network.compute_in_half()
        if self.step.checkpointing:
            enable_checkpointing(transformer, offload=self.step.offload)
        self.optimiser = torch.optim.AdamW(self.network.trained().values())
        self.batch = drawn(self.step)
        self.take()  # the optimiser's moments come with the first step

    def forward(self):
        with torch.autocast("cpu", torch.bfloat16) if self.step.half else nullcontext():
            return batch_loss(self.network, self.batch, "none")

    def take(self):
        self.forward().backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

    def held(self):
        """What there is before a step."""
        moments = [value for state in self.optimiser.state.values() for value in state.values()]
        values = [value for value in vars(self.batch).values() if value is not None]
        return [*self.network.parameters(), *self.network.buffers(), *moments, *values]


@pytest.fixture(scope="module", params=CASES)
def learner(request):
    torch.set_num_threads(1)
    return Learner(*CASES[request.param])


def test_the_peak_of_a_step_is_within_15_percent(learner):
    with TensorBytes(learner.held()) as counted:
        learner.take()
    # On a CPU, what is offloaded has not far to go.
    assert learner.need.total + sum(learner.need.main.values()) == pytest.approx(counted.peak, rel=0.15)


def test_what_is_saved_for_the_backward_pass_is_within_15_percent(learner):
    own = {value.untyped_storage().data_ptr() for value in learner.held()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = learner.forward()
    assert loss.requires_grad
    if not learner.step.offload:
        # What is offloaded passes through hooks of its own.
        assert learner.need.device["activations"] == pytest.approx(sum(size for size, _ in saved.values()), rel=0.15)


def test_base_and_lora_are_exact(learner):
    parameters = dict(learner.network.named_parameters())
    trained = sum(value.numel() for value in parameters.values() if value.requires_grad)
    need = {**learner.need.device, **learner.need.main}
    assert need["base"] == sum(value.nbytes for value in parameters.values() if not value.requires_grad)
    assert need["LoRA"] == need["gradients"] == need["optimiser"] / 2 == 4 * trained
