"""Writes the run folder that Animate Long Video of 0.1.0 left (see make.py), with ComfyUI's interpreter:

COMFYUI_PATH=/path/to/ComfyUI python tests/data/old_runs/make_host.py
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1]
sys.path[:0] = [os.environ["COMFYUI_PATH"]]
sys.path += [str(TESTS.parent), str(TESTS), str(TESTS / "host")]

import tiny_models  # noqa: E402
import torch  # noqa: E402
from base_folder import make_base_folder  # noqa: E402
from in_process import InProcessHost  # noqa: E402

torch.set_num_threads(1)
base = make_base_folder(Path(tempfile.mkdtemp()))
for name in ("diffusion_models", "vae", "loras"):
    (base / "models" / name).mkdir(parents=True)
with torch.inference_mode():
    host = InProcessHost(base)
    tiny_models.write_animate(base / "models")
    from exact_parts import exact_pictures
    from exact_vae import ExactVae

    (model,) = host.call("EverAnimatePatchModel", model=host.load_model())
    text = host.conditioning()
    host.call(
        "EverAnimateAnimate",
        model=model,
        vae=ExactVae(),
        positive=text,
        negative=text,
        reference_images=exact_pictures(1, 64, 64),
        pose_video=exact_pictures(19, 64, 64, seed=1),
        width=64,
        height=64,
        steps=2,
        chunk_frames=9,
        overlap=4,
        clip_vision=host.clip_vision(),
        run_name="dance",
    )
shutil.copytree(base / "output" / "everanimate", HERE / "host")
