"""The host's own nodes for people as an engine and a segmenter, over networks of exact arithmetic."""

from types import SimpleNamespace

import numpy as np
import pose_networks
import pytest
import segmenting
import torch
from base_folder import PACK
from pose_networks import SCORE, PixelVae, body_in
from refusals import refusal
from segmenting import scene

WIDTH, HEIGHT = 128, 96
# The second reaches beyond the crop on two sides.
ONE, LEFT, RIGHT = (40, 10, 60, 90), (5, 5, 25, 85), (70, 0, 128, 96)
PLAIN = scene(WIDTH, HEIGHT)
NODES = ("RTDETR_detect", "SDPoseKeypointExtractor", "SAM3_VideoTrack", "SAM3_TrackToMask")


@pytest.fixture(scope="module")
def people(comfy):
    """The module of the pack; skips where the host has no such nodes."""
    if "SDPoseKeypointExtractor" not in comfy.nodes:
        pytest.skip("this host has no nodes for people")
    return comfy.module(PACK, "nodes.people")


@pytest.fixture
def models(people):
    return {
        "pose_model": pose_networks.pose_model(),
        "pose_vae": PixelVae(),
        "detector": pose_networks.detector(),
    }


def seen(model):
    return model.model.diffusion_model.seen


def test_people_are_found_where_they_are(people, models):
    engine = people.SdposeEngine(**models)
    found = engine.find_all(np.stack([scene(WIDTH, HEIGHT, ONE), PLAIN, scene(WIDTH, HEIGHT, LEFT, RIGHT)]))
    # Nobody is made up in the frame without a box, and chairs are left out.
    assert [len(there) for there in found] == [1, 0, 2]
    for person, box in zip([*found[0], *found[2]], [ONE, RIGHT, LEFT], strict=True):
        # Hands too, which the host's node gives the names of the other side.
        np.testing.assert_allclose(person.points, body_in(*box), atol=0.2)
        # A score of 0.3 becomes 0.5.
        np.testing.assert_allclose(person.scores, 0.5 + (SCORE - 0.3) / 0.7 / 2, atol=0.05)
        assert person.mask is None
    assert (seen(models["detector"]), seen(models["pose_model"])) == ([3], [3])
    assert engine.name == "sdpose" and engine.state.size == 0


def test_without_anybody_only_the_detector_looks(people, models):
    assert people.SdposeEngine(**models).find_all(np.stack([PLAIN] * 2)) == [[], []]
    assert (seen(models["detector"]), seen(models["pose_model"])) == ([2], [])


def test_the_hosts_node_takes_no_box_for_the_whole_picture(comfy, people, models):
    """What the engine must not hand it."""
    inputs = {"model": models["pose_model"], "vae": models["pose_vae"], "image": torch.from_numpy(PLAIN[None])}
    ((frame,),) = comfy.call("SDPoseKeypointExtractor", batch_size=1, bboxes=[[]], **inputs)
    assert len(frame["people"]) == 1


def test_the_surest_people_are_found(people, models):
    boxes = [(4, 4, 14, 30), (50, 4, 62, 50), (106, 4, 120, 90)]
    (found,) = people.SdposeEngine(**models, people=2).find_all(scene(WIDTH, HEIGHT, *boxes)[None])
    tall = [np.ptp(person.points[:, 1]) for person in found]
    np.testing.assert_allclose(tall, [np.ptp(body_in(*box)[:, 1]) for box in (boxes[2], boxes[1])], atol=0.3)


def test_crops_come_in_batches(people, models, monkeypatch):
    monkeypatch.setattr(people, "BATCH", 2)
    frames = np.stack([scene(WIDTH, HEIGHT, LEFT, RIGHT), scene(WIDTH, HEIGHT, ONE)])
    found = people.SdposeEngine(**models).find_all(frames)
    assert seen(models["pose_model"]) == [2, 1]
    np.testing.assert_allclose(found[1][0].points, body_in(*ONE), atol=0.2)


def test_the_networks_themselves_with_random_weights(people):
    models = {"pose_model": pose_networks.random_pose_model(), "detector": pose_networks.random_detector()}
    engine = people.SdposeEngine(**models, pose_vae=PixelVae(), people=1)
    ((person,),) = engine.find_all(scene(WIDTH, HEIGHT, ONE)[None])
    assert person.points.shape == (133, 2) and np.isfinite(person.points).all()
    # Some peak is above 0 wherever it is, and points lie in a crop, which is less than twice as large as the frame.
    assert (person.scores > 0).any() and np.abs(person.points).max() < 4 * WIDTH
    assert len(engine.digest) == 32


def test_boxes_of_the_host_have_at_least_a_pixel(people):
    assert people.corners({"x": 3.0, "y": 4.0, "width": 0.0, "height": 2.0}) == [3.0, 4.0, 4.0, 6.0]


@pytest.mark.parametrize("changed", ["pose_model", "detector"])
def test_the_digest_is_that_of_all_weights(people, models, changed):
    digest = people.SdposeEngine(**models).digest
    assert people.SdposeEngine(**models).digest == digest
    other = getattr(pose_networks, changed)(weight=1.0)
    assert people.SdposeEngine(**models | {changed: other}).digest != digest
    assert people.SdposeEngine(**models, people=1).digest != digest


def test_what_the_engine_needs_is_named(comfy, people, models):
    for name in models:
        message = refusal(people.SdposeEngine, **models | {name: None})
        assert f"engine sdpose needs pose_model, pose_vae, detector (or choose litert); got no {name}." == message
    message = refusal(people.SdposeEngine, **models | {"pose_model": models["detector"]})
    assert message == "pose_model must be SDPose (sdpose_wholebody_fp16.safetensors); got BaseModel."
    message = refusal(people.SdposeEngine, **models | {"detector": models["pose_model"]})
    assert message == "detector must be RT-DETR (rt_detr_v4-x-hgnet_fp16.safetensors); got BaseModel."
    message = refusal(people.SdposeEngine, **models | {"pose_vae": comfy.load_vae()})
    assert message.startswith("pose_vae must be SDPose's own VAE, with 4 channels (sdpose_wholebody_fp16.")
    assert message.endswith("got one with 16 channels.")


def test_a_host_without_the_nodes_is_named(people, models, comfy, monkeypatch):
    monkeypatch.delitem(comfy.nodes, "SDPoseKeypointExtractor")
    assert refusal(people.SdposeEngine, **models) == (
        "engine can be sdpose in a ComfyUI that has the nodes RTDETR_detect and SDPoseKeypointExtractor (update "
        "ComfyUI, or choose litert); got one without SDPoseKeypointExtractor."
    )
    monkeypatch.delitem(comfy.nodes, "SAM3_VideoTrack")
    message = refusal(people.SamSegmenter, segmenting.segmenter(), comfy.conditioning())
    assert message.startswith("segmenter can be SAM 3 in a ComfyUI that has the nodes SAM3_VideoTrack and SAM3_TrackTo")


def mask_of(left, top, right, bottom):
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_everybody_is_followed(comfy, people):
    model = segmenting.segmenter()
    segmenter = people.SamSegmenter(model, comfy.conditioning())
    frames = np.stack([scene(WIDTH, HEIGHT, LEFT, RIGHT), PLAIN, scene(WIDTH, HEIGHT, ONE)])
    one, other = segmenter.follow(frames, [])
    np.testing.assert_array_equal(one, [mask_of(*LEFT), mask_of(0, 0, 0, 0), mask_of(*ONE)])
    np.testing.assert_array_equal(other, [mask_of(*RIGHT), mask_of(0, 0, 0, 0), mask_of(0, 0, 0, 0)])
    list(segmenter.follow(frames[:1], [mask_of(*LEFT), mask_of(*RIGHT), mask_of(*ONE)]))
    assert list(segmenter.follow(PLAIN[None], [])) == []
    assert seen(model) == [(3, 0), (1, 3), (1, 0)]


def test_the_digest_of_the_segmenter_is_that_of_weights_and_prompt(comfy, people):
    def digest(weight=0.0, prompt=0):
        return people.SamSegmenter(segmenting.segmenter(weight), comfy.conditioning(prompt)).digest

    assert digest() == digest()
    assert len({digest(), digest(weight=1.0), digest(prompt=1)}) == 3


def test_what_the_segmenter_needs_is_named(comfy, people, monkeypatch):
    text = comfy.conditioning()
    assert refusal(people.SamSegmenter, segmenting.segmenter(), None) == (
        "segment_prompt must be connected with segmenter (CLIP Text Encode with the CLIP of SAM 3.1: person); got none."
    )
    expected = "segmenter must be SAM 3.1 (sam3.1_multiplex_fp16.safetensors); got "
    assert refusal(people.SamSegmenter, pose_networks.detector(), text) == f"{expected}BaseModel."
    older = segmenting.segmenter()
    older.model.diffusion_model.tracker = torch.nn.Identity()
    assert refusal(people.SamSegmenter, older, text).startswith(f"{expected}SAM 3, which finds nobody")


@pytest.fixture
def shown(comfy):
    """What the host's progress bar is told."""
    import comfy.utils as utils

    told = []
    before = utils.PROGRESS_BAR_HOOK
    utils.set_progress_bar_global_hook(lambda *progress, **more: told.append(progress))
    yield told
    utils.set_progress_bar_global_hook(before)


def test_inner_nodes_leave_the_bar_alone_and_see_cancel(comfy, people, models, shown):
    import comfy.model_management as management
    import comfy.utils as utils

    engine, hook = people.SdposeEngine(**models), utils.PROGRESS_BAR_HOOK
    frames = scene(WIDTH, HEIGHT, ONE)[None]
    engine.find_all(frames)
    assert shown == [] and utils.PROGRESS_BAR_HOOK is hook
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        engine.find_all(frames)
    assert utils.PROGRESS_BAR_HOOK is hook and seen(models["pose_model"]) == [1]
    # Cancel in the middle of a node.
    bar = utils.ProgressBar
    node = SimpleNamespace(execute=lambda: [management.interrupt_current_processing(), bar(1).update(1)])
    host = comfy.module(PACK, "nodes.host")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(comfy.nodes, "Interrupted", node)
        with pytest.raises(management.InterruptProcessingException):
            host.call_node("Interrupted")
    assert utils.PROGRESS_BAR_HOOK is hook
