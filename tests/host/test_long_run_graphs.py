"""The graphs of Long Run through the API, on random weights: what the host's own nodes make, chained by hand."""

from fractions import Fraction

import av
import numpy as np
import pytest
import tiny_models
import torch
from clips import moving_pattern, reference_image
from kept import latents_of
from long_runs import ANIMATE2, SCAIL2, knows_the_bases, total
from native_chain import FRAMES, SIZE, STEPS, chained
from node_inputs import add_tones
from safetensors.torch import save_file
from segmenting import scene
from shipped import only, read_back, with_tiny_models

pytestmark = pytest.mark.usefixtures("knows_the_bases")
__all__ = ["knows_the_bases"]
RATE = Fraction(12)
BLUE, WHITE, BLACK = torch.tensor([0.0, 0, 1]), torch.ones(3), torch.zeros(3)
# Of the texts that are not the prompt.
SEEDS = {"Motion": 5, "Negative prompt (when cfg is not 1)": 6}


@pytest.fixture(scope="module")
def lora(comfy):
    """A small random LoRA with the host's names, where the server looks for it."""
    generator, tensors = torch.Generator().manual_seed(3), {}
    for block in range(tiny_models.BASE_LAYERS):
        name = f"diffusion_model.blocks.{block}.self_attn.v"
        tensors[f"{name}.lora_A.weight"] = torch.randn(2, tiny_models.DIM, generator=generator) / 16
        tensors[f"{name}.lora_B.weight"] = torch.randn(tiny_models.DIM, 2, generator=generator)
    save_file(tensors, comfy.base / "models" / "loras" / "long_run_graphs.safetensors")
    return "long_run_graphs.safetensors"


def graph(server, name, base, lora, film, picture):
    """A shipped graph at test size. film: the video that it loads, which gets sound. picture: the photo."""
    film_file = server.add_video(f"{name}.mov", film, RATE)
    add_tones(server.input / film_file, float(len(film) / RATE))
    prompt = with_tiny_models(name, {
        "unet_name": tiny_models.BASE_FILES[base.name], "lora_name": lora,
        "image": server.add_image(f"{name}.png", picture), "file": film_file,
        "width": SIZE, "height": SIZE, "total_frames": 0, "chunk_frames": FRAMES, "steps": STEPS, "run_name": name,
    })  # fmt: skip
    for node in prompt.values():
        if node["class_type"] == "TestTinyConditioning":
            node["inputs"]["seed"] = SEEDS.get(node["_meta"]["title"], 0)
    return prompt


def run(server, prompt):
    """The latents of the chunks, and what `read_back` says of the video, which has sound."""
    name = only(prompt, "EverAnimateLongRun")["run_name"]
    server.run(prompt, timeout=300)
    path = server.output / "everanimate" / f"{name}_00001_.mp4"
    with av.open(str(path)) as file:
        assert len(file.streams.audio) == 1
    return latents_of(server.output / "everanimate" / name), read_back(path)


def equal(made, native):
    """Which of the latents are those of the chain."""
    return [torch.equal(own, chunk.latents) for own, chunk in zip(made, native, strict=True)]


def with_loras(comfy, base, lora, *strengths):
    """The tiny MODEL of a base with the LoRA on it once for each strength."""
    model = comfy.load_base(base.name)
    for strength in strengths:
        (model,) = comfy.call("LoraLoaderModelOnly", model=model, lora_name=lora, strength_model=strength)
    return model


def seen(comfy, picture):
    """CLIP vision's output of a picture, stretched to a square."""
    return comfy.clip_vision().encode_image(picture, crop=False)


def test_animate2_video_is_the_hosts_chain_restored_from_the_second_chunk_on(comfy, server, lora):
    frames = total(ANIMATE2, 2)
    film, picture = moving_pattern(frames, SIZE), reference_image(SIZE)
    prompt = graph(server, "animate2_video", ANIMATE2, lora, film, picture)
    (cached,) = comfy.call("WanAnimate2Cache", model=with_loras(comfy, ANIMATE2, lora, 1.0), device="cpu", dtype="int8")
    native = chained(
        comfy, ANIMATE2, film, 2, "lcm", model=cached, positive_pose=comfy.conditioning(SEEDS["Motion"]),
        clip_vision_output=seen(comfy, picture), clip_vision_output_pose=seen(comfy, film[:1]),
    )  # fmt: skip
    restored, facts = run(server, prompt)
    assert facts == (frames, RATE, (SIZE, SIZE))
    assert equal(restored, native) == [True, False]
    only(prompt, "EverAnimateLongRun").update(restore_strength=0, run_name="animate2_plain")
    assert equal(run(server, prompt)[0], native) == [True, True]


def box(number):
    """Left, top, right, bottom of who is in frame `number` of the video: it moves to the right and back."""
    left = 4 + 2 * abs(number % 16 - 8)
    return left, 8, left + 20, 60


def mask(size, scale, person, ground, boxes):
    """Masks [n, size, size, 3] of a person in boxes, which are divided by `scale`."""
    masks = ground.expand(len(boxes), size, size, 3).clone()
    for number, (left, top, right, bottom) in enumerate(boxes):
        masks[number, top // scale : bottom // scale, left // scale : right // scale] = person
    return masks


def test_scail2_replace_is_the_hosts_chain_with_masks_of_the_person(comfy, server, lora):
    frames, photo = total(SCAIL2, 2), (20, 4, 44, 62)
    boxes = [box(number) for number in range(frames)]
    film = torch.from_numpy(np.stack([scene(SIZE, SIZE, one) for one in boxes])).float()
    picture = torch.from_numpy(scene(SIZE, SIZE, photo)[None]).float()
    prompt = graph(server, "scail2_replace", SCAIL2, lora, film, picture)
    only(prompt, "ImageScale").update(width=SIZE // 2, height=SIZE // 2)
    native = chained(
        comfy, SCAIL2, film, 2, shift=8.0, model=with_loras(comfy, SCAIL2, lora, 1.0, 0.8), replacement_mode=True,
        pose_video_mask=mask(SIZE // 2, 2, BLUE, WHITE, boxes), reference_image=picture,
        reference_image_mask=mask(SIZE, 1, BLUE, BLACK, [photo]), clip_vision_output=seen(comfy, picture),
    )  # fmt: skip
    made, facts = run(server, prompt)
    assert facts == (frames, RATE, (SIZE, SIZE))
    assert equal(made, native) == [True, True]
