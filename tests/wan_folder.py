"""A diffusers folder of Wan-Animate with all of its parts: the real classes at tiny size."""

import torch
from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

TEXT, IMAGE = 16, 16


def save_wan(folder):
    """Write it: 5 blocks of width 24, faces of 512 pixels, prompts of the letters a and b."""
    torch.manual_seed(0)
    channels = {str(2**power): 2 for power in range(2, 10)}
    WanAnimateTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=TEXT,
        freq_dim=16,
        ffn_dim=32,
        num_layers=5,
        image_dim=IMAGE,
        added_kv_proj_dim=24,
        motion_encoder_channel_sizes=channels,
        motion_encoder_size=512,
        motion_style_dim=8,
        motion_dim=3,
        motion_encoder_dim=8,
        face_encoder_hidden_dim=16,
        face_encoder_num_heads=2,
    ).save_pretrained(folder / "transformer")
    AutoencoderKLWan(base_dim=4).save_pretrained(folder / "vae")
    vision = {"hidden_size": IMAGE, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    CLIPVisionModel(CLIPVisionConfig(image_size=224, patch_size=14, **vision)).save_pretrained(folder / "image_encoder")
    text = UMT5Config(vocab_size=5, d_model=TEXT, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    UMT5EncoderModel(text).save_pretrained(folder / "text_encoder")
    save_tokenizer(folder / "tokenizer")


def save_tokenizer(folder):
    """One of the letters a and b, which pads with 0 and ends with 1."""
    tokenizer = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "a": 2, "b": 3, "<unk>": 4}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split("", behavior="isolated")
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
    fast.save_pretrained(folder)
