"""The authors' own memory of a video, in a process of its own: it needs a transformers as old as theirs.

    python video_xl_process.py VIDEO_XL FRAMES.safetensors OUT.safetensors

VIDEO_XL: a folder with the model. FRAMES holds frames [n, H, W, 3] uint8, the prompt's ids, the layers that are read,
and how many frames are local. OUT holds what they make of them: pixels, features, and the memories `memory` and
`local`, each [2, layers, N, kv_width].
"""

import os
import sys

import torch

sys.path[:0] = [os.environ["TRANSFORMERS_439"], os.environ["LONGANIMATION_PATH"]]

from safetensors.torch import load_file, save_file  # noqa: E402
from videoxl.model.language_model.llava_qwen import LlavaQwenForCausalLM  # noqa: E402

TOKENS, IMAGE = 16, -200


def remembered(model, ids, pixels, layers):
    """As the released script asks for it."""
    first = ids[0].tolist().index(IMAGE)
    with torch.inference_mode():
        model.generate(
            ids.clone(),
            images=[pixels],
            modalities=["video"],
            beacon_skip_first=first,
            beacon_skip_last=first + TOKENS * len(pixels),
            do_sample=True,
            temperature=1,
            top_p=None,
            num_beams=1,
            use_cache=True,
            max_new_tokens=2,
        )
    past = [model.past_key_values[layer][:2] for layer in layers]
    model.clear_past_key_values()
    model.memory.reset()
    return torch.stack([torch.stack([each[kind][0].transpose(0, 1).flatten(1) for each in past]) for kind in (0, 1)])


def main(folder, source, destination):
    given = load_file(source)
    model = LlavaQwenForCausalLM.from_pretrained(folder, attn_implementation="sdpa", torch_dtype=torch.float32).eval()
    processor = model.get_vision_tower().image_processor
    pixels = processor.preprocess(given["frames"].numpy(), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        features = model.encode_multimodals(pixels, [0], [len(pixels)])[0]
    ids, layers = given["ids"][None], given["layers"].tolist()
    local = remembered(model, ids, pixels[-int(given["local"]) :], layers)
    memory = remembered(model, ids, pixels, layers)
    found = {"pixels": pixels, "features": features, "memory": memory, "local": local}
    save_file({name: value.contiguous() for name, value in found.items()}, destination)


main(*sys.argv[1:])
