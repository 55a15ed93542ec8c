"""Noise and its seeds: the same on every machine."""

import torch
from refusals import refusal

from everanimate_core.noise import chunk_seed, draw_noise


def test_seeds_of_the_chunks():
    assert [chunk_seed(7, index) for index in range(4)] == [7, 49, 91, 133]
    assert [chunk_seed(7, index, "released") for index in range(4)] == [7, 49, 91, 133]
    assert [chunk_seed(7, index, "fixed") for index in range(4)] == [7, 7, 7, 7]
    assert [chunk_seed(7, index, "increment") for index in range(4)] == [7, 8, 9, 10]
    assert refusal(chunk_seed, 7, 0, "random") == ("seed_mode must be one of released, fixed, increment; got 'random'.")


def test_noise_is_that_of_a_seeded_cpu_generator():
    shape = (1, 16, 5, 2, 4)
    generator = torch.Generator("cpu")
    generator.manual_seed(42)
    noise = draw_noise(shape, 42)
    assert torch.equal(noise, torch.randn(shape, generator=generator, device="cpu", dtype=torch.float32))
    assert noise.dtype == torch.float32
    # Seed 0's first numbers, known to everyone who has called torch.manual_seed(0).
    torch.testing.assert_close(draw_noise((3,), 0), torch.tensor([1.5410, -0.2934, -2.1788]), rtol=0, atol=5e-5)
    assert not torch.equal(noise, draw_noise(shape, 43))


def test_noise_neither_reads_nor_moves_the_global_generator():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first, before = draw_noise((8,), 42), torch.get_rng_state()
        torch.rand(3)
        moved = torch.get_rng_state()
        assert not torch.equal(before, moved)
        assert torch.equal(draw_noise((8,), 42), first)
        assert torch.equal(torch.get_rng_state(), moved)
