"""Every widget and every socket of every node of LongAnimation does something, and nothing but that.

As test_every_input.py has it: each case takes a node in a state in which an input acts, changes that one input, and
names the facts about what the node gives that then change; all others stay. Of Colour Long Animation these are its job,
what is sampled, what the VAE is asked, and the files; the network itself is replaced by noise of the seed, and the VAE
by exact arithmetic.
"""

from fractions import Fraction

import pytest
import torch
from colour_facts import SAMPLED, facts_of
from colour_inputs import FIRST, FRAMES, OVERLAP, REMEMBERED, STEPS, THRESHOLD, TOTAL, ColourParts
from node_cases import Case, Changes, cases, declared_inputs, on
from node_facts import RUN
from node_inputs import CHANGE, FPS, HEIGHT, TONES, WIDTH
from test_nodes import SIGNATURES

from everanimate_core.runs.start import CANDIDATE_STEP

pytest.importorskip("diffusers", reason="needs diffusers in COMFYUI_PYTHON (pip install --no-deps diffusers)")


# --- the states in which inputs act, and the cases


def plain_condition(parts):
    return {
        "positive": parts.text(0),
        "negative": parts.text(1),
        "vae": parts.vae(),
        "plan": parts.plan(),
        "window_index": 1,
        "lineart": parts.pictures(TOTAL, 1),
        "reference": parts.pictures(1),
        "width": WIDTH,
        "height": HEIGHT,
        "threshold": THRESHOLD,
        "previous": parts.state(),
    }


def plain_apply(parts):
    return {"model": parts.model(), "control": parts.control(), "window": parts.window()}


def plain_sampler(parts):
    return {"window": parts.window(), "plan": parts.plan(), "steps": STEPS, "fuse_from": FIRST}


def plain_finish(parts):
    return {
        "ends": parts.ends(),
        "plan": parts.plan(),
        "window_index": 1,
        "samples": parts.samples(),
        "vae": parts.vae(),
    }


def plain_memory(parts):
    return {"video_model": parts.video_model(), "images": parts.pictures(FRAMES), "state": parts.state()}


def later_memory(parts):
    return plain_memory(parts) | {
        "images": parts.pictures(FRAMES - OVERLAP),
        "state": parts.state(index=1),
        "previous": parts.remembered(),
        **REMEMBERED,
    }


def plain_animate(parts):
    return {
        "model": parts.model(),
        "control": parts.control(),
        "vae": parts.vae(),
        "positive": parts.text(0),
        "negative": parts.text(1),
        "lineart": parts.pictures(TOTAL, 1),
        "reference": parts.pictures(1),
        "width": WIDTH,
        "height": HEIGHT,
        "threshold": THRESHOLD,
        "steps": STEPS,
        "fuse_from": FIRST,
        "window_frames": FRAMES,
        "overlap": OVERLAP,
        "run_name": RUN,
    }


LINES_OF_REFERENCE = {"reference_lineart": lambda parts: parts.pictures(1, 4)}
OTHER_SIZES = {
    "lineart": lambda parts: parts.pictures(TOTAL, 1, 24, 24),
    "reference": lambda parts: parts.pictures(1, 0, 24, 24),
}
VIDEO_MODEL = {"control": lambda parts: parts.control(dglm=1), "video_model": lambda parts: parts.video_model()}
# 512 and 64 pixels, and the whole length: a tile in time would begin anew inside the window.
IN_TILES = ["decode in tiles", 5, {"tile_x": 64, "tile_y": 64, "overlap": 8, "tile_t": 5}]
# The settings of a first start, which made all windows.
BEGUN = {"resume": True, "from_chunk": 0, "only_chunk": -1, "seed": 0}
STATES = {
    "LongAnimationLoadBase": {"plain": lambda parts: {"file": parts.base()}},
    "LongAnimationLoad": {
        "plain": lambda parts: {"sketch_file": parts.sketch()},
        "with memory": lambda parts: {"sketch_file": parts.sketch(), "memory_file": parts.dglm()},
    },
    "LongAnimationPlan": {
        "plain": lambda parts: {"total_frames": TOTAL, "window_frames": FRAMES, "overlap": OVERLAP},
        "by the line art": lambda parts: {
            "window_frames": FRAMES,
            "overlap": OVERLAP,
            "lineart": parts.pictures(TOTAL),
        },
    },
    "LongAnimationCondition": {
        "plain": plain_condition,
        "lines of the reference": on(plain_condition, **LINES_OF_REFERENCE),
        "other sizes": on(plain_condition, **OTHER_SIZES),
    },
    "LongAnimationApply": {
        "plain": plain_apply,
        "remembering": on(plain_apply, control=lambda parts: parts.control(dglm=1)),
        "with memory": on(
            plain_apply, control=lambda parts: parts.control(dglm=1), la_memory=lambda parts: parts.memory()
        ),
    },
    "LongAnimationSampler": {
        "plain": plain_sampler,
        "later": on(plain_sampler, window=lambda parts: parts.window(later=True)),
    },
    "LongAnimationFinish": {"plain": plain_finish},
    "LongAnimationLoadVideoMemory": {"plain": lambda parts: {"file": parts.video_file()}},
    "LongAnimationMemory": {"plain": plain_memory, "later": later_memory},
    "LongAnimationLoadToy": {"plain": lambda parts: {"seed": 0, "frames": 5}},
    "LongAnimationAnimate": {
        "plain": plain_animate,
        "unguided": on(plain_animate, cfg=1.0),
        "little overlap": on(plain_animate, overlap=5, total_frames=TOTAL + 1),
        "of a given length": on(plain_animate, total_frames=TOTAL),
        "lines of the reference": on(plain_animate, **LINES_OF_REFERENCE),
        "other sizes": on(plain_animate, **OTHER_SIZES),
        "padded": on(plain_animate, **OTHER_SIZES, fit="pad"),
        "a video": on(plain_animate, lineart=lambda parts: parts.video(), total_frames=TOTAL),
        "with sound": on(plain_animate, lineart=lambda parts: parts.video(sound=True), total_frames=TOTAL),
        "with a dglm": on(plain_animate, control=lambda parts: parts.control(dglm=1)),
        "remembering": on(plain_animate, **VIDEO_MODEL, **REMEMBERED),
        "begun": on(plain_animate, begun=BEGUN),
        "only window 1": on(plain_animate, begun=BEGUN, seed=3, only_chunk=1),
        "from window 1": on(plain_animate, begun=BEGUN, seed=3, from_chunk=1, total_frames=TOTAL + FRAMES - OVERLAP),
    },
}


def animates(name, other, changed, state="plain", **then):
    return Case("LongAnimationAnimate", name, other, changed, state, then)


# What other lines, other noise and another size change; without other lines of the reference, FOLLOWING.
LINES, FOLLOWING = "lines reference_lines added", "lines added"
NOISE = "noise seeds made_with latents last_chunk"
PICTURES = f"known_references lineart reference reference_lineart {LINES} colours"
SIZE = f"{PICTURES} noise tails latents last_chunk video"
ALL_SAMPLED = " ".join(SAMPLED)
KNOWN_MEMORY = "known_memory_frames known_local_frames known_memory_append"
CASES = [
    animates("model", lambda parts: parts.model(2), "network known_network"),
    animates("control", lambda parts: parts.control(2), "sketch known_sketch added"),
    animates("vae", lambda parts: parts.vae(brighter=True), f"{LINES} colours last_chunk known_vae"),
    animates("positive", lambda parts: parts.text(2), "text prompts"),
    animates("negative", lambda parts: parts.text(2), "negative known_negative"),
    # Without guidance it has no say, and a run goes on with any.
    animates("negative", lambda parts: parts.text(2), "negative", "unguided", known_negative=None),
    # Its first frame also stands for the lines of the reference, where there are none.
    animates("lineart", lambda parts: parts.pictures(TOTAL, 2), f"lineart reference_lineart known_references {LINES}"),
    animates("lineart", lambda parts: parts.pictures(TOTAL, 2), f"lineart {FOLLOWING}", "lines of the reference"),
    # A VIDEO of the same pictures, and more.
    animates("lineart", lambda parts: parts.video(), "sound", "of a given length"),
    animates("lineart", lambda parts: parts.video(sound=True), "pitch", "a video", pitch=TONES[0]),
    animates(
        "lineart",
        lambda parts: parts.trimmed(),
        f"lineart reference_lineart known_references {LINES} sound_start pitch",
        "with sound",
        sound_start=CHANGE / FPS,
        pitch=TONES[1],
    ),
    animates("reference", lambda parts: parts.pictures(1, 2), "reference known_references colours"),
    animates("width", 48, f"known_width {SIZE}"),
    animates("height", 32, f"known_height {SIZE}"),
    animates("total_frames", TOTAL - 2, "total_frames last_chunk video"),
    animates("steps", STEPS + 1, "steps sigmas known_steps tails latents"),
    animates("cfg", 3.0, "cfg known_cfg", cfg=[3.0, 3.0]),
    animates("seed", 1, f"{NOISE} tails", seeds=[1, 1]),
    animates("run_name", f"{RUN}_2", "place"),
    animates("seed_mode", "increment", f"{NOISE} known_seed_mode", seeds=[0, 1]),
    animates("seed_mode", "released", f"{NOISE} known_seed_mode", seeds=[0, 42]),
    # Both make two windows.
    animates(
        "window_frames",
        25,
        f"chunk_frames known_window_frames lineart {FOLLOWING} colours noise tails latents last_chunk encoded decoded",
        "little overlap",
    ),
    animates(
        "overlap",
        5,
        f"overlap known_overlap lineart {FOLLOWING} blended tails latents last_chunk",
        blended=[(FIRST, 1)] * 2,
    ),
    animates("reference_mode", "autoregressive", "known_reference_mode reference_lines added colours"),
    animates("strength", 1.0, "known_strength added"),
    animates("blocks", "full", "known_blocks behind", behind=[[0, 1, 2, 3]] * 2),
    animates("fuse", False, "known_fuse blended tails latents", blended=[None] * 2),
    animates("fuse_from", FIRST + 1, "known_fuse_from blended tails latents", blended=[(FIRST + 1, 2)] * 2),
    animates("lines", "light_on_dark", f"known_lines {LINES}"),
    # Lines that are light have dark paper around them.
    animates("lines", "light_on_dark", f"known_lines known_references lineart reference_lineart {LINES}", "padded"),
    animates("threshold", 0.6, f"known_threshold {LINES}"),
    animates("fit", "pad", PICTURES, "other sizes"),
    animates("tiled", True, "known_tiled decoded", decoded=[IN_TILES] * 2),
    animates("resume", False, f"resume take encoded decoded {ALL_SAMPLED}", "begun", seeds=[0, 0]),
    animates("seed", 5, f"{NOISE} tails", "from window 1", seeds=[5, 5], made_with=[0, 5, 5]),
    animates(
        "from_chunk",
        2,
        f"from_chunk encoded decoded latents made_with {ALL_SAMPLED}",
        "from window 1",
        seeds=[3],
        made_with=[0, 0, 3],
    ),
    animates("on_change", "stop", "on_change"),
    # All windows share the noise of the seed.
    animates(
        "only_chunk",
        0,
        "only_chunk made_with lines added tails latents last_chunk decoded",
        "only window 1",
        made_with=[3, 0],
    ),
    # The first of both is nearer to the colours here.
    animates("candidates", 2, f"candidates decoded {ALL_SAMPLED}", seeds=[0, CANDIDATE_STEP, 0, CANDIDATE_STEP]),
    animates("fps", 30.0, "fps video", fps=Fraction(30)),
    animates("fps", 12.5, f"fps lineart {FOLLOWING} video", "a video", fps=Fraction(25, 2)),
    animates(
        "reference_lineart",
        lambda parts: parts.pictures(1, 4),
        "reference_lineart known_references reference_lines added",
    ),
    animates("audio", lambda parts: parts.audio(), "sound pitch", pitch=TONES[0]),
    animates("audio", lambda parts: parts.audio(TONES[1]), "sound pitch", "with sound", pitch=TONES[1]),
    animates("prompts", lambda parts: parts.text(2) + parts.text(3), "prompts text"),
    animates(
        "video_model",
        lambda parts: parts.video_model(),
        f"dglm added known_dglm known_video_model {KNOWN_MEMORY}",
        "with a dglm",
    ),
    animates("video_model", lambda parts: parts.video_model(2), "known_video_model added", "remembering"),
    animates("memory_frames", 12, "known_memory_frames added", "remembering"),
    animates("local_frames", 5, "known_local_frames added", "remembering"),
    animates("memory_append", True, "known_memory_append added", "remembering"),
    animates("control", lambda parts: parts.control(dglm=2), "dglm known_dglm added", "remembering"),
    # Without a video model, the DGLM and these settings have no say.
    animates("control", lambda parts: parts.control(dglm=1), ""),
    animates("memory_frames", 12, ""),
]
CASES += cases(
    "LongAnimationLoadBase",
    ("file", lambda parts: parts.base(2), "network"),
    ("weight_dtype", "bf16", "network dtype", "plain", {"dtype": "torch.bfloat16"}),
)
CASES += cases(
    "LongAnimationLoad",
    ("sketch_file", lambda parts: parts.sketch(2), "sketch"),
    ("memory_file", lambda parts: parts.dglm(), "dglm"),
    ("memory_file", lambda parts: parts.dglm(2), "dglm", "with memory"),
)
CASES += cases(
    "LongAnimationPlan",
    ("total_frames", TOTAL - 2, "total_frames frames"),
    ("window_frames", 25, "chunk_frames windows"),
    ("overlap", 13, "overlap windows"),
    ("lineart", lambda parts: parts.pictures(TOTAL - 2), "total_frames frames", "by the line art"),
    ("lineart", lambda parts: parts.video(), "total_frames frames windows", "by the line art"),
)
CASES += cases(
    "LongAnimationCondition",
    ("positive", lambda parts: parts.text(2), "text"),
    ("negative", lambda parts: parts.text(2), "negative"),
    ("vae", lambda parts: parts.vae(brighter=True), "lines reference_lines colours"),
    (
        *("plan", lambda parts: parts.plan(frames=25), "lines colours latent encoded", "plain", {}),
        lambda parts: {"previous": parts.state(frames=25)},
    ),
    ("window_index", 2, "index lines", "plain", {"index": 2}, lambda parts: {"previous": parts.state(index=1)}),
    ("lineart", lambda parts: parts.pictures(TOTAL, 2), "lines reference_lines"),
    ("lineart", lambda parts: parts.pictures(TOTAL, 2), "lines", "lines of the reference"),
    # A VIDEO of the same pictures, and of others.
    ("lineart", lambda parts: parts.video(), ""),
    ("lineart", lambda parts: parts.video(seed=2), "lines reference_lines"),
    ("reference", lambda parts: parts.pictures(1, 2), "colours"),
    ("width", 48, "lines reference_lines colours latent"),
    ("height", 32, "lines reference_lines colours latent"),
    ("fit", "pad", "lines reference_lines colours", "other sizes"),
    ("lines", "light_on_dark", "lines reference_lines"),
    ("threshold", 0.6, "lines reference_lines"),
    ("reference_lineart", lambda parts: parts.pictures(1, 4), "reference_lines"),
    ("previous", lambda parts: parts.state(1), "tails"),
)
CASES += cases(
    "LongAnimationApply",
    ("model", lambda parts: parts.model(2), "network"),
    ("control", lambda parts: parts.control(2), "sketch added"),
    ("window", lambda parts: parts.window(seed=2), LINES),
    ("strength", 1.0, "added"),
    ("blocks", "full", "behind", "plain", {"behind": [0, 1, 2, 3]}),
    # Without a memory, the DGLM has no say and is not loaded.
    ("control", lambda parts: parts.control(dglm=1), ""),
    ("la_memory", lambda parts: parts.memory(), "dglm added", "remembering"),
    ("la_memory", lambda parts: parts.memory(1), "added", "with memory"),
    ("control", lambda parts: parts.control(dglm=2), "dglm added", "with memory"),
)
CASES += cases(
    "LongAnimationSampler",
    ("window", lambda parts: parts.window(later=True), "samples"),
    ("plan", lambda parts: parts.plan(overlap=13), "kept"),
    ("steps", STEPS + 1, "steps samples kept"),
    ("fuse", False, "samples kept", "later", {"kept": None}),
    ("fuse_from", FIRST + 1, "kept"),
)
CASES += cases(
    "LongAnimationFinish",
    ("ends", lambda parts: parts.ends(1), "tails"),
    (
        *("plan", lambda parts: parts.plan(overlap=13), "images", "plain", {}),
        lambda parts: {"ends": parts.ends(overlap=13)},
    ),
    ("window_index", 0, "index images", "plain", {"index": 0}, lambda parts: {"ends": parts.ends(index=0)}),
    ("samples", lambda parts: parts.samples(1), "images latent"),
    ("vae", lambda parts: parts.vae(brighter=True), "images"),
    ("tiled", True, "decoded", "plain", {"decoded": [IN_TILES]}),
)
CASES += cases(
    "LongAnimationLoadVideoMemory",
    ("file", lambda parts: parts.video_file(2), "network"),
    ("weight_dtype", "bf16", "network dtype", "plain", {"dtype": "torch.bfloat16"}),
)
CASES += cases(
    "LongAnimationMemory",
    ("video_model", lambda parts: parts.video_model(2), "network memory held"),
    ("images", lambda parts: parts.pictures(FRAMES, 2), "memory seen held"),
    (
        *("state", lambda parts: parts.state(index=1), "index memory seen held", "plain", {"index": 2}),
        lambda parts: {
            "images": parts.pictures(FRAMES - OVERLAP),
            "previous": parts.remembered(memory_frames=650, local_frames=20),
        },
    ),
    ("memory_frames", 10, "memory held"),
    ("local_frames", 5, "memory"),
    (
        *("memory_append", True, "memory held", "later", {}),
        lambda parts: {"previous": parts.remembered(memory_append=True)},
    ),
    ("previous", lambda parts: parts.remembered(2), "memory seen", "later"),
)
CASES += cases(
    "LongAnimationLoadToy",
    ("seed", 1, "lineart reference reference_lineart truth"),
    ("frames", 6, "lineart truth frames", "plain", {"frames": [6, 1, 1, 6]}),
)


@pytest.fixture(scope="module", autouse=True)
def changes(comfy):
    pytest.importorskip("comfy.ldm.cogvideo", reason="this host has no CogVideoX")
    with torch.inference_mode():
        return Changes(comfy, ColourParts(comfy), STATES, facts_of)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_input_changes_what_it_is_for_and_nothing_else(changes, case):
    changed, facts = changes.of(case)
    assert changed == sorted(case.changed.split())
    assert {name: facts[name] for name in case.then} == case.then


def test_every_input_of_every_node_has_a_case(comfy):
    assert {(case.node, case.name) for case in CASES} == declared_inputs(comfy, "LongAnimation")


def test_every_input_that_saved_graphs_know_has_a_case():
    named = {
        (node, word.partition("=")[0].rstrip("?"))
        for node, (words, _) in SIGNATURES.items()
        if node.startswith("LongAnimation")
        for word in words.split()
    }
    assert len({node for node, _ in named}) == 11
    assert named == {(case.node, case.name) for case in CASES}
