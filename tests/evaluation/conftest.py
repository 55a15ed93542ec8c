"""Fixtures shared by the tests of the evaluation: random pictures."""

import pytest
import torch


@pytest.fixture(scope="session")
def noise():
    """noise(count, seed, height, width) -> smooth random pictures [count, height, width, 3] in 0..1."""

    def draw(count, seed=0, height=40, width=56):
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand(count, 3, height // 4, width // 4, generator=generator)
        fine = torch.rand(count, 3, height, width, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
        return (0.8 * smooth + 0.2 * fine).movedim(1, -1).contiguous()

    return draw
