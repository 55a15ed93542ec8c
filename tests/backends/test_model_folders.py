"""Folders of strangers: their own words for what is wrong, no pickle, no code, no hub, no question."""

import json
import pickle
import shutil
import socket
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
    VideoMAEConfig,
    VideoMAEModel,
)

from everanimate_core.backends.wan_checkpoint import check_vae, load_transformer, load_vae
from everanimate_core.backends.wan_encoders import ClipVision, WanFiles, encode_prompts
from everanimate_core.evaluation.frechet import VideoMae

CODE = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\n"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No network and nobody to answer a question."""

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


class Canary:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def make_clip(folder):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    CLIPVisionModel(CLIPVisionConfig(image_size=28, patch_size=14, **sizes)).save_pretrained(folder)


def make_text(folder):
    UMT5EncoderModel(UMT5Config(vocab_size=8, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=4)).save_pretrained(
        folder
    )


def make_videomae(folder):
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    VideoMAEModel(VideoMAEConfig(image_size=32, patch_size=8, num_frames=4, tubelet_size=2, **sizes)).save_pretrained(
        folder
    )


def make_tokenizer(folder, words=8):
    names = ["<pad>", "</s>", "<unk>", *(f"w{number}" for number in range(words - 3))]
    tokenizer = Tokenizer(WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>").save_pretrained(folder)


def load_text(folder):
    if not (folder.parent / "tokenizer").exists():
        make_tokenizer(folder.parent / "tokenizer")
    files = WanFiles(folder, folder, folder, folder.parent / "tokenizer", folder)
    return encode_prompts(files, ["w1 w2"], device="cpu", dtype=torch.float32)


PARTS = {
    "image_encoder": (make_clip, lambda folder: ClipVision.from_folder(folder, device="cpu")),
    "text_encoder": (make_text, load_text),
    "videomae": (make_videomae, VideoMae),
}


@pytest.fixture(params=PARTS)
def part(request, tmp_path):
    """(name, its folder, how it is loaded)"""
    make, load = PARTS[request.param]
    with torch.random.fork_rng():
        make(tmp_path / "part")
    return request.param, tmp_path / "part", load


def change(folder, file="config.json", **settings):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def refusal(load, folder):
    with pytest.raises(ValueError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    assert message.endswith(".")
    return message


def test_a_sound_folder_needs_nobody(part):
    _, folder, load = part
    load(folder)


def test_code_beside_the_weights_does_not_run(part):
    _, folder, load = part
    (folder / "modeling_x.py").write_text(CODE)
    own = {"AutoConfig": "modeling_x.X", "AutoModel": "modeling_x.X", "AutoTokenizer": ["modeling_x.X", None]}
    change(folder, auto_map=own, architectures=["X"], custom_pipelines={"x": {"impl": "modeling_x.X"}})
    load(folder)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"attn_implementation": "someone/kernel"},
        {"_attn_implementation": "someone/kernel"},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
        {"text_config": {"attn_implementation": "someone/kernel"}},
    ],
)
def test_settings_that_fetch_code_are_refused(part, settings):
    name, folder, load = part
    change(folder, **settings)
    assert refusal(load, folder).startswith(f"{name} must be a plain model, without quantisation, adapters and code")


def test_an_adapter_is_not_fetched(part):
    name, folder, load = part
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/model", "peft_type": "LORA"}')
    assert refusal(load, folder).startswith(f"{name} must be a plain model")


@pytest.mark.parametrize("index", [False, True])
def test_a_folder_with_pickles_alone_is_refused(part, index):
    name, folder, load = part
    (folder / "model.safetensors").unlink()
    for file in ("pytorch_model.bin", "model.bin"):
        (folder / file).write_bytes(pickle.dumps(Canary(folder / "opened")))
    if index:
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001.safetensors"}}')
    message = refusal(load, folder)
    if name != "videomae":
        assert message.startswith(f"{name} must have its weights in .safetensors files (download them as such")
        assert "model.bin: a pickle, which is not opened, as it can run code" in message
    assert not (folder / "opened").exists()


def test_a_pickle_under_the_name_of_safetensors_is_refused(part):
    _, folder, load = part
    (folder / "model.safetensors").write_bytes(pickle.dumps(Canary(folder / "opened"), protocol=2))
    assert "which is a pickle file and is not opened" in refusal(load, folder)
    assert not (folder / "opened").exists()


@pytest.mark.parametrize(
    "shard",
    ["../other/model.safetensors", "/etc/x.safetensors", "c:x.safetensors", "..\\x.safetensors", "a.bin", 3, None],
)
def test_an_index_names_files_of_its_folder_only(part, shard):
    name, folder, load = part
    shutil.copytree(folder, folder.parent / "other")
    if name != "videomae":
        (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    rule = f"{name} must name the weight files of its folder in model.safetensors.index.json"
    assert refusal(load, folder).startswith(rule)


def test_weights_that_are_not_there_are_not_made_up(part):
    _, folder, load = part
    state = load_file(folder / "model.safetensors")
    gone = next(key for key in state if key.endswith("norm.weight") or "attention" in key or "attn" in key)
    save_file(
        {key: value for key, value in state.items() if key != gone}, folder / "model.safetensors", {"format": "pt"}
    )
    assert "1 weights are missing" in refusal(load, folder)


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe{}",
        b"{}\0",
        b"[" * 100_000,
        b'{"model_type": "bert"}',
        b'{"model_type": ["umt5"]}',
        b'{"num_layers": ' + b"9" * 5000 + b"}",
        b'{"hidden_size": NaN}',
        b'{"model_type": "\\u001b[31m\\n"}',
    ],
)
@pytest.mark.parametrize("content_of", ["config.json", "model.safetensors.index.json"])
def test_settings_that_are_none(part, content, content_of):
    name, folder, load = part
    (folder / content_of).write_bytes(content)
    assert refusal(load, folder).startswith(f"{name} must ")


@pytest.mark.parametrize("value", ["16", -1, 0, None, [], 10**9, 1.5, True])
def test_sizes_that_are_none(part, value):
    name, folder, load = part
    sizes = ("d_model", "num_layers", "num_heads") if name == "text_encoder" else ("hidden_size", "num_hidden_layers")
    before = (folder / "config.json").read_text()
    for size in sizes:
        change(folder, **{size: value})
        assert refusal(load, folder).startswith(f"{name} must ")
        (folder / "config.json").write_text(before)


# --- the tokenizer ---


@pytest.fixture
def text(tmp_path):
    with torch.random.fork_rng():
        make_text(tmp_path / "text")
    make_tokenizer(tmp_path / "tokenizer")
    return tmp_path / "text"


def test_a_tokenizer_as_large_as_umt5s_asks_no_hub(text):
    shutil.rmtree(text.parent / "tokenizer")
    make_tokenizer(text.parent / "tokenizer", words=100_010)
    assert load_text(text).shape == (1, 512, 16)


def test_code_beside_the_tokenizer_does_not_run(text):
    tokenizer = text.parent / "tokenizer"
    (tokenizer / "tok.py").write_text(CODE)
    change(tokenizer, "tokenizer_config.json", auto_map={"AutoTokenizer": ["tok.X", "tok.X"]})
    load_text(text)
    assert not (tokenizer / "ran").exists()
    change(tokenizer, "tokenizer_config.json", tokenizer_class="X")
    assert refusal(load_text, text).startswith("tokenizer must be umT5's (T5Tokenizer, ")
    change(tokenizer, "tokenizer_config.json", tokenizer_class="RagTokenizer")
    assert refusal(load_text, text).startswith("tokenizer must be umT5's (T5Tokenizer, ")


@pytest.mark.parametrize("content", [b"{}", b"[]", b"{", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_tokenizer_that_is_none(text, file, content):
    (text.parent / "tokenizer" / file).write_bytes(content)
    assert refusal(load_text, text).startswith("tokenizer must ")


def test_a_tokenizer_of_more_words_than_the_encoder_knows(text):
    shutil.rmtree(text.parent / "tokenizer")
    make_tokenizer(text.parent / "tokenizer", words=20)
    files = WanFiles(text, text, text, text.parent / "tokenizer", text)
    with pytest.raises(ValueError, match=r"^tokenizer must be the text encoder's, which knows 8 tokens; got .* 12\.$"):
        encode_prompts(files, ["w9"], device="cpu", dtype=torch.float32)


# --- diffusers ---


@pytest.fixture
def vae_folder(vae, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def read_vae(folder):
    load_vae(folder, device="cpu")


def test_a_class_of_the_folders_own_is_refused(vae_folder):
    (vae_folder / "own.py").write_text(CODE)
    change(vae_folder, _class_name=["own", "Vae"], auto_map={"AutoModel": "own.Vae"})
    assert refusal(read_vae, vae_folder).startswith("vae must be a AutoencoderKLWan; got a ['own', 'Vae'] in ")
    assert not (vae_folder / "ran").exists()


def test_an_index_that_names_no_file(vae_folder):
    for shard in ("none.safetensors", "x" * 5000 + ".safetensors"):
        index = vae_folder / "diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {"a": shard}}))
        assert f"got no {shard[:120]}" in refusal(read_vae, vae_folder)


@pytest.mark.parametrize("shard", ["../vae.safetensors", "/vae.safetensors", {}, "x.bin"])
def test_an_index_of_diffusers_names_files_of_its_folder_only(vae_folder, shard):
    shutil.copy(vae_folder / "diffusion_pytorch_model.safetensors", vae_folder.parent / "vae.safetensors")
    index = vae_folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    rule = "vae must name the weight files of its folder in diffusion_pytorch_model.safetensors.index.json"
    assert refusal(read_vae, vae_folder).startswith(rule)
    assert refusal(check_vae, vae_folder).startswith(rule)


def test_a_folder_of_diffusers_with_pickles_alone(vae_folder):
    (vae_folder / "diffusion_pytorch_model.safetensors").unlink()
    (vae_folder / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Canary(vae_folder / "opened")))
    assert "diffusion_pytorch_model.bin: a pickle, which is not opened" in refusal(read_vae, vae_folder)
    assert not (vae_folder / "opened").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"base_dim": "4"},
        {"base_dim": 0},
        {"base_dim": -4},
        {"base_dim": 8},
        {"base_dim": 10**12},
        {"dim_mult": 3},
        {"dim_mult": []},
        {"num_res_blocks": 10**5},
        {"z_dim": "16"},
        {"temperal_downsample": None},
    ],
)
def test_sizes_of_a_vae_that_are_none(vae_folder, settings):
    change(vae_folder, **settings)
    refusal(read_vae, vae_folder)


@pytest.mark.parametrize(
    "state",
    [
        {"pose_patch_embedding.weight": torch.ones(1)},
        {"pose_patch_embedding.weight": torch.ones(1), "head.modulation": torch.tensor(1.0)},
        {"pose_patch_embedding.weight": torch.ones(1), f"blocks.{'9' * 5000}.x": torch.ones(1)},
        {"x\n\x1b[31m": torch.ones(1)},
    ],
)
def test_a_transformer_file_that_is_none(state, tmp_path):
    save_file(state, tmp_path / "model.safetensors")
    message = refusal(
        lambda path: load_transformer(path, device="cpu", dtype=torch.float32), tmp_path / "model.safetensors"
    )
    assert message.startswith("model must ")


def test_weights_without_their_scale_are_refused(vae_folder):
    path = vae_folder / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    save_file({**state, "quant_conv.weight": state["quant_conv.weight"].to(torch.int8)}, path)
    assert "model must have floating-point weights (bfloat16); got" in refusal(read_vae, vae_folder)
