"""`everanimate lora inspect`."""

import json

import pytest


def test_lora_inspect(lora, command):
    code, said, complaints = command(["lora", "inspect", str(lora)])
    assert (code, complaints) == (0, "")
    assert isinstance(json.loads(said), dict)
    assert '"rank' in said


@pytest.mark.parametrize("name", ["inspect", "convert"])
@pytest.mark.parametrize("file", ["none.safetensors", "text.safetensors", "."])
def test_lora_files_that_cannot_be_read(tmp_path, command, name, file):
    (tmp_path / "text.safetensors").write_text("no LoRA")
    out = tmp_path / "out.safetensors"
    code, said, complaints = command(["lora", name, str(tmp_path / file), *([str(out)] if name == "convert" else [])])
    assert (code, said) == (2, "")
    assert complaints
    assert not out.exists()
