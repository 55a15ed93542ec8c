"""Driving videos out of real video files: turned, with a rate that varies or is no whole number, odd, short, silent."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from driving.bodies import keypoints as standing_keypoints
from driving.dancers import HEIGHT, WIDTH, Reader, body, mask_of, number_of, painted
from driving.prepare_parts import ANIMATING, REPLACING, SMALL, VIDEOS, films, refused, told
from run_parts import sound_of
from safetensors.numpy import load_file
from video_parts import encode, packets_of, turned

from everanimate_core.driving import prepare
from everanimate_core.driving.retarget import letterboxed
from everanimate_core.driving.settings import Settings
from everanimate_core.media.open import VideoError
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.sound import SampledSound
from everanimate_core.media.writer import VideoWriter

pytestmark = pytest.mark.usefixtures("small_windows")

NTSC = Fraction(30000, 1001)


def filmed(path, count, **options):
    """A file of painted frames that are seen well."""
    return encode(path, count=count, **({"options": "crf=1", "paint": painted} | options))


def prepared(path, settings, folder, **options):
    """What is made of a file."""
    with VideoFrames(path) as video:
        return prepare.prepare(video, Reader(), settings, folder, **options)


def shown_numbers(made):
    """The frame of the driver that each frame of the background and of the face shows."""
    corner, face = told(made.background, (-24, -8), (-8, -8)), told(made.face, (100, 256), (410, 256))
    return [number_of(*levels) for levels in corner], [number_of(*levels) for levels in face]


# --- rates -----------------------------------------------------------------------------------------------------------

# A telephone in the dark: 30 frames in the first second, then 15 a second.
DARK = [round(1000 * n / 30) for n in range(30)] + [1000 + round(1000 * n / 15) for n in range(8)]
DARK_AT_30 = [*range(30), *(30 + n // 2 for n in range(16))]


@pytest.mark.parametrize(("fps", "rate", "shown"), [(0, 30, DARK_AT_30), (15, 15, DARK_AT_30[::2])])
def test_of_a_rate_that_varies_every_frame_stands_at_its_time(tmp_path, fps, rate, shown):
    path = filmed(tmp_path / "dark.mp4", len(DARK), times=DARK)
    made = prepared(path, Settings(mode="replacement", fps=fps), tmp_path)
    assert shown_numbers(made) == (shown, shown)
    made_films = films(tmp_path)
    assert [len(frames) for frames, _ in made_films.values()] == [len(shown)] * 4
    assert {fps for _, fps in made_films.values()} == {rate}
    # The figure is drawn where it is seen in the frame that stands there.
    np.testing.assert_allclose(load_file(made.keypoints)["points"][:, 0, 0], [body(n)[0, 0] for n in shown], atol=0.11)


def test_a_rate_that_is_no_whole_number_stays_exact(tmp_path):
    made = prepared(filmed(tmp_path / "ntsc.mp4", 20, rate=NTSC), REPLACING, tmp_path)
    assert shown_numbers(made) == (list(range(20)),) * 2
    for name, (frames, fps) in films(tmp_path).items():
        assert (len(frames), fps) == (20, NTSC)
        assert sorted(time for time, *_ in packets_of(tmp_path / f"{name}.mp4")) == [n / NTSC for n in range(20)]
    assert made.report["fps"] == "30000/1001"


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_a_turned_video_is_prepared_upright(tmp_path):
    # As telephones store it: a quarter turn to the left, and a note to turn it back.
    path = filmed(tmp_path / "phone.mp4", 9, paint=lambda number: np.rot90(painted(number)).copy())
    turned(path, (0, 1, -1, 0))
    made = prepared(path, REPLACING, tmp_path)
    assert shown_numbers(made) == (list(range(9)),) * 2
    assert {films(tmp_path)[name][0].shape[1:] for name in ("pose", "background", "mask")} == {(HEIGHT, WIDTH, 3)}
    np.testing.assert_allclose(load_file(made.keypoints)["points"][4, :9], body(4)[:9], atol=0.01)
    assert json.loads(made.openpose.read_text())[0]["canvas_width"] == WIDTH
    assert made.report["driver"] == {"width": WIDTH, "height": HEIGHT}


class OddReader(Reader):
    """Reads painted frames that have lost their first row and column."""

    def find(self, frame):
        assert frame.shape == (HEIGHT - 1, WIDTH - 1, 3)
        return [one._replace(points=one.points - 1, mask=one.mask[1:, 1:]) for one in super().find(frame)]


@pytest.mark.parametrize("mode", ["replacement", "animation"])
def test_odd_sides(tmp_path, mode):
    path = filmed(tmp_path / "odd.mkv", 9, pix_fmt="yuv444p", paint=lambda number: painted(number)[1:, 1:].copy())
    settings = Settings(mode=mode, lossless=True, smoothing=False, mask_grow=0, mask_blocks=0, **SMALL)
    with VideoFrames(path) as video:
        assert (video.width, video.height) == (WIDTH - 1, HEIGHT - 1)
        made = prepare.prepare(video, OddReader(), settings, tmp_path)
    points = load_file(made.keypoints)["points"]
    np.testing.assert_array_equal(points[:, :9], [body(number)[:9] - 1 for number in range(9)])
    pose = prepare.pose_of(standing_keypoints(points, WIDTH - 1, HEIGHT - 1))
    if mode == "replacement":
        # The last row and column are left out; nothing is moved or scaled.
        size = {"width": WIDTH - 2, "height": HEIGHT - 2}
        pose = prepare.replace(pose, **size)
        corner = told(made.background, (-23, -7), (-7, -7))
        assert [number_of(*levels) for levels in corner] == list(range(9))
    else:
        size = SMALL
        pose = letterboxed(pose, **size)
    made_films = {name: (frames * 255).round().numpy() for name, (frames, _) in films(tmp_path).items()}
    for number in range(9):
        np.testing.assert_array_equal(made_films["pose"][number], prepare.draw_pose(pose, number))
        if mode == "replacement":
            mask = mask_of(body(number))[1:-1, 1:-1]
            np.testing.assert_array_equal(made_films["mask"][number] == 255, np.repeat(mask[..., None], 3, axis=-1))
    assert {frames.shape for frames in made_films.values()} == {(9, size["height"], size["width"], 3), (9, 512, 512, 3)}


# --- sound -----------------------------------------------------------------------------------------------------------


def heard(path):
    with av.open(str(path)) as container:
        return len(container.streams.audio)


def test_the_sound_of_the_driver_is_passed_on_as_it_is(tmp_path):
    samples = torch.sin(torch.arange(24000) / 10)[None]
    path = tmp_path / "loud.mp4"
    with VideoWriter(path, 30, WIDTH, HEIGHT, crf=1, audio_from=SampledSound(samples, 48000)) as writer:
        for number in range(15):
            writer.write(torch.from_numpy(painted(number))[None] / 255)
    made = prepared(path, REPLACING, tmp_path / "made", sound=path)
    assert sound_of(made.pose) == sound_of(path) and len(sound_of(path)[1]) > 20
    assert [heard(tmp_path / "made" / f"{name}.mp4") for name in VIDEOS] == [1, 0, 0, 0]


def test_a_silent_driver_makes_silent_videos(tmp_path):
    path = filmed(tmp_path / "silent.mp4", 8)
    prepared(path, REPLACING, tmp_path / "made", sound=path)
    assert [heard(tmp_path / "made" / f"{name}.mp4") for name in VIDEOS] == [0, 0, 0, 0]
    assert {len(frames) for frames, _ in films(tmp_path / "made").values()} == {8}


def test_a_sound_that_cannot_be_read_is_an_error_before_any_video(tmp_path):
    path = filmed(tmp_path / "driver.mp4", 3)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    with pytest.raises(VideoError, match=r"broken\.wav"):
        prepared(path, REPLACING, tmp_path / "made", sound=tmp_path / "broken.wav")
    assert not list((tmp_path / "made").glob("*.mp4"))


# --- length ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [REPLACING, ANIMATING, Settings(fps=12, **SMALL), Settings(fps=60, **SMALL)])
def test_one_frame(tmp_path, settings):
    reference = torch.from_numpy(painted(5))[None] / 255
    # The number of a frame whose face is bright.
    path = filmed(tmp_path / "one.mp4", 1, paint=lambda number: painted(200))
    made = prepared(path, settings, tmp_path / "made", reference=reference)
    made_films = films(tmp_path / "made")
    count = 2 if settings.fps == 60 else 1
    # 25 frames a second are shown at 60 as int(60 / 25) frames.
    assert {len(frames) for frames, _ in made_films.values()} == {count}
    assert {fps for _, fps in made_films.values()} == {settings.fps or 25}
    assert all(frames[0].max() > 0.3 for frames, _ in made_films.values())
    assert load_file(made.keypoints)["points"].shape == (count, 133, 2)


def test_a_video_without_a_frame_is_refused(tmp_path):
    with VideoFrames(filmed(tmp_path / "short.mp4", 3), start=9) as video:
        assert video.frame_count == 0
        message = refused(video, Reader(), ANIMATING, tmp_path / "made")
    assert message == "the driving video must have a frame; got none."
    assert not (tmp_path / "made").exists()


def test_nobody_in_a_file(tmp_path):
    with VideoFrames(filmed(tmp_path / "empty.mp4", 9)) as video:
        message = refused(video, Reader(nobody=range(9)), REPLACING, tmp_path / "made")
    assert message.startswith("the driving video must show the person in at least 20% of its frames (a body that is ")
    assert "0% of 9 frames by the engine reader, best score 0.00" in message
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["found"]
