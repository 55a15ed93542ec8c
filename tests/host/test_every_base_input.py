"""Every widget and every socket of Long Run and of its methods does something, and nothing but that.

As test_every_input.py has it: each case takes a node in a state in which an input acts, changes that one input, and
names the facts that then change; all others stay. The facts are those of a whole run: its job, what the host's own
nodes make of each chunk, what is sampled, what the VAE is asked, and the files. A method is looked at through the run
that it is for. The network is replaced by noise of the seed, and the VAE by exact arithmetic.
"""

from fractions import Fraction

import pytest
import torch
from base_facts import SAMPLED, TOLD, run_of
from clips import write_video
from long_runs import knows_the_bases
from node_cases import Case, Changes, cases, declared_inputs, on
from node_facts import RUN
from node_inputs import CHANGE, FPS, FRAMES, HEIGHT, TONES, TOTAL, WIDTH, Parts, once
from test_nodes import SIGNATURES
from tiny_models import BASE_FILES

from everanimate_core.runs.start import CANDIDATE_STEP

__all__ = ["knows_the_bases"]
pytestmark = pytest.mark.usefixtures("knows_the_bases")
LONG_RUN, ANIMATE2, SCAIL2 = "EverAnimateLongRun", "EverAnimateMethodAnimate2", "EverAnimateMethodScail2"
# Two chunks of SCAIL-2, which carries 5 frames on; TOTAL are two chunks of Wan-Animate 2.
SCAIL2_TOTAL = 2 * FRAMES - 5
BLUE, RED = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)


class BaseParts(Parts):
    """Inputs of nodes, each made once. SCAIL-2 reads footage at half the size: that of both bases is WIDTH x HEIGHT."""

    @once
    def vae(self, brighter=False):
        """The VAE of exact arithmetic, with weights that a run knows it by."""
        vae = super().vae(brighter)
        vae.first_stage_model = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(vae.first_stage_model.weight, float(brighter))
        return vae

    @once
    def rounded_base(self, name):
        """The tiny MODEL of a base with weights of 8 bits."""
        return self.comfy.call("UNETLoader", unet_name=BASE_FILES[name], weight_dtype="fp8_e4m3fn")[0]

    @once
    def features(self, seed=0):
        """What CLIP vision sees in a picture."""
        return self.comfy.clip_vision().encode_image(self.pictures(1, seed), crop=False)

    @once
    def animate2(self, **settings):
        """The METHOD of Wan-Animate 2."""
        return self.comfy.call(ANIMATE2, clip_vision_output=self.features(), **settings)[0]

    @once
    def scail2(self, **settings):
        """The METHOD of SCAIL-2."""
        return self.comfy.call(SCAIL2, clip_vision_output=self.features(), **settings)[0]

    @once
    def people(self, count=1, seed=0):
        """Reference pictures for SCAIL-2."""
        return self.pictures(count, seed, 2 * HEIGHT, 2 * WIDTH)

    @once
    def mask(self, colour=BLUE, ground=0.0):
        """Where the person in the footage of SCAIL-2 is."""
        return person(SCAIL2_TOTAL, HEIGHT, WIDTH, colour, ground)

    @once
    def mask_video(self):
        """The same as a VIDEO."""
        from comfy_api.latest import InputImpl

        path = self.comfy.base / "input" / "every_mask.mov"
        write_video(path, self.mask(), FPS)
        return InputImpl.VideoFromFile(str(path))

    @once
    def mask_of_people(self, colour=BLUE, ground=1.0, wide=False):
        """Where the person in the picture is."""
        return person(1, 2 * HEIGHT, 2 * WIDTH, colour, ground, WIDTH if wide else WIDTH // 2)


def person(frames, height, width, colour, ground, wide=WIDTH // 2):
    """A mask [frames, height, width, 3] with a person of this width in the upper left."""
    mask = torch.full((frames, height, width, 3), ground)
    mask[:, : height // 2, :wide] = torch.tensor(colour)
    return mask


# --- the states in which inputs act, and the cases


def plain(parts):
    return {
        "model": parts.comfy.load_base("animate2"),
        "vae": parts.vae(),
        "positive": parts.text(0),
        "negative": parts.text(1),
        "method": parts.animate2(),
        "reference_images": parts.pictures(1),
        "driving_video": parts.pictures(TOTAL, 1),
        "width": WIDTH,
        "height": HEIGHT,
        "steps": 2,
        "chunk_frames": FRAMES,
        "run_name": RUN,
    }


def on_scail2(parts):
    return plain(parts) | {
        "model": parts.comfy.load_base("scail2"),
        "method": parts.scail2(),
        "reference_images": parts.people(),
        "driving_video": parts.pictures(SCAIL2_TOTAL, 1),
        "width": 2 * WIDTH,
        "height": 2 * HEIGHT,
    }


def masks(parts, colour=BLUE):
    """Those of SCAIL-2's method: of the person in the footage, and in the picture."""
    return {"driving_mask": parts.mask(colour=colour), "reference_image_mask": parts.mask_of_people()}


def other_grounds(parts):
    """The same as replacement_mode wants them."""
    return {"driving_mask": parts.mask(ground=1.0), "reference_image_mask": parts.mask_of_people(ground=0.0)}


def looked_at(parts):
    return {"clip_vision_output": parts.features()}


# 512 and 64 pixels, and the whole length: a tile in time would begin anew inside the chunk.
IN_TILES = ["decode in tiles", 3, {"tile_x": 64, "tile_y": 64, "overlap": 8, "tile_t": 3}]
OTHER_SIZES = {
    "reference_images": lambda parts: parts.pictures(1, 0, 24, 24),
    "driving_video": lambda parts: parts.pictures(TOTAL, 1, 24, 24),
}
# The settings of a first start, which made all chunks.
BEGUN = {"resume": True, "from_chunk": 0, "only_chunk": -1, "seed": 0}
STATES = {
    LONG_RUN: {
        "plain": plain,
        "guided": on(plain, cfg=2.0),
        "two prompts": on(plain, prompts=lambda parts: parts.text(2) + parts.text(3)),
        "short footage": on(plain, driving_video=lambda parts: parts.pictures(10, 1), total_frames=TOTAL),
        "other sizes": on(plain, **OTHER_SIZES),
        "restoring": on(plain, restore_strength=1.0),
        "a video": on(plain, driving_video=lambda parts: parts.video(), total_frames=TOTAL),
        "with sound": on(plain, driving_video=lambda parts: parts.video(sound=True), total_frames=TOTAL),
        "of a cut video": on(plain, driving_video=lambda parts: parts.trimmed()),
        "begun": on(plain, begun=BEGUN),
        "only chunk 1": on(plain, begun=BEGUN, seed=3, only_chunk=1),
        "from chunk 1": on(plain, begun=BEGUN, seed=3, from_chunk=1, total_frames=TOTAL + FRAMES - 1),
        "scail2": on_scail2,
        "masked": on(on_scail2, method=lambda parts: parts.scail2(**masks(parts))),
        "only chunk 0": on(on_scail2, begun=BEGUN, seed=3, only_chunk=0),
    },
    ANIMATE2: {
        "plain": looked_at,
        "in a part": on(looked_at, pose_start_percent=0.1, pose_end_percent=0.9),
    },
    SCAIL2: {
        "plain": looked_at,
        "masked": lambda parts: looked_at(parts) | masks(parts),
        "replacing": lambda parts: looked_at(parts) | other_grounds(parts) | {"replacement_mode": True},
        "in a part": on(looked_at, pose_start=0.1, pose_end=0.9),
    },
}


def runs(name, other, changed, state="plain", **then):
    return Case(LONG_RUN, name, other, changed, state, then)


# What another picture of the person, other footage and another size change.
PERSON = "references known_references concat_latent_image"
FOOTAGE = "footage pose_video_latent"
SIZE = f"{PERSON} {FOOTAGE} concat_mask samples latents last_chunk video"
# What other noise changes: through the frames that are carried on, what the next chunk is told.
MADE_OF_IT = "made_with latents last_chunk"
NOISE = f"seeds {MADE_OF_IT}"
ALL_SAMPLED = " ".join(SAMPLED)
# What becomes of CONDITIONINGs that are divided into parts of the sampling.
ALL_TOLD = " ".join(("text", "negative", *TOLD))
RESTORATION = "known_restore_strength known_restore_schedule correction"
CASES = [
    runs("model", lambda parts: parts.rounded_base("animate2"), "model known_network"),
    runs("vae", lambda parts: parts.vae(brighter=True), "known_vae concat_latent_image pose_video_latent last_chunk"),
    # Wan-Animate 2 is told of it twice, for lack of a prompt for the footage.
    runs("positive", lambda parts: parts.text(2), "text cross_attn_pose prompts"),
    runs("negative", lambda parts: parts.text(2), "negative known_negative", "guided"),
    # Without guidance it has no say, and a run goes on with any.
    runs("negative", lambda parts: parts.text(2), "negative", known_negative=None),
    runs("method", lambda parts: parts.animate2(pose_strength=0.5), "pose_strength known_pose_strength"),
    runs("reference_images", lambda parts: parts.pictures(1, 2), PERSON),
    runs("driving_video", lambda parts: parts.pictures(TOTAL, 2), FOOTAGE),
    runs("driving_video", lambda parts: parts.video(sound=True), "pitch", "a video", pitch=TONES[0]),
    runs(
        *("driving_video", lambda parts: parts.trimmed(), f"{FOOTAGE} sound_start pitch", "with sound"),
        sound_start=CHANGE / FPS,
        pitch=TONES[1],
    ),
    runs("width", 48, f"known_width {SIZE}"),
    runs("height", 32, f"known_height {SIZE}"),
    runs("total_frames", TOTAL - 2, "total_frames last_chunk video"),
    runs("steps", 3, "sigmas known_sigmas"),
    runs("shift", 3.0, "sigmas known_sigmas"),
    runs("cfg", 3.0, "cfg known_cfg", "guided", cfg=[3.0, 3.0], known_cfg=3.0),
    runs("seed", 1, f"{NOISE} concat_latent_image", seeds=[1, 2]),
    runs("run_name", f"{RUN}_2", "place"),
    runs("sampler", lambda parts: parts.sampler(), "sampler known_sampler"),
    runs("sigmas", torch.tensor([1.0, 0.5, 0.0]), "sigmas known_sigmas"),
    runs("prompts", lambda parts: parts.text(2) + parts.text(3), "prompts text cross_attn_pose"),
    # That of the second chunk alone.
    runs("prompts", lambda parts: parts.text(2) + parts.text(4), "prompts text cross_attn_pose", "two prompts"),
    runs(
        "chunk_frames",
        13,
        f"chunk_frames known_chunk_frames {FOOTAGE} concat_latent_image concat_mask samples latents last_chunk encoded "
        "decoded",
        encoded=2 * [["encode", 1], ["encode", 13], ["encode", 13]],
    ),
    runs("continuation", "loop", f"continuation {FOOTAGE}", "short footage"),
    runs("fit", "pad", f"{PERSON} {FOOTAGE}", "other sizes"),
    runs("seed_mode", "fixed", f"{NOISE} known_seed_mode", seeds=[0, 0]),
    runs("seed_mode", "released", f"{NOISE} known_seed_mode", seeds=[0, 42]),
    runs("resume", False, f"resume take encoded decoded {ALL_SAMPLED}", "begun", seeds=[0, 1]),
    runs("seed", 5, f"{NOISE} concat_latent_image", "from chunk 1", seeds=[6, 7], made_with=[0, 6, 7]),
    runs(
        *("from_chunk", 2, f"from_chunk encoded decoded latents made_with {ALL_SAMPLED}", "from chunk 1"),
        seeds=[5],
        made_with=[0, 1, 5],
    ),
    runs("fps", 30.0, "fps video", fps=Fraction(30)),
    runs("fps", 12.5, f"fps {FOOTAGE} video", "a video", fps=Fraction(25, 2)),
    runs("tiled", True, "known_tiled decoded", decoded=[IN_TILES] * 2),
    runs("restore_strength", 1.0, RESTORATION),
    runs("restore_strength", 2.0, "known_restore_strength correction", "restoring"),
    runs("restore_schedule", "fixed", "known_restore_schedule correction", "restoring"),
    # It has no say where nothing is restored.
    runs("restore_schedule", "fixed", ""),
    runs("on_change", "stop", "on_change"),
    # The end of the first chunk is held to the second, the second goes on from the first.
    runs(
        "only_chunk",
        0,
        f"only_chunk {MADE_OF_IT} seeds decoded concat_latent_image concat_mask pose_video_latent samples noise_mask",
        "only chunk 1",
        seeds=[3],
        made_with=[3, 1],
    ),
    # The first of both drifts less here; of chunk 0 the first is taken.
    runs(
        "candidates",
        2,
        f"candidates encoded decoded {ALL_SAMPLED}",
        seeds=[0, CANDIDATE_STEP, 1, 1 + CANDIDATE_STEP],
        made_with=[0, 1],
    ),
    runs(
        "candidates",
        2,
        f"candidates encoded decoded {ALL_SAMPLED}",
        "only chunk 1",
        seeds=[4, 4 + CANDIDATE_STEP],
        made_with=[0, 4],
    ),
    runs("audio", lambda parts: parts.audio(), "sound pitch", pitch=TONES[0]),
    # It replaces the sound of a VIDEO, and begins with the animation where the VIDEO is cut.
    runs("audio", lambda parts: parts.audio(TONES[1]), "sound pitch", "with sound", pitch=TONES[1]),
    runs(
        *("audio", lambda parts: parts.audio(), "sound sound_start pitch", "of a cut video"),
        sound_start=0.0,
        pitch=TONES[0],
    ),
]
# SCAIL-2 encodes all pictures of people, and holds what is carried on in the LATENT that is sampled.
PEOPLE, CARRIED = "references known_references reference_latents", "samples"
CASES += [
    runs("model", lambda parts: parts.rounded_base("scail2"), "model known_network", "scail2"),
    runs(
        "vae",
        lambda parts: parts.vae(brighter=True),
        f"known_vae reference_latents pose_video_latent {CARRIED} latents last_chunk",
        "scail2",
    ),
    runs("positive", lambda parts: parts.text(2), "text prompts", "scail2"),
    runs("method", lambda parts: parts.scail2(pose_strength=0.5), "pose_video_latent known_pose_strength", "scail2"),
    runs("method", lambda parts: parts.scail2(**masks(parts, RED)), "masks driving_mask_28ch", "masked"),
    runs(
        *("reference_images", lambda parts: parts.people(2, 2), f"{PEOPLE} encoded", "scail2"),
        encoded=[["encode", size] for size in (1, 1, 9, 1, 1, 9, 5)],
    ),
    runs("driving_video", lambda parts: parts.pictures(SCAIL2_TOTAL, 2), FOOTAGE, "scail2"),
    runs("width", 32, f"known_width {PEOPLE} {FOOTAGE} {CARRIED} noise_mask latents last_chunk video", "scail2"),
    runs("seed", 1, f"{NOISE} {CARRIED}", "scail2", seeds=[1, 2]),
    runs("restore_strength", 1.0, RESTORATION, "scail2"),
    # The first chunk is held at its end, the second, which is the last one, at its beginning.
    runs(
        "only_chunk",
        1,
        f"only_chunk {MADE_OF_IT} seeds encoded decoded pose_video_latent {CARRIED} noise_mask",
        "only chunk 0",
        seeds=[4],
        made_with=[0, 4],
    ),
]
CASES += cases(
    ANIMATE2,
    (
        "clip_vision_output",
        lambda parts: parts.features(3),
        "clip_vision_output clip_vision_output_pose known_clip_vision_output",
    ),
    ("positive_pose", lambda parts: parts.text(3), "cross_attn_pose known_positive_pose"),
    (
        "clip_vision_output_pose",
        lambda parts: parts.features(3),
        "clip_vision_output_pose known_clip_vision_output_pose",
    ),
    ("pose_strength", 0.5, "pose_strength known_pose_strength"),
    ("pose_start_percent", 0.1, f"{ALL_TOLD} known_pose_start_percent"),
    ("pose_start_percent", 0.2, "start_percent end_percent known_pose_start_percent", "in a part"),
    ("pose_end_percent", 0.9, f"{ALL_TOLD} known_pose_end_percent"),
    ("pose_end_percent", 0.7, "start_percent end_percent known_pose_end_percent", "in a part"),
    ("reference_image_strength", 0.5, "reference_strength known_reference_image_strength"),
)
CASES += cases(
    SCAIL2,
    ("clip_vision_output", lambda parts: parts.features(3), "clip_vision_output known_clip_vision_output"),
    ("replacement_mode", True, "ref_mask_flag known_replacement_mode"),
    ("driving_mask", lambda parts: parts.mask(), "masks driving_mask_28ch"),
    ("driving_mask", lambda parts: parts.mask(colour=RED), "masks driving_mask_28ch", "masked"),
    # A VIDEO of the same pictures.
    ("driving_mask", lambda parts: parts.mask_video(), "", "masked"),
    ("reference_image_mask", lambda parts: parts.mask_of_people(), "ref_mask_28ch known_reference_image_mask"),
    (
        "reference_image_mask",
        lambda parts: parts.mask_of_people(RED),
        "ref_mask_28ch known_reference_image_mask",
        "masked",
    ),
    # It cuts people out of their pictures.
    (
        "reference_image_mask",
        lambda parts: parts.mask_of_people(ground=0.0, wide=True),
        "ref_mask_28ch known_reference_image_mask reference_latents",
        "replacing",
    ),
    ("pose_strength", 0.5, "pose_video_latent known_pose_strength"),
    ("pose_start", 0.1, f"{ALL_TOLD} known_pose_start"),
    ("pose_start", 0.2, "start_percent end_percent known_pose_start", "in a part"),
    ("pose_end", 0.9, f"{ALL_TOLD} known_pose_end"),
    ("pose_end", 0.7, "start_percent end_percent known_pose_end", "in a part"),
)


@pytest.fixture(scope="module")
def changes(comfy):
    around = {ANIMATE2: plain, SCAIL2: on_scail2}

    def facts_of(comfy, node, inputs):
        if node != LONG_RUN:
            inputs = around[node](parts) | {"method": comfy.call(node, **inputs)[0]}
        return run_of(comfy, inputs)

    with torch.inference_mode():
        parts = BaseParts(comfy)
        return Changes(comfy, parts, STATES, facts_of)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_input_changes_what_it_is_for_and_nothing_else(changes, case):
    changed, facts = changes.of(case)
    assert changed == sorted(case.changed.split())
    assert {name: facts[name] for name in case.then} == case.then


def test_every_input_of_every_node_has_a_case(comfy):
    declared = declared_inputs(comfy, LONG_RUN) | declared_inputs(comfy, "EverAnimateMethod")
    assert {(case.node, case.name) for case in CASES} == declared


def test_every_input_that_saved_graphs_know_has_a_case():
    named = {
        (node, word.partition("=")[0].rstrip("?"))
        for node in (LONG_RUN, ANIMATE2, SCAIL2)
        for word in SIGNATURES[node][0].split()
    }
    assert named == {(case.node, case.name) for case in CASES}
