"""The settings of prepare: what their declarations do not say."""

import pytest

from everanimate_core.driving.settings import Settings
from everanimate_core.errors import InputError


def test_sizes_are_those_of_latents():
    with pytest.raises(InputError, match="height must be a multiple of 16"):
        Settings(height=488)


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("", None),
        ("0,0,0", (0, 0, 0)),
        ("120,415,236", (120, 415, 236)),
        (" 120, 415.5 , 0.25 ", (120, 415.5, 0.25)),
    ],
)
def test_a_point_is_a_frame_and_two_places(text, point):
    assert Settings(person_at=text).point == point


@pytest.mark.parametrize(
    "text", ["1,2", "1,2,3,4", "1.5,2,3", "-1,2,3", "1,nan,3", "a", " ", "1,2,1e3", "1;2;3", "9" * 99]
)
def test_what_is_no_point_is_refused(text):
    with pytest.raises(InputError, match=r"^person_at must be a frame and a point, as frame,x,y \(120,415,236\); got "):
        Settings(person_at=text)
