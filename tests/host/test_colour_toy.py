"""The embedded colouring toy inside the host, and the colouring graphs with it in the place of the large network."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from kept import latents_of
from refusals import refusal
from server_process import RunError
from shipped import only, read_back
from torch.nn.functional import avg_pool2d

from everanimate_core.longanimation.method import long_animation
from everanimate_core.method import each_made
from everanimate_core.toy.network.colour_state import BASE_WEIGHTS, SETTINGS, read_network
from everanimate_core.toy.network.colour_vae import load_vae
from everanimate_core.toy.network.engine import WorldFrames
from everanimate_core.toy.world.world import World

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows" / "api"
# Two windows of 81 that share 17.
SEED, FRAMES = 3, 97
OUTPUTS = ("model", "control", "vae", "positive", "negative", "lineart", "reference", "reference_lineart", "truth")
# What the toy stands in for in a graph of the large network.
STAND_INS = {
    "LongAnimationLoadBase": ["toy", 0],
    "LongAnimationLoad": ["toy", 1],
    "VAELoader": ["toy", 2],
    "CLIPTextEncode": ["toy", 3],
    "LoadVideo": ["toy", 5],
    "LoadImage": ["toy", 6],
}
SIZES = {"width": 64, "height": 64, "steps": SETTINGS.steps, "fuse_from": SETTINGS.fuse_from, "cfg": SETTINGS.cfg}


@pytest.fixture(scope="module")
def needs_cogvideo(comfy):
    pytest.importorskip("comfy.ldm.cogvideo", reason="this host has no CogVideoX")


@pytest.fixture(scope="module")
def toy(comfy, needs_cogvideo):
    return dict(zip(OUTPUTS, comfy.call("LongAnimationLoadToy", seed=SEED, frames=FRAMES), strict=True))


def test_an_older_host_is_told_what_it_lacks(comfy):
    try:
        import comfy.ldm.cogvideo
    except ImportError:
        said = "ComfyUI must be 0.21 or newer, which has CogVideoX; got an older one."
        assert refusal(comfy.call, "LongAnimationLoadToy", frames=9) == f"Load Toy Line Art: {said}"
        return
    pytest.skip("this host has CogVideoX")


def test_the_world_comes_along(toy):
    world = World(SEED)
    assert torch.equal(toy["lineart"], world.lineart(range(FRAMES)))
    assert torch.equal(toy["reference"], world.reference()[None])
    assert torch.equal(toy["reference_lineart"], world.reference_lineart()[None])
    assert torch.equal(toy["truth"], world.frames(range(FRAMES)))


def test_the_host_has_the_weights_of_the_core(toy):
    loaded = toy["model"].model.diffusion_model.state_dict()
    for name, value in read_network(BASE_WEIGHTS).items():
        assert torch.equal(loaded[name], value)
    own, core = toy["vae"].first_stage_model.state_dict(), load_vae().state_dict()
    assert own.keys() == core.keys()
    assert all(torch.equal(own[name], core[name]) for name in own)


def test_previews_are_in_the_colours_of_the_world(toy):
    from comfy.cli_args import LatentPreviewMethod, args
    from latent_preview import get_previewer

    model = toy["model"].model
    small = avg_pool2d(toy["truth"][:1].movedim(-1, 1), 8)[0].movedim(0, -1)
    # As the nodes encode the reference.
    latents = model.latent_format.process_in(toy["vae"].encode(toy["truth"][:1]))
    kept, args.preview_method = args.preview_method, LatentPreviewMethod.Latent2RGB
    try:
        previewer = get_previewer(toy["model"].load_device, model.latent_format)
    finally:
        args.preview_method = kept
    seen = torch.from_numpy(np.array(previewer.decode_latent_to_preview(latents))).float() / 255
    assert (seen - small).abs().max() < 0.1 and (seen - small).abs().mean() < 0.02


@pytest.fixture(scope="module")
def toy_run(server, needs_cogvideo):
    """toy_colour as it is shipped, shorter."""
    prompt = json.loads((WORKFLOWS / "toy_colour.json").read_text())
    only(prompt, "LongAnimationLoadToy").update(seed=SEED, frames=FRAMES)
    return server.run(prompt)


def chunks_of(server, run_name):
    return latents_of(server.output / "everanimate" / run_name)


def test_the_shipped_graph_shows_lines_colour_and_truth(server, toy_run):
    assert read_back(server.output / "everanimate" / "toy_colour_00001_.mp4") == (FRAMES, 25, (64, 64))
    (path,) = (server.output / "everanimate").glob("toy_colour_comparison*.mp4")
    assert read_back(path) == (FRAMES, 25, (3 * 256, 256))


def test_its_latents_are_those_of_the_core(server, toy_run):
    diffusers = pytest.importorskip("everanimate_core.toy.network.colour_dit", reason="needs diffusers")
    model, world = diffusers.load_colour(), World(SEED)
    lineart, lines = WorldFrames(world.lineart, FRAMES), world.reference_lineart()[None]
    method = long_animation(lineart, world.reference()[None], SETTINGS, 64, 64, reference_lineart=lines)
    sample = partial(model.sample_window, settings=SETTINGS)
    expected = [made.sampled.latents for made in each_made(method, sample, model.codec)]
    found = chunks_of(server, "toy_colour")
    assert len(found) == len(expected) == 2
    for latents, own in zip(found, expected, strict=True):
        # What of ten steps is left of the rounding of two implementations.
        assert (latents - own).norm() < 1e-3 * own.norm()


def with_the_toy(name):
    """A graph of the large network with the toy in its place."""
    prompt = json.loads((WORKFLOWS / f"{name}.json").read_text())
    replaced = {key: STAND_INS.get(node["class_type"]) for key, node in prompt.items()}
    graph = {key: node for key, node in prompt.items() if not replaced[key] and node["class_type"] != "CLIPLoader"}
    for node in graph.values():
        inputs = node["inputs"]
        inputs.update({key: value for key, value in SIZES.items() if key in inputs})
        for key, value in inputs.items():
            if isinstance(value, list) and replaced.get(value[0]):
                inputs[key] = replaced[value[0]]
    return graph | {"toy": {"class_type": "LongAnimationLoadToy", "inputs": {"seed": SEED, "frames": FRAMES}}}


def test_colour_long_runs_with_the_toy(server, toy_run):
    server.run(with_the_toy("colour_long"))
    assert read_back(server.output / "everanimate" / "longanimation_00001_.mp4") == (FRAMES, 25, (64, 64))
    # The reference shows the first frame: its line art need not be given.
    for one, other in zip(chunks_of(server, "longanimation"), chunks_of(server, "toy_colour"), strict=True):
        assert torch.equal(one, other)


def test_colour_window_runs_with_the_toy(server, needs_cogvideo):
    server.run(with_the_toy("colour_window"))
    (path,) = (server.output / "everanimate").glob("colour_window*.mp4")
    assert read_back(path) == (81, 24, (64, 64))


def test_a_graph_remembers_the_frames_of_its_first_window(comfy, server, needs_cogvideo):
    """By the executor. The toy has no DGLM: the second window is refused, once there is a memory for it."""
    from video_model_parts import video_model

    from everanimate_core.longanimation.video_files import write_video_model

    path, network = comfy.base / "models" / "text_encoders" / "toy_video.safetensors", video_model()
    path.parent.mkdir(exist_ok=True)
    write_video_model(path, network.state_dict(), network.settings)
    graph = with_the_toy("colour_window")
    (finish,) = [key for key, node in graph.items() if node["class_type"] == "LongAnimationFinish"]
    first = {"images": [finish, 1], "state": [finish, 0], "video_model": ["video_xl", 0]}
    memory = {"memory_frames": 650, "local_frames": 20, "memory_append": False}
    told = only(graph, "LongAnimationCondition") | {"previous": [finish, 0]}
    apply = only(graph, "LongAnimationApply") | {"window": ["told", 3], "la_memory": ["memory", 0]}
    sampled = only(graph, "SamplerCustom") | {"model": ["apply", 0], "latent_image": ["told", 2]}
    graph |= {
        "video_xl": {
            "class_type": "LongAnimationLoadVideoMemory",
            "inputs": {"file": path.name, "weight_dtype": "default"},
        },
        "memory": {"class_type": "LongAnimationMemory", "inputs": first | memory},
        "told": {"class_type": "LongAnimationCondition", "inputs": told},
        "apply": {"class_type": "LongAnimationApply", "inputs": apply},
        "sampled": {"class_type": "SamplerCustom", "inputs": sampled},
        "dump": {"class_type": "TestDumpLatent", "inputs": {"samples": ["sampled", 0], "name": "remembered"}},
    }
    with pytest.raises(RunError) as caught:
        server.run(graph)
    assert "Apply SketchDiT: control must come with a DGLM where there is a memory" in str(caught.value)
    assert "memory" in {data["node"] for kind, data in caught.value.events if kind == "executing"}
