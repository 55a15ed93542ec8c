"""The memory of the video in the host: Video-XL, Remember Frames, and Colour Long Animation with both."""

import json
from types import SimpleNamespace

import pytest
import torch
from base_folder import PACK
from kept import latents_of
from refusals import refusal
from tensor_parts import rand, relative_error
from tiny_colour import (
    FRAMES,
    HEIGHT,
    LINES,
    OVERLAP,
    SHORT,
    SIZE,
    STEPS,
    TOTAL,
    WIDTH,
    hidden,
    of,
    tiny_inputs,
    write_networks,
)

pytest.importorskip("diffusers", reason="needs diffusers in COMFYUI_PYTHON (pip install --no-deps diffusers)")
__all__ = ["hidden"]
# In the second window some frames are left out or forgotten; three fill a window of the video model.
MEMORY = {"memory_frames": 20, "local_frames": 4, "memory_append": False}
SETTINGS = [MEMORY, MEMORY | {"memory_append": True}, MEMORY | {"memory_frames": 0}, MEMORY | {"local_frames": 0}]


@pytest.fixture(scope="module")
def nodes(comfy):
    """The modules of the nodes."""
    pytest.importorskip("comfy.ldm.cogvideo", reason="this host has no CogVideoX")
    names = "longanimation", "longanimation_animate", "video_memory", "cogvideo", "toy", "fingerprint", "host"
    return SimpleNamespace(**{name: comfy.module(PACK, f"nodes.{name}") for name in names})


@pytest.fixture(scope="module")
def core_model():
    """Video-XL with tiny random weights, in the core."""
    from video_model_parts import video_model

    return video_model()


@pytest.fixture(scope="module")
def networks():
    """CogVideoX, SketchDiT, a DGLM that reads the memory of the tiny Video-XL, and the VAE."""
    import colour_parts

    from everanimate_core.longanimation.dglm import DglmSizes

    sizes = DglmSizes(width=128, kv=32, narrow=12, wide=24, inner=192)
    return {
        "base": colour_parts.base_network(),
        "sketch": colour_parts.sketch_network(),
        "dglm": colour_parts.dglm_network(sizes=sizes),
        "vae": colour_parts.vae(),
    }


@pytest.fixture(scope="module")
def files(nodes, networks, core_model, tmp_path_factory):
    """The folder with their files."""
    from everanimate_core.longanimation.video_files import write_video_model

    folder = tmp_path_factory.mktemp("memory")
    write_networks(folder, **networks)
    write_video_model(folder / "video_xl.safetensors", core_model.state_dict(), core_model.settings)
    return folder


def loaded(nodes, files, dtype=None):
    """The tiny Video-XL in the host."""
    return nodes.video_memory.load_video_model(str(files / "video_xl.safetensors"), dtype)


@pytest.fixture(scope="module")
def parts(comfy, nodes, files, networks):
    """Inputs of Colour Long Animation."""
    found = tiny_inputs(comfy, files, networks["vae"], str(files / "dglm.safetensors"))
    return found | {"video_model": loaded(nodes, files)}


def core_memory(core_model, settings):
    """The same memory in the core."""
    from everanimate_core.longanimation.settings import MemorySettings
    from everanimate_core.longanimation.video_memory import MemoryOfVideo

    return MemoryOfVideo(core_model, MemorySettings(**settings))


# --- Video-XL as the host loads it


def test_the_loaded_network_is_the_cores(nodes, files, core_model):
    from video_model_parts import frames

    crops = core_model.crops(frames(7))
    expected = core_model.memory(crops)
    assert torch.equal(loaded(nodes, files).patcher.model.memory(crops), expected)


@pytest.mark.parametrize(
    ("weight_dtype", "stored", "near"),
    [
        ("default", torch.float32, 0),
        ("bf16", torch.bfloat16, 0.02),
        ("fp16", torch.float16, 0.01),
        ("fp8_e4m3fn", torch.float8_e4m3fn, 0.2),
    ],
)
def test_weights_of_other_number_types(nodes, comfy, files, core_model, weight_dtype, stored, near):
    """They are cast to what the CPU computes in. Norms and biases stay as they are."""
    from video_model_parts import frames

    crops = core_model.crops(frames(7))
    path = comfy.base / "models" / "text_encoders" / "memory_dtype.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((files / "video_xl.safetensors").read_bytes())
    (model,) = comfy.call("LongAnimationLoadVideoMemory", file=path.name, weight_dtype=weight_dtype)
    network = model.patcher.model
    kinds = {value.dtype for value in network.parameters() if value.ndim > 1}
    assert kinds == {stored}
    assert {value.dtype for value in network.parameters() if value.ndim == 1} == {torch.float32}
    memory = model.memory(core_memory(core_model, MEMORY).settings).remember(crops)[0]
    expected = core_memory(core_model, MEMORY).remember(crops)[0]
    assert memory.dtype == torch.float32
    assert relative_error(memory, expected) <= near


def test_weights_are_read_where_the_host_loads_on_demand(nodes, files, core_model, monkeypatch):
    """Its layers have no weights then until they are read."""
    memory_management = pytest.importorskip("comfy.memory_management", reason="this host does not load on demand")
    from video_model_parts import frames

    crops = core_model.crops(frames(3))
    with monkeypatch.context() as patch:
        patch.setattr(memory_management, "aimdo_enabled", True)
        model = loaded(nodes, files)
    assert not any(value.is_meta for value in model.patcher.model.parameters())
    assert torch.equal(model.patcher.model.memory(crops), core_model.memory(crops))


def test_a_large_limit_asks_for_no_more_room_than_the_released_one(nodes, files, monkeypatch):
    import comfy.model_management as management

    from everanimate_core.longanimation.settings import MemorySettings

    model, asked = loaded(nodes, files), []
    monkeypatch.setattr(management, "load_models_gpu", lambda _, memory_required: asked.append(memory_required))
    for frames in (10, 650, 100_000):
        model.memory(MemorySettings(memory_frames=frames)).working()
    # Keys and values of five layers in float32, two beacons of a frame; the local memory is of 20 frames.
    room = 4 * (2 * 5 * 2 * 32 * 4)
    assert asked == [20 * room, 650 * room, 650 * room]


def test_its_digest_is_of_its_weights(nodes, files, core_model):
    digest = nodes.fingerprint.network_digest
    model = loaded(nodes, files)
    plain = digest(model.patcher)
    memory = model.memory(core_memory(core_model, MEMORY).settings)
    memory.remember(torch.zeros(3, 32, 32, 3, dtype=torch.uint8))
    assert digest(model.patcher) == plain == digest(loaded(nodes, files).patcher)
    assert digest(loaded(nodes, files, torch.float16).patcher) != plain


def test_cancel_ends_the_remembering(nodes, files, core_model):
    import comfy.model_management as management

    model = loaded(nodes, files)
    memory = model.memory(core_memory(core_model, MEMORY).settings)
    crops, seen = torch.zeros(17, 32, 32, 3, dtype=torch.uint8), []

    def cancelled(*_):
        seen.append(1)
        management.interrupt_current_processing(True)

    hook = model.patcher.model.vision.register_forward_hook(cancelled)
    try:
        with pytest.raises(management.InterruptProcessingException):
            memory.remember(crops)
    finally:
        management.interrupt_current_processing(False)
        hook.remove()
    assert len(seen) == 1
    assert torch.equal(memory.remember(crops)[0], core_memory(core_model, MEMORY).remember(crops)[0])


def test_files_that_are_no_video_model(nodes, comfy, files):
    folder = comfy.base / "models" / "text_encoders"
    folder.mkdir(exist_ok=True)
    whole = (files / "video_xl.safetensors").read_bytes()
    contents = {
        "foreign": (files / "sketch.safetensors").read_bytes(),
        "truncated": whole[: len(whole) // 2],
    }
    for name, content in contents.items():
        (folder / f"{name}.safetensors").write_bytes(content)
    torch.save({"weight": torch.zeros(2)}, folder / "pickled.safetensors")
    said = {
        name: refusal(comfy.call, node_id="LongAnimationLoadVideoMemory", file=f"{name}.safetensors")
        for name in (*contents, "pickled")
    }
    way = "make it with `everanimate longanimation convert --video-xl`"
    rule = f"Load Video-XL: file must be Video-XL, converted ({way}); got {folder}"
    broken = f"{rule}/truncated.safetensors, which is not a complete safetensors file: "
    assert said.pop("truncated").startswith(broken)
    assert said == {
        "foreign": f"{rule}/foreign.safetensors, which says nothing of 'video_xl'.",
        "pickled": f"{rule}/pickled.safetensors, which is a pickle file and is not opened, as it can run code.",
    }


def test_an_older_host_is_told_what_it_lacks(comfy, core_model):
    try:
        import comfy.ldm.cogvideo
    except ImportError:
        from everanimate_core.longanimation.video_files import write_video_model

        path = comfy.base / "models" / "text_encoders" / "older.safetensors"
        path.parent.mkdir(exist_ok=True)
        write_video_model(path, core_model.state_dict(), core_model.settings)
        said = "ComfyUI must be 0.21 or newer, which has CogVideoX; got an older one."
        found = refusal(comfy.call, node_id="LongAnimationLoadVideoMemory", file=path.name)
        assert found == f"Load Video-XL: {said}"
        return
    pytest.skip("this host has CogVideoX")


# --- Remember Frames


def plan_of(nodes, parts):
    return nodes.longanimation.LongAnimationPlan.execute(0, FRAMES, OVERLAP, parts["lineart"]).result[0]


def remember(nodes, parts, images, state, previous=None, **changes):
    inputs = MEMORY | {"video_model": parts["video_model"], "images": images, "state": state} | changes
    return nodes.video_memory.LongAnimationMemory.execute(**inputs, previous=previous).result[0]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_a_chain_remembers_what_the_core_remembers_of_all_frames_so_far(nodes, parts, core_model, settings):
    from video_model_parts import frames

    plan, images = plan_of(nodes, parts), frames(TOTAL, HEIGHT, WIDTH)
    memory, previous = core_memory(core_model, settings), None
    for index in range(3):
        span = plan.output_range(index)
        state = nodes.longanimation.Handed(index, plan, {})
        previous = remember(nodes, parts, images[span.start : span.stop], state, previous, **settings)
        assert previous.index == index + 1
        assert torch.equal(previous.memory, memory.remember(memory.model.crops(images[: span.stop]))[0])


def test_what_cannot_be_remembered(nodes, parts, files):
    plan, images = plan_of(nodes, parts), rand(TOTAL, HEIGHT, WIDTH, 3, seed=5)
    states = [nodes.longanimation.Handed(index, plan, {}) for index in range(3)]

    def said(index, count, previous=None, **changes):
        call = nodes.video_memory.LongAnimationMemory.execute
        inputs = MEMORY | {"video_model": parts["video_model"], "state": states[index]} | changes
        return refusal(call, images=images[:count], previous=previous, **inputs)

    assert said(0, 3) == (
        "Remember Frames: images must be the 17 that window 0 adds (images of its Finish Window); got 3."
    )
    assert said(2, 8) == (
        "Remember Frames: images must be the 5 that window 2 adds (images of its Finish Window); got 8."
    )
    first = remember(nodes, parts, images[:17], states[0])
    second = remember(nodes, parts, images[17:25], states[1], first)
    rule = "Remember Frames: previous must be the memory of window 1 (what its Apply SketchDiT was given)"
    assert said(1, 8) == f"{rule}; got none."
    assert said(1, 8, second) == f"{rule}; got that of window 2."
    assert said(0, 17, first) == (
        "Remember Frames: previous must not be connected where images are of window 0; got the memory of window 1."
    )
    by_others = "Remember Frames: previous must be by the same video_model and settings; got one by others."
    assert said(1, 8, first, local_frames=5) == by_others
    assert said(1, 8, first, video_model=loaded(nodes, files)) == by_others
    assert said(0, 17, memory_frames=0, local_frames=0) == (
        "Remember Frames: memory_frames and local_frames must not both be 0 (650 and 20); got 0 and 0."
    )
    broken = images.clone()
    broken[3, 0, 0, 0] = float("nan")
    message = refusal(remember, nodes=nodes, parts=parts, images=broken[:17], state=states[0])
    assert message.startswith("Remember Frames: images must")


# --- Colour Long Animation


def blocks(nodes, parts, settings):
    """The animation by Plan, Condition, Apply, Sampler, Finish and Remember: latents and frames of each window."""
    from comfy.sample import sample_custom
    from comfy.samplers import calculate_sigmas

    long, plan = nodes.longanimation, plan_of(nodes, parts)
    sigmas = calculate_sigmas(parts["model"].get_model_object("model_sampling"), "simple", STEPS)
    state, told, made = None, None, []
    for index in range(plan.chunk_count):
        told_of = of(parts, "positive", "negative", "vae", "lineart", "reference")
        positive, negative, latent, window = long.LongAnimationCondition.execute(
            **told_of, plan=plan, window_index=index, previous=state, **SIZE, **LINES
        ).result
        (model,) = long.LongAnimationApply.execute(
            **of(parts, "model", "control"), window=window, strength=0.5, blocks="full", la_memory=told
        ).result
        sampler, ends = long.LongAnimationSampler.execute(window, plan, **SHORT).result
        shape = latent["samples"].shape
        noise = torch.randn(1, shape[2], 16, *shape[3:], generator=torch.Generator().manual_seed(5)).transpose(1, 2)
        samples = sample_custom(
            model, noise, 2.0, sampler, sigmas, positive, negative, latent["samples"], disable_pbar=True, seed=5
        )
        state, images, own = long.LongAnimationFinish.execute(
            ends, plan, index, {"samples": samples}, parts["vae"], False
        ).result
        told = remember(nodes, parts, images, state, told, **settings)
        made.append((own["samples"], images))
    return made


def animate(nodes, parts, **changes):
    """Colour Long Animation: video, last window and report."""
    inputs = {
        **parts,
        **SIZE,
        **LINES,
        **SHORT,
        **MEMORY,
        "total_frames": 0,
        "cfg": 2.0,
        "seed": 5,
        "window_frames": FRAMES,
        "overlap": OVERLAP,
        "blocks": "full",
        "run_name": "remembered",
    }
    return nodes.longanimation_animate.LongAnimationAnimate.execute(**(inputs | changes)).result


def run_folder(comfy, name="remembered"):
    return comfy.base / "output" / "everanimate" / name


@pytest.fixture(scope="module")
def whole(comfy, nodes, parts):
    """The latents of a run with memory that nothing stopped."""
    with torch.inference_mode():
        animate(nodes, parts)
    return latents_of(run_folder(comfy))


@pytest.mark.parametrize("append", [False, True])
def test_blocks_and_the_one_node_give_the_same(comfy, nodes, parts, append):
    settings, name = MEMORY | {"memory_append": append}, f"blocks_{append}"
    expected = blocks(nodes, parts, settings)
    _, last, report = animate(nodes, parts, run_name=name, **settings)
    found = latents_of(run_folder(comfy, name))
    assert [torch.equal(one, latents) for one, (latents, _) in zip(found, expected, strict=True)] == [True] * 3
    assert torch.equal(last, expected[2][1])
    assert json.loads(report)["score"] == "colour distance"
    # The memory decides what all windows but the first become.
    animate(nodes, parts, run_name=f"{name}_without", video_model=None)
    without = latents_of(run_folder(comfy, f"{name}_without"))
    assert [torch.equal(one, other) for one, other in zip(found, without, strict=True)] == [True, False, False]
    assert relative_error(without[1], found[1]) > 1e-3


def test_it_is_the_cores(whole, parts, networks, core_model):
    from everanimate_core.backends.cog_codec import CogCodec
    from everanimate_core.backends.diffusers_cog import DiffusersCog
    from everanimate_core.longanimation.method import long_animation
    from everanimate_core.longanimation.settings import Settings
    from everanimate_core.media.frames import TensorFrames
    from everanimate_core.method import each_made

    text, negative = (parts[name][0][0] for name in ("positive", "negative"))
    settings = Settings(
        **SHORT, **LINES, cfg=2.0, seed=5, window_frames=FRAMES, overlap=OVERLAP, blocks="full", strength=0.5
    )
    engine = DiffusersCog(
        networks["base"], networks["sketch"], CogCodec(networks["vae"]), 0.7, text, negative, networks["dglm"]
    )
    method = long_animation(TensorFrames(parts["lineart"]), parts["reference"], settings, WIDTH, HEIGHT, "error")
    method = method.with_memory(core_memory(core_model, MEMORY))

    def sample(request, seed):
        return engine.sample_window(request, seed, settings=settings)

    expected = [made.sampled.latents for made in each_made(method, sample, engine.codec)]
    assert len(expected) == len(whole) == 3
    for latents, own in zip(whole, expected, strict=True):
        assert relative_error(latents, own) < 1e-5


@pytest.mark.parametrize("append", [False, True])
def test_a_run_that_was_stopped_ends_as_if_nothing_had_happened(comfy, nodes, parts, monkeypatch, append):
    names, settings = (f"whole_{append}", f"stopped_{append}"), {"memory_append": append}
    animate(nodes, parts, run_name=names[0], **settings)
    long, made = nodes.longanimation_animate, []
    sampled = long.sampled

    def stopped(model, control, positive, negative, request, *how):
        if request.index == 2:
            raise KeyboardInterrupt
        return sampled(model, control, positive, negative, request, *how)

    def seen(model, control, positive, negative, request, *how):
        made.append((request.index, request.memory is not None))
        return sampled(model, control, positive, negative, request, *how)

    with monkeypatch.context() as patch:
        patch.setattr(long, "sampled", stopped)
        with pytest.raises(KeyboardInterrupt):
            animate(nodes, parts, run_name=names[1], **settings)
    monkeypatch.setattr(long, "sampled", seen)
    animate(nodes, parts, run_name=names[1], **settings)
    assert made == [(2, True)]
    whole, found = (latents_of(run_folder(comfy, name)) for name in names)
    assert [torch.equal(one, other) for one, other in zip(found, whole, strict=True)] == [True] * 3


def test_another_video_model_opens_a_new_take(comfy, nodes, parts, whole, files):
    _, _, report = animate(nodes, parts, video_model=loaded(nodes, files, torch.float16))
    assert json.loads(report)["take"] == 2
    # And the first one again is no other.
    _, _, report = animate(nodes, parts, only_chunk=-1)
    takes = json.loads(report)["takes"]
    assert len(takes) == 3
    found = latents_of(run_folder(comfy))
    assert [torch.equal(one, other) for one, other in zip(found, whole, strict=True)] == [True] * 3


def test_what_is_wrong_with_a_memory_is_said_before_sampling(comfy, nodes, parts, files, tmp_path):
    from video_model_parts import video_model

    from everanimate_core.longanimation.video_files import write_video_model

    alone = nodes.cogvideo.load_sketch(str(files / "sketch.safetensors"))
    said = refusal(animate, nodes=nodes, parts=parts, control=alone, run_name="bad")
    assert said == (
        "Colour Long Animation: control must come with a DGLM where there is a video_model (memory_file of Load "
        "LongAnimation); got SketchDiT alone."
    )
    wide = video_model(kv_heads=8)
    write_video_model(tmp_path / "wide.safetensors", wide.state_dict(), wide.settings)
    wide = nodes.video_memory.load_video_model(str(tmp_path / "wide.safetensors"), None)
    said = refusal(animate, nodes=nodes, parts=parts, video_model=wide, run_name="bad")
    assert said == "Colour Long Animation: video_model must be of the width that the DGLM reads, 32; got 64."
    said = refusal(animate, nodes=nodes, parts=parts, memory_frames=0, local_frames=0, run_name="bad")
    assert said == (
        "Colour Long Animation: memory_frames and local_frames must not both be 0 (650 and 20); got 0 and 0."
    )
    assert not run_folder(comfy, "bad").exists()


def test_a_dglm_without_a_video_model_is_told(nodes, parts, files, monkeypatch):
    told = []
    monkeypatch.setattr(nodes.host, "say", told.append)
    short = {"total_frames": FRAMES, "fuse": False, "lineart": parts["lineart"][:FRAMES]}
    note = "control has a DGLM, which is not used: it reads a memory, and video_model is not connected."
    animate(nodes, parts, run_name="told", video_model=None, **short)
    assert told.count(note) == 1
    told.clear()
    animate(nodes, parts, run_name="untold", **short)
    alone = nodes.cogvideo.load_sketch(str(files / "sketch.safetensors"))
    animate(nodes, parts, run_name="untold_2", control=alone, video_model=None, **short)
    assert note not in told
