"""The authors' Video-XL on a tiny published folder, where there is a checkout of theirs and an old transformers.

pip install --target OLD --no-deps transformers==4.39.3 tokenizers==0.15.2 huggingface-hub==0.23.5
LONGANIMATION_PATH=LongAnimation TRANSFORMERS_439=OLD python -m pytest tests/longanimation/test_video_memory.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from everanimate_core.longanimation.prompt import PREFIX, SUFFIX
from everanimate_core.longanimation.vision import MEAN, SPREAD

WANTED = ("LONGANIMATION_PATH", "TRANSFORMERS_439")
needs_video_xl = pytest.mark.skipif(
    not all(os.environ.get(name) for name in WANTED),
    reason=f"needs a checkout of LongAnimation and an old transformers: set {' and '.join(WANTED)}",
)
IMAGE = -200
CLIP = {
    "architectures": ["CLIPVisionModel"],
    "model_type": "clip_vision_model",
    "hidden_size": 128,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 4,
    "projection_dim": 16,
}
PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "crop_size": 32,
    "size": 32,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": MEAN,
    "image_std": SPREAD,
    "resample": 3,
}


def video_xl(published, frames, layers, local, folder):
    """Pixels, features and memories by the authors' classes, see video_xl_process.py. folder: to work in."""
    # The folder where their code looks for a vision tower, before it takes the checkpoint's weights.
    clip, start = folder / "models" / "clip-vit-large-patch14-336", folder / "a" / "b"
    for made in (clip, start):
        made.mkdir(parents=True)
    (clip / "config.json").write_text(json.dumps(CLIP))
    (clip / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    weights = load_file(published / "model.safetensors")
    prefix = "model.vision_tower.vision_tower."
    tower = {name.removeprefix(prefix): 0 * value for name, value in weights.items() if name.startswith(prefix)}
    save_file(tower, clip / "model.safetensors", {"format": "pt"})
    given = {
        "frames": (frames * 255).round().to(torch.uint8),
        "ids": torch.tensor([*PREFIX, IMAGE, *SUFFIX]),
        "layers": torch.tensor(layers),
        "local": torch.tensor(local),
    }
    save_file(given, folder / "in.safetensors")
    script = Path(__file__).with_name("video_xl_process.py")
    files = [published, folder / "in.safetensors", folder / "out.safetensors"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, str(script), *map(str, files)], cwd=start, env=environment, check=True)
    return load_file(folder / "out.safetensors")
