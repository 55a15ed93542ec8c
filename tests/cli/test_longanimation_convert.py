"""`everanimate longanimation convert`, as a person calls it."""

import torch
from colour_parts import sketch_network
from safetensors import safe_open
from safetensors.torch import save_file
from video_model_parts import CONFIG, published_weights, save_published

from everanimate_core.cli.main import main
from everanimate_core.longanimation.video_files import read_video_model


def test_a_published_file_becomes_a_native_one(tmp_path, capsys):
    source, out = tmp_path / "control_module.safetensors", tmp_path / "sketch.safetensors"
    save_file({name: value.contiguous() for name, value in sketch_network().state_dict().items()}, source)
    assert main(["longanimation", "convert", str(source), str(out), "--dtype", "bfloat16"]) == 0
    assert capsys.readouterr().out == f"Wrote SketchDiT to {out}\n"
    with safe_open(out, framework="pt") as file:
        assert "blocks.1.attn_out.weight" in file.keys()  # noqa: SIM118
        assert "BF16" in str(file.get_slice("zero_conv.weight").get_dtype())


def test_what_is_wrong_is_said_by_its_option(tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    assert main(["longanimation", "convert", str(tmp_path / "none.safetensors"), str(out)]) == 2
    assert capsys.readouterr().err.startswith("SOURCE: must be CogVideoX1.5 I2V or SketchDiT; got ")
    assert not out.exists()


def test_of_video_xl_what_the_memory_needs_is_kept(tmp_path, capsys):
    source, out = tmp_path / "VideoXL_weight_8", tmp_path / "video_xl.safetensors"
    save_published(source, published_weights(layers=10), CONFIG | {"num_hidden_layers": 10})
    assert main(["longanimation", "convert", "--video-xl", str(source), str(out), "--dtype", "bfloat16"]) == 0
    assert capsys.readouterr().out == f"Wrote Video-XL to {out}\n"
    state, settings = read_video_model(out)
    assert settings.language.read == [1, 5, 9]
    assert {value.dtype for value in state.values()} == {torch.bfloat16}


def test_what_is_wrong_with_video_xl_is_said_by_its_option(tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    assert main(["longanimation", "convert", str(tmp_path), str(out), "--video-xl"]) == 2
    assert capsys.readouterr().err.startswith("SOURCE: must be Video-XL (the folder with its config.json); got ")
    assert not out.exists()
