"""Driving videos out of a painted driver: in step with it, and what is found serves more than one call."""

import gc
import json
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from driving.bodies import keypoints as standing_keypoints
from driving.bodies import standing
from driving.dancers import HEIGHT, WIDTH, Driver, Reader, body, mask_of, number_of, painted
from driving.prepare_parts import ANIMATING, REPLACING, SMALL, VIDEOS, files, films, refused, told
from run_parts import killed_before_rename, posix_only, video_of
from safetensors.numpy import load_file

from everanimate_core.driving import prepare
from everanimate_core.driving.keypoints import FACE, Keypoints
from everanimate_core.driving.pose_keypoint import as_pose_keypoint
from everanimate_core.driving.retarget import letterboxed, retargeted
from everanimate_core.driving.settings import Settings
from everanimate_core.media.sound import SampledSound

# A level that H.264 leaves: half of what tells two numbers apart.
ERROR = 5 / 255

pytestmark = pytest.mark.usefixtures("small_windows")


def test_all_videos_are_in_step_with_the_driver(tmp_path):
    nobody = range(200, 220)
    video, engine, done = Driver(300), Reader(faceless=range(100, 180), nobody=nobody), []
    made = prepare.prepare(video, engine, REPLACING, tmp_path, progress=lambda *both: done.append(both))
    # A window in memory, never more.
    assert (video.largest, video.held) == (7, 0)
    assert done[-1] == (600, 600) and done == sorted(done)
    corner, face = told(made.background, (-24, -8), (-8, -8)), told(made.face, (100, 256), (410, 256))
    there = [number not in nobody for number in range(300)]
    assert [number_of(*levels) for levels in corner] == list(range(300))
    assert [number_of(*levels) for levels in face[there]] == list(np.flatnonzero(there))
    assert face[~np.array(there)].max() <= 3
    for path in (made.pose, made.mask):
        np.testing.assert_array_equal(video_of(path)[0].amax(dim=(1, 2, 3)) > 0.5, there)
    data = load_file(made.keypoints)
    visible = [there[number] and not 100 <= number < 180 for number in range(300)]
    np.testing.assert_array_equal(data["face_visible"], visible)
    np.testing.assert_array_equal(data["face_boxes"].any(axis=1), there)
    np.testing.assert_array_equal(data["person_boxes"].any(axis=1), there)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["shares"] == {part: 280 / 300 for part in ("body", "left hand", "right hand")} | {"face": 200 / 300}
    assert report["warnings"] == [] and report["cuts"] == [] and report["people"] == 1


def test_the_background_is_black_where_the_mask_is_white(tmp_path):
    prepare.prepare(Driver(3), Reader(), REPLACING, tmp_path)
    made = films(tmp_path)
    for number in range(3):
        grown = prepare.in_blocks(prepare.grown(mask_of(body(number)), 9), 32)
        mask = made["mask"][0][number, ..., 0] > 0.5
        np.testing.assert_array_equal(mask, grown)
        # Away from the edges, where the colours of H.264, which have half the size, mix.
        inside = ~prepare.grown(~grown, 2)
        outside = ~prepare.grown(grown, 2)
        background, driver = made["background"][0][number].numpy(), painted(number) / 255
        assert inside.any() and background[inside].max() <= ERROR
        assert outside.any() and np.abs(background[outside] - driver[outside]).mean() <= ERROR


def test_masks_over_gaps():
    seen = np.array([0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0], dtype=bool)
    expected = [-1, 1, 1, 4, 4, -1, -1, -1, 8, -1, -1, 11, -1]
    np.testing.assert_array_equal(prepare.mask_places(seen, [10], 2), expected)
    expected[5:8] = 4, 8, 8
    np.testing.assert_array_equal(prepare.mask_places(seen, [10], 3), expected)


def test_the_mask_goes_on_over_a_short_gap(tmp_path):
    # The gap lies across two windows; it takes its masks from either side.
    prepare.prepare(Driver(18), Reader(nobody=range(5, 9)), REPLACING, tmp_path)
    made = films(tmp_path)
    for number, source in ((5, 4), (6, 4), (7, 9), (8, 9)):
        grown = prepare.in_blocks(prepare.grown(mask_of(body(source)), 9), 32)
        np.testing.assert_array_equal(made["mask"][0][number, ..., 0] > 0.5, grown)
        assert made["pose"][0][number].max() > 0.5
    assert not np.array_equal(mask_of(body(4)), mask_of(body(9)))


def test_the_drawn_pose_is_the_letterboxed_body(tmp_path):
    prepare.prepare(Driver(1), Reader(), Settings(width=128, height=192), tmp_path)
    ((pose, _), _) = films(tmp_path).values()
    expected = letterboxed(prepare.pose_of(standing_keypoints(body(0), WIDTH, HEIGHT)), 128, 192)
    drawn = prepare.draw_pose(expected, 0)
    assert pose.shape == (1, 192, 128, 3)
    # Lit on the same pixels, in the middle of 192 rows.
    assert not pose[0, :40].numpy().max() > 0.2 and drawn[48:144].any()
    assert np.abs(pose[0].numpy() - drawn / 255).mean() < 0.02


@pytest.mark.parametrize("lossless", [True, False])
def test_lossless_videos_are_exact(tmp_path, lossless):
    settings = Settings(mode="replacement", lossless=lossless, smoothing=False)
    prepare.prepare(Driver(9), Reader(), settings, tmp_path)
    data = load_file(tmp_path / "keypoints.safetensors")
    pose = prepare.pose_of(Keypoints(data["points"], data["scores"], WIDTH, HEIGHT))
    exact = dict.fromkeys(VIDEOS, True)
    made = {name: (frames * 255).round().numpy() for name, (frames, _) in films(tmp_path).items()}
    for number in range(9):
        mask = prepare.in_blocks(prepare.grown(mask_of(body(number)), 9), 32)
        wanted = {
            "pose": prepare.draw_pose(pose, number),
            "face": prepare.face_picture(painted(number), data["face_boxes"][number]),
            "background": prepare.without_person(painted(number), mask),
            "mask": np.repeat(mask[..., None], 3, axis=-1) * 255,
        }
        for name, picture in wanted.items():
            exact[name] &= np.array_equal(made[name][number], picture)
    assert exact == dict.fromkeys(VIDEOS, lossless)


def test_one_frame_without_sound(tmp_path):
    made = prepare.prepare(Driver(1), Reader(), ANIMATING, tmp_path)
    assert sorted(files(tmp_path)) == ["face.mp4", "keypoints.safetensors", "openpose.json", "pose.mp4", "report.json"]
    assert (made.background, made.mask) == (None, None)
    for frames, _ in films(tmp_path).values():
        assert len(frames) == 1
    with av.open(str(tmp_path / "pose.mp4")) as container:
        assert not container.streams.audio


def test_the_sound_goes_with_the_pose(tmp_path):
    sound = SampledSound(torch.zeros(1, 48000), 48000)
    prepare.prepare(Driver(15), Reader(), ANIMATING, tmp_path, sound=sound)
    heard = {}
    for name in ("pose", "face"):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            heard[name] = [float(stream.duration * stream.time_base) for stream in container.streams.audio]
    assert heard["face"] == []
    # To a packet of AAC: 1024 samples.
    assert heard["pose"] == pytest.approx([0.5], abs=0.03)


def test_the_sound_of_a_part_begins_with_it(tmp_path):
    # Silence, then a tone: the part begins with the tone.
    samples = torch.zeros(1, 48000)
    samples[:, 24000:] = torch.sin(torch.arange(24000) / 5)
    for start, loud in ((0.0, False), (0.5, True)):
        sound = SampledSound(samples, 48000)
        made = prepare.prepare(Driver(12), Reader(), ANIMATING, tmp_path, sound=sound, sound_start=start)
        with av.open(str(made.pose)) as container:
            heard = np.concatenate([part.to_ndarray()[0] for part in container.decode(audio=0)])
        assert (np.abs(heard[4800:14400]).max() > 0.5) == loud


@pytest.mark.parametrize(("count", "rate"), [(24, 24), (60, 60)])
def test_another_rate_repeats_and_drops_frames(tmp_path, count, rate):
    engine = Reader()
    settings = Settings(mode="replacement", fps=25)
    made = prepare.prepare(Driver(count, Fraction(rate)), engine, settings, tmp_path)
    shown = [number_of(*levels) for levels in told(made.background, (-24, -8), (-8, -8))]
    assert video_of(made.pose)[1] == 25
    assert shown == list(nearest(count, rate, 25)) and len(shown) == 25
    # What is shown twice is found once, and what is not shown is not.
    assert engine.read == sorted(set(shown))


def nearest(count, rate, fps):
    """The nearest frame to each time i / fps, the earlier of two."""
    for i in range(count * fps // rate):
        yield min(range(count), key=lambda number: (abs(Fraction(number, rate) - Fraction(i, fps)), number))


def test_videos_without_a_rate_have_25(tmp_path):
    prepare.prepare(Driver(2, fps=None), Reader(), ANIMATING, tmp_path)
    assert films(tmp_path)["pose"][1] == 25


@pytest.mark.parametrize("last", [14, 22 + 14])
def test_a_call_that_is_stopped_leaves_what_was_made_before(tmp_path, last):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done == last:
            raise Stop

    prepare.prepare(Driver(22), Reader(), ANIMATING, tmp_path)
    before = files(tmp_path)
    with pytest.raises(Stop):
        prepare.prepare(Driver(22), Reader(), REPLACING, tmp_path, progress=stop)
    assert files(tmp_path) == before
    # Two windows were searched for masks, or all.
    engine = Reader()
    prepare.prepare(Driver(22), engine, REPLACING, tmp_path)
    assert engine.read == (list(range(14, 22)) if last == 14 else [])


@posix_only
def test_while_videos_are_not_in_step_there_is_no_report(tmp_path):
    clip = [dict(vars(REPLACING), max_gap=gap) for gap in (8, 0)]
    one, other = (Settings(**values) for values in clip)

    def work(settings, folder):
        prepare.prepare(Driver(9), Reader(nobody=[4]), settings, folder)

    work(one, tmp_path / "one")
    work(other, tmp_path / "other")
    expected = [files(tmp_path / name) for name in ("one", "other")]
    # Killed when two of four videos had their new names. A video that is garbage would be closed in the child, where
    # the threads that decode it are not.
    gc.collect()
    assert killed_before_rename(2, tmp_path / "one", lambda: work(other, tmp_path / "one"))
    left = {name: content for name, content in files(tmp_path / "one").items() if ".part" not in name}
    assert sum(left[f"{name}.mp4"] == expected[1][f"{name}.mp4"] for name in VIDEOS) == 2
    assert "report.json" in expected[0] and "report.json" not in left
    work(other, tmp_path / "one")
    assert files(tmp_path / "one") == expected[1]


def test_other_settings_need_no_second_search(tmp_path):
    prepare.prepare(Driver(10), Reader(), REPLACING, tmp_path)
    engine = Reader()
    prepare.prepare(Driver(10), engine, ANIMATING, tmp_path)
    assert engine.read == []
    # Those of replacement mode would not be in step.
    assert not (tmp_path / "mask.mp4").exists() and not (tmp_path / "background.mp4").exists()


def test_replacement_after_animation_searches_for_masks(tmp_path):
    prepare.prepare(Driver(10), Reader(), ANIMATING, tmp_path / "one")
    engine = Reader()
    prepare.prepare(Driver(10), engine, REPLACING, tmp_path / "one")
    prepare.prepare(Driver(10), Reader(), REPLACING, tmp_path / "other")
    assert engine.read == list(range(10))
    assert files(tmp_path / "one") == files(tmp_path / "other")


def test_another_video_in_the_folder_is_refused(tmp_path):
    prepare.prepare(Driver(10), Reader(), ANIMATING, tmp_path)
    message = refused(Driver(10, first=1), Reader(), ANIMATING, tmp_path)
    assert "must be of this video at this fps" in message and "found_00000.safetensors" in message


def test_nobody_is_an_error_before_any_video(tmp_path):
    message = refused(Driver(10), Reader(nobody=range(10)), ANIMATING, tmp_path)
    assert "0% of 10 frames by the engine reader, best score 0.00" in message
    assert not files(tmp_path)


def test_a_fifth_of_the_frames_is_the_least(tmp_path):
    message = refused(Driver(20), Reader(nobody=range(3, 20)), ANIMATING, tmp_path / "less")
    assert "15% of 20 frames by the engine reader, best score 0.90" in message
    said = []
    made = prepare.prepare(Driver(20), Reader(nobody=range(4, 20)), ANIMATING, tmp_path / "enough", say=said.append)
    assert said == [
        f"The {part} is seen in 20% of the frames only." for part in ("body", "left hand", "right hand", "face")
    ]
    assert made.report["warnings"] == said


def test_replacement_needs_masks(tmp_path):
    message = refused(Driver(3), Reader(masks=False), REPLACING, tmp_path)
    assert "mode must be animation" in message and "reader" in message


class WithReference(Reader):
    """Sees a picture of another size as the reference: people in it."""

    def __init__(self, people):
        super().__init__()
        self.people = people

    def find(self, frame):
        return super().find(frame) if frame.shape[:2] == (HEIGHT, WIDTH) else self.people


def reference_person(tall):
    return prepare_found(standing(tall=tall, middle=100.0, crown=10.0))


def prepare_found(points):
    (one,) = Reader().find(painted(0).astype(np.float32) / 255)
    return one._replace(points=points, mask=None)


def test_the_reference_is_found_and_the_largest_taken(tmp_path):
    settings = Settings(width=128, height=96, smoothing=False)
    engine = WithReference([reference_person(60.0), reference_person(150.0), reference_person(80.0)])
    made = prepare.prepare(Driver(3), engine, settings, tmp_path, reference=torch.zeros(1, 192, 256, 3))
    assert made.report["warnings"] == ["The reference shows 3 people; the largest is taken."]
    # In a picture of twice the animation's size.
    still = standing_keypoints(standing(tall=75.0, middle=50.0, crown=5.0), 128, 96)
    data = load_file(tmp_path / "keypoints.safetensors")
    moved = retargeted(Keypoints(data["points"], data["scores"], WIDTH, HEIGHT), still)
    assert made.report["retarget"]["scale"] == pytest.approx(75 / 80, abs=0.01) and moved.scale == pytest.approx(
        made.report["retarget"]["scale"], abs=1e-12
    )
    drawn = prepare.draw_pose(moved.pose, 1) / 255
    assert np.abs(films(tmp_path)["pose"][0][1].numpy() - drawn).mean() < 0.02


def test_a_reference_without_a_person(tmp_path):
    picture = torch.zeros(1, 192, 256, 3)
    engine = WithReference([])
    assert "the reference must show a person" in refused(Driver(3), engine, ANIMATING, tmp_path, reference=picture)
    assert not tmp_path.joinpath("found").exists() and engine.read == []
    made = prepare.prepare(Driver(3), engine, Settings(**SMALL, retarget="off"), tmp_path, reference=picture)
    assert "retarget" not in made.report


def test_keypoints_serve_in_the_place_of_an_engine(tmp_path):
    clip = Keypoints(np.array([body(number) for number in range(9)]), np.full((9, 133), 0.9), WIDTH, HEIGHT)
    given = as_pose_keypoint(clip)
    settings = Settings(**SMALL, smoothing=False)
    made = prepare.prepare(Driver(9), None, settings, tmp_path, pose_keypoint=given)
    data = load_file(made.keypoints)
    np.testing.assert_allclose(data["points"][:, :17], clip.points[:, :17], atol=1e-9)
    np.testing.assert_allclose(data["points"][:, FACE], clip.points[:, FACE], atol=1e-9)
    assert json.loads(made.openpose.read_text()) == as_pose_keypoint(
        Keypoints(data["points"], data["scores"], WIDTH, HEIGHT)
    )
    assert made.report["engine"] == "keypoints"
    assert "must be of all 9 frames" in refused(Driver(9), None, settings, tmp_path, pose_keypoint=given[1:])
    picture = torch.zeros(1, 192, 256, 3)
    message = refused(Driver(9), None, settings, tmp_path, reference=picture, pose_keypoint=given)
    assert "the reference can only be used with an engine" in message
    assert "must come with an engine or with keypoints" in refused(Driver(9), None, settings, tmp_path)
