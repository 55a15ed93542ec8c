"""Training steps of tiny Wan-Animate transformers, as the loop takes them, for counting their bytes."""

from contextlib import nullcontext

import torch
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

    def saved(self):
        """Bytes that a forward pass saves for the backward pass, beside weights and batch; not what is offloaded."""
        own = {value.untyped_storage().data_ptr() for value in self.held()}
        found = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                # With the tensor itself: its place must not be given away.
                found[storage.data_ptr()] = (storage.nbytes(), tensor)
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = self.forward()
        assert loss.requires_grad
        return sum(size for size, _ in found.values())

    def held(self):
        """What there is before a step."""
        moments = [value for state in self.optimiser.state.values() for value in state.values()]
        values = [value for value in vars(self.batch).values() if value is not None]
        return [*self.network.parameters(), *self.network.buffers(), *moments, *values]
