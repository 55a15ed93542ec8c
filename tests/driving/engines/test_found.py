"""Scores that mean the same for every engine."""

import numpy as np

from everanimate_core.driving.engines.found import normalised


def test_the_threshold_becomes_one_half():
    scores = np.array([-0.2, 0.0, 0.15, 0.3, 0.65, 1.0, 1.7])
    np.testing.assert_allclose(normalised(scores, 0.3), [0, 0, 0.25, 0.5, 0.75, 1, 1])


def test_a_threshold_of_one_half_changes_nothing():
    scores = np.linspace(0, 1, 11).reshape(1, 11)
    np.testing.assert_allclose(normalised(scores, 0.5), scores)
