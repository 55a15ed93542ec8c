"""`everanimate lora inspect`: what is in a LoRA, and files that are none."""

import json

import pytest


def test_the_description_is_json(lora, command):
    code, said, complaints = command(["lora", "inspect", str(lora)])
    assert (code, complaints) == (0, "")
    found = json.loads(said)
    assert isinstance(found, dict)
    assert any(name.startswith("rank") for name in found)


@pytest.mark.parametrize(
    ("file", "got"),
    [
        ("none.safetensors", "none.safetensors, which is not a file."),
        ("text.safetensors", "text.safetensors, which "),
        (".", ", which is not a file."),
    ],
)
def test_files_that_cannot_be_read(tmp_path, command, file, got):
    (tmp_path / "text.safetensors").write_text("no LoRA")
    code, said, complaints = command(["lora", "inspect", str(tmp_path / file)])
    assert (code, said) == (2, "")
    assert complaints.startswith("a LoRA is read from a .safetensors file (stage2_480p.safetensors); got ")
    assert got in complaints and complaints.count("\n") == 1
