"""Memory of a whole video: that of the authors, and what is held from one window of the animation to the next."""

import os
from pathlib import Path

import pytest
import torch
from refusals import refusal
from safetensors.torch import load_file, save_file
from tensor_parts import relative_error
from torch import nn
from video_model_parts import CONFIG, READ_LAYERS, frames, published_weights, save_published, settings, video_model
from video_xl_authors import needs_video_xl, video_xl

from everanimate_core.longanimation.beacon import BeaconSettings
from everanimate_core.longanimation.prompt import PREFIX, SUFFIX
from everanimate_core.longanimation.settings import MemorySettings
from everanimate_core.longanimation.video_files import convert_video_model, read_video_model
from everanimate_core.longanimation.video_memory import MemoryOfVideo, VideoModel, VideoSettings, chosen
from everanimate_core.longanimation.vision import VisionSettings, normalised

GOLDEN = Path(__file__).parents[1] / "data" / "longanimation" / "video_memory.safetensors"
# Two whole windows and a part of one; the local memory begins within the second.
FRAMES, LOCAL = 7, 2
# Three frames fill a window, two beacons stay of each.
AT_ONCE, BEACONS, PROMPT = 3, 2, len(PREFIX) + len(SUFFIX)


def memory_of(model, most=650, local=20, append=False):
    return MemoryOfVideo(model, MemorySettings(most, local, append))


@pytest.fixture(scope="module")
def model():
    return video_model()


@pytest.fixture(scope="module")
def seen(model):
    return model.crops(frames(14))


# --- as the authors have it -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return save_published(tmp_path_factory.mktemp("video-xl") / "published", published_weights())


def model_of(published, path):
    """The model that a published folder becomes."""
    convert_video_model(published, path, read_layers=READ_LAYERS)
    state, settings = read_video_model(path)
    model = VideoModel(settings).requires_grad_(False)
    model.load_state_dict(state)
    return model


@pytest.fixture(scope="module")
def converted(published, tmp_path_factory):
    return model_of(published, tmp_path_factory.mktemp("converted") / "video_xl.safetensors")


def test_the_memory_has_the_golden_numbers(converted):
    """They were made by the authors' classes: see the test below."""
    golden, crops = load_file(GOLDEN), converted.crops(frames(FRAMES))
    assert relative_error(converted.features(crops), golden["features"]) < 1e-5
    found, _ = memory_of(converted, local=LOCAL).remember(crops)
    assert found.shape == golden["memory"].shape == (2, 3, (FRAMES + LOCAL) * BEACONS + 2 * PROMPT, 32)
    assert relative_error(found, golden["memory"]) < 1e-5


@needs_video_xl
def test_the_memory_is_the_authors(published, converted, tmp_path):
    theirs = video_xl(published, frames(FRAMES), READ_LAYERS, LOCAL, tmp_path)
    crops = converted.crops(frames(FRAMES))
    assert torch.equal(normalised(crops), theirs["pixels"])
    assert relative_error(converted.features(crops), theirs["features"]) < 1e-5
    language = converted.language
    assert torch.equal(language.end(language.read(language.begin(), theirs["features"])), theirs["memory"])
    memory = torch.cat([theirs["memory"], theirs["local"]], 2)
    assert relative_error(memory_of(converted, local=LOCAL).remember(crops)[0], memory) < 1e-5
    if os.environ.get("WRITE_GOLDEN"):
        save_file({"features": theirs["features"], "memory": memory.contiguous()}, GOLDEN)


@needs_video_xl
def test_another_window_and_other_beacons_are_the_authors(tmp_path):
    """A window that ends within a frame, beacons with weights of their own for keys alone, all blocks of the vision
    tower, and the other pooling."""
    config = CONFIG | {"beacon_window": 40, "beacon_stride": 40, "beacon_param": ["k"], "mm_spatial_pool_mode": "max"}
    config |= {"mm_vision_select_layer": -1}
    published = save_published(tmp_path / "published", published_weights(), config)
    model = model_of(published, tmp_path / "video_xl.safetensors")
    theirs = video_xl(published, frames(FRAMES), READ_LAYERS, LOCAL, tmp_path)
    crops, language = model.crops(frames(FRAMES)), model.language
    assert relative_error(model.features(crops), theirs["features"]) < 1e-5
    assert torch.equal(language.end(language.read(language.begin(), theirs["features"])), theirs["memory"])
    assert relative_error(model.memory(crops), theirs["memory"]) < 1e-5


def test_the_prompt_is_the_released_one():
    folder = Path(os.environ.get("COMFYUI_PATH", "")) / "comfy" / "text_encoders" / "qwen25_tokenizer"
    if not folder.is_dir():
        pytest.skip("needs Qwen2's tokenizer: set COMFYUI_PATH")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    before = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    behind = "\nCan you describe the scene and color in anime?<|im_end|>\n<|im_start|>assistant\n"
    assert tuple(tokenizer(before).input_ids) == PREFIX
    assert tuple(tokenizer(behind).input_ids) == SUFFIX


def test_the_released_sizes():
    """18 beacons of a frame; ten frames fill a window of 1440."""
    vision = VisionSettings(width=1024, inner=4096, heads=16, blocks=23, image=336, patch=14, out=3584)
    language = BeaconSettings(3584, 18944, 28, 4, 28, 1440, 1e6, 1e-6)
    assert (VideoSettings(vision, language).beacons, VideoSettings(vision, language).frames_at_once) == (18, 10)
    language = BeaconSettings(3584, 18944, 28, 4, 28, 1024, 1e6, 1e-6)
    assert VideoSettings(vision, language).frames_at_once == 64


# --- which frames -----------------------------------------------------------------------------------------------------


def test_frames_are_chosen_at_equal_distances():
    assert chosen(5, 8) == [0, 1, 2, 3, 4]
    assert chosen(650, 650) == list(range(650))
    assert chosen(8, 4) == [0, 2, 4, 7]
    assert chosen(1, 4) == [0]
    picked = chosen(2000, 650)
    assert (len(picked), picked[0], picked[-1]) == (650, 0, 1999)
    assert picked[324:327] == [997, 1001, 1004]


def test_the_local_memory_stands_behind_the_global_one(model, seen):
    found, _ = memory_of(model, local=4).remember(seen[:9])
    whole, end = model.memory(seen[:9]), model.memory(seen[5:9])
    assert torch.equal(found, torch.cat([whole, end], 2))
    assert whole.shape[2] == 9 * BEACONS + PROMPT


def test_of_a_longer_video_frames_are_chosen(model, seen):
    """The local memory is that of the last ones among them."""
    found, held = memory_of(model, 4, 2).remember(seen[:8])
    assert held is None
    assert torch.equal(found, torch.cat([model.memory(seen[[0, 2, 4, 7]]), model.memory(seen[[4, 7]])], 2))


def test_one_of_the_two_memories_alone(model, seen):
    assert torch.equal(memory_of(model, 50, 0).remember(seen[:9])[0], model.memory(seen[:9]))
    found, held = memory_of(model, 0, 4).remember(seen[:9])
    assert held is None
    assert torch.equal(found, model.memory(seen[5:9]))
    message = "memory_frames and local_frames must not both be 0 (650 and 20); got 0 and 0."
    assert refusal(MemorySettings, 0, 0) == message


# --- what is held -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("ends", [(1, 2, 5, 9, 14), (3, 6, 14), (4, 4, 13)])
def test_what_is_held_changes_nothing(model, seen, append, ends):
    memory = memory_of(model, 50, 2, append)
    held = None
    for end in ends:
        found, held = memory.remember(seen[:end], held)
        assert torch.equal(found, memory.remember(seen[:end])[0])
        assert held.frames == end - end % AT_ONCE
        assert held.past.shape == (2, 5, len(PREFIX) + held.frames * BEACONS, 32)


def test_with_what_is_held_only_new_frames_are_read(model, seen):
    memory, read = memory_of(model, local=1), []
    hook = model.vision.tower.register_forward_hook(lambda _, inputs, __: read.append(len(inputs[0])))
    _, held = memory.remember(seen[:8])
    assert read == [3, 3, 2, 1]
    read.clear()
    memory.remember(seen[:10], held)
    hook.remove()
    assert read == [3, 1, 1]


def test_both_ways_remember_a_short_video_alike(model, seen):
    for end in (1, 6, 8):
        one, other = (memory_of(model, 8, 3, append).remember(seen[:end])[0] for append in (False, True))
        assert torch.equal(one, other)


def test_with_append_the_oldest_frames_are_forgotten(model, seen):
    memory = memory_of(model, 5, 2, True)
    found, held = memory.remember(seen)
    # Window by window: what stays of the frames before, and what is new.
    past, language = model.begin(), model.language
    for start, left in ((0, 3), (3, 5), (6, 5), (9, 5)):
        past = language.read(past, model.features(seen[start : start + 3]))
        past = torch.cat([past[:, :, : len(PREFIX)], past[:, :, past.shape[2] - left * BEACONS :]], 2)
    assert held.frames == 12
    assert torch.equal(held.past, past)
    past = language.read(past, model.features(seen[12:]))
    past = torch.cat([past[:, :, : len(PREFIX)], past[:, :, past.shape[2] - 5 * BEACONS :]], 2)
    assert torch.equal(found, torch.cat([language.end(past), model.memory(seen[12:])], 2))


def test_with_append_it_does_not_matter_where_windows_end(model, seen):
    memory, found = memory_of(model, 5, 2, True), []
    for ends in ((14,), (1, 2, 5, 9, 14), (6, 12, 14)):
        held = None
        for end in ends:
            last, held = memory.remember(seen[:end], held)
        found.append(last)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


# --- where it is computed, and what is refused ------------------------------------------------------------------------


def test_it_computes_in_another_type_than_its_weights(seen):
    """With layers that cast, as those of hosts do."""

    def casting(kind):
        class Casting(kind):
            def forward(self, given):
                own = dict(self.named_parameters())
                like = torch.float64 if given.is_floating_point() else self.weight.dtype
                return torch.func.functional_call(
                    self.plain, {name: value.to(like) for name, value in own.items()}, given
                )

            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                object.__setattr__(self, "plain", kind(*args, **kwargs))

        return Casting

    class Operations:
        Linear, RMSNorm, Embedding = casting(nn.Linear), casting(nn.RMSNorm), casting(nn.Embedding)
        LayerNorm, Conv2d = casting(nn.LayerNorm), casting(nn.Conv2d)

    single = video_model()
    model = VideoModel(settings(), Operations).requires_grad_(False)
    model.load_state_dict(single.state_dict())
    model.work_dtype = torch.float64
    found = memory_of(model).remember(seen[:4])[0]
    assert found.dtype == torch.float64
    assert relative_error(found.float(), memory_of(single).remember(seen[:4])[0]) < 1e-5


def test_no_gradients_are_kept(seen):
    model = video_model().requires_grad_(True)
    found, held = memory_of(model).remember(seen[:4])
    assert not found.requires_grad and not held.past.requires_grad


def test_what_cannot_be_remembered_is_refused(model, seen):
    memory = memory_of(model)
    assert refusal(memory.remember, seen[:0]) == "crops must be those of at least one frame; got none."
    _, held = memory.remember(seen[:7])
    message = "held must be of these 5 frames; got what was read of 6 frames."
    assert refusal(memory.remember, seen[:5], held) == message


def test_parts_that_do_not_fit_are_refused():
    good = settings()
    other = VisionSettings(**vars(good.vision) | {"out": 32})
    assert refusal(VideoSettings, other, good.language) == "out must be the width of the language (64); got 32."
    other = VisionSettings(**vars(good.vision) | {"image": 24})
    message = "image must make a multiple of 8 tokens of a frame (336); got 24, which makes 9."
    assert refusal(VideoSettings, other, good.language) == message
