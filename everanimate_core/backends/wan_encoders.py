"""Text and image encoders of Wan-Animate (umT5 and CLIP ViT-H), from a diffusers folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..errors import InputError, one_line, shown
from .diffusers_wan import TEXT_TOKENS
from .model_folders import LOCAL, check_model, load_model, read_config
from .needs import extra_packages
from .wan_checkpoint import check_transformer, check_vae

with extra_packages():
    from transformers import AutoTokenizer, CLIPVisionModel, UMT5EncoderModel


# OpenAI's CLIP normalisation, which Wan's image encoder was trained with.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# What `model_type` says of the encoders; CLIP may come with its text half.
TEXT_MODELS, IMAGE_MODELS = ("umt5",), ("clip_vision_model", "clip")
# umT5's tokenizer under the names that versions of transformers give it. Others could bring code of their own.
TOKENIZERS = ("T5Tokenizer", "T5TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend")


@dataclass(frozen=True)
class WanFiles:
    """Where the five parts of Wan-Animate lie. transformer and vae: a diffusers folder or a .safetensors file;
    text_encoder, tokenizer and image_encoder: folders in transformers' format."""

    transformer: Path
    vae: Path
    text_encoder: Path
    tokenizer: Path
    image_encoder: Path

    @classmethod
    def from_folder(cls, root: str | Path, transformer: str | Path | None = None) -> "WanFiles":
        """The parts of a diffusers folder (Wan2.2-Animate-14B-Diffusers); ValueError when one is missing.

        transformer: a file or folder elsewhere, for example ComfyUI's; the diffusers folder then needs none.
        """
        parts = {name: Path(root) / name for name in cls.__dataclass_fields__}
        if transformer is not None:
            parts["transformer"] = Path(transformer)
        missing = [name for name, path in parts.items() if not path.exists()]
        if missing:
            raise InputError(
                "a diffusers folder",
                f"must have {', '.join(parts)} in it",
                "Wan2.2-Animate-14B-Diffusers",
                f"{one_line(root)}, which lacks {', '.join(missing)}",
            )
        return cls(**parts)

    def check(self) -> None:
        """Raise ValueError for what can be seen to be wrong with the parts without loading them."""
        check_transformer(self.transformer)
        check_vae(self.vae)
        check_model(self.text_encoder, TEXT_MODELS, "text_encoder")
        check_model(self.image_encoder, IMAGE_MODELS, "image_encoder")
        check_tokenizer(self.tokenizer)


def check_tokenizer(folder: Path, kind: str = "umT5") -> None:
    """Raise ValueError unless a folder says that it holds a tokenizer of T5's kind. kind: whose it is to be."""
    found = read_config(folder, "tokenizer", "tokenizer_config.json").get("tokenizer_class")
    if found not in TOKENIZERS:
        raise InputError(
            "tokenizer", f"must be {kind}'s", ", ".join(TOKENIZERS), f"{shown(found)} in {one_line(folder)}"
        )


def load_tokenizer(folder: Path, kind: str = "umT5"):
    """The tokenizer in a folder; ValueError where there is none, or one that does not pad."""
    check_tokenizer(folder, kind)
    rule, got = f"must be a folder with {kind}'s tokenizer", one_line(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    except Exception as error:
        # Its files are a stranger's, and it can stumble anywhere.
        got += f", of which none can be made ({type(error).__name__}: {one_line(error, 200)})"
        raise InputError("tokenizer", rule, "", got) from error
    if tokenizer.pad_token is None:
        raise InputError("tokenizer", f"{rule}, which pads", "", f"{got} without a pad token")
    return tokenizer


@torch.no_grad()
def encode_prompts(
    files: WanFiles, prompts: Sequence[str], *, device: torch.device | str, dtype: torch.dtype = torch.bfloat16
) -> Tensor:
    """umT5's last hidden states, [P, 512, 4096], float32, CPU, zero behind each prompt's own tokens.

    White space of any length counts as one blank. The encoder (11 GB in bfloat16) is loaded for this call and released
    after it. Raises ValueError for a prompt of more than 512 tokens, and for folders that are not umT5's.
    """
    check_model(files.text_encoder, TEXT_MODELS, "text_encoder")
    tokenizer = load_tokenizer(files.tokenizer)
    encoder = load_model(UMT5EncoderModel, files.text_encoder, "text_encoder", dtype=dtype).to(device).eval()
    return torch.cat([_encode_prompt(tokenizer, encoder, " ".join(prompt.split())) for prompt in prompts])


def _encode_prompt(tokenizer, encoder: nn.Module, prompt: str) -> Tensor:
    tokens = tokenizer(prompt, padding="max_length", max_length=TEXT_TOKENS, return_tensors="pt")
    ids, known = tokens.input_ids, tokens.attention_mask
    if ids.shape[1] > TEXT_TOKENS:
        raise InputError("prompt", f"must have at most {TEXT_TOKENS} tokens", "about 350 words", ids.shape[1])
    if int(ids.max()) >= encoder.config.vocab_size:
        raise InputError(
            "tokenizer",
            f"must be the text encoder's, which knows {encoder.config.vocab_size} tokens",
            "",
            f"one that makes token {int(ids.max())}",
        )
    hidden = encoder(ids.to(encoder.device), known.to(encoder.device)).last_hidden_state
    return hidden.float().cpu() * known[..., None]


def clip_pixels(image: Tensor, size: int = 224) -> Tensor:
    """image [1, H, W, 3] in 0..1 -> what CLIP takes in, [1, 3, size, size].

    The whole picture is stretched to the square (bicubic, antialiased, no crop) and rounded to 8 bits before CLIP's
    normalisation, as ComfyUI does without crop: the network gets the same in both hosts.
    """
    square = interpolate(image.movedim(-1, 1), size=(size, size), mode="bicubic", antialias=True)
    rounded = (square * 255).clamp(0, 255).round() / 255
    return (rounded - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)


class ClipVision:
    """CLIP's image tokens as Wan reads them: the hidden states before the last layer."""

    def __init__(self, encoder: nn.Module):
        self.encoder = encoder

    @classmethod
    def from_folder(
        cls, path: str | Path, *, device: torch.device | str, dtype: torch.dtype = torch.float32
    ) -> "ClipVision":
        """The encoder in a folder of transformers' format (`image_encoder` of a diffusers folder).

        Raises ValueError for another model, pickles and missing weights.
        """
        check_model(path, IMAGE_MODELS, "image_encoder")
        return cls(load_model(CLIPVisionModel, path, "image_encoder", dtype=dtype).to(device).eval())

    @torch.no_grad()
    def __call__(self, image: Tensor | None) -> Tensor:
        """image: [1, H, W, 3] in 0..1, float32. Returns [1, 257, 1280], float32, CPU; ValueError for no image."""
        if image is None:
            raise InputError("clip_image", "must be a picture, which Wan-Animate always sees", "the reference", "none")
        pixels = clip_pixels(image, self.encoder.config.image_size).to(self.encoder.device, self.encoder.dtype)
        return self.encoder(pixels, output_hidden_states=True).hidden_states[-2].float().cpu()
