"""Values that are no numbers are refused before anything is sampled, in the name of the node that they reached."""

import logging
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from clips import moving_pattern, reference_image
from graphs import SIZE, TOTAL, aligned, condition, first_memory, network_inputs, plan, run_chunks, sample
from refusals import refusal
from test_animate import animate

NAN, INFINITY = float("nan"), float("inf")
NUMBERS = "must hold numbers only, not NaN or infinity"


def spoiled(values, value=NAN):
    """The same with one value that is no number, in the middle."""
    values = values.clone()
    values.view(-1)[values.numel() // 2] = value
    return values


def mask(frames):
    return torch.ones(frames, SIZE, SIZE)


BAD = {
    "cfg": (lambda: {"cfg": NAN}, "cfg must be a number"),
    "infinite cfg": (lambda: {"cfg": INFINITY}, "cfg must be a number"),
    "shift": (lambda: {"shift": NAN}, "shift must be a number"),
    "infinite shift": (lambda: {"shift": INFINITY}, "shift must be a number"),
    "restore_strength": (lambda: {"restore_strength": NAN}, "restore_strength must be a number"),
    "infinite strength": (lambda: {"restore_strength": INFINITY}, "restore_strength must be a number"),
    "reference": (lambda: {"reference_images": spoiled(reference_image())}, f"reference_images {NUMBERS}"),
    "pose": (lambda: {"pose_video": spoiled(moving_pattern(9), INFINITY)}, f"pose_video {NUMBERS}"),
    "face": (lambda: {"face_video": spoiled(moving_pattern(9))}, f"face_video {NUMBERS}"),
    "background": (
        lambda: {"background_video": spoiled(moving_pattern(9)), "character_mask": mask(9)},
        f"background_video {NUMBERS}",
    ),
    "mask": (
        lambda: {"background_video": moving_pattern(9), "character_mask": spoiled(mask(9))},
        f"character_mask {NUMBERS}",
    ),
    "audio": (
        lambda: {"audio": {"waveform": spoiled(torch.zeros(1, 2, 100)), "sample_rate": 48000}},
        f"audio {NUMBERS}",
    ),
    "no sigmas": (lambda: {"sigmas": torch.zeros(0)}, "sigmas must fall"),
    "one sigma": (lambda: {"sigmas": torch.ones(1)}, "sigmas must fall"),
    "rising sigmas": (lambda: {"sigmas": torch.tensor([0.0, 0.5, 1.0])}, "sigmas must fall"),
    "cut sigmas": (lambda: {"sigmas": torch.tensor([1.0, 0.5])}, "sigmas must fall"),
    "sigma nan": (lambda: {"sigmas": torch.tensor([1.0, NAN, 0.0])}, "sigmas must fall"),
}


@pytest.mark.parametrize("kind", BAD)
def test_animate_long_video(comfy, kind):
    inputs, rule = BAD[kind]
    model = aligned(comfy)
    with network_inputs(model.model.diffusion_model) as calls, pytest.raises(ValueError) as refused:
        animate(comfy, "refused", model, **inputs())
    assert str(refused.value).startswith(f"Animate Long Video: {rule}")
    assert "; got " in str(refused.value)
    assert not calls
    assert not (comfy.base / "output" / "everanimate" / "refused").exists()


SAMPLED = {
    "model": (lambda comfy: comfy.load_model(), "its conditioning needs an aligned model (from Load EverAnimate LoRA"),
    "clip_vision": (lambda comfy: None, "this model reads CLIP vision features (connect clip_vision, clip_vision_h)"),
    "windows": (
        lambda comfy: comfy.call("ContextWindowsManual", model=aligned(comfy))[0],
        "context windows cannot be combined with memory, the chunks replace them (remove the context windows node)",
    ),
}


@pytest.mark.parametrize("kind", SAMPLED)
def test_what_sampling_refuses_is_said_in_the_name_of_the_node_that_samples(comfy, kind):
    make, rule = SAMPLED[kind]
    with pytest.raises(ValueError) as refused:
        animate(comfy, f"refused_{kind}", **{"model" if kind == "windows" else kind: make(comfy)})
    assert str(refused.value).startswith(f"Animate Long Video: {rule}")


@pytest.mark.parametrize("name", ["identity", "motion"])
def test_memory_from_latents(comfy, name):
    latents = {"identity": torch.zeros(1, 16, 4, 8, 8), "motion": torch.zeros(1, 16, 1, 8, 8)}
    latents[name] = spoiled(latents[name])
    with pytest.raises(ValueError, match=f"^Memory from Latents: {name} {NUMBERS}"):
        comfy.call("EverAnimateMemoryFromLatents", **{key: {"samples": value} for key, value in latents.items()})
    with pytest.raises(ValueError, match=f"^Memory from Latents: reference_image {NUMBERS}"):
        comfy.call(
            "EverAnimateMemoryFromLatents",
            identity={"samples": torch.zeros(1, 16, 4, 8, 8)},
            reference_image=spoiled(reference_image()),
        )


def test_build_memory_and_condition_chunk(comfy):
    with pytest.raises(ValueError, match=f"^Build Memory: reference_images {NUMBERS}"):
        comfy.call(
            "EverAnimateMemory",
            vae=comfy.load_vae(),
            reference_images=spoiled(reference_image()),
            width=SIZE,
            height=SIZE,
        )
    memory, drawn = first_memory(comfy), plan(comfy)
    for kind, name in (
        ("pose", "pose_video"),
        ("face", "face_video"),
        ("background", "background_video"),
        ("mask", "character_mask"),
    ):
        with pytest.raises(ValueError, match=f"^Condition Chunk: {name} {NUMBERS}"):
            condition(comfy, memory, drawn, **BAD[kind][0]())


def test_propagate_latents(comfy):
    memory, drawn = first_memory(comfy), plan(comfy)
    (chunk,) = run_chunks(comfy, aligned(comfy), memory, drawn, count=1)
    inputs = {"memory": memory, "plan": drawn, "chunk_index": 0, "vae": comfy.load_vae()}
    with pytest.raises(ValueError, match=r"^Propagate Latents: samples must"):
        comfy.call("EverAnimatePropagate", samples={"samples": spoiled(chunk.samples)}, **inputs)
    with pytest.raises(ValueError, match=f"^Propagate Latents: pose_video {NUMBERS}"):
        comfy.call(
            "EverAnimatePropagate",
            samples={"samples": chunk.samples},
            pose_video=spoiled(moving_pattern(9)),
            **inputs,
        )


def test_chunks_out_of_order(comfy):
    """The index counts by itself; samples, memory and plan of another chunk are refused."""
    first, drawn, model = first_memory(comfy), plan(comfy), aligned(comfy)
    positive, negative, latent = condition(comfy, first, drawn, -1)
    samples = sample(comfy, model, positive, negative, latent)
    inputs = {"plan": drawn, "vae": comfy.load_vae()}
    after, *_ = comfy.call("EverAnimatePropagate", memory=first, samples=samples, **inputs)
    way = r"\(chunk_index -1 is always the next\)"
    said = rf"memory must be the one after chunk 1 for chunk_index 2 {way}; got the one after chunk 0\.$"
    with pytest.raises(ValueError, match=f"^Condition Chunk: {said}"):
        condition(comfy, after, drawn, 2)
    with pytest.raises(ValueError, match=f"^Propagate Latents: {said}"):
        comfy.call("EverAnimatePropagate", memory=after, samples=samples, chunk_index=2, **inputs)
    # The host's samplers, old and new, hand on what a LATENT is for.
    (by_ksampler,) = comfy.call(
        "KSampler", model=model, seed=0, steps=1, cfg=1.0, sampler_name="euler", scheduler="simple",
        positive=positive, negative=negative, latent_image=latent,
    )  # fmt: skip
    for made in (samples, by_ksampler):
        with pytest.raises(ValueError, match=r"^Propagate Latents: samples must be of chunk 1 \(.+\); got chunk 0\.$"):
            comfy.call("EverAnimatePropagate", memory=after, samples=made, **inputs)
    other = plan(comfy, total=TOTAL + 1)
    for refused in (
        lambda: condition(comfy, after, other, -1),
        lambda: comfy.call("EverAnimatePropagate", memory=after, samples=samples, **inputs | {"plan": other}),
    ):
        with pytest.raises(
            ValueError, match=r": plan must be that of the chunk before \(19 frames, .+\); got 20 frames"
        ):
            refused()


each_restoring_node = pytest.mark.parametrize(
    ("node_id", "name"),
    [("EverAnimateRestorativeSampler", "Restorative Sampler"), ("EverAnimateRestoreFlow", "Restore Flow")],
)


@each_restoring_node
def test_the_restoring_nodes(comfy, node_id, name):
    inputs = {"memory": first_memory(comfy), "target": "low_frequency"}
    inputs |= {"model": aligned(comfy)} if node_id == "EverAnimateRestoreFlow" else {}
    for strength in (NAN, INFINITY, -1.0):
        with pytest.raises(ValueError, match=f"^{name}: strength must be at least 0 and finite"):
            comfy.call(node_id, strength=strength, mask=mask(1), **inputs)
    with pytest.raises(ValueError, match=f"^{name}: mask {NUMBERS}"):
        comfy.call(node_id, mask=spoiled(mask(1)), **inputs)
    with pytest.raises(ValueError, match=f"^{name}: pose_video {NUMBERS}"):
        comfy.call(node_id, pose_video=spoiled(moving_pattern(9)), **inputs)


def first_chunk(latents=5, channels=16):
    return {"samples": torch.randn(1, channels, latents, 8, 8, generator=torch.Generator().manual_seed(0))}


OF_A_FIRST_CHUNK = {
    "nothing": (
        lambda comfy: {},
        "either memory or first_chunk must be connected (memory behind Condition Chunk, first_chunk with Wan-Animate 2 "
        "and SCAIL-2); got neither.",
    ),
    "both": (
        lambda comfy: {"memory": first_memory(comfy), "first_chunk": first_chunk()},
        "either memory or first_chunk must be connected (memory behind Condition Chunk, first_chunk with Wan-Animate 2 "
        "and SCAIL-2); got both.",
    ),
    "leading with a memory": (
        lambda comfy: {"memory": first_memory(comfy), "leading_latents": 1},
        "leading_latents must be 0 with a memory (it knows its anchors); got 1.",
    ),
    "low_frequency": (
        lambda comfy: {"first_chunk": first_chunk(), "target": "low_frequency", "mask": mask(1)},
        "target must be statistics without a memory (only a memory shows what stands still); got low_frequency.",
    ),
    "no latents left": (
        lambda comfy: {"first_chunk": first_chunk(2), "leading_latents": 2},
        "leading_latents must leave latents of first_chunk, which has 2 (0 to 1); got 2.",
    ),
    "from the end": (
        lambda comfy: {"first_chunk": first_chunk(2), "leading_latents": -1},
        "leading_latents must leave latents of first_chunk, which has 2 (0 to 1); got -1.",
    ),
    "another VAE": (
        lambda comfy: {"first_chunk": first_chunk(channels=48)},
        "first_chunk must hold latents of the Wan 2.1 VAE ([1, 16, frames, height, width]); got [1, 48, 5, 8, 8].",
    ),
    "a picture": (
        lambda comfy: {"first_chunk": {"samples": torch.zeros(1, 16, 8, 8)}},
        "first_chunk must hold latents of the Wan 2.1 VAE ([1, 16, frames, height, width]); got [1, 16, 8, 8].",
    ),
    "no numbers": (
        lambda comfy: {"first_chunk": {"samples": spoiled(first_chunk()["samples"])}},
        f"first_chunk {NUMBERS} (check what made it); got one in first_chunk[0] of 1.",
    ),
}


@each_restoring_node
@pytest.mark.parametrize("kind", OF_A_FIRST_CHUNK)
@pytest.mark.parametrize("strength", [1.0, 0.0])
def test_a_first_chunk_in_the_place_of_a_memory(comfy, node_id, name, kind, strength):
    make, said = OF_A_FIRST_CHUNK[kind]
    inputs = make(comfy) | ({"model": aligned(comfy)} if node_id == "EverAnimateRestoreFlow" else {})
    assert refusal(comfy.call, node_id, strength=strength, **inputs) == f"{name}: {said}"


def test_another_vae_is_refused_in_the_name_of_each_node(comfy):
    (other,) = comfy.call("VAELoader", vae_name="pixel_space")
    with pytest.raises(ValueError, match=r"^Animate Long Video: vae must be the Wan 2\.1 video VAE"):
        animate(comfy, "refused", vae=other)


def test_a_run_that_cannot_be_written_is_said_in_the_name_of_the_node(comfy, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, used=10**9, free=1))
    with pytest.raises(
        RuntimeError, match=r"^Animate Long Video: the disk must have room for .*; got 0\.0 MB free in "
    ):
        animate(comfy, "no_room")


def test_blank_frames_are_logged_once(comfy, caplog, monkeypatch):
    vae = comfy.load_vae()
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda latents: torch.zeros_like(decode(latents)))
    with caplog.at_level(logging.WARNING):
        animate(comfy, "blank")
    lines = [record.getMessage() for record in caplog.records if "of one colour" in record.getMessage()]
    assert len(lines) == 1
    assert re.match(r"EverAnimate: 9 of 9 decoded frames are of one colour", lines[0])
    caplog.clear()
    samples = {"samples": torch.randn(1, 16, 7, 8, 8, generator=torch.Generator().manual_seed(0))}
    inputs = {"memory": first_memory(comfy), "plan": plan(comfy), "vae": vae}
    with caplog.at_level(logging.WARNING):
        comfy.call("EverAnimatePropagate", samples=samples, **inputs)
    assert [record.getMessage() for record in caplog.records if "of one colour" in record.getMessage()] == lines
