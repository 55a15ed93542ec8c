"""From a video of a person to an animation of another one, in one graph through the API."""

import json
from fractions import Fraction

import av
import numpy as np
import segmenting
import tiny_models
import torch
from clips import reference_image, write_video
from driving.bodies import dance, keypoints, standing
from node_inputs import add_tones

from everanimate_core.driving.pose_keypoint import as_pose_keypoint

WIDTH, HEIGHT, SIZE = 96, 128, 64
RATE = Fraction(30000, 1001)
# Two chunks of the toy, and two of the network with random weights.
TOY_FRAMES, TINY_FRAMES = 40, 8


def add_driver(server, name, frames):
    """A video of a dancer with sound in the server's input folder, and keypoints beside it; both names."""
    points = dance(frames, standing(tall=110.0, middle=48.0, crown=10.0))
    pictures = np.stack([segmenting.scene(WIDTH, HEIGHT, box_of(body)) for body in points])
    write_video(server.input / f"{name}.mov", torch.from_numpy(pictures), RATE)
    add_tones(server.input / f"{name}.mov", float(frames / RATE))
    given = as_pose_keypoint(keypoints(points, WIDTH, HEIGHT))
    (server.input / f"{name}.json").write_text(json.dumps(given))
    return f"{name}.mov", f"{name}.json"


def box_of(body):
    """Left, top, right, bottom of the points [133, 2], whole pixels in the picture."""
    low, high = np.maximum(body.min(axis=0), 0).astype(int), body.max(axis=0).astype(int)
    return (*low, *high)


def graph(server, name, frames, animate, others):
    """Load Video, Prepare Driving Video, Animate Long Video. animate: more inputs of the last. others: nodes."""
    video, file = add_driver(server, name, frames)
    size = {"width": SIZE, "height": SIZE}
    return others | {
        "video": {"class_type": "LoadVideo", "inputs": {"file": video}},
        "points": {"class_type": "TestKeypoints", "inputs": {"file": file}},
        "prepare": {
            "class_type": "EverAnimatePrepare",
            "inputs": {
                **{"video": ["video", 0], "keypoints": ["points", 0], "run_name": name, "engine": "auto", **size},
                **{"mode": "animation", "fps": 0.0, "person": "largest", "person_index": 0, "retarget": "proportions"},
                **{"smoothing": True, "max_gap": 8, "mask_grow": 9, "mask_blocks": 32, "template_frame": -1},
            },
        },
        "animate": {
            "class_type": "EverAnimateAnimate",
            "inputs": {
                "pose_video": ["prepare", 0],
                # Nothing comes out of these in animation mode.
                **{"background_video": ["prepare", 2], "character_mask": ["prepare", 3]},
                **{"run_name": name, **size, "total_frames": 0, "shift": 5.0, "cfg": 1.0, "seed": 0, "fps": 0.0},
                **{"seed_mode": "released", "identity_latents": 4, "motion_latents": 1, "continuation": "pingpong"},
                **{"keyframes": "random", "clip_source": "last_frame", "fit": "stretch", "tiled": False},
                **{"latent_context": False, "resume": True, "from_chunk": 0, "overlap": 4, **animate},
            },
        },
    }


def finished(server, run, name, node):
    """Frames, rate and streams of sound of the video that a node shows, which lies in the output folder."""
    (saved,) = run.outputs[node]["images"]
    path = server.output / saved["subfolder"] / saved["filename"]
    assert name in str(path.relative_to(server.output))
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return sum(1 for _ in file.decode(stream)), stream.average_rate, len(file.streams.audio)


def test_a_dance_drives_the_toy(server):
    """Without the face, which it does not see: looking at one takes most of the time of a chunk."""
    toy = {"toy": {"class_type": "EverAnimateLoadToy", "inputs": {"seed": 0, "frames": 1}}}
    names = ("model", "vae", "positive", "negative", "reference_images")
    links = {name: ["toy", number] for number, name in enumerate(names)}
    prompt = graph(server, "dance", TOY_FRAMES, {**links, "chunk_frames": 33, "steps": 2}, toy)
    run = server.run(prompt, timeout=300)
    for node in ("prepare", "animate"):
        assert finished(server, run, "dance", node) == (TOY_FRAMES, RATE, 1)
    # Both passes are seen on the bar, up to their end.
    told = [data for data in run.of_kind("progress") if data["node"] == "prepare"]
    assert (told[-1]["value"], told[-1]["max"]) == (2 * TOY_FRAMES, 2 * TOY_FRAMES)
    assert (server.output / "everanimate" / "dance.driving" / "report.json").is_file()


def test_a_dance_drives_the_network_with_random_weights(server):
    others = {
        "loaded": {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": tiny_models.MODEL_FILES[torch.float32], "weight_dtype": "default"},
        },
        "model": {"class_type": "EverAnimatePatchModel", "inputs": {"model": ["loaded", 0]}},
        "vae": {"class_type": "TestTinyVae", "inputs": {}},
        "text": {"class_type": "TestTinyConditioning", "inputs": {"seed": 0}},
        "clip": {"class_type": "TestTinyClipVision", "inputs": {}},
        "picture": {
            "class_type": "LoadImage",
            "inputs": {"image": server.add_image("person.png", reference_image())},
        },
    }
    links = {"model": ["model", 0], "vae": ["vae", 0], "positive": ["text", 0], "negative": ["text", 0]}
    links |= {"clip_vision": ["clip", 0], "reference_images": ["picture", 0], "face_video": ["prepare", 1]}
    prompt = graph(server, "tiny", TINY_FRAMES, {**links, "chunk_frames": 5, "overlap": 2, "steps": 1}, others)
    run = server.run(prompt, timeout=600)
    for node in ("prepare", "animate"):
        assert finished(server, run, "tiny", node) == (TINY_FRAMES, RATE, 1)
