"""What Long Run and its methods refuse, in whose words, before anything is sampled or written."""

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image
from long_runs import knows_the_bases, long_run, method, run_folder, total
from native_chain import ANIMATE2, FRAMES, SCAIL2, SIZE, palette_mask
from refusals import refusal
from test_animate import animate
from test_refusals import BAD, NUMBERS, spoiled

__all__ = ["knows_the_bases"]
COLOURS = "blue, red, green, magenta, cyan or yellow at full brightness"
AS_THE_HOST = "as Create SCAIL-2 Colored Mask makes it in that mode"
with_bases = pytest.mark.usefixtures("knows_the_bases")


def refused(comfy, base, frames=None, **inputs):
    """What Long Run says; nothing was begun."""
    said = refusal(long_run, comfy, base, "refused", frames or total(base, 2), **inputs)
    assert not run_folder(comfy, "refused").exists()
    assert said.startswith("Long Run: ")
    return said.removeprefix("Long Run: ")


@pytest.mark.parametrize("base", [ANIMATE2, SCAIL2], ids=lambda base: base.name)
def test_an_older_host_is_named(comfy, base):
    if base.node in comfy.nodes:
        pytest.skip("this host knows the bases")
    title = {"animate2": "Wan-Animate 2", "scail2": "SCAIL-2"}[base.name]
    expected = f"{title} Method: needs ComfyUI 0.31 or newer; got one without {base.node}."
    assert refusal(comfy.call, base.method) == expected


@with_bases
def test_another_base_is_named_by_its_class(comfy):
    said = refused(comfy, ANIMATE2, model=comfy.load_base("scail2"))
    assert said == "model must be Wan-Animate 2 (the host's class WAN_Animate2); got WAN21_SCAIL2."
    said = refused(comfy, SCAIL2, model=comfy.load_model())
    assert said == "model must be SCAIL-2 (the host's class WAN21_SCAIL2); got WAN22_Animate."


@with_bases
@pytest.mark.parametrize("base", [ANIMATE2, SCAIL2], ids=lambda base: base.name)
def test_a_network_that_looks_at_clip_features_needs_them(comfy, base):
    said = refused(comfy, base, method=comfy.call(base.method)[0])
    assert said == "method must have a clip_vision_output for this model (CLIP Vision Encode); got none."


@with_bases
def test_lengths_of_chunks(comfy):
    said = refused(comfy, ANIMATE2, chunk_frames=16)
    assert said == "chunk_frames must be 4n + 1, such as 13 or 17; got 16."
    said = refused(comfy, SCAIL2, chunk_frames=5)
    assert said == "chunk_frames must be larger than the 5 frames that SCAIL-2 carries on (81); got 5."


@with_bases
def test_sizes(comfy):
    said = refused(comfy, SCAIL2, width=80)
    assert said == "width must be a multiple of 32 for SCAIL-2 (64 or 96); got 80."
    said = refused(comfy, SCAIL2, height=16)
    assert said == "height must be a multiple of 32 for SCAIL-2 (32); got 16."
    said = refused(comfy, ANIMATE2, width=72)
    assert said == "width must be a multiple of 16 (832); got 72."


@with_bases
def test_the_number_of_pictures_and_of_their_masks(comfy):
    two = torch.cat([reference_image(SIZE)] * 2)
    said = refused(comfy, ANIMATE2, reference_images=two)
    assert said == "reference_images must be one picture for Wan-Animate 2; got 2."
    one_mask = method(comfy, SCAIL2, reference_image_mask=palette_mask(1, SIZE, ground=1.0))
    said = refused(comfy, SCAIL2, reference_images=two, method=one_mask)
    assert said == "reference_image_mask must have one mask for each of reference_images; got 1 for 2."


@with_bases
def test_a_mask_video_of_another_length(comfy):
    frames = total(SCAIL2, 2)
    how = method(comfy, SCAIL2, driving_mask=palette_mask(frames - 1, SIZE // 2))
    said = refused(comfy, SCAIL2, method=how)
    rule = "driving_mask must have as many frames as driving_video (made from the same video)"
    assert said == f"{rule}; got {frames - 1} and {frames}."


@with_bases
@pytest.mark.parametrize("mask", ["black", "dim"])
def test_a_mask_without_a_person(comfy, mask):
    masks = palette_mask(total(SCAIL2, 2), SIZE // 2, colour=(0, 0, 0.0 if mask == "black" else 0.8))
    said = refused(comfy, SCAIL2, method=method(comfy, SCAIL2, driving_mask=masks))
    assert said == f"driving_mask must show a person in the first {FRAMES} frames ({COLOURS}); got none."


@with_bases
def test_the_ground_of_masks(comfy):
    white = palette_mask(total(SCAIL2, 2), SIZE // 2, ground=1.0)
    said = refused(comfy, SCAIL2, method=method(comfy, SCAIL2, driving_mask=white))
    rule = "driving_mask must be black where nobody is, with replacement_mode off"
    assert said == f"{rule} ({AS_THE_HOST}); got white."
    black = palette_mask(total(SCAIL2, 2), SIZE // 2)
    said = refused(comfy, SCAIL2, method=method(comfy, SCAIL2, driving_mask=black, replacement_mode=True))
    rule = "driving_mask must be white where nobody is, with replacement_mode on"
    assert said == f"{rule} ({AS_THE_HOST}); got black."
    picture = palette_mask(1, SIZE)
    said = refused(comfy, SCAIL2, method=method(comfy, SCAIL2, reference_image_mask=picture))
    rule = "reference_image_mask must be white where nobody is, with replacement_mode off"
    assert said == f"{rule} ({AS_THE_HOST}); got black."


@with_bases
def test_a_part_of_the_sampling_that_ends_before_it_begins(comfy):
    said = refusal(method, comfy, ANIMATE2, pose_start_percent=0.5, pose_end_percent=0.4)
    rule = "pose_start_percent must not be greater than pose_end_percent (0..0.4)"
    assert said == f"Wan-Animate 2 Method: {rule}; got 0.5."
    said = refusal(method, comfy, SCAIL2, pose_start=1.0, pose_end=0.4)
    assert said == "SCAIL-2 Method: pose_start must not be greater than pose_end (0..0.4); got 1.0."


@with_bases
def test_pictures_that_are_no_numbers(comfy):
    said = refused(comfy, ANIMATE2, reference_images=spoiled(reference_image(SIZE)))
    assert said.startswith(f"reference_images {NUMBERS}")
    said = refused(comfy, SCAIL2, driving_video=spoiled(SCAIL2.footage(total(SCAIL2, 2)), torch.inf))
    assert said.startswith(f"driving_video {NUMBERS}")
    said = refusal(method, comfy, SCAIL2, driving_mask=spoiled(palette_mask(total(SCAIL2, 2), SIZE // 2)))
    assert said.startswith(f"SCAIL-2 Method: driving_mask {NUMBERS}")
    said = refusal(method, comfy, SCAIL2, reference_image_mask=spoiled(palette_mask(1, SIZE, ground=1.0)))
    assert said.startswith(f"SCAIL-2 Method: reference_image_mask {NUMBERS}")


# Of what every node that makes a video is given.
OF_EVERY_RUN = [kind for kind in BAD if kind not in ("reference", "pose", "face", "background", "mask")]


@with_bases
@pytest.mark.parametrize("kind", OF_EVERY_RUN)
def test_settings_and_noise_levels_that_are_no_numbers(comfy, kind):
    inputs, rule = BAD[kind]
    assert refused(comfy, ANIMATE2, **inputs()).startswith(rule)


@with_bases
def test_another_vae(comfy):
    (other,) = comfy.call("VAELoader", vae_name="pixel_space")
    assert refused(comfy, ANIMATE2, vae=other).startswith("vae must be the Wan 2.1 video VAE")


@with_bases
def test_a_driving_video_that_is_too_short_where_nothing_continues_it(comfy):
    said = refused(comfy, ANIMATE2, frames=9, total_frames=20, continuation="error")
    rule = "driving_video must have at least 20 frames when continuation is 'error'"
    assert said == f"{rule} (choose pingpong, loop or hold to continue a shorter one); got 9."


@with_bases
def test_a_sampler_that_restores_already(comfy):
    euler = comfy.call("KSamplerSelect", sampler_name="euler")[0]
    restored = comfy.module(PACK, "nodes.sampling").RestoredSampler("Restorative Sampler", euler, None)
    assert refused(comfy, ANIMATE2, sampler=restored).startswith("every chunk has a correction of its own")


@with_bases
def test_the_run_of_another_method(comfy):
    animate(comfy, "of_everanimate", pose_video=moving_pattern(9))
    with pytest.raises(ValueError, match="is one of another method"):
        long_run(comfy, ANIMATE2, "of_everanimate", 17)
    long_run(comfy, ANIMATE2, "of_animate2", 17)
    with pytest.raises(ValueError, match=r"got scail-2 \(was wan-animate-2\)"):
        long_run(comfy, SCAIL2, "of_animate2", 17)
