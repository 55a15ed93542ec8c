"""Files of Video-XL: what is kept of a published folder, and what is wrong with all others."""

import json
import pickle

import pytest
import torch
from refusals import refusal
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from video_model_parts import CONFIG, READ_LAYERS, published_weights, save_published, settings, video_model

from everanimate_core.longanimation.prompt import PREFIX, SUFFIX
from everanimate_core.longanimation.video_files import (
    convert_video_model,
    published_name,
    read_video_model,
    video_shapes,
    write_video_model,
)

TOWER = "model.vision_tower.vision_tower.vision_model"
WORDS = "language.embed_tokens.weight"


@pytest.fixture(scope="module")
def weights():
    return published_weights()


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    return save_published(tmp_path_factory.mktemp("published") / "video_xl", weights)


@pytest.fixture
def own(tmp_path):
    """A file of our own."""
    path = tmp_path / "video_xl.safetensors"
    write_video_model(path, video_model().state_dict(), settings())
    return path


def convert(folder, destination, **options):
    convert_video_model(folder, destination, read_layers=READ_LAYERS, **options)
    return read_video_model(destination)


def assert_same(state, weights):
    for name, value in state.items():
        published = weights[published_name(name)]
        assert torch.equal(value, published[list(PREFIX + SUFFIX)] if name == WORDS else published), name


# --- convert ----------------------------------------------------------------------------------------------------------


def test_what_the_memory_needs_is_kept(folder, weights, tmp_path):
    state, found = convert(folder, tmp_path / "out.safetensors")
    assert found == settings()
    assert_same(state, weights)
    left = weights.keys() - {published_name(name) for name in state}
    # No words are made, no block of the tower is run behind the one that is looked at, and the last layer is not left.
    assert left == {
        "lm_head.weight",
        "model.norm.weight",
        *(name for name in weights if name.startswith((f"{TOWER}.encoder.layers.2.", f"{TOWER}.post_layernorm"))),
        *(name for name in weights if name.startswith(("model.layers.4.mlp", "model.layers.4.post_attention"))),
        *(f"model.layers.4.self_attn.{name}" for name in ("q_proj.weight", "q_proj.bias", "o_proj.weight")),
        *(f"model.layers.4.self_attn.beacon_q_proj.{name}" for name in ("weight", "bias")),
    }


def test_a_sharded_checkpoint_and_another_type(weights, tmp_path):
    folder, names = tmp_path / "sharded", sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    save_published(folder, {}, CONFIG)
    (folder / "model.safetensors").unlink()
    for part, mine in parts.items():
        save_file({name: weights[name] for name in mine}, folder / part)
    index = {"weight_map": {name: part for part, mine in parts.items() for name in mine}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    state, _ = convert(folder, tmp_path / "out.safetensors", dtype=torch.bfloat16)
    assert {value.dtype for value in state.values()} == {torch.bfloat16}
    assert_same(state, {name: value.bfloat16() for name, value in weights.items()})


def test_a_config_says_the_rest(weights, tmp_path):
    config = CONFIG | {"beacon_window": 80, "beacon_stride": 80, "rope_theta": 10000, "mm_spatial_pool_mode": "max"}
    config |= {"mm_vision_select_layer": -3, "beacon_param": ["k", "v"]}
    _, found = convert(save_published(tmp_path / "a", weights, config), tmp_path / "out.safetensors")
    assert (found.language.window, found.language.rope_theta, found.language.beacon_parts) == (80, 10000, ("k", "v"))
    assert (found.vision.pool, found.vision.blocks) == ("max", 1)


CONFIGS = {
    "no beacons": ({"beacon_window": None}, "'beacon_window' None, which is not a whole number"),
    "other places": ({"beacon_pos": "append"}, "'beacon_pos' 'append' instead of 'interleave'"),
    "other attention": ({"beacon_attn": "segmentation"}, "'beacon_attn' 'segmentation' instead of 'full-coverage'"),
    "a sink": ({"beacon_sink_size": 1}, "'beacon_sink_size' 1 instead of 0"),
    "parallel": ({"beacon_parallel_window": 2}, "'beacon_parallel_window' 2 instead of 1"),
    "forgetful": ({"beacon_accum": False}, "'beacon_accum' False instead of True"),
    "stride": ({"beacon_stride": 24}, "'beacon_stride' 24 instead of that of 'beacon_window'"),
    "window": (
        {"beacon_window": 44, "beacon_stride": 44},
        "window must be a multiple of the ratio (8) (1440); got 44",
    ),
    "mlp": ({"beacon_param": ["q", "mlp"]}, "beacon_parts must be of q, k, v; got q, mlp"),
    "numbers": ({"beacon_param": [1]}, "'beacon_param' [1]"),
    "activation": ({"hidden_act": "gelu"}, "'hidden_act' 'gelu' instead of 'silu'"),
    "projector": ({"mm_projector_type": "linear"}, "'mm_projector_type' 'linear' instead of 'mlp2x_gelu'"),
    "stride of the pool": ({"mm_spatial_pool_stride": 4}, "'mm_spatial_pool_stride' 4 instead of 2"),
    "class token": (
        {"mm_vision_select_feature": "cls_patch"},
        "'mm_vision_select_feature' 'cls_patch' instead of 'patch'",
    ),
    "several scales": ({"s2": True}, "'s2' True instead of False"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_other_configs_are_refused(weights, tmp_path, name):
    changed, wrong = CONFIGS[name]
    folder = save_published(tmp_path / "a", {"lm_head.weight": torch.ones(1)}, CONFIG | changed)
    message = refusal(convert_video_model, folder, tmp_path / "out.safetensors", read_layers=READ_LAYERS)
    assert message == (
        "source must be Video-XL (the folder with its config.json); "
        f"got {folder}, whose config.json is not of Video-XL: {wrong}."
    )
    assert not (tmp_path / "out.safetensors").exists()


def without(*starts):
    return lambda weights: {name: value for name, value in weights.items() if not name.startswith(starts)}


def other(**tensors):
    return lambda weights: weights | tensors


WEIGHTS = {
    "no tower": (without(TOWER), "which has no vision tower (model.vision_tower...): it was saved without it"),
    "no projector": (without("model.mm_projector.2.bias"), "which has no model.mm_projector.2.bias"),
    "no projector at all": (without("model.mm_projector"), "which has no model.mm_projector.0.weight"),
    "no beacons": (
        without("model.layers.1.self_attn.beacon_k"),
        "which has no model.layers.1.self_attn.beacon_k_proj.weight",
    ),
    "no beacon embedding": (without("model.beacon"), "which has no model.beacon_embed_tokens.weight"),
    "no words": (without("model.embed_tokens"), "which has no model.embed_tokens.weight"),
    "too few words": (
        other(**{"model.embed_tokens.weight": torch.ones(100, 64)}),
        "whose model.embed_tokens.weight is of shape [100, 64] instead of at least 151646 words of 64",
    ),
    "other sizes": (
        other(**{"model.layers.0.mlp.up_proj.weight": torch.ones(90, 64)}),
        "whose model.layers.0.mlp.up_proj.weight is of shape [90, 64] instead of [96, 64]",
    ),
    "another projector": (
        other(**{"model.mm_projector.0.weight": torch.ones(32, 128)}),
        "out must be the width of the language (64); got 32",
    ),
    "packed": (
        other(**{"model.layers.0.mlp.up_proj.weight": torch.ones(96, 64, dtype=torch.int8)}),
        "where model.layers.0.mlp.up_proj.weight holds torch.int8, which is no number by itself",
    ),
    "odd tower": (
        other(**{f"{TOWER}.embeddings.position_embedding.weight": torch.ones(50, 128)}),
        "image must be a multiple of two patches (8) (336); got 28",
    ),
    "flat tower": (
        other(**{f"{TOWER}.embeddings.patch_embedding.weight": torch.ones(128, 48)}),
        f"whose {TOWER}.embeddings.patch_embedding.weight is of shape [128, 48]",
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_other_weights_are_refused_by_name(weights, tmp_path, name):
    change, wrong = WEIGHTS[name]
    folder = save_published(tmp_path / "a", change(weights))
    message = refusal(convert_video_model, folder, tmp_path / "out.safetensors", read_layers=READ_LAYERS)
    assert message == f"source must be Video-XL (the folder with its config.json); got {folder}, {wrong}."
    assert not (tmp_path / "out.safetensors").exists()


def test_a_tower_that_is_not_deep_enough_is_refused(weights, tmp_path):
    folder = save_published(tmp_path / "a", weights, CONFIG | {"mm_vision_select_layer": -5})
    message = refusal(convert_video_model, folder, tmp_path / "out.safetensors", read_layers=READ_LAYERS)
    assert message.endswith(", which looks at block -5 of a vision tower of 3.")


def test_fewer_layers_than_are_read_are_refused(folder, tmp_path):
    message = refusal(convert_video_model, folder, tmp_path / "out.safetensors")
    assert "read_layers must be at least one of the 5 layers (-9, -5, -1); got [-9, -5, -1]." in message


def test_other_folders_are_refused(weights, tmp_path):
    out = tmp_path / "out.safetensors"
    assert "which has no config.json." in refusal(convert_video_model, tmp_path, out)
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(1))
    assert refusal(convert_video_model, tmp_path, out) == (
        "source must have its weights in .safetensors files (download them as such, or convert the model); "
        f"got no model.safetensors in {tmp_path}, but pytorch_model.bin: a pickle, which is not opened, as it can run "
        "code."
    )
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    assert "which is not a complete safetensors file" in refusal(convert_video_model, tmp_path, out)
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert "whose config.json is not of Video-XL: no JSON" in refusal(convert_video_model, tmp_path, out)


def test_no_source_is_replaced_and_no_other_kind_of_file_is_written(folder, tmp_path):
    path = folder / "model.safetensors"
    message = f"destination must be another file than the source, which it would replace; got {path}."
    assert refusal(convert_video_model, folder, path) == message
    message = f"destination must be a .safetensors file (video_xl.safetensors); got {tmp_path / 'a.pth'}."
    assert refusal(convert_video_model, folder, tmp_path / "a.pth") == message


# --- files of our own -------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(own):
    state, found = read_video_model(own)
    assert found == settings()
    expected = video_model().state_dict()
    assert state.keys() == expected.keys() == video_shapes(found).keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    with safe_open(own, framework="pt") as file:
        assert json.loads(file.metadata()["video_xl"])["language"]["read_layers"] == list(READ_LAYERS)


def start(path):
    return (
        f"file must be Video-XL, converted (make it with `everanimate longanimation convert --video-xl`); got {path}, "
    )


OWN = {
    "missing": (lambda state: state.pop(WORDS), f"which has no {WORDS}."),
    "foreign": (lambda state: state.update(a=torch.ones(1)), "which has the unknown a."),
    "another shape": (
        lambda state: state.update({WORDS: torch.ones(31, 64)}),
        f"whose {WORDS} is of shape [31, 64] instead of [30, 64].",
    ),
    "packed": (
        lambda state: state.update({WORDS: torch.ones(30, 64, dtype=torch.int8)}),
        f"where {WORDS} holds torch.int8, which is no number by itself.",
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_files_with_other_weights_are_refused_by_name(own, name):
    change, wrong = OWN[name]
    state = {each: value.clone() for each, value in load_file(own).items()}
    change(state)
    write_video_model(own, state, settings())
    assert refusal(read_video_model, own) == start(own) + wrong


def described(**changed):
    """The metadata of a file, with other settings of the language."""
    whole = settings()
    return json.dumps({"vision": vars(whole.vision), "language": vars(whole.language) | changed})


TEXTS = {
    "none": (None, "which says nothing of 'video_xl'."),
    "no JSON": ("{", "whose metadata are wrong: no JSON"),
    "a list": ("[]", "whose metadata are wrong: a list instead of an object."),
    "half": ('{"vision": {}}', "whose metadata are wrong: no 'language'."),
    "unknown": (described(more=1), "whose metadata are wrong: the unknown 'more'."),
    "text": (described(window="48"), "whose metadata are wrong: 'window' '48', which is not a whole number."),
    "names": (described(read_layers=["a"]), "whose metadata are wrong: 'read_layers' ['a']."),
    "numbers": (described(beacon_parts=[1]), "whose metadata are wrong: 'beacon_parts' [1]."),
    "huge": (described(layers=10**9), "whose metadata are wrong: layers must be between 1 and 1000; got 1000000000."),
    "other sizes": (
        described(width=128),
        "whose metadata are wrong: out must be the width of the language (128); got 64.",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_files_with_other_settings_are_refused(own, name):
    text, wrong = TEXTS[name]
    save_file(load_file(own), own.with_name("b.safetensors"), None if text is None else {"video_xl": text})
    path = own.with_name("b.safetensors")
    assert refusal(read_video_model, path, "video_file").startswith(
        start(path).replace("file", "video_file", 1) + wrong
    )


def test_other_files_are_refused(folder, tmp_path):
    path = folder / "model.safetensors"
    assert refusal(read_video_model, path) == start(path) + "which says nothing of 'video_xl'."
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(1))
    assert "which is a pickle file and is not opened, as it can run code" in refusal(read_video_model, path)
    assert "which is not a file" in refusal(read_video_model, tmp_path / "none.safetensors")


def test_a_truncated_file_is_refused(own):
    own.write_bytes(own.read_bytes()[:-100])
    assert "which is not a complete safetensors file" in refusal(read_video_model, own)
