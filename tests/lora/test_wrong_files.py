"""Every wrong LoRA file has its own message."""

import io
import pickle
import struct

import pytest
import torch
from lora_parts import flat, named, refused
from safetensors.torch import save_file

from everanimate_core.lora.files import (
    Lora,
    LoraLayer,
    read_lora,
    save_lora,
)
from everanimate_core.lora.fit import delta
from everanimate_core.lora.names import LoraError


def test_a_missing_file_and_a_folder(tmp_path):
    refused(tmp_path / "none.safetensors", "none.safetensors, which is not a file")
    refused(tmp_path, "which is not a file")


@pytest.mark.parametrize("kept", [0, 5, 8, 100, -1])
def test_a_truncated_file(tmp_path, kept):
    path = tmp_path / "lora.safetensors"
    save_file(named("released", False), path)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "got lora.safetensors, which is not a complete safetensors file")


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "lora.safetensors"
    path.write_text("<html>404: this file was not found on the server</html>")
    refused(path, "got lora.safetensors, which is not a complete safetensors file")


class Canary:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["lora.pt", "lora.ckpt", "lora.safetensors", "LORA.PTH"])
@pytest.mark.parametrize("kind", ["zip", "old torch", "pickle"])
def test_a_pickle_is_refused_unopened_whatever_its_name(tmp_path, name, kind):
    canary, buffer = Canary(tmp_path / "opened"), io.BytesIO()
    if kind == "pickle":
        pickle.dump(canary, buffer)
    else:
        torch.save(canary, buffer, _use_new_zipfile_serialization=kind == "zip")
    (tmp_path / name).write_bytes(buffer.getvalue())
    refused(tmp_path / name, f"got {name}, which is a pickle file and is not opened, as it can run code")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("name", ["lora.bin", "LORA.PT"])
def test_a_pickle_of_the_oldest_kind_has_no_magic_but_a_name(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps({"blocks.0.ffn.0.lora_A.weight": 1}, protocol=0))
    refused(tmp_path / name, f"got {name}, which is a pickle file and is not opened, as it can run code")


def test_a_header_length_that_looks_like_a_pickle_is_not_one(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_lora(path, Lora((LoraLayer("blocks.0.ffn.0", torch.ones(1, 2), torch.ones(2, 1)),)))
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    path.write_bytes(struct.pack("<Q", 0x0280) + data[8 : 8 + length].ljust(0x0280) + data[8 + length :])
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert torch.equal(delta(read_lora(path).layers[0]), torch.ones(2, 2))


A, B = torch.ones(2, 6), torch.ones(6, 2)


Q = "blocks.0.self_attn.q"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{Q}.weight": torch.ones(6, 6), "head.head.weight": B}, "pairs of A.*got 2 tensors and not one of a LoRA"),
        ({}, "got 0 tensors and not one of a LoRA: none"),
        (
            {"blocks.0.attn.q.lora_A.weight": A.clone(), f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B},
            r"linear layer of a Wan block .*got 1 of 3 that do not: blocks.0.attn.q.lora_A.weight\.",
        ),
        ({"lora_unet_double_blocks_0_img_mlp_0.lora_down.weight": A}, "got 1 of 1 that do not: lora_unet_double"),
        ({f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B, f"{Q}.diff": A.clone()}, f"1 of 3 that do not: {Q}.diff"),
        ({f"{Q}.lora_A.weight": A, f"{Q}.alpha": torch.tensor(1.0)}, r"both A and B .*got 2 without the other"),
        ({f"{Q}.lora_up.weight": B}, f"got 1 without the other: {Q}.lora_up.weight"),
        (
            {f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B, "blocks.1.ffn.0.alpha": torch.tensor(1.0)},
            "got 1 without the other: blocks.1.ffn.0.alpha",
        ),
        (
            {f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B, f"diffusion_model.{Q}.lora_A.weight": A.clone()},
            rf"one A, one B.*{Q}.lora_A.weight",
        ),
        (
            {f"{Q}.lora_A.weight": torch.ones(2, 6, 1, 1), f"{Q}.lora_B.weight": B},
            rf"got A \[2, 6, 1, 1\] and B \[6, 2\] at {Q}",
        ),
        ({f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": torch.ones(12)}, r"got A \[2, 6\] and B \[12\]"),
        ({f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": torch.ones(6, 3)}, r"got A \[2, 6\] and B \[6, 3\]"),
        ({f"{Q}.lora_A.weight": torch.ones(0, 6), f"{Q}.lora_B.weight": torch.ones(6, 0)}, r"rank at .*A \[0, 6\]"),
        (
            {f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B, f"{Q}.alpha": torch.ones(2)},
            rf"alpha is one number .*got a tensor \[2\] at {Q}",
        ),
    ],
)
def test_a_file_that_is_no_lora_of_this_family(tmp_path, tensors, message):
    save_file(tensors, tmp_path / "lora.safetensors")
    refused(tmp_path / "lora.safetensors", message)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_whole_numbers_are_no_weights(tmp_path, dtype):
    save_file({f"{Q}.lora_A.weight": A.to(dtype), f"{Q}.lora_B.weight": B.to(dtype)}, tmp_path / "lora.safetensors")
    refused(tmp_path / "lora.safetensors", f"floating-point numbers .*got {str(dtype)[6:]} in A of {Q}")


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        (f"diffusion_model.{Q}.diff_b", "as those for distillation"),
        ("diffusion_model.blocks.0.norm3.diff", "as those for distillation"),
        ("diffusion_model.img_emb.proj.1.lora_down.weight", "as those for distillation"),
        ("diffusion_model.time_projection.1.lora_up.weight", "as those for distillation"),
        ("diffusion_model.head.head.lora_down.weight", "as those for distillation"),
        ("lora_unet_text_embedding_0.lora_down.weight", "as those for distillation"),
        (f"diffusion_model.{Q}.dora_scale", "this is a DoRA"),
        (f"lora_unet_{flat(Q)}.hada_w1_a", "this is a LyCORIS file"),
    ],
)
def test_files_for_the_hosts_own_loader_are_sent_there(tmp_path, more, kind):
    tensors = {f"diffusion_model.{Q}.lora_down.weight": A, f"diffusion_model.{Q}.lora_up.weight": B, more: A.clone()}
    save_file(tensors, tmp_path / "lora.safetensors")
    refused(
        tmp_path / "lora.safetensors", rf"got 1 of 3 that do not: {more}; this is .*LoraLoaderModelOnly\) beside ours"
    )
    refused(tmp_path / "lora.safetensors", kind)


def test_a_file_of_differences_alone_is_sent_there_too(tmp_path):
    save_file({"diffusion_model.blocks.0.norm3.diff": A}, tmp_path / "lora.safetensors")
    refused(tmp_path / "lora.safetensors", r"not one of a LoRA: .*diff; this is .*LoraLoaderModelOnly")


def test_a_dora_that_no_loader_reads_is_to_be_merged(tmp_path):
    tensors = {
        f"{Q}.lora_A.weight": A,
        f"{Q}.lora_B.weight": B,
        f"{Q}.lora_magnitude_vector.default.weight": A[0].clone(),
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    refused(tmp_path / "lora.safetensors", r"this is a DoRA of PEFT: merge it into the model \(merge_and_unload\)")


def test_names_with_line_ends_and_numbers_without_end_stay_on_one_line(tmp_path):
    save_file(
        {f"{Q}.lora_A.weight": A, "a\n\x1b[31mb": B, f"blocks.{'9' * 5000}.ffn.0.lora_A.weight": A.clone()},
        tmp_path / "x",
    )
    with pytest.raises(LoraError) as error:
        read_lora(tmp_path / "x")
    assert str(error.value).isprintable()
    assert r"a\n\x1b[31mb" in str(error.value)
    assert len(str(error.value)) < 500
