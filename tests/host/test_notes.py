"""What may not be meant is said once before sampling, in the log and in the node."""

import logging
import struct

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image
from graphs import FRAMES, OVERLAP, SIZE, TOTAL, condition, first_memory, plan
from long_runs import knows_the_bases, long_run, method
from native_chain import SCAIL2, palette_mask
from test_animate import animate

__all__ = ["knows_the_bases"]
CHANGE = "which changes its proportions; fit crop or pad keeps them."
STRETCHED = [
    f"reference_images is 64x64 and is stretched to 80x64, {CHANGE}",
    f"pose_video is 64x64 and is stretched to 80x64, {CHANGE}",
]
SOUND = (
    "{name} is images, which have no sound and no rate: connect audio for sound; fps sets the rate, now 25 frames a "
    "second."
)
# A text for a node, among what a server sends in bytes.
TEXT = 3


def text_of(message):
    """(node, text) of what the server sends for a node."""
    (length,) = struct.unpack(">I", message[:4])
    return message[4 : 4 + length].decode(), message[4 + length :].decode()


@pytest.fixture
def told(comfy, monkeypatch, caplog):
    """The pack's lines that came into the log, and what came into nodes: (lines(), texts)."""
    import server

    texts = []

    def sent(event, data, sid=None):
        if event == TEXT:
            texts.append(text_of(data))

    monkeypatch.setattr(server.PromptServer.instance, "send_sync", sent)
    monkeypatch.setattr(comfy.module(PACK, "nodes.host"), "_NOTED", set())
    caplog.set_level(logging.WARNING)

    def lines():
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return [line.removeprefix("EverAnimate: ") for line in found if line.startswith("EverAnimate: ")]

    return lines, texts


def toy_run(node, **inputs):
    """Animate Long Video on the toy, in the smallest graph."""
    toy = {name: ["toy", place] for place, name in enumerate(("model", "vae", "positive", "negative"))}
    names = {"reference_images": ["toy", 4], "pose_video": ["toy", 5], "run_name": f"noted_{node}"}
    return {
        "toy": {"class_type": "EverAnimateLoadToy", "inputs": {"seed": 0, "frames": 14}},
        "cut": {"class_type": "ImageFromBatch", "inputs": {"image": ["toy", 5], "batch_index": 0, "length": 5}},
        "mask": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 80, "height": 64}},
        node: {"class_type": "EverAnimateAnimate", "inputs": toy | names | inputs},
    }


def test_the_server_sends_every_note_to_the_node_before_the_first_step(comfy, server):
    defaults = {
        name: options["default"]
        for name, (_, options) in comfy.nodes["EverAnimateAnimate"].INPUT_TYPES()["required"].items()
        if "default" in options
    }
    inputs = {"width": 80, "height": 64, "steps": 1, "chunk_frames": 9, "overlap": 0, "total_frames": 19}
    others = {"background_video": ["cut", 0], "character_mask": ["mask", 0]}
    before = server.log_size()
    run = server.run(toy_run("7", **defaults | inputs | others))
    expected = [
        *STRETCHED,
        f"background_video is 64x64 and is stretched to 80x64, {CHANGE}",
        "background_video ends before the pose, after 5 of 14 frames; from there it goes on by continuation pingpong.",
        "character_mask has one frame, which the whole animation holds.",
        "pose_video ends before the animation, after 14 of 19 frames; from there it goes on by continuation pingpong.",
        "The last chunk adds only 1 of the 9 frames that a chunk adds, and takes as long. total_frames 18 ends "
        "before it; chunk_frames 5 divides the animation more evenly.",
        SOUND.format(name="pose_video"),
    ]
    # The first 4 bytes say what is sent.
    texts = [
        (place, *text_of(data[4:]))
        for place, (kind, data) in enumerate(run.events)
        if kind == "preview" and struct.unpack(">I", data[:4]) == (TEXT,)
    ]
    noted = [(place, text) for place, node, text in texts if node == "7" and expected[0] in text]
    # They stand below the line that says where the run is, as long as it goes.
    assert {tuple(text.splitlines()[1:]) for _, text in noted} == {tuple(expected)}
    place, text = noted[0]
    assert text.splitlines()[0] == "chunk 1 of 3"
    steps = [
        number
        for number, (kind, data) in enumerate(run.events)
        if kind == "progress" and data["node"] == "7" and data["value"]
    ]
    assert place < steps[0]
    log = server.log(before)
    assert [log.count(line) for line in expected] == [1] * len(expected)


def test_what_is_meant_is_not_told(comfy, told):
    lines, texts = told
    waves = {"waveform": torch.zeros(1, 1, 48000), "sample_rate": 48000}
    animate(comfy, "meant", audio=waves, total_frames=FRAMES)
    assert lines() == []
    assert [text for _, text in texts if "\n" in text] == []


def test_a_pose_of_one_frame(comfy, told):
    lines, texts = told
    still = {"pose_video": moving_pattern(1), "audio": {"waveform": torch.zeros(1, 1, 48000), "sample_rate": 48000}}
    animate(comfy, "still", total_frames=5, chunk_frames=5, overlap=1, **still)
    said = "pose_video has one frame, which the whole animation holds."
    assert lines() == [said]
    assert {tuple(text.splitlines()[1:]) for _, text in texts} == {(said,)}
    animate(comfy, "still_too", chunk_frames=5, overlap=1, **still)
    assert lines() == ["pose_video has one frame, and so has the animation; total_frames makes it longer."]


def test_settings_other_than_in_training_where_the_lora_may_be(comfy, told, monkeypatch):
    """The tiny model has another width than the one that the LoRA fits: only then nothing is said."""
    lines, _ = told
    notes = comfy.module(PACK, "nodes.notes")
    assert notes.trained_settings(comfy.load_model()) == ()
    monkeypatch.setattr(notes, "RELEASED_WIDTH", comfy.load_model().model.diffusion_model.dim)
    animate(comfy, "untrained", total_frames=FRAMES)
    trained = "but the released LoRA was trained with 77: set 77 unless yours was trained otherwise."
    assert lines()[0] == f"chunk_frames is {FRAMES}, {trained}"


def test_the_blocks(comfy, told):
    lines, texts = told
    (drawn, *_) = comfy.call("EverAnimatePlanChunks", total_frames=TOTAL, chunk_frames=FRAMES, overlap=3)
    vae, otherwise = comfy.load_vae(), "unless yours was trained otherwise."
    widgets = {"width": 80, "height": 64, "identity_latents": 2, "motion_latents": 2}
    (memory,) = comfy.call("EverAnimateMemory", vae=vae, reference_images=reference_image(), **widgets)
    assert lines() == [STRETCHED[0]]
    comfy.call("EverAnimatePlanChunks", total_frames=150, pose_video=moving_pattern(9))
    assert lines() == [
        "pose_video ends before the animation, after 9 of 150 frames; from there it goes on by continuation pingpong."
    ]
    condition(comfy, memory, drawn, 0, face_video=moving_pattern(5, size=32))
    trained = "but the released LoRA was trained with"
    assert lines() == [
        STRETCHED[1],
        "face_video ends before the pose, after 5 of 19 frames; from there it goes on by continuation pingpong.",
        f"identity_latents is 2, {trained} 4: set 4 {otherwise}",
        f"motion_latents is 2, {trained} 1: set 1 {otherwise}",
        f"chunk_frames is {FRAMES}, {trained} 77: set 77 {otherwise}",
        f"overlap is 3, {trained} 4: set 4 {otherwise}",
    ]
    assert [text.splitlines()[0].split()[0] for _, text in texts] == ["reference_images", "pose_video", "pose_video"]


def test_the_chunks_of_the_toy_are_not_called_wrong(comfy, told):
    lines, texts = told
    _, vae, positive, negative, reference, pose, _ = comfy.call("EverAnimateLoadToy", seed=0, frames=33)
    (drawn, *_) = comfy.call("EverAnimatePlanChunks", total_frames=33, chunk_frames=33)
    (memory,) = comfy.call("EverAnimateMemory", vae=vae, reference_images=reference, width=64, height=64)
    inputs = {"positive": positive, "negative": negative, "vae": vae, "plan": drawn, "memory": memory}
    comfy.call("EverAnimateChunk", **inputs, pose_video=pose)
    assert (lines(), texts) == ([], [])


@pytest.mark.parametrize("overlap", [1, 5])
def test_the_chunks_of_other_models_are_not_called_wrong(comfy, told, overlap):
    """What the released LoRA was trained with is said by Condition Chunk, which is made for it."""
    lines, texts = told
    (drawn, *_) = comfy.call("EverAnimatePlanChunks", total_frames=81, chunk_frames=81, overlap=overlap)
    first_memory(comfy, identity_latents=1)
    comfy.call("EverAnimateChunkFrames", plan=drawn, video=moving_pattern(81))
    assert (lines(), texts) == ([], [])


def test_a_video_that_ends_before_the_animation(comfy, told):
    lines, _ = told
    comfy.call("EverAnimateChunkFrames", plan=plan(comfy), video=moving_pattern(7))
    said = "video ends before the animation, after 7 of 19 frames; from there it goes on by the plan's continuation"
    assert lines() == [f"{said} pingpong."]
    comfy.call(
        "EverAnimateChunkFrames", plan=plan(comfy), video=moving_pattern(7), chunk_index=1, previous=moving_pattern(9)
    )
    assert lines() == []


def test_a_later_chunk_does_not_say_it_again(comfy, told):
    lines, _ = told
    first, drawn = first_memory(comfy), plan(comfy)
    lines()
    samples = {"samples": torch.zeros(1, 16, 7, SIZE // 8, SIZE // 8)}
    inputs = {"plan": drawn, "vae": comfy.load_vae(), "pose_video": moving_pattern(OVERLAP)}
    after, *_ = comfy.call("EverAnimatePropagate", memory=first, samples=samples, **inputs)
    lines()
    condition(comfy, after, drawn, -1, pose_video=moving_pattern(19, size=32)[:, :, :16])
    assert lines() == []


def test_notes_are_taken_back_when_there_are_none_any_more(comfy, told):
    _, texts = told
    inputs = {"vae": comfy.load_vae(), "reference_images": reference_image(), "height": 64}
    for width in (64, 80, 64, 64):
        comfy.call("EverAnimateMemory", width=width, **inputs)
    assert texts == [("1", STRETCHED[0]), ("1", " ")]


def test_line_art(comfy, told):
    pytest.importorskip("comfy.ldm.cogvideo", reason="this host has no CogVideoX")
    lines, texts = told
    names = ("model", "control", "vae", "positive", "negative", "lineart", "reference")
    toy = dict(zip(names, comfy.call("LongAnimationLoadToy", frames=10), strict=False))
    lines()
    length = {"total_frames": 18, "window_frames": 9, "overlap": 1, "fuse": False}
    expected = [
        f"lineart is 64x64 and is stretched to 80x64, {CHANGE}",
        f"reference is 64x64 and is stretched to 80x64, {CHANGE}",
        "lineart ends before the animation, after 10 of 18 frames; from there its last frame is held.",
        "The last window adds only 1 of the 8 frames that a window adds, and takes as long. total_frames 17 ends "
        "before it; window_frames 25 divides the animation more evenly.",
        "window_frames is 9, but the released network was trained with 81: set 81 unless yours was trained otherwise.",
    ]
    comfy.call("LongAnimationAnimate", width=80, height=64, steps=2, cfg=1.0, run_name="noted", **toy | length)
    assert lines() == [*expected, SOUND.format(name="lineart")]
    drawn, *_ = comfy.call(
        "LongAnimationPlan", lineart=toy["lineart"], **{name: length[name] for name in length if name != "fuse"}
    )
    assert lines() == expected[2:]
    comfy.call(
        "LongAnimationCondition",
        plan=drawn,
        width=80,
        height=64,
        **{name: toy[name] for name in ("positive", "negative", "vae", "lineart", "reference")},
    )
    assert lines() == expected[:2]
    *of_the_run, of_the_plan, of_the_window = [text.splitlines() for _, text in texts]
    # Those of the run stand below the line that says where it is.
    assert {tuple(text[1:]) for text in of_the_run} == {(*expected, SOUND.format(name="lineart"))}
    assert (of_the_plan, of_the_window) == (expected[2:], expected[:2])


@pytest.mark.usefixtures("knows_the_bases")
def test_a_base(comfy, told):
    lines, texts = told
    how = method(comfy, SCAIL2, driving_mask=palette_mask(20, 32))
    long_run(comfy, SCAIL2, "noted_base", 20, method=how, width=96, steps=1, total_frames=30)
    # SCAIL-2 reads what drives it at half the size.
    expected = [
        f"driving_video is 32x32 and is stretched to 48x32, {CHANGE}",
        f"driving_mask is 32x32 and is stretched to 48x32, {CHANGE}",
        "driving_video ends before the animation, after 20 of 30 frames; from there it goes on by continuation "
        "pingpong.",
        "The last chunk adds only 1 of the 12 frames that a chunk adds, and takes as long. total_frames 29 ends "
        "before it; chunk_frames 21 divides the animation more evenly.",
        "chunk_frames is 17, but SCAIL-2 was trained with 81: set 81 unless yours was trained otherwise.",
        f"reference_images is 64x64 and is stretched to 96x64, {CHANGE}",
        SOUND.format(name="driving_video"),
    ]
    assert lines() == expected
    assert {tuple(text.splitlines()[1:]) for _, text in texts} == {tuple(expected)}
