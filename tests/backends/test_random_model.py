import torch

from everanimate_core.backends.random_model import random_tiny
from everanimate_core.flow import sigma_schedule
from everanimate_core.memory import build_memory
from everanimate_core.plan import ChunkPlan
from everanimate_core.propagation import Drivers, animate


class Still:
    """A pose video of one random picture."""

    frame_count = 1

    def read(self, indices):
        return torch.rand(1, 32, 48, 3, generator=torch.Generator().manual_seed(1)).expand(len(indices), -1, -1, -1)


def run(wan, sigmas):
    reference = torch.rand(1, 32, 48, 3, generator=torch.Generator().manual_seed(2))
    results = animate(
        ChunkPlan(total_frames=12, chunk_frames=9, overlap=4),
        build_memory(reference, wan.codec),
        lambda request, seed: wan.sample_chunk(request, seed, sigmas=sigmas),
        wan.codec,
        Drivers(pose=Still()),
    )
    return torch.cat([result.frames for result in results])


def test_the_whole_engine_runs_and_the_seed_decides():
    frames = run(random_tiny(0, device="cpu"), sigma_schedule(1))
    assert frames.shape == (12, 32, 48, 3)
    assert frames.std() > 0.01
    assert torch.equal(run(random_tiny(0, device="cpu"), sigma_schedule(1)), frames)
    assert not torch.equal(run(random_tiny(1, device="cpu"), sigma_schedule(1)), frames)


def test_the_transformer_has_the_dtype_that_was_asked_for():
    wan = random_tiny(0, device="cpu", dtype=torch.bfloat16)
    assert wan.transformer.patch_embedding.weight.dtype == torch.bfloat16
    assert wan.transformer.scale_shift_table.dtype == torch.float32
    assert wan.codec.vae.dtype == torch.float32
