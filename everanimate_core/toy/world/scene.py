"""What a world may have beyond a figure in even light before a background that stands still."""

from dataclasses import dataclass

from ...errors import check_choice

# off: even light. wandering: light that changes from frame to frame. constant: that of the world's first frame, kept.
LIGHTS = ("off", "wandering", "constant")


@dataclass(frozen=True)
class Scene:
    """All of it is off by default. Raises InputError for another light.

    What it adds never shows in the pose maps, but for the turning round of `two_sided`.

    light: one of LIGHTS. far_reference: the reference picture was taken at another moment, in other light (where there
    is any). other_background: and before another background. prop: the figure takes a thing into its right hand within
    the first second, so that the reference does not show it. pan: the camera moves slowly, and what it has left comes
    back after 43 seconds. two_sided: the clothes have another colour behind, which the reference does not show; the
    figure faces the viewer, and turns round for a while once in 7 seconds (`sides.showings`).
    """

    light: str = "off"
    far_reference: bool = False
    other_background: bool = False
    prop: bool = False
    pan: bool = False
    two_sided: bool = False

    def __post_init__(self):
        check_choice("light", self.light, LIGHTS)


PLAIN = Scene()
