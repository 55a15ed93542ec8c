"""ComfyUI's own networks for people, through its own nodes: RT-DETR and SDPose as an engine, SAM 3 for the masks.

The nodes are looked up when they are used: older hosts have none of them.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch

from ..everanimate_core.digests import digest
from ..everanimate_core.driving.engines.boxes import Crop
from ..everanimate_core.driving.engines.engine import START
from ..everanimate_core.driving.engines.found import Found
from ..everanimate_core.driving.pose_keypoint import read_pose_keypoint
from ..everanimate_core.errors import InputError
from .fingerprint import conditioning_digest, model_digest
from .host import call_node, check_cancel, missing_nodes

DETECT, EXTRACT, TRACK, TO_MASK = "RTDETR_detect", "SDPoseKeypointExtractor", "SAM3_VideoTrack", "SAM3_TrackToMask"
# What SDPose looks at, in pixels, and how many crops at once.
CROP_WIDTH, CROP_HEIGHT, BATCH = 768, 1024, 16
SAM_FILE = "sam3.1_multiplex_fp16.safetensors"
SDPOSE_FILE, SDPOSE_CHANNELS = "sdpose_wholebody_fp16.safetensors", 4
# Scores from which on somebody counts: the defaults of both nodes.
PERSON, SURE = "person", 0.5
# How many people are followed: as many as SAM 3.1 follows at the price of one.
FOLLOWED = 16


class SdposeEngine:
    """Finds up to `people` in each frame: RT-DETR where they are, SDPose their points. It remembers nothing.

    pose_model, pose_vae: the MODEL and VAE of SDPose. detector: the MODEL of RT-DETR. Raises InputError for others, and
    where the host has no nodes for them. name, digest and state are those of engine.Engine.
    """

    name = "sdpose"

    def __init__(self, pose_model, pose_vae, detector, people: int = 4):
        models = {"pose_model": pose_model, "pose_vae": pose_vae, "detector": detector}
        missing = [name for name, model in models.items() if model is None]
        if missing:
            raise InputError("engine", f"sdpose needs {', '.join(models)}", "or choose litert", f"no {missing[0]}")
        check_nodes("engine", "sdpose", DETECT, EXTRACT)
        if not hasattr(pose_model.model.diffusion_model, "heatmap_head"):
            raise InputError("pose_model", "must be SDPose", SDPOSE_FILE, kind_of(pose_model))
        if pose_vae.latent_channels != SDPOSE_CHANNELS:
            got = f"one with {pose_vae.latent_channels} channels"
            raise InputError("pose_vae", f"must be SDPose's own VAE, with {SDPOSE_CHANNELS} channels", SDPOSE_FILE, got)
        check_network("detector", detector, "rt_detr", "RT-DETR", "rt_detr_v4-x-hgnet_fp16.safetensors")
        self.people, self.state = people, START
        self._models, self._pose_model, self._pose_vae, self._detector = models, pose_model, pose_vae, detector

    @cached_property
    def digest(self) -> str:
        """Of all weights."""
        return digest(self.people, [model_digest(model, name) for name, model in self._models.items()])

    def find_all(self, frames: np.ndarray) -> list[list[Found]]:
        """The people in each frame, [n, H, W, 3], float32 RGB in 0..1, the surest first; without masks."""
        crops = [
            (number, Crop.of(box, CROP_WIDTH, CROP_HEIGHT))
            for number, boxes in enumerate(self._boxes(frames))
            for box in boxes
        ]
        found: list[list[Found]] = [[] for _ in frames]
        for first in range(0, len(crops), BATCH):
            check_cancel()
            batch = crops[first : first + BATCH]
            # Each crop is handed over as a picture of its own. Handed frames and boxes, the node takes a frame without
            # a box for a picture of somebody, and stretches boxes that reach beyond the frame.
            pictures = torch.from_numpy(np.stack([crop.picture(frames[number]) for number, crop in batch]))
            inputs = {"model": self._pose_model, "vae": self._pose_vae, "image": pictures, "batch_size": BATCH}
            (keypoints,) = call_node(EXTRACT, **inputs)
            for (number, crop), people in zip(
                batch, read_pose_keypoint(keypoints, CROP_WIDTH, CROP_HEIGHT), strict=True
            ):
                found[number] += [Found(crop.to_frame(one.points), one.scores, None) for one in people]
        return found

    def _boxes(self, frames: np.ndarray) -> list[np.ndarray]:
        """The people's boxes in each frame, [people, 4] (left, top, right, bottom) in pixels, the surest first."""
        options = {"threshold": SURE, "class_name": PERSON, "max_detections": self.people}
        (found,) = call_node(DETECT, model=self._detector, image=torch.from_numpy(frames), **options)
        return [np.array([corners(box) for box in boxes]).reshape(-1, 4) for boxes in found]


class SamSegmenter:
    """People's outlines by SAM 3.1, by a text and by outlines that are known. digest is that of segmenting.Segmenter.

    model: the MODEL. prompt: the CONDITIONING of its own CLIP that says what a person is. Raises InputError for others,
    and where the host has no nodes for them.
    """

    def __init__(self, model, prompt):
        if prompt is None:
            way = "CLIP Text Encode with the CLIP of SAM 3.1: person"
            raise InputError("segment_prompt", "must be connected with segmenter", way, "none")
        check_nodes("segmenter", "SAM 3", TRACK, TO_MASK)
        check_network("segmenter", model, "sam3", "SAM 3.1", SAM_FILE)
        if not hasattr(model.model.diffusion_model.tracker, "track_video_with_detection"):
            raise InputError("segmenter", "must be SAM 3.1", SAM_FILE, "SAM 3, which finds nobody by a text in a video")
        self._model, self._prompt = model, prompt

    @cached_property
    def digest(self) -> str:
        """Of the weights and the prompt."""
        prompt = conditioning_digest(self._prompt, "segment_prompt")
        return digest(model_digest(self._model, "segmenter"), prompt)

    def follow(self, frames: np.ndarray, known: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """The outline of one person after the other through n frames [n, H, W, 3]: [n, H, W], bool, of each. known:
        outlines [H, W] in the first frame."""
        inputs = {"images": torch.from_numpy(frames), "model": self._model, "conditioning": self._prompt}
        if known:
            inputs["initial_mask"] = torch.from_numpy(np.stack(known)).float()
        (track,) = call_node(TRACK, **inputs, detection_threshold=SURE, max_objects=FOLLOWED, detect_interval=1)
        packed = track["packed_masks"]
        for number in range(0 if packed is None else packed.shape[1]):
            (masks,) = call_node(TO_MASK, track_data=track, object_indices=str(number))
            yield (masks > 0.5).cpu().numpy()


def check_nodes(name: str, what: str, *names: str) -> None:
    """Raise InputError about the input `name` unless the host has these nodes of `what`."""
    missing = missing_nodes(*names)
    if missing:
        rule = f"can be {what} in a ComfyUI that has the nodes {' and '.join(names)}"
        raise InputError(name, rule, "update ComfyUI, or choose litert", f"one without {' and '.join(missing)}")


def check_network(name: str, model, folder: str, what: str, file: str) -> None:
    """Raise InputError about the input `name` unless the network of a MODEL, `what`, is from that folder of the host's
    networks. file: the one that is published."""
    families = {part.__module__ for part in type(model.model.diffusion_model).__mro__}
    if not any(family.startswith(f"comfy.ldm.{folder}.") for family in families):
        raise InputError(name, f"must be {what}", file, kind_of(model))


def kind_of(model) -> str:
    """What a MODEL is, for a message."""
    return type(model.model).__name__


def corners(box: dict) -> list[float]:
    """Left, top, right and bottom of a box of the host, which has at least a pixel."""
    return [box["x"], box["y"], box["x"] + max(box["width"], 1.0), box["y"] + max(box["height"], 1.0)]
