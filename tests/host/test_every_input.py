"""Every widget and every socket of every node of EverAnimate does something, and nothing but that.

Those of Prepare Driving Video are in test_every_driving_input.py, those of Long Run and of its methods in
test_every_base_input.py.

Each case takes a node in a state in which an input acts, changes that one input, and names the facts about what the
node gives that then change: all others stay. Of Animate Long Video these are its job, what the network and the VAE are
asked, and the files; the network itself is replaced by noise of the seed, and the VAE by exact arithmetic.
"""

from fractions import Fraction

import pytest
import torch
from node_cases import Case, Changes, cases, declared_inputs, on
from node_facts import RUN, SAMPLED, facts_of
from node_inputs import CHANGE, FPS, FRAMES, HEIGHT, OVERLAP, TONES, TOTAL, WIDTH, Parts

from everanimate_core.runs.start import CANDIDATE_STEP

# --- the states in which inputs act, and the cases


def half_black(pictures):
    """The same with nothing but black from the ninth column on."""
    pictures = pictures.clone()
    pictures[:, :, 8:] = 0
    return pictures


def half_mask():
    """A MASK, white on the right."""
    mask = torch.zeros(TOTAL, HEIGHT, WIDTH)
    mask[:, :, WIDTH // 2 :] = 1
    return mask


def plain_animate(parts):
    return {
        "model": parts.model(),
        "vae": parts.vae(),
        "positive": parts.text(0),
        "negative": parts.text(1),
        "reference_images": parts.pictures(1),
        "pose_video": parts.pictures(TOTAL, 1),
        "width": WIDTH,
        "height": HEIGHT,
        "steps": 2,
        "chunk_frames": FRAMES,
        "overlap": OVERLAP,
        "run_name": RUN,
    }


def plain_chunk(parts):
    return {
        "positive": parts.text(0),
        "negative": parts.text(1),
        "vae": parts.vae(),
        "plan": parts.plan(total=TOTAL + FRAMES - OVERLAP),
        "memory": parts.later_memory(),
        "chunk_index": 1,
        "pose_video": parts.pictures(TOTAL, 1),
    }


def plain_propagate(parts):
    return {"memory": parts.memory(), "plan": parts.plan(), "samples": parts.samples(), "vae": parts.vae()}


def plain_memory(parts):
    return {"vae": parts.vae(), "reference_images": parts.pictures(1), "width": WIDTH, "height": HEIGHT}


def plain_drift(parts):
    return {"video": parts.grey(), "reference_images": parts.grey()[:1]}


def plain_latents(parts):
    return {"identity": parts.latents(4), "motion": parts.latents(1, 1), "reference_image": parts.pictures(1)}


def restoring(parts):
    return {"memory": parts.later_memory(), "pose_video": half_black(parts.pictures(FRAMES, 1))}


def restoring_model(parts):
    return restoring(parts) | {"model": parts.model()}


def restoring_first(parts):
    return {"first_chunk": parts.latents(3)}


def loading_lora(parts):
    return {"model": parts.comfy.load_model(), "lora_name": parts.lora()}


REPLACING = {"background_video": lambda parts: parts.pictures(TOTAL, 5), "character_mask": lambda parts: half_mask()}
OTHER_SIZES = {"pose_video": lambda parts: parts.pictures(TOTAL, 1, 24, 24)}
# The settings of a first start, which made all chunks.
BEGUN = {"resume": True, "from_chunk": 0, "only_chunk": -1, "seed": 0}
STATES = {
    "EverAnimateAnimate": {
        "plain": plain_animate,
        "guided": on(plain_animate, cfg=2.0),
        "short pose": on(plain_animate, pose_video=lambda parts: parts.pictures(10, 1), total_frames=TOTAL),
        "looked at": on(plain_animate, clip_vision=lambda parts: parts.comfy.clip_vision()),
        "other sizes": on(plain_animate, reference_images=lambda parts: parts.pictures(1, 0, 24, 24), **OTHER_SIZES),
        "replacing": on(plain_animate, **REPLACING),
        "restoring": on(
            plain_animate, restore_strength=1.0, pose_video=lambda parts: half_black(parts.pictures(TOTAL, 1))
        ),
        "a video": on(plain_animate, pose_video=lambda parts: parts.video(), total_frames=TOTAL),
        "with sound": on(plain_animate, pose_video=lambda parts: parts.video(sound=True), total_frames=TOTAL),
        "of a cut video": on(plain_animate, pose_video=lambda parts: parts.trimmed()),
        "pose keyframes": on(plain_animate, keyframes="pose"),
        "begun": on(plain_animate, begun=BEGUN),
        "only chunk 1": on(plain_animate, begun=BEGUN, seed=3, only_chunk=1),
        "from chunk 1": on(plain_animate, begun=BEGUN, seed=3, from_chunk=1, total_frames=TOTAL + FRAMES - OVERLAP),
    },
    "EverAnimateChunk": {
        "plain": plain_chunk,
        "looked at": on(plain_chunk, clip_vision=lambda parts: parts.comfy.clip_vision()),
        "other sizes": on(plain_chunk, **OTHER_SIZES),
        "replacing": on(plain_chunk, **REPLACING),
    },
    "EverAnimatePropagate": {
        "plain": plain_propagate,
        "second": on(plain_propagate, memory=lambda parts: parts.later_memory(), chunk_index=1),
        "pose keyframes": on(plain_propagate, keyframes="pose", pose_video=lambda parts: parts.pictures(TOTAL, 1)),
    },
    "EverAnimateMemory": {
        "plain": plain_memory,
        "other sizes": on(plain_memory, reference_images=lambda parts: parts.pictures(1, 0, 24, 24)),
    },
    "EverAnimateMemoryFromLatents": {"plain": plain_latents},
    "EverAnimatePlanChunks": {
        "plain": lambda parts: {"total_frames": TOTAL, "chunk_frames": FRAMES, "overlap": OVERLAP},
        "by the pose": lambda parts: {"chunk_frames": FRAMES, "pose_video": parts.pictures(TOTAL)},
    },
    "EverAnimateSigmas": {"plain": lambda parts: {"steps": 2}},
    "EverAnimateRestorativeSampler": {
        "plain": restoring,
        "low": on(restoring, target="low_frequency"),
        "first chunk": restoring_first,
    },
    "EverAnimateRestoreFlow": {
        "plain": restoring_model,
        "low": on(restoring_model, target="low_frequency"),
        "first chunk": on(restoring_first, model=lambda parts: parts.model()),
    },
    "EverAnimateJoinChunks": {"plain": lambda parts: {"images": parts.pictures(2)}},
    "EverAnimateChunkFrames": {
        "plain": lambda parts: {
            "plan": parts.plan(total=TOTAL + FRAMES - OVERLAP),
            "chunk_index": 1,
            "video": parts.pictures(TOTAL, 1),
            "previous": parts.pictures(FRAMES),
        },
    },
    "EverAnimateDriftReport": {"plain": plain_drift, "divided": on(plain_drift, chunk_frames=9)},
    "EverAnimateLoadToy": {"plain": lambda parts: {"seed": 0, "frames": 5}},
    "EverAnimateLoadLora": {"plain": loading_lora},
    "EverAnimatePatchModel": {"plain": lambda parts: {"model": parts.comfy.load_model()}},
}


def animates(name, other, changed, state="plain", **then):
    return Case("EverAnimateAnimate", name, other, changed, state, then)


# What another picture of the person, or of another size, changes.
PERSON = "references identity known_references context after_references after_reference_latents after_identity"
# What other noise changes, from its chunk on.
MADE_OF_IT = "made_with latents last_chunk after_motion after_last_frames"
NOISE = f"seeds {MADE_OF_IT}"
FIRST_NOISE = f"{NOISE} after_statistics after_identity context"
ALL_SAMPLED = " ".join(SAMPLED)
# What another size changes.
SIZE = f"{PERSON} pose pose_latents marked latents last_chunk video after_motion after_last_frames after_statistics"
CASES = [
    animates("model", lambda parts: parts.model(torch.bfloat16), "model known_network as_0_1_0"),
    animates(
        "vae",
        lambda parts: parts.vae(brighter=True),
        "identity known_references context pose_latents last_chunk after_reference_latents after_identity "
        "after_last_frames",
    ),
    animates("positive", lambda parts: parts.text(2), "text prompts as_0_1_0"),
    animates("negative", lambda parts: parts.text(2), "negative known_negative as_0_1_0", "guided"),
    # Without guidance it has no say, and a run goes on with any.
    animates("negative", lambda parts: parts.text(2), "negative", known_negative=None),
    animates("reference_images", lambda parts: parts.pictures(1, 2), PERSON),
    animates("reference_images", lambda parts: parts.pictures(1, 2), f"{PERSON} clip", "looked at"),
    animates("pose_video", lambda parts: parts.pictures(TOTAL, 2), "pose pose_latents"),
    animates("pose_video", lambda parts: parts.video(sound=True), "pitch", "a video", pitch=TONES[0]),
    animates(
        "pose_video",
        lambda parts: parts.trimmed(),
        "pose pose_latents sound_start pitch",
        "with sound",
        sound_start=CHANGE / FPS,
        pitch=TONES[1],
    ),
    animates(
        "pose_video",
        lambda parts: parts.pictures(TOTAL, 2),
        "pose pose_latents context after_identity",
        "pose keyframes",
    ),
    animates("width", 48, f"known_width {SIZE}"),
    animates("height", 32, f"known_height {SIZE}"),
    animates("total_frames", TOTAL - 2, "total_frames last_chunk video"),
    animates("steps", 3, "sigmas known_sigmas as_0_1_0"),
    animates("shift", 3.0, "sigmas known_sigmas as_0_1_0"),
    animates("cfg", 3.0, "cfg known_cfg as_0_1_0", "guided", cfg=[3.0, 3.0], known_cfg=3.0),
    animates("seed", 1, FIRST_NOISE, seeds=[1, 43]),
    animates("run_name", f"{RUN}_2", "place"),
    animates("seed_mode", "fixed", f"{NOISE} known_seed_mode", seeds=[0, 0]),
    animates("seed_mode", "increment", f"{NOISE} known_seed_mode", seeds=[0, 1]),
    animates(
        "identity_latents",
        2,
        "anchors known_identity_latents identity known_references context marked encoded after_identity after_anchors",
    ),
    animates("motion_latents", 2, "carried known_motion_latents context after_motion after_carried"),
    animates(
        "chunk_frames",
        13,
        "chunk_frames known_chunk_frames pose context marked pose_latents encoded decoded latents last_chunk "
        "after_identity after_statistics",
    ),
    animates("overlap", 3, "overlap known_overlap pose pose_latents last_chunk"),
    animates("continuation", "loop", "continuation pose pose_latents", "short pose"),
    animates("keyframes", "pose", "known_keyframes context after_identity"),
    animates("clip_source", "reference", "known_clip_source clip", "looked at"),
    animates("fit", "pad", f"{PERSON} pose pose_latents", "other sizes"),
    animates("tiled", True, "known_tiled as_0_1_0 decoded"),
    animates(
        "latent_context",
        True,
        "known_latent_context decoded last_chunk",
        decoded=[["decode", 3], ["decode", 4]],
    ),
    animates("resume", False, f"resume take encoded decoded {ALL_SAMPLED}", "begun", seeds=[0, 42]),
    animates("seed", 5, f"{NOISE} context", "from chunk 1", seeds=[47, 89], made_with=[0, 47, 89]),
    animates(
        "from_chunk",
        2,
        f"from_chunk encoded decoded latents made_with {ALL_SAMPLED}",
        "from chunk 1",
        seeds=[87],
        made_with=[0, 42, 87],
    ),
    animates("on_change", "stop", "on_change"),
    animates(
        "only_chunk",
        0,
        "only_chunk seeds made_with latents last_chunk context pose_latents decoded after_motion after_last_frames",
        "only chunk 1",
        seeds=[3],
        made_with=[3, 42],
    ),
    # The second of both drifts less here; of chunk 0 the first is taken.
    animates(
        "candidates",
        2,
        f"candidates encoded decoded {ALL_SAMPLED} {MADE_OF_IT}",
        seeds=[0, CANDIDATE_STEP, 42, 42 + CANDIDATE_STEP],
        made_with=[0, 42 + CANDIDATE_STEP],
    ),
    # They share the encoded pose.
    animates(
        "candidates",
        2,
        f"candidates decoded {ALL_SAMPLED} {MADE_OF_IT}",
        "only chunk 1",
        seeds=[45, 45 + CANDIDATE_STEP],
        made_with=[0, 45 + CANDIDATE_STEP],
    ),
    animates("fps", 30.0, "fps video", fps=Fraction(30)),
    animates("fps", 12.5, "fps pose pose_latents video", "a video", fps=Fraction(25, 2)),
    animates("face_video", lambda parts: parts.pictures(TOTAL, 3), "face face_pixels no_face"),
    animates("background_video", lambda parts: parts.pictures(TOTAL, 6), "background context", "replacing"),
    animates("character_mask", lambda parts: 1 - half_mask(), "mask marked", "replacing"),
    animates("clip_vision", lambda parts: parts.comfy.clip_vision(), "known_clip_vision as_0_1_0 clip"),
    animates("sampler", lambda parts: parts.sampler(), "sampler known_sampler as_0_1_0"),
    animates("sigmas", torch.tensor([1.0, 0.5, 0.0]), "sigmas known_sigmas as_0_1_0"),
    animates("prompts", lambda parts: parts.text(2) + parts.text(3), "prompts text as_0_1_0"),
    animates("audio", lambda parts: parts.audio(), "sound pitch", pitch=TONES[0]),
    # It replaces the sound of a VIDEO, and begins with the animation where the VIDEO is cut.
    animates("audio", lambda parts: parts.audio(TONES[1]), "sound pitch", "with sound", pitch=TONES[1]),
    animates(
        *("audio", lambda parts: parts.audio(), "sound sound_start pitch", "of a cut video"),
        sound_start=0.0,
        pitch=TONES[0],
    ),
    animates("restore_strength", 2.0, "known_restore_strength correction", "restoring"),
    animates("restore_schedule", "fixed", "known_restore_schedule correction", "restoring"),
    animates("restore_target", "low_frequency", "known_restore_target correction", "restoring"),
]
CASES += cases(
    "EverAnimateChunk",
    ("positive", lambda parts: parts.text(2), "text"),
    ("negative", lambda parts: parts.text(2), "negative"),
    ("vae", lambda parts: parts.vae(brighter=True), "pose_latents"),
    ("plan", lambda parts: parts.plan(frames=13), "context marked pose_latents latent encoded"),
    ("memory", lambda parts: parts.later_memory(1), "context"),
    ("chunk_index", 2, "pose_latents"),
    ("clip_source", "reference", "clip", "looked at"),
    ("fit", "pad", "pose_latents", "other sizes"),
    ("pose_video", lambda parts: parts.pictures(TOTAL, 2), "pose_latents"),
    ("face_video", lambda parts: parts.pictures(TOTAL, 3), "face_pixels no_face"),
    ("background_video", lambda parts: parts.pictures(TOTAL, 6), "context", "replacing"),
    ("character_mask", lambda parts: 1 - half_mask(), "marked", "replacing"),
    ("clip_vision", lambda parts: parts.comfy.clip_vision(), "clip"),
)
CASES += cases(
    "EverAnimatePropagate",
    ("memory", lambda parts: parts.memory(1), "references reference_latents identity"),
    ("plan", lambda parts: parts.plan(total=TOTAL - 2), "images", "second"),
    # The keyframes are those of the seed, whichever chunk completes the memory.
    ("chunk_index", 0, "images", "second"),
    ("samples", lambda parts: parts.samples(1), "motion statistics last_frames identity images latent"),
    ("vae", lambda parts: parts.vae(brighter=True), "identity last_frames images"),
    ("keyframes", "uniform", "identity"),
    ("seed", 1, "identity"),
    ("tiled", True, "decoded"),
    ("pose_video", lambda parts: parts.pictures(TOTAL, 2), "identity", "pose keyframes"),
)
PICTURE = "references reference_latents identity"
CASES += cases(
    "EverAnimateMemory",
    ("vae", lambda parts: parts.vae(brighter=True), "reference_latents identity"),
    ("reference_images", lambda parts: parts.pictures(1, 2), PICTURE),
    ("width", 48, PICTURE),
    ("height", 32, PICTURE),
    ("identity_latents", 2, "identity anchors"),
    ("motion_latents", 2, "carried"),
    ("fit", "pad", PICTURE, "other sizes"),
)
CASES += cases(
    "EverAnimateMemoryFromLatents",
    ("identity", lambda parts: parts.latents(4, 5), "identity reference_latents"),
    ("motion", lambda parts: parts.latents(2, 1), "motion carried"),
    ("reference_image", lambda parts: parts.pictures(1, 2), "references"),
)
CASES += cases(
    "EverAnimatePlanChunks",
    ("total_frames", TOTAL - 2, "total_frames frames"),
    ("chunk_frames", 13, "chunk_frames"),
    ("overlap", 3, "overlap"),
    ("continuation", "loop", "continuation"),
    ("pose_video", lambda parts: parts.pictures(TOTAL - 2), "total_frames frames", "by the pose"),
)
CASES += cases(
    "EverAnimateSigmas",
    ("steps", 3, "sigmas", "plain", {"sigmas": [1.0, 0.9091, 0.7143, 0.0]}),
    ("shift", 3.0, "sigmas", "plain", {"sigmas": [1.0, 0.75, 0.0]}),
    ("denoise", 0.5, "sigmas", "plain", {"sigmas": [0.8333, 0.625, 0.0]}),
)
for node in ("EverAnimateRestorativeSampler", "EverAnimateRestoreFlow"):
    CASES += cases(
        node,
        ("memory", lambda parts: parts.later_memory(1), "correction"),
        ("strength", 2.0, "correction"),
        ("schedule", "fixed", "correction"),
        ("target", "low_frequency", "correction"),
        ("mask", torch.ones(FRAMES, HEIGHT, WIDTH), "correction", "low"),
        ("pose_video", lambda parts: torch.zeros(FRAMES, HEIGHT, WIDTH, 3), "correction", "low"),
        ("first_chunk", lambda parts: parts.latents(3, 1), "correction", "first chunk"),
        ("leading_latents", 1, "correction", "first chunk"),
    )
CASES += cases("EverAnimateRestorativeSampler", ("sampler", lambda parts: parts.sampler(), "sampler"))
CASES += cases("EverAnimateRestoreFlow", ("model", lambda parts: parts.model(torch.bfloat16), "network"))
CASES += cases(
    "EverAnimateJoinChunks",
    ("images", lambda parts: parts.pictures(2, 1), "images"),
    ("previous", lambda parts: parts.pictures(3, 1), "images"),
)
CASES += cases(
    "EverAnimateChunkFrames",
    ("plan", lambda parts: parts.plan(total=TOTAL - 2), "kept", "plain", {"kept": (4, 3)}),
    ("chunk_index", 2, "images"),
    ("video", lambda parts: parts.pictures(TOTAL, 2), "images"),
    ("previous", lambda parts: parts.pictures(FRAMES, 3), "previous_frames"),
)
CASES += cases(
    "EverAnimateDriftReport",
    ("video", lambda parts: parts.grey(slow=True), "lightness a b saturation colour_cast step plot"),
    ("reference_images", lambda parts: parts.pictures(1, 1, 32, 32), "identity plot"),
    ("truth", lambda parts: parts.grey(slow=True), "compared_with colour_cast psnr ssim true_steps plot"),
    # The jump of 0.2 over the median step of both sides: twelve of 0.1 before it, eight of 0.02 behind it.
    ("plan", lambda parts: parts.plan(total=22, frames=13), "plot joins seam_index divided", "plain",
     {"joins": [13], "seam_index": 1.999}),
    ("chunk_frames", 13, "plot joins seam_index divided", "plain", {"joins": [13], "seam_index": 1.999}),
    ("overlap", 4, "plot joins seam_index divided", "divided",
     {"joins": [9, 14, 19], "divided": "in chunks of 9 frames, overlap 4"}),
)  # fmt: skip
CASES += cases(
    "EverAnimateLoadToy",
    ("seed", 1, "reference pose truth"),
    ("frames", 6, "pose truth frames"),
    ("network", "toy-baseline", "network"),
    ("light", "wandering", "reference truth"),
)
CASES += cases(
    "EverAnimateLoadLora",
    ("model", lambda parts: parts.comfy.load_model(torch.bfloat16), "network"),
    ("lora_name", lambda parts: parts.lora(2.0), "lora"),
    ("strength", 0.5, "lora"),
)
CASES += cases("EverAnimatePatchModel", ("model", lambda parts: parts.comfy.load_model(torch.bfloat16), "network"))


@pytest.fixture(scope="module")
def changes(comfy):
    with torch.inference_mode():
        return Changes(comfy, Parts(comfy), STATES, facts_of)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_input_changes_what_it_is_for_and_nothing_else(changes, case):
    changed, facts = changes.of(case)
    assert changed == sorted(case.changed.split())
    assert {name: facts[name] for name in case.then} == case.then


def test_every_input_of_every_node_has_a_case(comfy):
    elsewhere = ("EverAnimatePrepare", "EverAnimateLongRun", "EverAnimateMethod")
    declared = {part for part in declared_inputs(comfy, "EverAnimate") if not part[0].startswith(elsewhere)}
    assert {(case.node, case.name) for case in CASES} == declared
