"""The renames: diffusers' names become native ones, and back."""

import pytest
from colour_parts import base_network, sketch_network

from everanimate_core.longanimation.names import diffusers_name, native_name


@pytest.mark.parametrize(
    ("published", "native"),
    [
        ("transformer_blocks.7.attn1.to_q.weight", "blocks.7.q.weight"),
        ("transformer_blocks.7.attn1.norm_k.bias", "blocks.7.norm_k.bias"),
        ("transformer_blocks.0.attn1.to_out.0.bias", "blocks.0.attn_out.bias"),
        ("transformer_blocks.41.ff.net.0.proj.weight", "blocks.41.ff_proj.weight"),
        ("transformer_blocks.41.ff.net.2.weight", "blocks.41.ff_out.weight"),
        ("transformer_blocks.3.norm1.linear.weight", "blocks.3.norm1.linear.weight"),
        ("time_embedding.linear_1.weight", "time_embedding_linear_1.weight"),
        ("ofs_embedding.linear_2.bias", "ofs_embedding_linear_2.bias"),
        ("patch_embed.text_proj.weight", "patch_embed.text_proj.weight"),
        ("norm_out.linear.weight", "norm_out.linear.weight"),
        ("zero_conv.weight", "zero_conv.weight"),
    ],
)
def test_names(published, native):
    assert native_name(published) == native
    assert native_name(native) == native
    assert diffusers_name(native) == published


@pytest.mark.parametrize("network", [base_network, sketch_network])
def test_all_names_of_a_network_come_back(network):
    names = list(network().state_dict())
    natives = [native_name(name) for name in names]
    assert len(set(natives)) == len(names)
    assert [diffusers_name(name) for name in natives] == names


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", "transformer."])
def test_what_whole_checkpoints_put_in_front_is_left_out(prefix):
    assert native_name(f"{prefix}blocks.0.q.weight") == "blocks.0.q.weight"
    assert native_name(f"{prefix}transformer_blocks.0.attn1.to_q.weight") == "blocks.0.q.weight"
