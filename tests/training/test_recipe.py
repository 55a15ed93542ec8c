import pytest
import torch

from everanimate_core.training.recipe import Recipe, generator

BAD_RATES = [(float(text), "a number, not NaN or infinity") for text in ("nan", "inf", "-inf")]
BAD_RATES += [(0.0, "above 0"), (-1e-4, r"at least 0\.0")]


def test_the_rate_is_a_third_for_five_steps_and_constant_then():
    recipe = Recipe(1, rate=3e-4)
    assert [recipe.learning_rate(step, 20) for step in range(7)] == pytest.approx([1e-4] * 5 + [3e-4] * 2)
    assert Recipe(1).learning_rate(10_000, 20_000) == 1e-4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stage": 3}, r"^stage must be 1 or 2 \(1\); got 3\.$"),
        ({"schedule": "linear"}, r"^schedule must be one of gaussian, .* \(gaussian\); got linear\.$"),
        ({"perturbation": "mild"}, r"^perturbation must be one of released, paper, light \(released\); got mild\.$"),
        ({"augmented": 1.5}, r"^augmented must be between 0\.0 and 1\.0 \(0\.5\); got 1\.5\.$"),
        ({"augmented": float("nan")}, r"got nan\.$"),
        ({"perturbed_motion": -0.1}, r"^perturbed_motion must be between 0\.0 and 1\.0 \(0\.0\); got -0\.1\.$"),
        *(({"rate": rate}, rf"^rate must be {rule} \(0\.0001\); got {rate}\.$") for rate, rule in BAD_RATES),
        ({"rank": 0}, r"^rank must be between 1 and 65536 \(32\); got 0\.$"),
        ({"batch": 0}, r"^batch must be between 1 and 1000000 \(8\); got 0\.$"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**{"stage": 1, **values})


def test_a_training_is_known_by_what_it_was_in_0_1_0_and_by_what_is_on_since():
    """So that the state of an older training goes on."""
    old = ("stage", "seed", "rank", "batch", "rate", "schedule", "perturbation", "augmented")
    assert list(Recipe(1).facts()) == list(old)
    assert Recipe(1, perturbed_motion=0.5).facts() == {**Recipe(1).facts(), "perturbed_motion": 0.5}
    assert Recipe(1, held_out=2).facts() == {**Recipe(1).facts(), "held_out": 2}


def test_random_numbers_depend_on_every_part_of_the_key_and_on_nothing_else():
    def draw(*key):
        return torch.rand((), generator=generator(*key)).item()

    keys = [(0, "sample", 1), (0, "sample", 2), (1, "sample", 1), (0, "noise", 1), (0, "sample", 11)]
    first = [draw(*key) for key in keys]
    torch.manual_seed(1)
    assert [draw(*key) for key in keys] == first
    assert len(set(first)) == len(keys)
