"""The procedural world: determinism, and that frames, pose maps, silhouette and face box tell the same story."""

from math import pi

import pytest
import torch
from torch.nn.functional import max_pool2d

from everanimate_core.driving.pose import COLOURS
from everanimate_core.toy.world.figure import PROP
from everanimate_core.toy.world.light import apply_light, light_at
from everanimate_core.toy.world.motion import SEGMENT
from everanimate_core.toy.world.pose import JOINT_RADIUS, LIMB_RADIUS, LIMBS
from everanimate_core.toy.world.scene import Scene
from everanimate_core.toy.world.skeleton import JOINTS, KEYPOINTS, joints
from everanimate_core.toy.world.world import FAR, World

FILM = range(0, 640, 5)


@pytest.fixture(scope="module")
def world():
    return World(7)


def view(world, angle):
    """The frame of the film in which the figure is turned nearest to `angle`."""
    off = (world.yaw(FILM) - angle + pi).remainder(2 * pi) - pi
    index = FILM[int(off.abs().argmin())]
    assert off.abs().min() < 0.3
    return index


# --- determinism -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["frames", "pose", "silhouette"])
def test_a_slice_equals_the_whole_bit_for_bit(what):
    whole = getattr(World(3), what)(range(200))
    assert torch.equal(getattr(World(3), what)(range(100, 110)), whole[100:110])
    assert torch.equal(getattr(World(3), what)([131, 5, 64]), whole[[131, 5, 64]])


def test_single_frames_and_the_reference_are_those_of_the_film(world):
    film = world.frames(range(70))
    assert film.shape == (70, 64, 64, 3)
    assert film.dtype == torch.float32
    assert film.min() >= 0
    assert film.max() <= 1
    assert torch.equal(world.frame(69), film[69])
    assert torch.equal(world.reference(), film[0])


def test_seeds_differ(world):
    other = World(8)
    assert (other.background() - world.background()).abs().mean() > 0.05
    assert not torch.equal(other.look.shirt, world.look.shirt)
    assert other.body != world.body
    assert (other.keypoints(FILM)[0] - world.keypoints(FILM)[0]).abs().mean() > 1


def test_late_frames_exist_and_move_on(world):
    late = world.frames(range(100_000, 100_003))
    assert 0 < (late[1:] - late[:-1]).abs().mean() < 0.02


def test_frame_numbers_below_zero_are_refused(world):
    for what in (world.frames, world.pose, world.silhouette, world.keypoints, world.yaw):
        with pytest.raises(ValueError, match=r"^frame numbers must be 0 or more; got -1\.$"):
            what([3, -1])
    with pytest.raises(ValueError, match="0 or more; got -2"):
        world.face_box(-2)


def test_nothing_jumps():
    for seed in range(6):
        points, _ = World(seed).keypoints(range(6 * SEGMENT))
        speed = (points[1:] - points[:-1]).norm(dim=-1)
        assert speed.max() < 4.5
        assert speed.quantile(0.95) < 2.2
        assert speed.mean() > 0.1


def test_the_figure_walks_about_and_stays_in_the_picture():
    for seed in range(6):
        points, _ = World(seed).keypoints(range(0, 1500, 5))
        middle = points[:, KEYPOINTS.index("neck"), 0]
        assert middle.amax() - middle.amin() > 8
        assert (middle - 32).abs().max() < 12
        assert points.min() > 0
        assert points.max() < 64


# --- what a scene adds ---


LIT = Scene(light="wandering")


def test_a_plain_scene_adds_nothing(world):
    assert world.scene == Scene() == Scene("off", False, False, False, False)
    assert torch.equal(World(7, scene=Scene(far_reference=True)).reference(), world.reference())


def test_another_light_is_refused():
    with pytest.raises(ValueError, match=r"^light must be one of off, wandering, constant; got 'disco'\.$"):
        Scene(light="disco")


def test_light_lies_on_the_frames_and_never_on_the_pose(world):
    lit, shown = World(7, scene=LIT), [0, 5, 400, 9000]
    expected = apply_light(world.frames(shown), light_at("7", shown))
    assert torch.equal(lit.frames(shown), expected)
    assert torch.equal(lit.frames([9000]), expected[3:])
    assert torch.equal(lit.pose(shown), world.pose(shown))
    assert torch.equal(lit.silhouette(shown), world.silhouette(shown))
    assert torch.equal(lit.reference(), expected[0])


def test_constant_light_is_that_of_the_first_frame(world):
    still = World(7, scene=Scene(light="constant"))
    assert torch.equal(still.frames([0, 9000]), apply_light(world.frames([0, 9000]), light_at("7", [0])))


@pytest.mark.parametrize("light", ["wandering", "constant"])
def test_a_far_reference_is_in_the_light_of_another_moment(world, light):
    far = World(7, scene=Scene(light=light, far_reference=True))
    assert torch.equal(far.reference(), apply_light(world.frames([0]), light_at("7", [FAR]))[0])
    assert (far.reference() - far.frame(0)).abs().mean() > 0.02


def test_another_background_behind_the_reference_alone(world):
    other = World(7, scene=Scene(other_background=True))
    covered = world.silhouette([0])[0]
    assert torch.equal(other.frames(range(3)), world.frames(range(3)))
    assert torch.allclose(other.reference()[covered == 1], world.reference()[covered == 1], atol=1e-5)
    assert (other.reference() - world.reference())[covered == 0].abs().mean() > 0.05


def test_a_prop_is_taken_up_in_the_first_second_and_kept():
    for seed in range(4):
        plain, holding = World(seed), World(seed, scene=Scene(prop=True))
        shown = [0, 7, 12, 20, 600, 5000]
        changed = (holding.frames(shown) - plain.frames(shown)).abs().amax(-1)
        assert not changed[:2].any() and changed[2].max() > 0.05
        assert torch.equal(holding.reference(), plain.reference())
        assert torch.equal(holding.pose(shown), plain.pose(shown))
        points, _ = plain.keypoints(shown)
        wrist = points[:, KEYPOINTS.index("wrist right")]
        rows, columns = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        distance = (torch.stack([columns, rows], -1) - wrist[:, None, None]).norm(dim=-1)
        # A disc of 3 pixels with an edge of one: around the wrist, and where it shows, as large as that.
        assert not changed[distance > PROP + 0.5].any()
        assert max((changed > 0.02).sum(dim=(1, 2)).tolist()[3:]) > 10


def test_a_pan_moves_the_background_alone_and_comes_back():
    plain, panning = World(5), World(5, scene=Scene(pan=True))
    shown = [0, 100, 533, 1000]
    silhouette, frames = plain.silhouette(shown), panning.frames(shown)
    assert torch.equal(panning.silhouette(shown), silhouette)
    assert torch.equal(frames[0], plain.frame(0))
    # Twelve pixels to the right after 100 frames: what was there is twelve columns further left now.
    assert torch.allclose(panning.background(100)[:, :52], plain.background()[:, 12:], atol=1e-5)
    assert torch.equal(frames[1][silhouette[1] == 0], panning.background(100)[silhouette[1] == 0])
    # The mirror image after 64 pixels; the first view again after 128.
    assert torch.allclose(panning.background(1600), plain.background().flip(1), atol=1e-4)
    assert torch.allclose(panning.background(3200), plain.background(), atol=1e-4)
    step = (panning.background(201) - panning.background(200)).abs().mean()
    assert 0 < step < 0.01


# --- the truth about the frames --------------------------------------------------------------------------------------


def test_silhouette_is_where_the_figure_hides_the_background(world):
    frames, silhouette, background = world.frames(FILM), world.silhouette(FILM), world.background()
    outside, inside = silhouette == 0, silhouette == 1
    assert torch.equal(frames[outside], background.expand_as(frames)[outside])
    changed = (frames - background).abs().amax(-1)
    # Some of the figure's colours come near the background's.
    assert (changed[inside] > 1 / 255).float().mean() > 0.995
    share = silhouette.mean(dim=(1, 2))
    assert share.min() > 0.12
    assert share.max() < 0.35


def test_silhouette_does_not_depend_on_what_is_behind(world):
    other = World(7)
    other._backdrop.picture = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    silhouette, frames = world.silhouette(FILM[:16])[..., None], world.frames(FILM[:16])
    shown = frames - (1 - silhouette) * world.background()
    assert torch.allclose(other.frames(FILM[:16]) - (1 - silhouette) * other.background(), shown, atol=1e-5)


def test_the_reference_hides_background_that_later_frames_show():
    for seed in range(8):
        silhouette = World(seed).silhouette(FILM)
        hidden = silhouette[0] == 1
        revealed = hidden & (silhouette.amin(0) == 0)
        assert revealed.sum() > 0.2 * hidden.sum()


def test_joints_lie_on_the_figure(world):
    points, found = world.keypoints(FILM)
    covered = world.silhouette(FILM)
    # Face points lie on the surface of the head, seen from the side at its rim: a pixel's width is granted to them.
    near = max_pool2d(covered[:, None], 3, stride=1, padding=1)[:, 0]
    column, row = points.floor().long().clamp(0, 63).unbind(-1)
    frame = torch.arange(len(FILM))[:, None]
    face = torch.tensor([name.split()[0] in ("nose", "eye", "ear") for name in KEYPOINTS])
    assert (covered[frame, row, column][:, ~face] == 1).all()
    assert (near[frame, row, column][:, face] == 1).all()
    assert found[:, ~face].all()


def test_feet_stand_on_the_floor(world):
    points, _ = world.keypoints(range(200))
    ankles = points[:, [KEYPOINTS.index("ankle right"), KEYPOINTS.index("ankle left")], 1]
    assert torch.allclose(ankles.amax(1), torch.tensor(57.0), atol=1e-4)


def test_face_box_holds_the_head(world):
    for index in FILM:
        left, top, right, bottom = world.face_box(index)
        x, y, _ = joints(world.motion.posture([index]), world.body)[0, JOINTS.index("head")].tolist()
        assert 0 <= left < x < right <= 64
        assert 0 <= top < y < bottom <= 64
        # All of it, and little else.
        assert min(x - left, right - x, y - top, bottom - y) >= world.body.head
        assert max(right - left, bottom - top) <= 2 * world.body.head + 3


# --- pose maps -------------------------------------------------------------------------------------------------------


def test_pose_shows_every_joint_in_its_colour(world):
    pose = world.pose(FILM)
    points, found = world.keypoints(FILM)
    shown = 0
    for frame, joint in found.nonzero().tolist():
        x, y = points[frame, joint].tolist()
        # A joint that is drawn later may lie over it.
        if (points[frame, joint + 1 :] - points[frame, joint]).norm(dim=-1).lt(2 * JOINT_RADIUS + 1).any():
            continue
        colour = torch.tensor(COLOURS[joint]) / 255
        assert (pose[frame, int(y), int(x)] - colour).abs().max() < 0.3, KEYPOINTS[joint]
        shown += 1
    assert shown > 12 * len(FILM)


def test_pose_is_black_away_from_limbs_and_limbs_are_where_their_joints_are(world):
    pose = world.pose(FILM)
    points, found = world.keypoints(FILM)
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], dim=-1).view(-1, 2)
    for frame in range(0, len(FILM), 16):
        nearest = torch.full((64 * 64,), torch.inf)
        for a, b in LIMBS:
            if found[frame, a] and found[frame, b]:
                # Sampled densely: another way to the distance than the one that draws.
                share = torch.linspace(0, 1, 200)[:, None]
                line = points[frame, a] * (1 - share) + points[frame, b] * share
                nearest = torch.minimum(nearest, torch.cdist(pixels, line).amin(1))
        lone = torch.cdist(pixels, points[frame, found[frame]]).amin(1)
        lit = pose[frame].amax(-1).flatten()
        away = (nearest > LIMB_RADIUS + 0.6) & (lone > JOINT_RADIUS + 0.6)
        assert lit[away].max() == 0
        assert lit[nearest < 0.5].min() > 0.4


def test_face_points_are_found_from_the_front_only(world):
    face = [KEYPOINTS.index(name) for name in ("nose", "eye right", "eye left")]
    _, front = world.keypoints([view(world, 0.0)])
    _, back = world.keypoints([view(world, pi)])
    assert front[0, face].all()
    assert not back[0, face].any()


def test_left_and_right_change_places_in_the_back_view(world):
    right, left = KEYPOINTS.index("shoulder right"), KEYPOINTS.index("shoulder left")
    front, back = (world.keypoints([view(world, angle)])[0][0, :, 0] for angle in (0.0, pi))
    assert front[right] < front[left]
    assert back[right] > back[left]


# --- views -----------------------------------------------------------------------------------------------------------


def nearest_pixel(world, index, colour):
    frame, figure = world.frame(index), world.silhouette([index])[0] == 1
    # Colours are darkened towards the rim: compare hues.
    frame = frame / frame.amax(-1, keepdim=True).clamp(min=1e-3)
    return (frame[figure] - colour / colour.amax()).abs().amax(-1).min().item()


def test_the_back_carries_marks_that_the_front_does_not_show():
    hidden = 0
    for seed in range(12):
        world = World(seed)
        angles = (world.yaw(FILM) + pi).remainder(2 * pi) - pi
        if angles.abs().max() < pi - 0.3:
            continue
        back, front = FILM[int(angles.abs().argmax())], FILM[int(angles.abs().argmin())]
        for mark in (world.look.back_mark, world.look.hair_mark):
            # Arms may hide the mark on the back; two colours of a figure may be alike.
            hidden += nearest_pixel(world, back, mark) < 0.08 < 0.16 < nearest_pixel(world, front, mark)
        difference = (world.frame(back) - world.frame(front)).abs().amax(-1)
        both = (world.silhouette([back])[0] == 1) & (world.silhouette([front])[0] == 1)
        assert difference[both].mean() > 0.05
    assert hidden >= 10


def test_a_film_shows_front_sides_and_back():
    for seed in range(6):
        angles = World(seed).yaw(range(0, 1500, 5)).remainder(2 * pi)
        for middle in (0.0, pi / 2, pi, 3 * pi / 2):
            assert ((angles - middle + pi).remainder(2 * pi) - pi).abs().min() < 0.3


def test_the_motion_of_another_world():
    world, other, mixed = World(3), World(8), World(3, motion_seed=8)
    assert torch.equal(mixed.yaw(range(5)), other.yaw(range(5)))
    assert torch.equal(mixed.background(), world.background())
    assert str(mixed.look) == str(world.look) and mixed.body == world.body
    assert not torch.equal(mixed.frames(range(5)), world.frames(range(5)))
