"""Every widget and every socket of Prepare Driving Video does something, and nothing but that.

As test_every_input.py has it: each case takes the node in a state in which an input acts, changes that one input, and
names the facts about what the node gives that then change; all others stay.
"""

import pytest
import torch
from driving_facts import RUN, SIZE, DrivingParts, facts_of
from node_cases import Case, Changes, declared_inputs, on
from node_inputs import TONES

NODE = "EverAnimatePrepare"


def given(parts):
    return {
        "video": parts.driver(),
        "keypoints": parts.points(),
        "run_name": RUN,
        "width": SIZE,
        "height": SIZE,
        "smoothing": False,
    }


def found(parts):
    """By an engine."""
    return {"video": parts.driver(), "engine": "litert", "run_name": RUN, "width": SIZE, "height": SIZE}


def found_by_the_host(parts):
    names = ("pose_model", "pose_vae", "detector")
    return found(parts) | {"engine": "sdpose"} | {name: parts.network(name) for name in names}


def outlined_by_the_host(parts):
    prompt = {"segment_prompt": parts.text(0)}
    return found(parts) | prompt | {"mode": "replacement", "segmenter": parts.network("segmenter")}


STATES = {
    NODE: {
        "plain": given,
        "by index": on(given, person="index"),
        "with a gap": on(given, keypoints=lambda parts: parts.points(gap=True)),
        "noisy": on(given, keypoints=lambda parts: parts.points(noise=1.0)),
        "found": found,
        "replacing": on(found, mode="replacement", mask_blocks=0),
        "fitted": on(given, engine="litert", reference_image=lambda parts: parts.reference()),
        "host": found_by_the_host,
        "outlined": outlined_by_the_host,
    }
}
# What another body, or another place of it, changes.
BODY = "points pose face"


def case(name, other, changed, state="plain", **then):
    return Case(NODE, name, other, changed, state, then)


CASES = [
    case("video", lambda parts: parts.driver(brightness=0.8), "video face"),
    case("video", lambda parts: parts.driver(sound=True), "pitch", pitch=TONES[0]),
    case("keypoints", lambda parts: parts.points(shift=1.0), f"weights {BODY}"),
    case("run_name", f"{RUN}_2", "place", place=f"{RUN}_2.driving"),
    case("engine", "onnx", "engine", "found", engine="onnx"),
    case("mode", "replacement", "masks pose background mask size", "found", size=(96, 128)),
    case("width", 128, "pose size", size=(64, 128)),
    case("height", 128, "pose size", size=(128, 64)),
    case("fps", 12.5, f"video fps frames {BODY}", frames=3),
    case("person", "rightmost", BODY),
    case("person_index", 1, BODY, "by index"),
    case("person_at", "0,100,60", BODY),
    case("lossless", True, "pose face"),
    case("smoothing", True, BODY, "noisy"),
    case("max_gap", 0, BODY, "with a gap"),
    case("mask_grow", 0, "background mask", "replacing"),
    case("mask_blocks", 16, "background mask", "replacing"),
    case("reference_image", lambda parts: parts.reference(30), "pose retargeted", "fitted"),
    case("retarget", "off", "pose retargeted", "fitted", retargeted="null"),
    case("retarget", "fit", "pose", "fitted"),
    case("template_frame", 4, "pose retargeted", "fitted"),
    case("pose_model", lambda parts: parts.network("pose_model", 1.0), "weights", "host"),
    case("detector", lambda parts: parts.network("detector", 1.0), "weights", "host"),
    case("pose_vae", lambda parts: parts.network("pose_vae", 1.0), "weights", "host"),
    case("segmenter", lambda parts: parts.network("segmenter", 1.0), "masks", "outlined"),
    case("segment_prompt", lambda parts: parts.text(1), "masks", "outlined"),
]


@pytest.fixture(scope="module")
def changes(comfy):
    with torch.inference_mode():
        return Changes(comfy, DrivingParts(comfy), STATES, facts_of)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_input_changes_what_it_is_for_and_nothing_else(changes, case):
    changed, facts = changes.of(case)
    assert changed == sorted(case.changed.split())
    assert {name: facts[name] for name in case.then} == case.then


def test_every_input_has_a_case(comfy):
    assert {(case.node, case.name) for case in CASES} == declared_inputs(comfy, NODE)
