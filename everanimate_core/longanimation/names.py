"""Names of CogVideoX's weights: diffusers' (as published, SketchDiT's too), and the native ones of hosts."""

import re

# From diffusers' to native names. Seven renames; no name is met by two of them.
_RENAMES = (
    (r"^transformer_blocks\.", "blocks."),
    (r"\.attn1\.to_([qkv])\.", r".\1."),
    (r"\.attn1\.norm_([qk])\.", r".norm_\1."),
    (r"\.attn1\.to_out\.0\.", ".attn_out."),
    (r"\.ff\.net\.0\.proj\.", ".ff_proj."),
    (r"\.ff\.net\.2\.", ".ff_out."),
    (r"^(time|ofs)_embedding\.linear_", r"\1_embedding_linear_"),
)
_BACK = (
    (r"^blocks\.", "transformer_blocks."),
    (r"\.([qkv])\.", r".attn1.to_\1."),
    (r"\.norm_([qk])\.", r".attn1.norm_\1."),
    (r"\.attn_out\.", ".attn1.to_out.0."),
    (r"\.ff_proj\.", ".ff.net.0.proj."),
    (r"\.ff_out\.", ".ff.net.2."),
    (r"^(time|ofs)_embedding_linear_", r"\1_embedding.linear_"),
)
# What whole checkpoints put in front of the network's own names.
_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.")


def native_name(name: str) -> str:
    """The native name of a weight; a native one stays."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    for pattern, name_of_host in _RENAMES:
        name = re.sub(pattern, name_of_host, name)
    return name


def diffusers_name(name: str) -> str:
    """diffusers' name of a weight with a native name."""
    for pattern, published in _BACK:
        name = re.sub(pattern, published, name)
    return name
