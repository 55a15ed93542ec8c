"""What Video-XL sees: pixels and patches as transformers' CLIP has them, and their pooling."""

import pytest
import torch
from refusals import refusal
from video_model_parts import VISION, drawn, frames

from everanimate_core.longanimation.vision import BATCH, Vision, VisionSettings, crops, normalised


def processor(side):
    """transformers' own, that which works with PIL."""
    try:
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Processor
    except ImportError:
        from transformers import CLIPImageProcessor as Processor
    return Processor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


@pytest.fixture(scope="module")
def vision():
    return drawn(Vision(VisionSettings(**VISION)), 0)


@pytest.mark.parametrize("size", [(40, 52), (61, 33), (32, 32), (20, 31), (32, 90)])
def test_pixels_are_those_of_transformers(size):
    given = frames(3, *size)
    mine = crops(given, 32)
    assert mine.dtype == torch.uint8 and mine.shape == (3, 32, 32, 3)
    pictures = [frame.numpy() for frame in (given * 255).round().to(torch.uint8)]
    raw = processor(32)(pictures, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    assert torch.equal(mine.movedim(-1, 1), raw)
    assert torch.equal(normalised(mine), processor(32)(pictures, return_tensors="pt")["pixel_values"])


def test_frames_beyond_the_range_are_cut_to_it():
    assert crops(torch.tensor([-0.2, 0.5, 1.3]).expand(1, 32, 32, 3), 32)[0, 0, 0].tolist() == [0, 128, 255]


def test_no_frames_have_no_crops():
    assert crops(torch.empty(0, 40, 52, 3), 32).shape == (0, 32, 32, 3)


def test_patches_are_those_of_transformers(vision):
    """Of its last state but one: our network ends there."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=4,
    )
    model = CLIPVisionModel(config).eval()
    # Their names have had this in front of them.
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in model.state_dict()) else ""
    weights = {prefix + name: value for name, value in vision.tower.state_dict().items()}
    assert not model.load_state_dict(weights, strict=False).unexpected_keys
    pixels = normalised(crops(frames(3), 32))
    with torch.no_grad():
        theirs = model(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    torch.testing.assert_close(vision.tower(pixels), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pool", ["average", "max"])
def test_a_feature_is_made_of_two_by_two_patches(vision, pool):
    other = drawn(Vision(VisionSettings(**VISION | {"pool": pool})), 0)
    seen = crops(frames(2), 32)
    features = other(seen, torch.device("cpu"), torch.float32)
    assert features.shape == (2, 16, 64)
    patches = vision.projector(vision.tower(normalised(seen)))
    for row in range(4):
        for column in range(4):
            first = 2 * row * 8 + 2 * column
            four = patches[:, [first, first + 1, first + 8, first + 9]]
            wanted = four.mean(1) if pool == "average" else four.amax(1)
            torch.testing.assert_close(features[:, 4 * row + column], wanted)


def test_frames_are_seen_in_batches(vision, monkeypatch):
    seen, given = [], crops(frames(2 * BATCH + 3), 32)
    vision.tower.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    found = vision(given, torch.device("cpu"), torch.float32)
    assert seen == [BATCH, BATCH, 3]
    torch.testing.assert_close(found[-1:], vision(given[-1:], torch.device("cpu"), torch.float32))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pool": "bilinear"}, "pool must be one of average, max; got 'bilinear'."),
        ({"image": 36}, "image must be a multiple of two patches (8) (336); got 36."),
        ({"heads": 3}, "width must be a multiple of the heads (3); got 128."),
        ({"blocks": 1001}, "blocks must be between 1 and 1000; got 1001."),
        ({"width": 0}, "width must be between 1 and 1048576; got 0."),
    ],
)
def test_networks_that_cannot_be_are_refused(changed, message):
    assert refusal(VisionSettings, **VISION | changed) == message
