import re
import subprocess
import sys

import pytest
import torch
from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel, WanTransformer3DModel
from safetensors.torch import save_file

from everanimate_core.backends.wan_checkpoint import (
    FACE_PATH,
    has_face_path,
    load_transformer,
    load_vae,
    outline_transformer,
)

# What the original code calls diffusers' modules, first match wins.
TRANSFORMER_NAMES = (
    (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"^condition_embedder\.time_proj\.", "time_projection.1."),
    (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"^condition_embedder\.image_embedder\.norm1\.", "img_emb.proj.0."),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj\.", "img_emb.proj.1."),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2\.", "img_emb.proj.3."),
    (r"^condition_embedder\.image_embedder\.norm2\.", "img_emb.proj.4."),
    (r"^motion_encoder\.motion_synthesis_weight$", "motion_encoder.dec.direction.weight"),
    (r"^motion_encoder\.motion_network\.", "motion_encoder.enc.fc."),
    (r"^motion_encoder\.conv_in\.weight", "motion_encoder.enc.net_app.convs.0.0.weight"),
    (r"^motion_encoder\.conv_in\.act_fn\.", "motion_encoder.enc.net_app.convs.0.1."),
    (r"^motion_encoder\.conv_out\.", "motion_encoder.enc.net_app.convs.8."),
    (r"^(face_encoder\.conv\w+)\.", r"\1.conv."),
    (r"^face_adapter\.(\d+)\.to_q\.", r"face_adapter.fuser_blocks.\1.linear1_q."),
    (r"^face_adapter\.(\d+)\.to_out\.", r"face_adapter.fuser_blocks.\1.linear2."),
    (r"^face_adapter\.(\d+)\.norm_([qk])\.", r"face_adapter.fuser_blocks.\1.\2_norm."),
    (r"^proj_out\.", "head.head."),
    (r"^scale_shift_table$", "head.modulation"),
    (r"^(blocks\.\d+)\.scale_shift_table$", r"\1.modulation"),
    (r"^(blocks\.\d+)\.norm2\.", r"\1.norm3."),
    (r"^(blocks\.\d+)\.ffn\.net\.0\.proj\.", r"\1.ffn.0."),
    (r"^(blocks\.\d+)\.ffn\.net\.2\.", r"\1.ffn.2."),
)
ATTENTION_NAMES = (
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.add_([kv])_proj\.", r".\1_img."),
    (r"\.norm_added_k\.", ".norm_k_img."),
)
# Names that stand in the released files, written down by hand.
REAL_NAMES = {
    "head.modulation",
    "img_emb.proj.4.weight",
    "blocks.0.norm3.weight",
    "blocks.4.self_attn.norm_q.weight",
    "blocks.4.cross_attn.k_img.weight",
    "blocks.4.cross_attn.norm_k_img.weight",
    "motion_encoder.enc.net_app.convs.0.0.weight",
    "motion_encoder.enc.net_app.convs.7.conv2.1.weight",
    "motion_encoder.enc.net_app.convs.7.conv2.2.bias",
    "motion_encoder.enc.net_app.convs.7.skip.1.weight",
    "motion_encoder.enc.fc.4.bias",
    "motion_encoder.dec.direction.weight",
    "face_encoder.conv1_local.conv.weight",
    "face_encoder.padding_tokens",
    "face_adapter.fuser_blocks.0.linear1_kv.weight",
    "face_adapter.fuser_blocks.0.k_norm.weight",
}


def rename(name, rules):
    for pattern, replacement in rules:
        if re.search(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def original_block_name(name):
    """motion_encoder.res_blocks.2.conv1.act_fn.bias -> motion_encoder.enc.net_app.convs.3.conv1.1.bias, and so on."""
    block, part, rest = re.match(r"motion_encoder\.res_blocks\.(\d+)\.(\w+)\.(.+)", name).groups()
    part = part.replace("conv_skip", "skip")
    place = {"conv1": 0, "conv2": 1, "skip": 1}[part] + rest.startswith("act_fn")
    return f"motion_encoder.enc.net_app.convs.{int(block) + 1}.{part}.{place}.{rest.removeprefix('act_fn.')}"


def to_original(state):
    """A diffusers state dict under original names, with fused k, v and the blur kernels that the original stores."""
    original = {}
    for name, value in state.items():
        if re.match(r"face_adapter\.\d+\.to_k\.", name):
            key = name.replace("face_adapter.", "face_adapter.fuser_blocks.").replace("to_k", "linear1_kv")
            original[key] = torch.cat([value, state[name.replace("to_k", "to_v")]])
        elif re.match(r"face_adapter\.\d+\.to_v\.", name):
            continue
        elif name.startswith("motion_encoder.res_blocks."):
            key = original_block_name(name)
            original[key] = value.view(1, -1, 1, 1) if key.endswith("bias") else value
        elif name == "motion_encoder.conv_in.act_fn.bias":
            original[rename(name, TRANSFORMER_NAMES)] = value.view(1, -1, 1, 1)
        elif name.startswith("blocks.") and ".attn" in name:
            for rule in ATTENTION_NAMES:
                name = rename(name, [rule])
            original[name] = value
        else:
            original[rename(name, TRANSFORMER_NAMES)] = value
    if "motion_encoder.dec.direction.weight" in original:
        for block in range(1, 8):
            for part in ("conv2", "skip"):
                original[f"motion_encoder.enc.net_app.convs.{block}.{part}.0.kernel"] = torch.ones(4, 4)
    return {name: value.clone() for name, value in original.items()}


@pytest.fixture(scope="module")
def model():
    """One head, 5 blocks; the motion encoder has its full size, which the original code fixes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WanAnimateTransformer3DModel(
            num_attention_heads=1,
            text_dim=16,
            freq_dim=32,
            ffn_dim=64,
            num_layers=5,
            image_dim=24,
            added_kv_proj_dim=128,
        )


@pytest.fixture(scope="module")
def original(model):
    return to_original(model.state_dict())


@pytest.fixture
def faceless(original):
    return {name: value for name, value in original.items() if not name.startswith(FACE_PATH)}


def same_weights(loaded, model):
    expected = model.state_dict()
    assert loaded.state_dict().keys() <= expected.keys()
    return all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_an_outline_has_the_sizes_of_the_network_and_reads_no_weights(model, original, faceless, tmp_path):
    save_file(original, tmp_path / "whole.safetensors")
    model.save_config(tmp_path / "folder" / "transformer")
    expected = {name: value.shape for name, value in model.state_dict().items()}
    for path in (tmp_path / "whole.safetensors", tmp_path / "folder"):
        outline = outline_transformer(path)
        assert {name: value.shape for name, value in outline.state_dict().items()} == expected
        assert {value.device.type for value in outline.parameters()} == {"meta"} and has_face_path(outline)
    save_file(faceless, tmp_path / "faceless.safetensors")
    assert not has_face_path(outline_transformer(tmp_path / "faceless.safetensors"))
    with pytest.raises(ValueError, match=r"^model must be Wan2\.2-Animate with its original key names"):
        save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
        outline_transformer(tmp_path / "other.safetensors")


def load(state, folder, **options):
    save_file(state, folder / "model.safetensors")
    return load_transformer(folder / "model.safetensors", **({"device": "cpu", "dtype": torch.float32} | options))


def test_a_single_file_with_original_names_gives_the_same_network(model, original, tmp_path):
    assert original.keys() >= REAL_NAMES
    loaded = load(original, tmp_path)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert same_weights(loaded, model)
    assert all(loaded.config[name] == value for name, value in model.config.items() if not name.startswith("_"))
    assert has_face_path(loaded)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())

    shapes = ((1, 36, 2, 4, 4), (1, 512, 16), (1, 257, 24), (1, 16, 1, 4, 4), (1, 3, 1, 512, 512))
    x, text, clip, pose, face = (torch.randn(s, generator=torch.Generator().manual_seed(len(s))) for s in shapes)
    with torch.no_grad():
        outputs = [each(x, torch.tensor([500.0]), text, clip, pose, face).sample for each in (loaded, model)]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("prefix", ["diffusion_model.", "model.diffusion_model."])
def test_prefixes_are_understood(prefix, model, faceless, tmp_path):
    loaded = load({prefix + name: value for name, value in faceless.items()}, tmp_path)
    assert same_weights(loaded, model)
    assert not has_face_path(loaded)


def test_a_face_path_is_left_out_as_a_whole_or_not_at_all(original, faceless, tmp_path):
    adapters = {name: value for name, value in original.items() if name.startswith("face_adapter.")}
    assert not has_face_path(load(faceless | adapters, tmp_path))
    adapters.pop("face_adapter.fuser_blocks.0.linear2.bias")
    with pytest.raises(ValueError, match=r"1 \(face_adapter\.0\.to_out\.bias\) are missing and 0 are unknown\.$"):
        load(faceless | adapters, tmp_path)


def test_missing_and_unknown_keys_are_named(faceless, tmp_path):
    del faceless["blocks.3.ffn.2.bias"]
    faceless["blocks.3.extra.weight"] = torch.zeros(1)
    with pytest.raises(
        ValueError,
        match=r"1 \(blocks\.3\.ffn\.net\.2\.bias\) are missing and 1 \(blocks\.3\.extra\.weight\) are unknown\.$",
    ):
        load(faceless, tmp_path)


def test_scaled_fp8_is_refused(faceless, tmp_path):
    faceless["blocks.0.ffn.0.scale_weight"] = torch.ones(1)
    with pytest.raises(
        ValueError,
        match=r"^model must not have scaled fp8 weights, which work in ComfyUI only "
        r"\(wan2\.2_animate_14B_bf16\.safetensors\); got .* with blocks\.0\.ffn\.0\.scale_weight\.$",
    ):
        load(faceless, tmp_path)


def test_another_wan_model_is_refused(faceless, tmp_path):
    del faceless["pose_patch_embedding.weight"]
    with pytest.raises(ValueError, match=r"^model must be Wan2\.2-Animate .* has no pose_patch_embedding\.weight\.$"):
        load(faceless, tmp_path)


@pytest.mark.parametrize("name", ["model.gguf", "absent.safetensors"])
def test_other_files_are_refused(name, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"^model must be a diffusers folder or a whole \.safetensors file; got"):
        load_transformer(tmp_path / name, device="cpu", dtype=torch.float32)


def test_half_a_download_is_refused(faceless, tmp_path):
    save_file(faceless, tmp_path / "whole.safetensors")
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:9999])
    with pytest.raises(
        ValueError, match=r"^model must be .* a whole \.safetensors file; got .*half\.safetensors, which is not"
    ):
        load_transformer(tmp_path / "half.safetensors", device="cpu", dtype=torch.float32)


def test_bfloat16_keeps_in_float32_what_diffusers_keeps(transformer, tmp_path):
    transformer.save_pretrained(tmp_path)
    expected = WanAnimateTransformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16).state_dict()
    loaded = load_transformer(tmp_path, device="cpu", dtype=torch.bfloat16).state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.bfloat16, torch.float32}
    assert {name: value.dtype for name, value in loaded.items()} == {n: v.dtype for n, v in expected.items()}
    assert all(torch.equal(value, expected[name]) for name, value in loaded.items())


@pytest.mark.parametrize("shards", ["1GB", "50KB"])
@pytest.mark.parametrize("inside", ["", "transformer"])
def test_a_diffusers_folder_is_read_whole_or_in_shards(shards, inside, transformer, tmp_path):
    transformer.save_pretrained(tmp_path / inside, max_shard_size=shards)
    assert (len(list((tmp_path / inside).glob("*.safetensors"))) > 1) == (shards == "50KB")
    loaded = load_transformer(tmp_path, device="cpu", dtype=torch.float32)
    assert loaded.state_dict().keys() == transformer.state_dict().keys()
    assert same_weights(loaded, transformer)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"^model must be a folder with transformer/config\.json \(a diffusers model\); got"
    ):
        load_transformer(tmp_path, device="cpu", dtype=torch.float32)


def test_a_folder_of_another_model_is_refused(tmp_path):
    WanTransformer3DModel(num_attention_heads=1, ffn_dim=8, num_layers=1).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"^transformer must be a WanAnimateTransformer3DModel; got a WanTransformer3DModel in"
    ):
        load_transformer(tmp_path, device="cpu", dtype=torch.float32)


RESNET_NAMES = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6"}
RESNET_NAMES["conv_shortcut"] = "shortcut"


def original_vae_name(name):
    name = re.sub(r"\b(norm1|conv1|norm2|conv2|conv_shortcut)\b", lambda match: RESNET_NAMES[match[1]], name)
    name = re.sub(r"mid_block\.resnets\.([01])", lambda match: f"middle.{2 * int(match[1])}", name)
    name = name.replace("mid_block.attentions.0", "middle.1").replace("encoder.down_blocks", "encoder.downsamples")
    name = re.sub(
        r"up_blocks\.(\d)\.resnets\.(\d)", lambda match: f"upsamples.{4 * int(match[1]) + int(match[2])}", name
    )
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda match: f"upsamples.{4 * int(match[1]) + 3}", name)
    name = name.replace("conv_in", "conv1").replace("norm_out", "head.0").replace("conv_out", "head.2")
    return re.sub(r"^post_quant_conv", "conv2", re.sub(r"^quant_conv", "conv1", name))


def test_a_vae_file_with_original_names_gives_the_same_network(vae, tmp_path):
    original = {original_vae_name(name): value.clone() for name, value in vae.state_dict().items()}
    assert original.keys() >= {
        "conv1.weight",
        "encoder.conv1.bias",
        "encoder.downsamples.5.time_conv.weight",
        "decoder.middle.1.to_qkv.weight",
        "decoder.upsamples.4.shortcut.weight",
        "decoder.upsamples.14.residual.6.weight",
        "decoder.upsamples.7.resample.1.weight",
        "decoder.head.0.gamma",
    }
    save_file(original, tmp_path / "vae.safetensors")
    loaded = load_vae(tmp_path / "vae.safetensors", device="cpu")
    assert loaded.state_dict().keys() == vae.state_dict().keys()
    assert same_weights(loaded, vae)
    assert loaded.config.latents_mean == vae.config.latents_mean


def test_a_vae_folder_gives_the_same_network(vae, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    loaded = load_vae(tmp_path, device="cpu")
    assert loaded.state_dict().keys() == vae.state_dict().keys()
    assert same_weights(loaded, vae)


def test_a_vae_of_48_channels_is_refused(tmp_path):
    AutoencoderKLWan(base_dim=4, z_dim=48, latents_mean=[0.0] * 48, latents_std=[1.0] * 48).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^vae must have 16 latent channels .* got 48 in"):
        load_vae(tmp_path, device="cpu")


def test_a_file_that_is_no_vae_is_refused(faceless, tmp_path):
    save_file(faceless, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"^vae must be the Wan 2\.1 VAE .* which has no decoder\.head\.2\.weight\.$"):
        load_vae(tmp_path / "model.safetensors", device="cpu")


@pytest.mark.parametrize(
    ("package", "module"),
    [
        ("diffusers", "wan_checkpoint"),
        ("transformers", "wan_encoders"),
        ("diffusers", "cog_networks"),
        ("diffusers", "cog_checkpoint"),
        ("transformers", "cog_encoders"),
    ],
)
def test_a_missing_package_names_the_extra(package, module):
    code = f"import sys; sys.modules[{package!r}] = None; import everanimate_core.backends.{module}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert "running without ComfyUI needs more packages (pip install 'everanimate[cli]')" in result.stderr
