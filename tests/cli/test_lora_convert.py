"""`everanimate lora convert`."""

import pytest
import torch
from cli_parts import state
from safetensors.torch import load_file


def test_lora_convert(lora, tmp_path, command):
    comfyui, back = tmp_path / "comfyui.safetensors", tmp_path / "back.safetensors"
    assert command(["lora", "convert", str(lora), str(comfyui)])[0] == 0
    assert all(name.startswith("diffusion_model.blocks.0.self_attn.q.") for name in load_file(comfyui))
    assert command(["lora", "convert", str(comfyui), str(back), "--format", "released"])[0] == 0
    once, again = load_file(lora), load_file(back)
    assert once.keys() == again.keys()
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_lora_convert_rounds_when_asked(lora, tmp_path, command):
    half = tmp_path / "half.safetensors"
    assert command(["lora", "convert", str(lora), str(half), "--format", "released", "--dtype", "float16"])[0] == 0
    once, rounded = load_file(lora), load_file(half)
    assert {value.dtype for value in rounded.values()} == {torch.float16}
    assert all(torch.equal(rounded[name], once[name].half()) for name in once)


@pytest.mark.parametrize("name", ["inspect", "convert"])
@pytest.mark.parametrize("file", ["none.safetensors", "text.safetensors", "."])
def test_lora_files_that_cannot_be_read(tmp_path, command, name, file):
    (tmp_path / "text.safetensors").write_text("no LoRA")
    out = tmp_path / "out.safetensors"
    code, said, complaints = command(["lora", name, str(tmp_path / file), *([str(out)] if name == "convert" else [])])
    assert (code, said) == (2, "")
    assert complaints
    assert not out.exists()


@pytest.mark.parametrize(("out", "code"), [("none/out.safetensors", 2), ("file/out.safetensors", 1), ("folder", 2)])
def test_lora_files_that_cannot_be_written(lora, tmp_path, command, out, code):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    before = state(tmp_path)
    found, said, complaints = command(["lora", "convert", str(lora), str(tmp_path / out)])
    assert (found, said) == (code, "")
    assert complaints
    assert state(tmp_path) == before
