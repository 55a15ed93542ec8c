from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from everanimate_core.backends.wan_encoders import ClipVision, WanFiles, clip_pixels, encode_prompts

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "image_encoder")
CLIP_CONFIG = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "projection_dim": 8}


@pytest.fixture
def text_encoder():
    torch.manual_seed(0)
    config = UMT5Config(vocab_size=6, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    return UMT5EncoderModel(config).eval()


@pytest.fixture
def files(text_encoder, tmp_path):
    """A folder with a text encoder and a tokenizer that sees single characters, blanks too, and ends with </s>."""
    tokenizer = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "a": 2, "b": 3, " ": 4, "<unk>": 5}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split("", behavior="isolated")
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
    for name in PARTS:
        (tmp_path / name).mkdir()
    fast.save_pretrained(tmp_path / "tokenizer")
    text_encoder.save_pretrained(tmp_path / "text_encoder")
    return WanFiles.from_folder(tmp_path)


def test_prompts_are_512_states_with_zeros_behind_their_own(files, text_encoder):
    states = encode_prompts(files, ["ab  \n a", ""], device="cpu", dtype=torch.float32)
    assert states.shape == (2, 512, 16)
    for row, ids in enumerate(([2, 3, 4, 2, 1], [1])):
        padded = torch.tensor([ids + [0] * (512 - len(ids))])
        with torch.no_grad():
            hidden = text_encoder(padded, (padded != 0).long()).last_hidden_state
        assert torch.equal(states[row, : len(ids)], hidden[0, : len(ids)])
        assert torch.equal(states[row, len(ids) :], torch.zeros(512 - len(ids), 16))


def test_a_prompt_of_512_tokens_fits_and_one_more_is_refused(files):
    assert encode_prompts(files, ["a" * 511], device="cpu", dtype=torch.float32)[0, 511].abs().sum() > 0
    with pytest.raises(ValueError, match=r"^prompt must have at most 512 tokens \(about 350 words\); got 513\.$"):
        encode_prompts(files, ["a" * 512], device="cpu", dtype=torch.float32)


def test_a_token_that_the_encoder_does_not_know_is_refused(files):
    config = UMT5Config(vocab_size=5, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    UMT5EncoderModel(config).save_pretrained(files.text_encoder)
    assert encode_prompts(files, ["a b"], device="cpu", dtype=torch.float32).isfinite().all()
    with pytest.raises(
        ValueError, match=r"^tokenizer must be the text encoder's, which knows 5 tokens; got one that makes token 5\.$"
    ):
        encode_prompts(files, ["a b", "x"], device="cpu", dtype=torch.float32)


def test_a_folder_with_a_part_missing_is_refused(tmp_path):
    for name in PARTS[:3]:
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=r"^a diffusers folder must have .* which lacks tokenizer, image_encoder\.$"):
        WanFiles.from_folder(tmp_path)


def test_the_transformer_may_lie_elsewhere(tmp_path):
    for name in PARTS[1:]:
        (tmp_path / "parts" / name).mkdir(parents=True)
    elsewhere = tmp_path / "wan.safetensors"
    elsewhere.touch()
    files = WanFiles.from_folder(tmp_path / "parts", elsewhere)
    assert files.transformer == elsewhere
    assert files.image_encoder == tmp_path / "parts" / "image_encoder"
    with pytest.raises(ValueError, match=r"which lacks transformer\.$"):
        WanFiles.from_folder(tmp_path / "parts")


def test_clip_pixels_are_rounded_to_8_bits_and_normalised():
    image = torch.tensor([100.4, 100.6, 260.0]).div(255).expand(1, 224, 224, 3)
    expected = (torch.tensor([100.0, 101.0, 255.0]) / 255 - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / (
        torch.tensor([0.26862954, 0.26130258, 0.27577711])
    )
    assert torch.equal(clip_pixels(image), expected.view(1, 3, 1, 1).expand(1, 3, 224, 224))


def test_clip_sees_the_whole_picture_stretched_and_antialiased():
    image = torch.zeros(1, 448, 1792, 3)
    image.unflatten(2, (224, 8))[:, :, :, 2:6] = 1.0  # all that sampling without antialiasing sees of every 8 columns
    image[:, :, :8] = 1.0  # the first of 224 columns: a crop would lose it
    pixels = clip_pixels(image)
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    levels = (pixels[0] * std.view(3, 1, 1) + mean.view(3, 1, 1)) * 255
    assert pixels.shape == (1, 3, 224, 224)
    assert (levels[:, :, 0] > 200).all()
    torch.testing.assert_close(levels[:, :, 4:220], torch.full((3, 224, 216), 128.0), atol=1.0, rtol=0)


def test_clip_tokens_are_the_states_before_the_last_layer(tmp_path):
    torch.manual_seed(0)
    whole = CLIPVisionModel(CLIPVisionConfig(num_hidden_layers=3, image_size=28, patch_size=14, **CLIP_CONFIG)).eval()
    shorter = CLIPVisionModel(CLIPVisionConfig(num_hidden_layers=2, image_size=28, patch_size=14, **CLIP_CONFIG)).eval()
    shorter.load_state_dict(whole.state_dict(), strict=False)
    whole.save_pretrained(tmp_path)
    image = torch.rand(1, 16, 32, 3, generator=torch.Generator().manual_seed(6))
    tokens = ClipVision.from_folder(tmp_path, device="cpu")(image)
    with torch.no_grad():
        expected = shorter(clip_pixels(image, 28)).last_hidden_state
    assert tokens.shape == (1, 5, 32)
    assert torch.equal(tokens, expected)


def test_clip_without_an_image_is_refused():
    with pytest.raises(
        ValueError, match=r"^clip_image must be a picture, which Wan-Animate always sees .*; got none\.$"
    ):
        ClipVision(SimpleNamespace())(None)
