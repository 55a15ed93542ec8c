"""Fixtures of the tests of prepare."""

import pytest
from driving.dancers import HEIGHT, WIDTH

from everanimate_core.driving import found_store


@pytest.fixture
def small_windows(monkeypatch):
    """Seven painted frames each."""
    monkeypatch.setattr(found_store, "WINDOW_BYTES", 7 * 12 * WIDTH * HEIGHT)
