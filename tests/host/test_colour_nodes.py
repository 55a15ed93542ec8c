"""The nodes of LongAnimation at tiny size: blocks and the one node give the same, and what is wrong is refused."""

from functools import partial

import numpy as np
import pytest
import torch
from base_folder import PACK
from kept import latents_of
from refusals import refusal
from tiny_colour import FRAMES, LINES, OVERLAP, SHORT, SIZE, STEPS, TOTAL, hidden, of, tiny_inputs, write_networks

from everanimate_core.latents import preview_map

pytest.importorskip("diffusers", reason="needs diffusers in COMFYUI_PYTHON (pip install --no-deps diffusers)")
__all__ = ["hidden"]


@pytest.fixture(scope="module")
def nodes(comfy):
    pytest.importorskip("comfy.ldm.cogvideo", reason="this host has no CogVideoX")
    return comfy.module(PACK, "nodes.longanimation")


@pytest.fixture(scope="module")
def long(comfy, nodes):
    """The module of the one node."""
    return comfy.module(PACK, "nodes.longanimation_animate")


@pytest.fixture(scope="module")
def parts(comfy, nodes, tmp_path_factory):
    """Model, SketchDiT, VAE, prompts and pictures, with random weights."""
    import colour_parts

    folder = tmp_path_factory.mktemp("cog")
    write_networks(folder, base=colour_parts.base_network(), sketch=colour_parts.sketch_network())
    return tiny_inputs(comfy, folder, colour_parts.vae())


def values(output):
    return output.result if hasattr(output, "result") else output


def blocks(nodes, parts):
    """The animation by Plan, Condition, Apply, Sampler and Finish, with the noise that the one node takes."""
    from comfy.sample import sample_custom
    from comfy.samplers import calculate_sigmas

    plan, count, total = values(nodes.LongAnimationPlan.execute(0, FRAMES, OVERLAP, parts["lineart"]))
    assert (count, total) == (3, TOTAL)
    sigmas = calculate_sigmas(parts["model"].get_model_object("model_sampling"), "simple", STEPS)
    state, frames = None, []
    for index in range(count):
        positive, negative, latent, window = values(
            nodes.LongAnimationCondition.execute(
                **of(parts, "positive", "negative", "vae", "lineart", "reference"),
                plan=plan,
                window_index=index,
                previous=state,
                **SIZE,
                **LINES,
            )
        )
        (model,) = values(
            nodes.LongAnimationApply.execute(
                **of(parts, "model", "control"), window=window, strength=0.5, blocks="full"
            )
        )
        sampler, ends = values(nodes.LongAnimationSampler.execute(window, plan, **SHORT))
        shape = latent["samples"].shape
        noise = torch.randn(1, shape[2], 16, *shape[3:], generator=torch.Generator().manual_seed(5)).transpose(1, 2)
        samples = sample_custom(
            model, noise, 2.0, sampler, sigmas, positive, negative, latent["samples"], disable_pbar=True, seed=5
        )
        state, images, own = values(
            nodes.LongAnimationFinish.execute(ends, plan, index, {"samples": samples}, parts["vae"], False)
        )
        assert own["samples"].shape[2] == shape[2] - 1
        frames.append(images)
    return torch.cat(frames)


def animate(long, parts, **changes):
    inputs = {
        **{name: value for name, value in parts.items()},
        **SIZE,
        **LINES,
        **SHORT,
        "total_frames": 0,
        "cfg": 2.0,
        "seed": 5,
        "window_frames": FRAMES,
        "overlap": OVERLAP,
        "blocks": "full",
        "run_name": "coloured",
    }
    return values(long.LongAnimationAnimate.execute(**(inputs | changes)))


def test_the_hosts_sampler_gives_out_the_clean_estimate(comfy, nodes, parts):
    plan = values(nodes.LongAnimationPlan.execute(0, FRAMES, OVERLAP, parts["lineart"]))[0]
    inputs = of(parts, "positive", "negative", "vae", "lineart", "reference")
    told = nodes.LongAnimationCondition.execute(**inputs, plan=plan, window_index=0, **SIZE, **LINES)
    positive, negative, latent, window = values(told)
    sampled, clean = comfy.call(
        "SamplerCustom",
        model=parts["model"],
        add_noise=True,
        noise_seed=3,
        cfg=1.0,
        positive=positive,
        negative=negative,
        sampler=values(nodes.LongAnimationSampler.execute(window, plan, **SHORT))[0],
        sigmas=comfy.call("BasicScheduler", model=parts["model"], scheduler="simple", steps=STEPS, denoise=1.0)[0],
        latent_image=latent,
    )
    # After the last step the state is its clean estimate, the reference's slot included.
    assert torch.equal(sampled["samples"], clean["samples"])
    assert sampled["samples"].shape == window.latents_shape


def test_blocks_and_the_one_node_give_the_same(nodes, long, parts):
    expected = blocks(nodes, parts)
    assert len(expected) == TOTAL
    video, last, _ = animate(long, parts)
    plan = values(nodes.LongAnimationPlan.execute(0, FRAMES, OVERLAP, parts["lineart"]))[0]
    span = plan.output_range(2)
    assert torch.equal(last, expected[span.start : span.stop])
    components = video.get_components()
    assert components.images.shape == expected.shape
    # A second start makes nothing.
    again = animate(long, parts)
    assert torch.equal(again[1], last)


def test_previews_show_every_window_in_the_colours_of_the_reference(comfy, long, parts):
    import comfy.utils as host_utils
    from comfy.cli_args import LatentPreviewMethod, args

    shown = []
    method, args.preview_method = args.preview_method, LatentPreviewMethod.Latent2RGB
    host_utils.set_progress_bar_global_hook(lambda value, total, preview, **_: shown.append((value, total, preview)))
    try:
        animate(long, parts, run_name="previewed", total_frames=FRAMES, fuse=False)
        reference = comfy.module(PACK, "nodes.cogvideo").CogHostCodec(parts["vae"]).encode(parts["reference"])
        factors, bias = preview_map(0.7 * reference[0, :, 0], parts["reference"][0])
    finally:
        args.preview_method = method
        host_utils.set_progress_bar_global_hook(None)
    pictures = [preview for _, _, preview in shown if preview is not None]
    assert len(pictures) == STEPS
    (kept,) = latents_of(comfy.base / "output" / "everanimate" / "previewed")
    # The last one is of the window's first latent as it is kept, behind the reference's slot.
    colours = torch.einsum("chw,cr->hwr", 0.7 * kept[0, :, 0], factors) + bias
    seen = torch.from_numpy(np.array(pictures[-1][1])).float() / 255
    assert (seen - (colours / 2 + 0.5).clamp(0, 1)).abs().max() < 0.01


def test_what_is_wrong_is_said_before_sampling(nodes, long, parts):
    message = refusal(animate, long=long, parts=parts, run_name="bad", lineart=parts["lineart"][:, :, :32])
    assert message == "Colour Long Animation: the frames must be 64x48 (or fit stretch, crop or pad); got 32x48."
    message = refusal(animate, long=long, parts=parts, run_name="bad", steps=2)
    assert "fuse_from must be below steps (2)" in message
    message = refusal(animate, long=long, parts=parts, run_name="bad", blocks="0-9")
    assert "blocks must lie between 0 and 3 in this network (0-3:2); got 0-9." in message
    long_text = [[torch.zeros(1, 227, 48), {}]]
    message = refusal(animate, long=long, parts=parts, run_name="bad", negative=long_text)
    assert message == "Colour Long Animation: negative must have at most 226 tokens (about 150 words); got 227."
    condition = nodes.LongAnimationCondition.execute
    plan = values(nodes.LongAnimationPlan.execute(0, FRAMES, OVERLAP, parts["lineart"]))[0]
    inputs = of(parts, "positive", "negative", "vae", "lineart", "reference") | {"plan": plan} | SIZE | LINES
    rule = "Condition Window: previous must come from window 0 for window_index 1 (its Finish Window)"
    assert refusal(condition, window_index=1, **inputs) == f"{rule}; got nothing."
    handed = nodes.Handed(1, plan, {})
    assert refusal(condition, window_index=1, previous=handed, **inputs) == f"{rule}; got what window 1 handed on."
    assert refusal(condition, window_index=0, previous=handed, **inputs) == (
        "Condition Window: previous must not be connected for window_index 0; got what window 1 handed on."
    )
    longer = values(nodes.LongAnimationPlan.execute(40, FRAMES, OVERLAP))[0]
    assert refusal(condition, window_index=1, previous=nodes.Handed(0, longer, {}), **inputs) == (
        f"Condition Window: plan must be that of the window before (40 frames, window_frames {FRAMES}, overlap "
        f"{OVERLAP}); got 30 frames, window_frames {FRAMES}, overlap {OVERLAP}."
    )
    assert refusal(condition, window_index=3, **inputs) == (
        "Condition Window: window_index must be between 0 and 2 (3 windows make 30 frames); got 3."
    )
    window = values(condition(window_index=0, **inputs))[3]
    apply = partial(refusal, nodes.LongAnimationApply.execute, **of(parts, "model", "control"))
    told = partial(nodes.Remembered, memory=torch.zeros(2, 3, 9, 512), by=None, seen=None, held=None)
    assert apply(window=window, strength=0.5, blocks="full", la_memory=told(0)) == (
        "Apply SketchDiT: control must come with a DGLM where there is a memory (memory_file of Load LongAnimation); "
        "got SketchDiT alone."
    )
    assert apply(window=window, strength=0.5, blocks="full", la_memory=told(1)) == (
        "Apply SketchDiT: la_memory must be of window 0 (its own memory); got one of window 1."
    )
    # What overlap serves depends on the length of the windows.
    longer = values(nodes.LongAnimationPlan.execute(300, 161, 97))[0]
    assert len(values(nodes.LongAnimationSampler.execute(window, longer, **SHORT))) == 2
    other, ends = values(nodes.LongAnimationSampler.execute(window, plan, 6, True, 2))
    finish, whole = nodes.LongAnimationFinish.execute, {"samples": torch.zeros(window.latents_shape)}
    said = partial(refusal, finish, plan=plan, vae=parts["vae"], tiled=False)
    assert said(ends=ends, window_index=1, samples=whole) == (
        "Finish Window: ends must be of window 1 (its LongAnimation Sampler); got 0."
    )
    assert said(ends=ends, window_index=0, samples=whole) == (
        "Finish Window: ends must come from the sampler that made the samples (its LongAnimation Sampler); got those "
        "of one that has not run."
    )
    without = values(nodes.LongAnimationSampler.execute(window, plan, 6, False, 2))[1]
    short = {"samples": whole["samples"][:, :, 1:]}
    assert said(ends=without, window_index=0, samples=short) == (
        "Finish Window: samples must be as long as Condition Window's latent, 6 latent frames ([1, 16, 6, 6, 8]); got "
        "[1, 16, 5, 6, 8]."
    )
    other_window = whole | {"everanimate_index": 1}
    assert said(ends=without, window_index=0, samples=other_window) == (
        "Finish Window: samples must be of window 0 (those of its own sampler); got window 1."
    )
    assert values(finish(without, plan, -1, whole, parts["vae"], False))[0] == nodes.Handed(0, plan, {})
    from comfy.sample import sample_custom

    with pytest.raises(ValueError, match=r"^LongAnimation Sampler: steps must be those of the scheduler \(4\); got 6"):
        sample_custom(
            parts["model"], torch.zeros(window.latents_shape), 1.0, other, torch.linspace(9, 0, 5), parts["positive"],
            parts["negative"], torch.zeros(window.latents_shape), disable_pbar=True, seed=0,
        )  # fmt: skip
