"""What Prepare Driving Video gives, as facts that can be compared, and inputs for it."""

import json
import shutil

import numpy as np
import pytest
import torch
from base_folder import PACK
from clips import write_video
from driving.bodies import bent, keypoints
from node_facts import RUN, mark
from node_inputs import FPS, Parts, add_tones, once, pitch
from pose_networks import PixelVae, RedEngine, body_in, detector, pose_model
from run_parts import video_of
from safetensors import safe_open
from segmenting import scene, segmenter

from everanimate_core.driving.keypoints import Keypoints
from everanimate_core.driving.pose_keypoint import as_pose_keypoint

WIDTH, HEIGHT, SIZE, FRAMES = 128, 96, 64, 6
# Two people: a large one on the left, who goes to the right and moves an arm, and a smaller one on the right.
LARGE = [(10 + 2 * number, 8, 40 + 2 * number, 90) for number in range(FRAMES)]
SMALL = [(90, 30, 110, 80)] * FRAMES
GAP = 2, 4
# Stand-ins of the host's networks, by their inputs.
NETWORKS = {"pose_model": pose_model, "pose_vae": PixelVae, "detector": detector, "segmenter": segmenter}


class DrivingParts(Parts):
    """Inputs of Prepare Driving Video, each made once."""

    @once
    def driver(self, brightness=1.0, sound=False):
        """A VIDEO of both people."""
        from comfy_api.latest import InputImpl

        path = self.comfy.base / "input" / f"driver_{brightness}_{sound}.mov"
        frames = np.stack([scene(WIDTH, HEIGHT, *boxes) for boxes in zip(LARGE, SMALL, strict=True)])
        write_video(path, torch.from_numpy(frames) * brightness, FPS)
        if sound:
            add_tones(path, FRAMES / FPS)
        return InputImpl.VideoFromFile(str(path))

    @once
    def points(self, shift=0.0, noise=0.0, gap=False):
        """POSE_KEYPOINT of both people; the large one moves an arm, and is not there for some frames."""
        random = np.random.default_rng(0)
        large = np.array([bent(body_in(*box), "left shoulder", -12 * number) for number, box in enumerate(LARGE)])
        large += shift + noise * random.normal(size=large.shape)
        small = np.array([body_in(*box) for box in SMALL])
        scores = np.full(large.shape[:2], 0.9)
        if gap:
            scores[slice(*GAP)] = 0
        one = as_pose_keypoint(Keypoints(large, scores, WIDTH, HEIGHT))
        other = as_pose_keypoint(keypoints(small, WIDTH, HEIGHT))
        return [
            frame | {"people": frame["people"] + beside["people"]} for frame, beside in zip(one, other, strict=True)
        ]

    @once
    def reference(self, tall=50):
        """A picture of a person of another shape than the driver, who holds an arm up."""
        return torch.from_numpy(scene(SIZE, SIZE, (20, 6, 34, 6 + tall))[None])

    @once
    def network(self, name, weight=0.0):
        """A stand-in of one of the host's networks; skips where the host has no nodes for them."""
        if "SDPoseKeypointExtractor" not in self.comfy.nodes:
            pytest.skip("this host has no nodes for people")
        return NETWORKS[name](weight)


def facts_of(comfy, node, inputs):
    """The facts of a fresh start. Engines with files of their own are stand-ins that see red boxes."""
    engines, output = comfy.module(PACK, "nodes.pose_engines"), comfy.base / "output" / "everanimate"
    for folder in output.glob(f"{RUN}*.driving"):
        shutil.rmtree(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "chosen_engine", lambda name, *how: RedEngine(name, masks=name == "litert"))
        *videos, points, report = comfy.call(node, **inputs)
    (folder,) = output.glob(f"{RUN}*.driving")
    with safe_open(folder / "found" / "found_00000.safetensors", "np") as file:
        found = json.loads(file.metadata()["found"])
    report = json.loads(report)
    told = {name: report[name] for name in ("frames", "fps", "people")}
    return {
        **{name: found[name] for name in ("video", "engine", "weights", "masks")},
        **told,
        **dict(zip(("pose", "face", "background", "mask"), map(film_facts, videos), strict=True)),
        "place": folder.name,
        "points": json.dumps(points),
        "pitch": pitch(folder / "pose.mp4"),
        "retargeted": json.dumps(report.get("retarget")),
        "size": tuple(video_of(folder / "pose.mp4")[0].shape[1:3]),
    }


def film_facts(video):
    """The frames of a VIDEO."""
    return None if video is None else mark(video_of(video.get_stream_source())[0])
