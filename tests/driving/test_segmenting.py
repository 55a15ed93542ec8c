"""Outlines that are followed through a window become the masks of the people in it."""

import numpy as np
import pytest
from driving.bodies import keypoints, standing
from driving.dancers import HEIGHT, WIDTH, Driver, Reader, body, mask_of, number_in
from run_parts import video_of

from everanimate_core.driving import prepare
from everanimate_core.driving.found_store import unpacked
from everanimate_core.driving.people import Person
from everanimate_core.driving.segmenting import Before, outlined
from everanimate_core.driving.settings import Settings

pytestmark = pytest.mark.usefixtures("small_windows")
REPLACING = Settings(mode="replacement")


def person(middle):
    """Somebody whose body has all of its points."""
    return Person(standing(tall=80.0, middle=middle, crown=8.0), np.full(133, 0.9))


def part(left, right):
    """A mask, white between two columns."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[:, left:right] = True
    return mask


class Given:
    """Hands out outlines that are known, [n, H, W] each, and keeps what it was asked."""

    digest = "given"

    def __init__(self, *outlines):
        self.outlines, self.asked = outlines, []

    def follow(self, frames, known):
        self.asked.append((frames.copy(), [mask.copy() for mask in known]))
        yield from self.outlines


def masks_of(people, *outlines, before=None):
    frames = np.zeros((len(people), HEIGHT, WIDTH, 3), np.float32)
    found = outlined(frames, people, Given(*outlines), before)
    return [[unpacked(mask, WIDTH, HEIGHT) for mask in there] for there in found]


def test_an_outline_is_that_of_whoever_is_in_it():
    left, right = person(30.0), person(90.0)
    one, other = np.array([part(0, 60)] * 2), np.array([part(60, 128)] * 2)
    (first, second) = masks_of([[right, left], [left]], one, other)
    np.testing.assert_array_equal(first, [part(60, 128), part(0, 60)])
    np.testing.assert_array_equal(second, [part(0, 60)])


def test_nobody_shares_an_outline():
    # Half of the one who is hidden lies in the outline of the one in front.
    front, hidden = person(50.0), person(58.0)
    wide, narrow = np.array([part(30, 62)]), np.array([part(58, 80)])
    ((behind, before),) = masks_of([[hidden, front]], wide, narrow)
    np.testing.assert_array_equal(before, wide[0])
    np.testing.assert_array_equal(behind, narrow[0])


def test_an_outline_with_too_few_points_is_nobodys():
    ((mask,),) = masks_of([[person(50.0)]], np.array([part(0, 20)]))
    assert mask.shape == (HEIGHT, WIDTH) and not mask.any()
    ((none,),) = masks_of([[person(50.0)]])
    assert not none.any()
    faceless = Person(person(50.0).points, np.zeros(133))
    ((unseen,),) = masks_of([[faceless]], np.array([part(0, 128)]))
    assert not unseen.any()


def test_points_outside_the_picture_are_in_no_outline():
    outside = Person(person(50.0).points + 1000, np.full(133, 0.9))
    ((mask,),) = masks_of([[outside]], np.array([part(0, 128)]))
    assert not mask.any()


def test_outlines_are_followed_from_the_frame_before_the_window():
    before, frames = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32), np.zeros((2, HEIGHT, WIDTH, 3), np.float32)
    segmenter = Given(np.array([part(0, 10), part(0, 60), part(0, 70)]))
    people = [[person(30.0)], [person(30.0)]]
    known = [part(0, 10), part(0, 0)]
    found = outlined(frames, people, segmenter, Before(before, known))
    ((seen, followed),) = segmenter.asked
    assert len(seen) == 3 and (seen[0] == 0.5).all() and not seen[1:].any()
    np.testing.assert_array_equal(followed, [part(0, 10)])
    # What is said of the frame before is not of this window.
    np.testing.assert_array_equal(
        [unpacked(mask, WIDTH, HEIGHT) for there in found for mask in there], [part(0, 60), part(0, 70)]
    )
    nobody = Given(*segmenter.outlines)
    outlined(frames, people, nobody, Before(before, [part(0, 0)]))
    assert [(len(seen), known) for seen, known in nobody.asked] == [(2, [])]


class Boxes:
    """Follows the painted person by their number, but not in the frames in which they are lost."""

    digest = "boxes"

    def __init__(self, lost=()):
        self.lost, self.known = lost, []

    def follow(self, frames, known):
        self.known.append(len(known))
        numbers = [number_in(frame) for frame in frames]
        yield np.array([mask_of(body(number)) & (number not in self.lost) for number in numbers])


def white(path):
    return video_of(path)[0].numpy()[..., 0] > 0.5


def test_its_masks_are_those_of_an_engine_that_finds_its_own(tmp_path):
    prepare.prepare(Driver(16), Reader(), REPLACING, tmp_path / "own")
    segmenter = Boxes()
    made = prepare.prepare(Driver(16), Reader(masks=False), REPLACING, tmp_path / "other", segmenter=segmenter)
    assert (tmp_path / "own" / "mask.mp4").read_bytes() == made.mask.read_bytes()
    assert segmenter.known == [0, 1, 1]


def test_a_search_goes_on_with_the_masks_of_the_window_before(tmp_path):
    prepare.prepare(Driver(16), Reader(masks=False), REPLACING, tmp_path, segmenter=Boxes())
    (tmp_path / "found" / "found_00002.safetensors").unlink()
    segmenter = Boxes()
    prepare.prepare(Driver(16), Reader(masks=False), REPLACING, tmp_path, segmenter=segmenter)
    assert segmenter.known == [1]


def test_a_lost_outline_is_the_box_of_the_points(tmp_path):
    made = prepare.prepare(Driver(3), Reader(masks=False), REPLACING, tmp_path, segmenter=Boxes(lost=[1]))
    masks = white(made.mask)
    for number in range(3):
        x, y = body(number).T.round().astype(int)
        assert masks[number, y, x].all()
    np.testing.assert_array_equal(
        masks[1], prepare.in_blocks(prepare.grown(prepare.around(body(1), WIDTH, HEIGHT), 9), 32)
    )


def test_in_animation_mode_nothing_is_followed(tmp_path):
    segmenter = Boxes()
    settings = Settings(width=64, height=48)
    prepare.prepare(Driver(3), Reader(masks=False), settings, tmp_path, segmenter=segmenter)
    assert segmenter.known == []
    # What was found stays, but for the masks.
    engine = Reader(masks=False)
    prepare.prepare(Driver(3), engine, REPLACING, tmp_path, segmenter=segmenter)
    assert segmenter.known == [0] and engine.read == [0, 1, 2]
    again = Reader(masks=False)
    prepare.prepare(Driver(3), again, settings, tmp_path)
    assert again.read == []


def test_keypoints_that_are_given_get_masks_too(tmp_path):
    one = keypoints(np.array([body(number) for number in range(3)]), WIDTH, HEIGHT)
    given = prepare.as_pose_keypoint(one)
    made = prepare.prepare(Driver(3), None, REPLACING, tmp_path, pose_keypoint=given, segmenter=Boxes())
    prepare.prepare(Driver(3), Reader(), REPLACING, tmp_path / "own")
    np.testing.assert_array_equal(white(made.mask), white(tmp_path / "own" / "mask.mp4"))
