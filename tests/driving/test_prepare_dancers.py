"""Real dancers through prepare, with the engine litert: how much of them is found, in step, with the sides right.

MEDIAPIPE_WHEEL and DANCERS: as in engines/test_litert.py. Every clip is enlarged twice.
"""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from everanimate_core.driving.engines.litert import LitertEngine
from everanimate_core.driving.engines.weights import read_weights
from everanimate_core.driving.keypoints import BODY, DRAWN
from everanimate_core.driving.prepare import prepare
from everanimate_core.driving.settings import Settings
from everanimate_core.media.frames import FittedFrames, TensorFrames
from everanimate_core.media.reader import VideoFrames

WHEEL, DANCERS = os.environ.get("MEDIAPIPE_WHEEL"), os.environ.get("DANCERS")
pytestmark = pytest.mark.skipif(not (WHEEL and DANCERS), reason="MEDIAPIPE_WHEEL or DANCERS is not set")
STREET, TURNING, HALF = "video_wan2_2_14B_fun_control-1", "video_wan_dancer-1", "video_wan_animate2_distilled-1"
SMALL = "video_wan21_scail2_character_replacement-1"
# Of HALF, the left half: on the right stands who was made of him.
COLUMNS = {HALF: 175}


@pytest.fixture(scope="module")
def danced(tmp_path_factory):
    """A function: of a clip, by its name, its frame count, its report, its keypoints {name: array} and its videos."""
    pytest.importorskip("ai_edge_litert")
    weights, done = read_weights(WHEEL), {}

    def danced(name):
        if name not in done:
            with VideoFrames(next(Path(DANCERS).rglob(f"{name}.webp"))) as video:
                images = video.read(range(video.frame_count))[:, :, : COLUMNS.get(name)]
            clip, folder = TensorFrames(images, video.fps), tmp_path_factory.mktemp(name)
            enlarged = FittedFrames(clip, 2 * clip.width, 2 * clip.height, "stretch")
            made = prepare(enlarged, LitertEngine(weights), Settings(mode="replacement"), folder)
            videos = [made.pose, made.face, made.background, made.mask]
            done[name] = SimpleNamespace(
                frames=len(images), report=made.report, data=load_file(made.keypoints), videos=videos
            )
        return done[name]

    return danced


@pytest.mark.parametrize(
    "name, body, face", [(STREET, 0.95, 0.7), (SMALL, 0.95, 0.3), (TURNING, 0.88, 0.4), (HALF, 0.95, 0.85)]
)
def test_shares_of_the_frames(danced, name, body, face):
    clip = danced(name)
    most = ((clip.data["scores"][:, BODY] >= DRAWN).mean(axis=1) > 0.5).mean()
    assert most >= body and clip.report["shares"]["body"] >= most
    assert clip.report["shares"]["face"] >= face
    for path in clip.videos:
        with VideoFrames(path) as video:
            assert video.frame_count == clip.frames == clip.report["frames"]


def test_who_turns_round_keeps_their_sides(danced):
    """He looks at us, and in the last three frames away from us: the person's right is on the left, then on the right.

    Between two frames his shoulders and hips change sides."""
    points = danced(HALF).data["points"]
    right_of_left = points[:, [6, 12], 0] > points[:, [5, 11], 0]
    assert not right_of_left[:38].any() and right_of_left[-2:].all()


def test_a_bare_back_is_of_the_same_person(danced):
    """She turns twice, and her shirt, black in front, has no back."""
    clip = danced(SMALL)
    assert clip.report["people"] == 1 and clip.report["shares"]["body"] == 1


def test_a_wrong_body_does_not_take_the_place_of_the_right_one(danced):
    """In frame 15 the detection takes the arms for legs, and is sure of it; the dress hides the real ones."""
    clip = danced(TURNING)
    torso = np.hypot(*(clip.data["points"][:, [5, 6]].mean(axis=1) - clip.data["points"][:, [11, 12]].mean(axis=1)).T)
    seen = (clip.data["scores"][:, [5, 6, 11, 12]] >= DRAWN).all(axis=1)
    assert seen[3:].all()
    assert torso[3:].min() > 0.7 * np.median(torso[3:])
