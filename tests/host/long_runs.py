"""Long Run at test size, on bases of tiny random weights."""

import pytest
from clips import reference_image
from native_chain import ANIMATE2, FRAMES, SCAIL2, SIZE, STEPS, features
from tiny_models import BASE_FILES

BASES = pytest.mark.parametrize("base", [ANIMATE2, SCAIL2], ids=lambda base: base.name)


@pytest.fixture
def knows_the_bases(comfy):
    """Older hosts skip the test."""
    if ANIMATE2.node not in comfy.nodes:
        pytest.skip("needs ComfyUI 0.31 or newer")


def method(comfy, base, **inputs):
    """The METHOD of a base."""
    return comfy.call(base.method, **({"clip_vision_output": features(comfy)} | inputs))[0]


def long_run_inputs(comfy, base, run_name, frames, **inputs):
    """Of the node, for a driving video of so many frames."""
    text = comfy.conditioning()
    values = {
        "model": comfy.load_base(base.name),
        "vae": comfy.load_vae(),
        "positive": text,
        "negative": text,
        "reference_images": reference_image(SIZE),
        "driving_video": base.footage(frames),
        "width": SIZE,
        "height": SIZE,
        "steps": STEPS,
        "chunk_frames": FRAMES,
        "run_name": run_name,
    }
    return values | ({} if "method" in inputs else {"method": method(comfy, base)}) | inputs


def long_run(comfy, base, run_name, frames, **inputs):
    """The node; its outputs."""
    return comfy.call("EverAnimateLongRun", **long_run_inputs(comfy, base, run_name, frames, **inputs))


def long_run_prompt(comfy, server, base, run_name, frames, **inputs):
    """The node and its method behind tiny loaders, as an API prompt for a driving video of so many frames."""
    server.add_image("reference.png", reference_image(SIZE))
    server.add_video(f"footage_{base.name}.mov", base.footage(frames))
    text = {name: ["text", 0] for name in ("positive", "negative")}
    pictures = {"reference_images": ["reference", 0], "driving_video": ["footage", 0]}
    sizes = {"width": SIZE, "height": SIZE, "steps": STEPS, "chunk_frames": FRAMES, "run_name": run_name}
    networks = {"model": ["model", 0], "vae": ["vae", 0], "method": ["method", 0]}
    nodes = {
        "model": ("UNETLoader", {"unet_name": BASE_FILES[base.name], "weight_dtype": "default"}),
        "vae": ("TestTinyVae", {}),
        "text": ("TestTinyConditioning", {"seed": 0}),
        "clip": ("TestTinyClipVision", {}),
        "reference": ("LoadImage", {"image": "reference.png"}),
        "seen": ("CLIPVisionEncode", {"clip_vision": ["clip", 0], "image": ["reference", 0], "crop": "none"}),
        "footage": ("LoadVideo", {"file": f"footage_{base.name}.mov"}),
        "method": (base.method, {"clip_vision_output": ["seen", 0]}),
        "animate": ("EverAnimateLongRun", networks | text | pictures | sizes | inputs),
    }
    return {
        name: {"class_type": node, "inputs": defaults(comfy, node) | values} for name, (node, values) in nodes.items()
    }


def defaults(comfy, node):
    """{widget: its default} of a node."""
    declared = comfy.nodes[node].INPUT_TYPES()
    widgets = {**declared.get("required", {}), **declared.get("optional", {})}
    return {name: more[0]["default"] for name, (_, *more) in widgets.items() if more and "default" in more[0]}


def run_folder(comfy, run_name):
    """Where a run is."""
    return comfy.base / "output" / "everanimate" / run_name


def total(base, chunks):
    """Frames of so many whole chunks."""
    return FRAMES + (chunks - 1) * (FRAMES - base.overlap)
