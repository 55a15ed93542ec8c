"""Long Run at test size, on bases of tiny random weights."""

import pytest
from clips import reference_image
from native_chain import ANIMATE2, FRAMES, SCAIL2, SIZE, STEPS, features

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


def run_folder(comfy, run_name):
    """Where a run is."""
    return comfy.base / "output" / "everanimate" / run_name


def total(base, chunks):
    """Frames of so many whole chunks."""
    return FRAMES + (chunks - 1) * (FRAMES - base.overlap)
