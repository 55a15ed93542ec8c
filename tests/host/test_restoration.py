"""Explicit restoration in the host: around a SAMPLER, on a MODEL and in Animate Long Video, against the core."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern, reference_image, write_video
from graphs import ANCHORS, CHUNKS, SIZE, TOTAL, aligned, condition, first_memory, network_inputs, plan, run_chunks
from kept import takes
from refusals import refusal
from tensor_parts import relative_error
from test_animate import animate, kept_latents, run_folder

STRENGTH, STEPS = 2.0, 4
SAMPLERS = ("euler", "heun", "dpmpp_2m")
TARGETS = ("statistics", "low_frequency")


def half_pose():
    """A pose video that leaves the right half of the picture black."""
    pose = moving_pattern(TOTAL)
    pose[:, :, SIZE // 2 :] = 0
    return pose


def pose_of(drawn, index):
    """The pose frames of one chunk."""
    return half_pose()[drawn.source_indices(index, TOTAL)]


@pytest.fixture(scope="module")
def second(comfy):
    """The second chunk: its model, conditioning, memory and the frames of its pose."""
    with torch.inference_mode():
        model, drawn = aligned(comfy), plan(comfy)
        memory = run_chunks(comfy, model, first_memory(comfy), drawn, count=2, pose_video=half_pose())[1].memory
        chunk = condition(comfy, memory, drawn, 1, pose_video=half_pose())
    return SimpleNamespace(model=model, drawn=drawn, memory=memory, chunk=chunk, pose=pose_of(drawn, 1))


@pytest.fixture
def core(comfy):
    """The core's restoration and sampling."""
    return SimpleNamespace(
        **vars(comfy.module(PACK, "everanimate_core.everanimate.restoration")),
        euler=comfy.module(PACK, "everanimate_core.everanimate.sampling").euler,
    )


def select(comfy, name):
    return comfy.call("KSamplerSelect", sampler_name=name)[0]


def on_sampler(comfy, second, sampler=None, **inputs):
    """The SAMPLER of Restorative Sampler."""
    values = {"memory": second.memory, "strength": STRENGTH, "pose_video": second.pose}
    values |= {} if sampler is None else {"sampler": sampler}
    return comfy.call("EverAnimateRestorativeSampler", **(values | inputs))[0]


def on_model(comfy, second, **inputs):
    """The MODEL of Restore Flow."""
    values = {"model": second.model, "memory": second.memory, "strength": STRENGTH, "pose_video": second.pose}
    return comfy.call("EverAnimateRestoreFlow", **(values | inputs))[0]


def sampled(comfy, model, sampler, chunk, sigmas=None, cfg=1.0):
    """What the host's SamplerCustom makes of a chunk, anchors included."""
    positive, negative, latent = chunk
    sigmas = comfy.call("EverAnimateSigmas", steps=STEPS)[0] if sigmas is None else sigmas
    inputs = {"model": model, "positive": positive, "negative": negative, "sampler": sampler, "sigmas": sigmas}
    (samples, _) = comfy.call("SamplerCustom", add_noise=True, noise_seed=42, cfg=cfg, latent_image=latent, **inputs)
    return samples["samples"]


def by_hand(loop):
    """A SAMPLER whose whole loop is loop(estimate, x, sigmas) -> x, estimate(x, sigma) the host's clean estimate."""
    import comfy.samplers

    def function(model, x, sigmas, extra_args, **_):
        return loop(lambda x, sigma: model(x, sigma.reshape(1), **extra_args), x, sigmas)

    return comfy.samplers.KSAMPLER(function)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_both_nodes_give_equal_latents(comfy, second, name, target):
    plain = select(comfy, name)
    around = sampled(comfy, second.model, on_sampler(comfy, second, plain, target=target), second.chunk)
    patched = sampled(comfy, on_model(comfy, second, target=target), plain, second.chunk)
    assert torch.equal(around, patched)
    assert relative_error(around, sampled(comfy, second.model, plain, second.chunk)) > 1e-3


def test_both_nodes_give_equal_latents_with_guidance(comfy, second):
    positive, _, latent = second.chunk
    _, negative, _ = condition(comfy, second.memory, second.drawn, 1, pose_video=half_pose())
    negative = [[-negative[0][0], negative[0][1]]]
    plain, chunk = select(comfy, "euler"), (positive, negative, latent)
    around = sampled(comfy, second.model, on_sampler(comfy, second), chunk, cfg=2.0)
    assert torch.equal(around, sampled(comfy, on_model(comfy, second), plain, chunk, cfg=2.0))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("schedule", ["gaussian", "sigma_ramp", "fixed", "exact"])
def test_euler_equals_the_core_loop(comfy, second, core, schedule, target):
    correct = core.correction(core.Restoration(STRENGTH, schedule, target), second.memory, second.pose)

    def loop(estimate, x, sigmas):
        def velocity(x, sigma):
            return (x - estimate(x, sigma)) / sigma

        return core.euler(core.restored(velocity, correct), x, sigmas)

    expected = sampled(comfy, second.model, by_hand(loop), second.chunk)
    ours = on_sampler(comfy, second, schedule=schedule, target=target)
    assert relative_error(sampled(comfy, second.model, ours, second.chunk), expected) < 1e-5


def test_heun_is_corrected_at_both_calls_of_a_step(comfy, second, core):
    correct = core.correction(core.Restoration(STRENGTH), second.memory)

    def loop(estimate, x, sigmas):
        def velocity(x, sigma):
            return (x - correct.estimate(estimate(x, sigma), sigma)) / sigma

        for sigma, following in pairwise(sigmas[:-1]):
            v = velocity(x, sigma)
            x = x + (v + velocity(x + v * (following - sigma), following)) / 2 * (following - sigma)
        return x - velocity(x, sigmas[-2]) * sigmas[-2]

    expected = sampled(comfy, second.model, by_hand(loop), second.chunk)
    ours = sampled(comfy, second.model, on_sampler(comfy, second, select(comfy, "heun")), second.chunk)
    assert relative_error(ours, expected) < 1e-5


def test_the_clean_estimate_of_the_first_call(comfy, second):
    """The anchors stay, the chunk moves by strength w sigma (1 - sigma) of its way to the statistics of chunk 0."""
    sigma, seen = torch.tensor(0.5), []

    def one_call(estimate, x, sigmas):
        seen.append(estimate(x, sigma))
        return x

    for model in (second.model, on_model(comfy, second, schedule="fixed")):
        sampled(comfy, model, by_hand(one_call), second.chunk)
    plain, corrected = seen
    assert torch.equal(corrected[:, :, :ANCHORS], plain[:, :, :ANCHORS])
    chunk = plain[:, :, ANCHORS:].double()
    own_mean = chunk.mean(dim=(2, 3, 4), keepdim=True)
    own_spread = (chunk - own_mean).square().mean(dim=(2, 3, 4), keepdim=True).sqrt()
    mean, spread = second.memory.statistics.double().view(2, 1, 16, 1, 1, 1)
    goal = (chunk - own_mean) / own_spread * spread + mean
    expected = chunk + STRENGTH * 0.5 * 0.5 * (goal - chunk)
    torch.testing.assert_close(corrected[:, :, ANCHORS:].double(), expected, rtol=1e-5, atol=1e-5)


def test_ksampler_with_the_patched_model_equals_sampler_custom_with_the_wrapped_sampler(comfy, second):
    positive, negative, latent = second.chunk
    inputs = {"model": on_model(comfy, second), "positive": positive, "negative": negative, "latent_image": latent}
    widgets = {"seed": 42, "steps": STEPS, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    (samples,) = comfy.call("KSampler", **inputs, **widgets)
    (sigmas,) = comfy.call("BasicScheduler", model=second.model, scheduler="simple", steps=STEPS, denoise=1.0)
    around = sampled(comfy, second.model, on_sampler(comfy, second), second.chunk, sigmas)
    assert torch.equal(samples["samples"], around)


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_to_do_gives_back_what_came(comfy, second, target):
    sampler = select(comfy, "euler")
    assert on_sampler(comfy, second, sampler, strength=0.0, target=target) is sampler
    assert on_model(comfy, second, strength=0.0, target=target) is second.model


def test_the_first_chunk_has_no_statistics_to_come_back_to(comfy, second):
    assert on_model(comfy, second, memory=first_memory(comfy)) is second.model
    assert on_model(comfy, second, memory=first_memory(comfy), target="low_frequency") is not second.model


def test_the_model_that_came_is_not_changed(comfy, second):
    plain = select(comfy, "euler")
    before = sampled(comfy, second.model, plain, second.chunk)
    sampled(comfy, on_model(comfy, second), plain, second.chunk)
    sampled(comfy, second.model, on_sampler(comfy, second, plain), second.chunk)
    assert torch.equal(sampled(comfy, second.model, plain, second.chunk), before)


def test_a_pose_video_is_static_where_all_its_frames_are(comfy, second, core):
    from comfy_api.latest import InputImpl

    path = comfy.base / "input" / "static_pose.mov"
    write_video(path, second.pose)
    x0 = torch.randn(1, 16, ANCHORS + 3, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.5])
    restoration = core.Restoration(STRENGTH, "gaussian", "low_frequency")
    expected = core.correction(restoration, second.memory, pose=second.pose)(x0, sigma)
    assert expected.any() and not expected[..., :4].any()
    for pose in (second.pose, InputImpl.VideoFromFile(str(path))):
        ours = on_sampler(comfy, second, target="low_frequency", pose_video=pose).correct
        assert torch.equal(ours(x0, sigma), expected)


def test_a_mask_takes_the_place_of_the_pose(comfy, second, core):
    mask = torch.zeros(2, SIZE, SIZE)
    mask[:, :32] = 1
    mask[1, :8] = 0
    x0 = torch.randn(1, 16, ANCHORS + 3, 8, 8, generator=torch.Generator().manual_seed(0))
    c = on_sampler(comfy, second, target="low_frequency", mask=mask).correct(x0, torch.tensor([0.5]))
    assert c[:, :, ANCHORS:, 1:4].abs().amin(dim=1).min() > 0
    assert not c[..., :1, :].any() and not c[..., 4:, :].any()


def test_sigma_may_lie_on_another_device_than_the_latents(second, core):
    """As in the command line, whose noise levels stay on the CPU; mixed devices are refused on `meta` as on a GPU."""
    x0 = torch.empty(1, 16, ANCHORS + 3, 8, 8, device="meta")
    for target in TARGETS:
        correct = core.correction(core.Restoration(1.0, "gaussian", target), second.memory, second.pose)
        assert correct.estimate(x0, torch.tensor(0.5)).shape == x0.shape


def test_conditioning_of_other_nodes_is_restored_too(comfy, second):
    """It says nothing of anchors, and is not refused for it."""
    *texts, latent = second.chunk
    texts = [[[text, {**values, "model_conds": {}}] for text, values in conditioning] for conditioning in texts]
    plain, chunk = select(comfy, "euler"), (*texts, latent)
    around = sampled(comfy, second.model, on_sampler(comfy, second, plain), chunk)
    assert torch.equal(around, sampled(comfy, on_model(comfy, second), plain, chunk))
    assert relative_error(around, sampled(comfy, second.model, plain, chunk)) > 1e-3


# --- latents that are held


HELD_MASKS = {
    # As nodes of the host write it, and as Set Latent Noise Mask does.
    "of latents": lambda free: free.view(1, 1, -1, 1, 1).expand(-1, -1, -1, 8, 8),
    "of frames": lambda free: free.view(-1, 1, 1).expand(-1, 8, 8),
}


@pytest.mark.parametrize("form", HELD_MASKS)
def test_held_slots_behind_the_anchors_are_neither_measured_nor_corrected(comfy, second, core, form):
    positive, negative, latent = second.chunk
    slots = latent["samples"].shape[2]
    free = torch.ones(slots)
    free[ANCHORS] = 0
    given = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(0))
    chunk = positive, negative, {"samples": given, "noise_mask": HELD_MASKS[form](free).contiguous()}
    plain, patched = select(comfy, "euler"), second.model.clone()
    correct = core.correction(core.Restoration(STRENGTH), second.memory).behind(1)
    patched.set_model_sampler_post_cfg_function(
        lambda arguments: correct.estimate(arguments["denoised"], arguments["sigma"])
    )
    expected = sampled(comfy, patched, plain, chunk)
    assert torch.equal(sampled(comfy, second.model, on_sampler(comfy, second, plain), chunk), expected)
    assert torch.equal(sampled(comfy, on_model(comfy, second), plain, chunk), expected)


def test_held_slots_at_the_end_and_slots_that_are_held_in_part_are_measured(comfy):
    held_slots = comfy.module(PACK, "nodes.sampling").held_slots
    mask = torch.ones(2, 16, 7, 4, 4)
    mask[:, :, 2:4] = 0
    mask[:, :, 6] = 0
    assert [held_slots(mask, leading) for leading in range(8)] == [0, 0, 2, 1, 0, 0, 1, 0]
    for part in ((0, 0, 2, 0, 0), (1, 15, 2, 3, 3)):
        touched = mask.clone()
        touched[part] = 0.1
        assert held_slots(touched, 2) == 0
    assert held_slots(torch.zeros(1, 1, 7, 4, 4), 2) == 5
    assert held_slots(None, 2) == 0


def test_a_given_end_is_measured_as_it_was(comfy, second, core):
    """As Animate Long Video makes one chunk alone."""
    positive, negative, latent = second.chunk
    mask = torch.ones(1, 1, latent["samples"].shape[2], 8, 8)
    mask[:, :, -1] = 0
    given = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(0))
    chunk = positive, negative, {"samples": given, "noise_mask": mask}
    plain, patched = select(comfy, "euler"), second.model.clone()
    correct = core.correction(core.Restoration(STRENGTH), second.memory)
    patched.set_model_sampler_post_cfg_function(
        lambda arguments: correct.estimate(arguments["denoised"], arguments["sigma"])
    )
    expected = sampled(comfy, patched, plain, chunk)
    assert torch.equal(sampled(comfy, second.model, on_sampler(comfy, second, plain), chunk), expected)


# --- errors


def test_low_frequency_must_know_what_is_static(comfy, second):
    for name, node in (("Restorative Sampler", on_sampler), ("Restore Flow", on_model)):
        assert refusal(node, comfy, second, target="low_frequency", pose_video=None) == (
            f"{name}: target low_frequency must be told what is static (a pose_video or a mask); got neither."
        )


def test_a_pose_without_frames(comfy, second):
    message = refusal(on_sampler, comfy, second, target="low_frequency", pose_video=second.pose[:0])
    assert message == "Restorative Sampler: pose_video must have at least 1 frame; got 0."


def test_mask_and_pose_of_another_size(comfy, second):
    message = refusal(on_model, comfy, second, target="low_frequency", mask=torch.ones(1, 32, SIZE))
    assert message == "Restore Flow: mask must be of the animation's size (64x64); got 64x32."
    message = refusal(on_sampler, comfy, second, target="low_frequency", pose_video=moving_pattern(2, size=32))
    assert message == "Restorative Sampler: pose_video must be of the animation's size (64x64); got 32x32."


def test_the_memory_of_another_animation_is_refused_before_sampling(comfy, second):
    other = first_memory(comfy, 2)
    inputs = {"memory": other, "target": "low_frequency"}
    with network_inputs(second.model.model.diffusion_model) as calls:
        for name, model, sampler in (
            ("Restorative Sampler", second.model, on_sampler(comfy, second, **inputs)),
            ("Restore Flow", on_model(comfy, second, **inputs), select(comfy, "euler")),
        ):
            assert refusal(sampled, comfy, model, sampler, second.chunk) == (
                f"{name}: memory must be the one that Condition Chunk was given ([2, 8, 8] anchors, latent height, "
                "width); got a chunk of [4, 8, 8]."
            )
    assert not calls


def of_first_chunk(comfy, second, **inputs):
    """name, model and sampler of both restoring nodes with a first chunk in the place of the memory."""
    values = {"memory": None, "first_chunk": {"samples": torch.randn(1, 16, 7, 8, 8)}} | inputs
    yield "Restorative Sampler", second.model, on_sampler(comfy, second, **values)
    yield "Restore Flow", on_model(comfy, second, **values), select(comfy, "euler")


def test_a_first_chunk_and_the_anchors_of_a_chunk_must_go_together(comfy, second):
    with network_inputs(second.model.model.diffusion_model) as calls:
        for name, model, sampler in of_first_chunk(comfy, second, leading_latents=1):
            assert refusal(sampled, comfy, model, sampler, second.chunk) == (
                f"{name}: leading_latents must be the anchors of this chunk (4); got 1."
            )
        assert not calls
        for _, model, sampler in of_first_chunk(comfy, second, leading_latents=ANCHORS):
            assert sampled(comfy, model, sampler, second.chunk).isfinite().all()
    assert calls


def test_a_model_of_another_vae_is_refused_before_sampling(comfy, second):
    import tiny_models
    from comfy.latent_formats import HunyuanVideo

    text, of_hunyuan = comfy.conditioning(), second.model.clone()
    of_hunyuan.add_object_patch("latent_format", HunyuanVideo())
    for model, latents in ((tiny_models.load_wan22(), "Wan22"), (of_hunyuan, "HunyuanVideo")):
        other = SimpleNamespace(model=model, memory=second.memory, pose=second.pose)
        with network_inputs(model.model.diffusion_model) as calls:
            for name, restored, sampler in of_first_chunk(comfy, other):
                assert refusal(sampled, comfy, restored, sampler, (text, text, second.chunk[2])) == (
                    f"{name}: the sampled model must be one of the Wan 2.1 VAE (Wan2.2-Animate, Wan-Animate 2 or "
                    f"SCAIL-2); got one with {latents} latents."
                )
        assert not calls


# --- Animate Long Video


def newest_take(comfy, run_name):
    return takes(run_folder(comfy, run_name))[-1]


@pytest.mark.parametrize("target", TARGETS)
def test_one_node_equals_the_composable_graph_bit_for_bit(comfy, target):
    model, drawn, memory = aligned(comfy), plan(comfy), first_memory(comfy)
    sigmas, graph = comfy.call("EverAnimateSigmas", steps=2)[0], []
    for index in range(CHUNKS):
        positive, negative, latent = condition(comfy, memory, drawn, index, pose_video=half_pose())
        (sampler,) = comfy.call(
            "EverAnimateRestorativeSampler",
            memory=memory,
            strength=STRENGTH,
            target=target,
            pose_video=pose_of(drawn, index),
        )
        samples, _ = comfy.call(
            "SamplerCustom",
            model=model,
            add_noise=True,
            noise_seed=42 * index,
            cfg=1.0,
            positive=positive,
            negative=negative,
            sampler=sampler,
            sigmas=sigmas,
            latent_image=latent,
        )
        memory, _, latents = comfy.call(
            "EverAnimatePropagate",
            memory=memory,
            plan=drawn,
            chunk_index=index,
            samples=samples,
            vae=comfy.load_vae(),
        )
        graph.append(latents["samples"])

    name = f"restored_{target}"
    animate(comfy, name, model, pose_video=half_pose(), restore_strength=STRENGTH, restore_target=target)
    to_raw = comfy.module(PACK, "nodes.host").to_raw
    for kept, expected in zip(kept_latents(comfy, name), graph, strict=True):
        assert torch.equal(to_raw(kept), expected)


def test_off_is_as_it_was_before_there_was_restoration(comfy):
    """... in the latents, and in the settings on disk, so that a run that was begun then goes on."""
    animate(comfy, "never_restored")
    animate(comfy, "not_restored", restore_strength=0.0, restore_schedule="fixed", restore_target="low_frequency")
    for never, off in zip(kept_latents(comfy, "never_restored"), kept_latents(comfy, "not_restored"), strict=True):
        assert torch.equal(never, off)
    settings = newest_take(comfy, "not_restored").settings
    assert settings == newest_take(comfy, "never_restored").settings
    assert not [name for name in settings if "restor" in name]


def test_another_restoration_opens_a_take(comfy):
    animate(comfy, "strong", restore_strength=STRENGTH)
    before = newest_take(comfy, "strong")
    message = refusal(animate, comfy, "strong", restore_strength=1.0, on_change="stop")
    assert message.endswith("got restore_strength was 2.0 and is 1.0.")
    animate(comfy, "strong")
    animate(comfy, "strong", restore_strength=STRENGTH)
    first, second, third = takes(run_folder(comfy, "strong"))
    assert first == before
    assert not {chunk.key for chunk in first.chunks} & {chunk.key for chunk in second.chunks}
    # Back to what it was: nothing is made again.
    assert third.chunks == first.chunks


def test_the_correction_of_another_chunk_is_refused(comfy, second):
    expected = (
        "Animate Long Video: every chunk has a correction of its own (set restore_strength and connect model and "
        "sampler without it); got one from Restore Flow or Restorative Sampler."
    )
    assert refusal(animate, comfy, "foreign", on_model(comfy, second)) == expected
    assert refusal(animate, comfy, "foreign", sampler=on_sampler(comfy, second)) == expected
    assert not (comfy.base / "output" / "everanimate" / "foreign").exists()


def test_the_diffusers_backend_agrees(comfy):
    """Three chunks with restoration from an independent network with the same weights: latents to 1e-4."""
    pytest.importorskip("diffusers", reason="needs diffusers in COMFYUI_PYTHON (pip install --no-deps diffusers)")
    import tiny_models

    animate(
        comfy,
        "restored_here",
        pose_video=half_pose(),
        clip_source="reference",
        restore_strength=STRENGTH,
        restore_target="low_frequency",
    )
    clip = comfy.clip_vision().encode_image(reference_image(), crop=False)["penultimate_hidden_states"]
    codec = comfy.module(PACK, "nodes.host").HostCodec(comfy.load_vae())

    def core_module(name):
        return comfy.module(PACK, f"everanimate_core.{name}")

    transformer = core_module("backends.wan_checkpoint").load_transformer(
        comfy.base / "models" / "diffusion_models" / tiny_models.MODEL_FILES[torch.float32],
        device="cpu",
        dtype=torch.float32,
    )
    backend = core_module("backends.diffusers_wan").DiffusersWan(
        transformer, codec, comfy.conditioning()[0][0], lambda image: clip
    )
    propagation, drivers = core_module("everanimate.propagation"), core_module("everanimate.drivers")
    sigmas = core_module("everanimate.flow").sigma_schedule(2)
    results = propagation.animate(
        plan(comfy),
        first_memory(comfy),
        lambda request, seed: backend.sample_chunk(request, seed, sigmas=sigmas),
        codec,
        drivers.Drivers(pose=core_module("media.frames").TensorFrames(half_pose())),
        core_module("everanimate.settings").Settings(
            clip_source="reference", restore_strength=STRENGTH, restore_target="low_frequency"
        ),
    )
    for result, ours in zip(results, kept_latents(comfy, "restored_here"), strict=True):
        assert relative_error(ours, result.latents) < 1e-4
