"""How far work is, said ten times."""

import pytest

from everanimate_core.tenths import every_tenth


@pytest.mark.parametrize(
    ("total", "step", "expected"),
    [(100, 1, range(10, 101, 10)), (3, 1, [1, 2, 3]), (100, 45, [45, 90, 100]), (1, 1, [1])],
)
def test_each_tenth_is_said_once(total, step, expected):
    said = []
    on_step = every_tenth(lambda *both: said.append(both))
    for done in [*range(step, total, step), total, total]:
        on_step(done, total)
    assert said == [(done, total) for done in expected]
