"""Prepare Driving Video in the host: its files, its outputs, and what it refuses; and on into Animate Long Video."""

import json
from fractions import Fraction

import av
import numpy as np
import pose_networks
import pytest
import segmenting
import torch
from base_folder import PACK
from clips import write_video
from driving.bodies import keypoints
from node_inputs import add_tones
from pose_networks import PixelVae
from run_parts import video_of
from segmenting import scene

from everanimate_core.driving.pose_keypoint import as_pose_keypoint

WIDTH, HEIGHT, SIZE = 128, 96, 64
SMALL = {"width": SIZE, "height": SIZE}
# Who goes to the right, four pixels a frame.
BOXES = [(30 + 4 * number, 8, 50 + 4 * number, 88) for number in range(5)]


def film(boxes):
    """IMAGE frames, with a person in each box; None: nobody."""
    return torch.from_numpy(np.stack([scene(WIDTH, HEIGHT, *([] if box is None else [box])) for box in boxes]))


def driver(comfy, name, boxes, fps=25, sound=False):
    """A VIDEO of a file."""
    from comfy_api.latest import InputImpl

    path = comfy.base / "input" / f"{name}.mov"
    write_video(path, film(boxes), fps)
    if sound:
        add_tones(path, float(len(boxes) / fps))
    return InputImpl.VideoFromFile(str(path))


def pose_keypoint(boxes):
    """POSE_KEYPOINT of the people in the boxes."""
    bodies = np.array([pose_networks.body_in(*box) for box in boxes])
    return as_pose_keypoint(keypoints(bodies, WIDTH, HEIGHT))


def folder_of(comfy, name):
    return comfy.base / "output" / "everanimate" / f"{name}.driving"


def prepare(comfy, name, video, **inputs):
    return comfy.call("EverAnimatePrepare", video=video, run_name=name, **SMALL | inputs)


def refused(comfy, *args, **inputs):
    with pytest.raises((ValueError, RuntimeError)) as caught:
        prepare(comfy, *args, **inputs)
    assert str(caught.value).startswith("Prepare Driving Video: ")
    return str(caught.value).removeprefix("Prepare Driving Video: ")


def frames_of(video):
    """The frames of a VIDEO, and its rate."""
    return video_of(video.get_stream_source())


def test_videos_from_keypoints_that_are_given(comfy):
    given = pose_keypoint(BOXES)
    video = driver(comfy, "given", BOXES, Fraction(30000, 1001), sound=True)
    pose, face, background, mask, points, report = prepare(comfy, "given", video, keypoints=given)
    assert (background, mask) == (None, None)
    for made, size in ((pose, (SIZE, SIZE)), (face, (512, 512))):
        frames, rate = frames_of(made)
        assert (frames.shape, rate) == ((5, *size, 3), Fraction(30000, 1001))
    assert frames_of(pose)[0].amax(dim=(1, 2, 3)).min() > 0.5
    with av.open(pose.get_stream_source()) as file:
        assert len(file.streams.audio) == 1
    # The nose goes with the box, and the rest with it.
    noses = np.array([frame["people"][0]["pose_keypoints_2d"][:2] for frame in points])
    np.testing.assert_allclose(noses, [pose_networks.body_in(*box)[0] for box in BOXES], atol=0.01)
    report = json.loads(report)
    assert (report["engine"], report["frames"], report["fps"]) == ("keypoints", 5, "30000/1001")
    folder = folder_of(comfy, "given")
    assert {path.name for path in folder.iterdir()} == {
        *("pose.mp4", "face.mp4", "keypoints.safetensors", "openpose.json", "report.json", "found")
    }
    assert json.loads((folder / "openpose.json").read_text()) == points
    assert json.loads((folder / "report.json").read_text()) == report


@pytest.fixture
def networks(comfy):
    """Inputs of the engine sdpose and of SAM 3; skips where the host has no nodes for them."""
    if "SDPoseKeypointExtractor" not in comfy.nodes:
        pytest.skip("this host has no nodes for people")
    return {
        "pose_model": pose_networks.pose_model(),
        "pose_vae": PixelVae(),
        "detector": pose_networks.detector(),
        "segmenter": segmenting.segmenter(),
        "segment_prompt": comfy.conditioning(),
    }


@pytest.fixture
def windows(comfy, monkeypatch):
    """Two frames each."""
    store = comfy.module(PACK, "everanimate_core.driving.found_store")
    monkeypatch.setattr(store, "WINDOW_BYTES", 2 * 12 * WIDTH * HEIGHT)


REPLACING = {"mode": "replacement", "mask_grow": 0, "mask_blocks": 0, "smoothing": False}


def seen(networks, name):
    return networks[name].model.diffusion_model.seen


@pytest.mark.usefixtures("windows")
def test_replacement_by_the_hosts_networks(comfy, networks):
    boxes = [*BOXES[:3], None, BOXES[4]]
    video = driver(comfy, "replacing", boxes)
    made = prepare(comfy, "replacing", video, **networks, **REPLACING)
    *videos, _, report = made
    report = json.loads(report)
    assert report["engine"] == "sdpose" and report["shares"]["body"] == 1
    pose, face, background, mask = (frames_of(each)[0].numpy() for each in videos)
    assert {len(each) for each in (pose, face, background, mask)} == {5}
    shown = film(boxes).numpy()
    for number, box in enumerate(boxes):
        # Over a gap, the mask is that of the frame next to it.
        left, top, right, bottom = box or BOXES[4]
        expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
        expected[top:bottom, left:right] = True
        np.testing.assert_array_equal(mask[number, ..., 0] > 0.5, expected)
        assert background[number][expected].max() < 0.1
        outside = background[number][:, : left - 4]
        assert np.abs(outside - shown[number][:, : left - 4]).max() < 0.1
    # A window at a time; outlines go on from the last frame of the window before, where there was somebody.
    assert seen(networks, "detector") == [2, 2, 1]
    assert seen(networks, "pose_model") == [2, 1, 1]
    assert seen(networks, "segmenter") == [(2, 0), (3, 1), (1, 0)]


@pytest.mark.usefixtures("windows")
def test_what_was_found_is_used_again(comfy, networks):
    video = driver(comfy, "again", BOXES)
    first = prepare(comfy, "again", video, **networks)
    # Nobody is masked in animation mode.
    assert seen(networks, "segmenter") == []
    (folder_of(comfy, "again") / "found" / "found_00002.safetensors").unlink()
    second = prepare(comfy, "again", video, **networks, width=128)
    assert seen(networks, "detector") == [2, 2, 1, 1]
    assert frames_of(second[0])[0].shape[2] == 128 and second[-2] == first[-2]


def test_the_pose_is_fitted_to_the_reference(comfy, networks):
    """The engine looks at the reference only, where keypoints are given."""
    reference = torch.from_numpy(scene(2 * SIZE, 2 * SIZE, (50, 8, 66, 72))[None])
    video = driver(comfy, "fitted", BOXES)
    inputs = {"keypoints": pose_keypoint(BOXES), "reference_image": reference} | networks
    pose, *_, report = prepare(comfy, "fitted", video, **inputs)
    assert json.loads(report)["retarget"]["scale"] == pytest.approx(32 / 80, rel=0.02)
    assert seen(networks, "detector") == [1]
    lit = np.flatnonzero(frames_of(pose)[0].numpy()[0].max(axis=(1, 2)) > 0.3)
    # The reference stands from row 4 to row 36 of the animation; eyes and feet are drawn.
    assert 4 <= lit[0] <= 10 and 30 <= lit[-1] <= 37
    *_, report = prepare(comfy, "fitted", video, **inputs | {"retarget": "off"})
    assert "retarget" not in json.loads(report) and seen(networks, "detector") == [1]


def test_a_part_of_a_video_is_prepared_with_its_sound(comfy):
    from node_inputs import CHANGE, FPS, TONES, pitch

    boxes = [BOXES[0]] * 12
    video = driver(comfy, "part", boxes, FPS, sound=True)
    if not hasattr(video, "as_trimmed"):
        pytest.skip("this host cannot trim a VIDEO")
    part = video.as_trimmed(CHANGE / FPS, 6 / FPS)
    pose, *_ = prepare(comfy, "part", part, keypoints=pose_keypoint(boxes[:6]))
    assert len(frames_of(pose)[0]) == 6
    assert pitch(pose.get_stream_source()) == TONES[1]


def test_video_made_of_images(comfy):
    from comfy_api.latest import InputImpl
    from comfy_api.latest._util import VideoComponents

    components = VideoComponents(images=film(BOXES), frame_rate=Fraction(12), audio=None)
    pose, *_ = prepare(comfy, "made", InputImpl.VideoFromComponents(components), keypoints=pose_keypoint(BOXES))
    frames, rate = frames_of(pose)
    assert (len(frames), rate) == (5, 12)


def test_what_it_refuses(comfy):
    video, given = driver(comfy, "refused", BOXES), pose_keypoint(BOXES)
    assert refused(comfy, "a:b", video, keypoints=given).startswith("run_name must be a name that every system")
    assert refused(comfy, "refused", video, keypoints=given, width=72).startswith("width must be a multiple of 16")
    assert refused(comfy, "refused", video, keypoints=given[1:]).startswith("keypoints must be of all 5 frames")
    message = refused(comfy, "refused", video, keypoints=given, mode="replacement")
    assert message == (
        "segmenter must be connected in replacement mode, with segment_prompt (or choose litert, which finds masks "
        "itself); got none, and keypoints."
    )
    spoiled = torch.full((1, SIZE, SIZE, 3), torch.nan)
    assert refused(comfy, "refused", video, keypoints=given, reference_image=spoiled).startswith("reference_image must")
    assert not folder_of(comfy, "refused").exists()


def test_an_engine_that_is_not_there_is_named(comfy, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("SDPoseKeypointExtractor", "RTDETR_detect"):
        monkeypatch.delitem(comfy.nodes, name, raising=False)
    video, model = driver(comfy, "engines", BOXES), comfy.load_model()
    models = {"pose_model": model, "pose_vae": comfy.load_vae(), "detector": model}
    for name in ("sdpose", "auto"):
        assert refused(comfy, "engines", video, engine=name, **models) == (
            "engine can be sdpose in a ComfyUI that has the nodes RTDETR_detect and SDPoseKeypointExtractor (update "
            "ComfyUI, or choose litert); got one without RTDETR_detect and SDPoseKeypointExtractor."
        )
    for name in ("litert", "auto"):
        message = refused(comfy, "engines", video, engine=name)
        assert message.startswith("models/detection must hold MediaPipe's networks, 36 MB")


def test_nobody_else_writes_the_folder(comfy):
    owned = comfy.module(PACK, "everanimate_core.runs.ownership").owned
    folder = folder_of(comfy, "held")
    folder.parent.mkdir(exist_ok=True)
    with owned(folder):
        message = refused(comfy, "held", driver(comfy, "held", BOXES), keypoints=pose_keypoint(BOXES))
    assert "is written by one program at a time" in message and "held.driving" in message
    assert not folder.exists()


def test_another_video_under_the_same_name_is_refused(comfy):
    prepare(comfy, "same", driver(comfy, "same", BOXES), keypoints=pose_keypoint(BOXES))
    kept = (folder_of(comfy, "same") / "pose.mp4").read_bytes()
    other = driver(comfy, "same", BOXES[::-1])
    message = refused(comfy, "same", other, keypoints=pose_keypoint(BOXES))
    assert message.startswith("what was found must be of this video at this fps")
    assert (folder_of(comfy, "same") / "pose.mp4").read_bytes() == kept


@pytest.mark.usefixtures("windows")
def test_cancel_keeps_what_was_found(comfy, networks, monkeypatch):
    import comfy.model_management as management
    import comfy.utils as utils

    told = []

    def cancelled(done, total, *more, **named):
        told.append((done, total))
        if done == 4:
            management.interrupt_current_processing()

    monkeypatch.setattr(utils, "PROGRESS_BAR_HOOK", cancelled)
    video = driver(comfy, "cancelled", BOXES)
    with pytest.raises(management.InterruptProcessingException):
        prepare(comfy, "cancelled", video, **networks)
    # Two passes over five frames; hosts leave out some of what comes in quick succession.
    assert told[0] == (2, 10) and told[-1] == (4, 10)
    folder = folder_of(comfy, "cancelled")
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        "found_00000.safetensors",
        "found_00001.safetensors",
    }
    prepare(comfy, "cancelled", video, **networks)
    assert seen(networks, "detector") == [2, 2, 1]


def test_replacement_fits_the_sockets_of_animate_long_video(comfy, networks):
    pose, face, background, mask, _, _ = prepare(
        comfy, "sockets", driver(comfy, "sockets", BOXES), **networks, **REPLACING
    )
    model, vae, positive, negative, reference, _, _ = comfy.call("EverAnimateLoadToy", seed=0, frames=5)
    video, last, *_ = comfy.call(
        "EverAnimateAnimate",
        model=model,
        vae=vae,
        positive=positive,
        negative=negative,
        reference_images=reference,
        pose_video=pose,
        face_video=face,
        background_video=background,
        character_mask=mask,
        run_name="sockets",
        chunk_frames=5,
        overlap=1,
        steps=1,
        **SMALL,
    )
    assert len(frames_of(video)[0]) == len(last) == 5
