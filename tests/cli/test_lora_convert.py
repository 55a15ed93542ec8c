"""`everanimate lora convert`: the same LoRA under other names, and files that cannot be read or written."""

import pytest
import torch
from cli_parts import state
from safetensors.torch import load_file


def test_to_comfyui_and_back(lora, tmp_path, command):
    comfyui, back = tmp_path / "comfyui.safetensors", tmp_path / "back.safetensors"
    assert command(["lora", "convert", str(lora), str(comfyui)]) == (0, f"Wrote {comfyui}\n", "")
    assert all(name.startswith("diffusion_model.blocks.0.self_attn.q.") for name in load_file(comfyui))
    assert command(["lora", "convert", str(comfyui), str(back), "--format", "released"])[0] == 0
    once, again = load_file(lora), load_file(back)
    assert once.keys() == again.keys()
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_it_rounds_when_asked(lora, tmp_path, command):
    half = tmp_path / "half.safetensors"
    assert command(["lora", "convert", str(lora), str(half), "--format", "released", "--dtype", "float16"])[0] == 0
    once, rounded = load_file(lora), load_file(half)
    assert {value.dtype for value in rounded.values()} == {torch.float16}
    assert all(torch.equal(rounded[name], once[name].half()) for name in once)


@pytest.mark.parametrize("file", ["none.safetensors", "text.safetensors", "."])
def test_files_that_cannot_be_read(tmp_path, command, file):
    (tmp_path / "text.safetensors").write_text("no LoRA")
    out = tmp_path / "out.safetensors"
    code, said, complaints = command(["lora", "convert", str(tmp_path / file), str(out)])
    assert (code, said) == (2, "")
    assert complaints.startswith("a LoRA is read from a .safetensors file (stage2_480p.safetensors); got ")
    assert not out.exists()


@pytest.mark.parametrize("option", [["--format", "none"], ["--dtype", "float64"]])
def test_formats_and_types_that_there_are_not(lora, tmp_path, command, option):
    out = tmp_path / "out.safetensors"
    code, said, complaints = command(["lora", "convert", str(lora), str(out), *option])
    assert (code, said) == (2, "")
    assert option[0] in complaints and f"'{option[1]}'" in complaints
    assert not out.exists()


@pytest.mark.parametrize(("out", "code"), [("none/out.safetensors", 2), ("file/out.safetensors", 1), ("folder", 2)])
def test_files_that_cannot_be_written(lora, tmp_path, command, out, code):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    before = state(tmp_path)
    found, said, complaints = command(["lora", "convert", str(lora), str(tmp_path / out)])
    assert (found, said) == (code, "")
    assert complaints
    assert state(tmp_path) == before
