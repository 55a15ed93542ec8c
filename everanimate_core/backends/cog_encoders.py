"""The text encoder of CogVideoX (T5-XXL), from a diffusers folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..longanimation.text import TEXT_TOKENS, check_text
from .model_folders import check_model, load_model
from .needs import extra_packages
from .wan_encoders import load_tokenizer

with extra_packages():
    from transformers import T5EncoderModel


TEXT_MODELS = ("t5",)


@torch.no_grad()
def encode_cog_prompts(
    folder: Path, prompts: Sequence[str], *, device: torch.device | str, dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """T5's last hidden states, [P, 226, 4096], float32, CPU, those of the padding too.

    folder: of diffusers' CogVideoX, with `text_encoder` and `tokenizer` in it. The encoder (9.5 GB in bfloat16) is
    loaded for this call and released after it. Raises ValueError for a prompt of more than 226 tokens, and for folders
    that are not T5's.
    """
    check_model(folder / "text_encoder", TEXT_MODELS, "text_encoder")
    tokenizer = load_tokenizer(folder / "tokenizer", "T5")
    encoder = load_model(T5EncoderModel, folder / "text_encoder", "text_encoder", dtype=dtype).to(device).eval()
    states = []
    for prompt in prompts:
        ids = tokenizer(prompt, padding="max_length", max_length=TEXT_TOKENS, return_tensors="pt").input_ids
        check_text("prompt", ids.shape[1])
        if int(ids.max()) >= encoder.config.vocab_size:
            rule = f"must be the text encoder's, which knows {encoder.config.vocab_size} tokens"
            raise InputError("tokenizer", rule, "", f"one that makes token {int(ids.max())}")
        states.append(encoder(ids.to(encoder.device)).last_hidden_state.float().cpu())
    return torch.cat(states)
