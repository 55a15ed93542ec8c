"""Files of base, SketchDiT and DGLM: every form that is published, and what is wrong with all others."""

import json
import pickle

import pytest
import torch
from colour_parts import DGLM_SIZES, base_network, dglm_network, sketch_network
from refusals import refusal
from safetensors import safe_open
from safetensors.torch import save_file

from everanimate_core.backends.cog_checkpoint import load_networks
from everanimate_core.longanimation.dglm import DglmSizes
from everanimate_core.longanimation.files import (
    CogSizes,
    check_fit,
    convert,
    read_base,
    read_memory,
    read_sketch,
    write_native,
)
from everanimate_core.longanimation.names import native_name

# Far smaller than what the authors' class can be made with.
SMALL = DglmSizes(width=128, kv=8, narrow=6, wide=10, inner=192)
SIZES = CogSizes(width=128, blocks=4, time=32, ofs=32, text=48)


def published(network):
    return {name: value.contiguous() for name, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def base():
    return published(base_network())


@pytest.fixture(scope="module")
def sketch():
    return published(sketch_network())


@pytest.fixture(scope="module")
def memory():
    return published(dglm_network(sizes=SMALL))


def written(folder, state, name="model.safetensors"):
    save_file(state, folder / name)
    return folder / name


def assert_same(state, expected):
    assert state.keys() == {native_name(name) for name in expected}
    assert all(torch.equal(state[native_name(name)], value) for name, value in expected.items())


def test_the_shapes_are_those_of_diffusers_classes(base, sketch):
    for state, is_sketch, blocks in ((base, False, 4), (sketch, True, 2)):
        sizes = CogSizes(width=128, blocks=blocks, time=32, ofs=32, text=48)
        assert sizes.shapes(is_sketch) == {native_name(name): tuple(value.shape) for name, value in state.items()}


def test_a_file_with_published_names(base, sketch, tmp_path):
    state, sizes = read_base(written(tmp_path, base))
    assert_same(state, base)
    assert sizes == SIZES
    assert sizes.heads == 2
    state, sizes = read_sketch(written(tmp_path, sketch, "control_module.safetensors"))
    assert_same(state, sketch)
    assert sizes.blocks == 2


def test_a_sharded_file_by_its_index(base, tmp_path):
    names = list(base)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for part, own in parts.items():
        written(tmp_path, {name: base[name] for name in own}, part)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: part for part, own in parts.items() for name in own}}))
    assert_same(read_base(index)[0], base)


def test_what_is_written_is_read_again(base, sketch, tmp_path):
    for read, state in ((read_base, base), (read_sketch, sketch)):
        first, sizes = read(written(tmp_path, state))
        write_native(tmp_path / "native.safetensors", first, sizes)
        again, same = read(tmp_path / "native.safetensors")
        assert same == sizes
        assert_same(again, state)
        with safe_open(tmp_path / "native.safetensors", framework="pt") as file:
            assert sorted(file.keys()) == sorted(first)
            assert json.loads(file.metadata()["longanimation"])["width"] == 128


def test_networks_in_diffusers_classes(base, sketch, tmp_path):
    networks = load_networks(
        written(tmp_path, base), written(tmp_path, sketch, "sketch.safetensors"), device="cpu", dtype=torch.float32
    )
    assert networks[2] is None
    for network, state in zip(networks[:2], (base, sketch), strict=True):
        assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())
        assert not any(value.requires_grad for value in network.parameters())


def changed(**tensors):
    """A change of a state dict: other tensors, None for none."""

    def change(state):
        state = {name: value for name, value in state.items() if tensors.get(name, True) is not None}
        return state | {name: value for name, value in tensors.items() if value is not None}

    return change


BAD = {
    "partial": (changed(**{"transformer_blocks.2.ff.net.0.proj.bias": None}), "which has no blocks.2.ff_proj.bias."),
    "no time": (changed(**{"ofs_embedding.linear_1.weight": None}), "which has no ofs_embedding_linear_1.weight."),
    "foreign": (changed(**{"lora.up.weight": torch.ones(2)}), "which has the unknown lora.up.weight."),
    "another shape": (
        changed(**{"norm_final.weight": torch.ones(64)}),
        "whose norm_final.weight is of shape [64] instead of [128].",
    ),
    "another base": (
        changed(**{"patch_embed.proj.weight": torch.ones(128, 128)}),
        "which takes 16 channels instead of 32: another CogVideoX.",
    ),
    "CogVideoX 1.0": (
        changed(**{"patch_embed.proj.weight": torch.ones(128, 32, 2, 2)}),
        "which is CogVideoX 1.0: its patches have no time.",
    ),
    "another network": (lambda state: {"conv.weight": torch.ones(2)}, "which is another network."),
    "SketchDiT": (lambda state: published(sketch_network()), "which is SketchDiT."),
    "packed": (
        changed(**{"norm_final.weight": torch.ones(128, dtype=torch.int8)}),
        "where norm_final.weight holds torch.int8, which is no number by itself.",
    ),
    "twice": (
        changed(**{"blocks.0.q.weight": torch.ones(128, 128)}),
        "which has blocks.0.q.weight twice.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_other_files_are_refused_by_name(base, tmp_path, name):
    change, wrong = BAD[name]
    path = written(tmp_path, change(base))
    message = refusal(read_base, path)
    assert message == f"model must be CogVideoX1.5 I2V (CogVideoX1.5-5B-I2V, its transformer); got {path}, {wrong}"


def test_other_sketch_files_are_refused_by_name(base, sketch, tmp_path):
    start = "sketch_file must be SketchDiT (control_module.safetensors); got"
    path = written(tmp_path, base)
    assert refusal(read_sketch, path) == f"{start} {path}, which has no zero_conv.weight."
    path = written(tmp_path, changed(**{"transformer_blocks.1.norm1.linear.bias": None})(sketch))
    assert refusal(read_sketch, path) == f"{start} {path}, which has no blocks.1.norm1.linear.bias."


def test_pickles_are_not_opened(tmp_path):
    class Boom:
        def __reduce__(self):
            return exec, ("raise SystemExit('opened')",)

    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(Boom()))
    assert "which is a pickle file and is not opened, as it can run code" in refusal(read_base, path)
    assert "which is not a file" in refusal(read_base, tmp_path / "nothing.safetensors")
    path = tmp_path / "cut.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    assert "which is not a complete safetensors file" in refusal(read_sketch, path)


def test_an_index_that_leads_out_of_its_folder_is_refused(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    assert "must name the weight files of its folder" in refusal(read_base, index)


@pytest.mark.parametrize("part", ["width", "time", "ofs", "text"])
def test_a_sketch_of_another_base_is_refused(part):
    other = CogSizes(**({"width": 128, "blocks": 2, "time": 32, "ofs": 32, "text": 48} | {part: 64}))
    wanted = getattr(SIZES, part)
    assert refusal(check_fit, other, SIZES) == f"sketch_file must be of the model's {part}, {wanted}; got 64."
    check_fit(CogSizes(width=128, blocks=6, time=32, ofs=32, text=48), SIZES)


# --- DGLM -----------------------------------------------------------------------------------------------------------

NO_DGLM = "memory_file must be DGLM (glm_module.safetensors); got"


@pytest.mark.parametrize("sizes", [SMALL, DGLM_SIZES])
def test_the_file_of_a_dglm_as_it_is_published(tmp_path, sizes):
    expected = published(dglm_network(sizes=sizes))
    state, found = read_memory(written(tmp_path, expected, "glm_module.safetensors"))
    assert found == sizes
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())


def test_a_dglm_beside_its_networks(base, sketch, memory, tmp_path):
    files = [written(tmp_path, state, f"{len(state)}.safetensors") for state in (base, sketch, memory)]
    network = load_networks(*files, device="cpu", dtype=torch.bfloat16)[2]
    assert network.sizes == SMALL
    assert all(torch.equal(network.state_dict()[name], value.bfloat16()) for name, value in memory.items())
    assert not any(value.requires_grad for value in network.parameters())


def test_a_dglm_of_another_width_is_refused(base, sketch, tmp_path):
    files = [written(tmp_path, state, f"{len(state)}.safetensors") for state in (base, sketch)]
    other = published(dglm_network(sizes=DglmSizes(width=64, kv=8, narrow=6, wide=10, inner=96)))
    files.append(written(tmp_path, other, "memory.safetensors"))
    message = refusal(load_networks, *files, device="cpu", dtype=torch.float32)
    assert message == "memory_file must be of SketchDiT's width, 128; got 64."


OTHER_DGLM = {
    "partial": (changed(**{"layers.1.0.norm1.bias": None}), "which has no layers.1.0.norm1.bias."),
    "no width": (changed(**{"key_mapping_0.6.weight": None}), "which has no key_mapping_0.6.weight."),
    "foreign": (changed(**{"layers.3.0.to_q.weight": torch.ones(2)}), "which has the unknown layers.3.0.to_q.weight."),
    "another shape": (
        changed(proj_out=torch.ones(128, 64)),
        "whose proj_out is of shape [128, 64] instead of [128, 128].",
    ),
    "a bias": (changed(**{"layers.0.0.to_q.bias": torch.ones(192)}), "which has the unknown layers.0.0.to_q.bias."),
    "other heads": (
        changed(**{"layers.0.0.to_q.weight": torch.ones(160, 128)}),
        "whose heads are 160 wide together, which is no multiple of 96.",
    ),
    "no heads": (
        changed(**{"layers.0.0.to_q.weight": torch.ones(0, 128)}),
        "whose layers.0.0.to_q.weight is of shape [0, 128].",
    ),
    "packed": (
        changed(proj_out=torch.ones(128, 128, dtype=torch.int8)),
        "where proj_out holds torch.int8, which is no number by itself.",
    ),
    "SketchDiT": (lambda state: published(sketch_network()), "which is another network."),
    "nothing": (lambda state: {}, "which holds nothing."),
}


@pytest.mark.parametrize("name", OTHER_DGLM)
def test_other_files_are_no_dglm(memory, tmp_path, name):
    change, wrong = OTHER_DGLM[name]
    path = written(tmp_path, change(memory))
    assert refusal(read_memory, path) == f"{NO_DGLM} {path}, {wrong}"


def test_broken_files_are_no_dglm(memory, tmp_path):
    whole = written(tmp_path, memory).read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(whole[:-1])
    message = refusal(read_memory, path)
    assert message.startswith(f"{NO_DGLM} {path}, which is not a complete safetensors file")
    path = tmp_path / "glm_module.safetensors"
    path.write_bytes(pickle.dumps(memory))
    message = f"{NO_DGLM} {path}, which is a pickle file and is not opened, as it can run code."
    assert refusal(read_memory, path) == message
    path = tmp_path / "none.safetensors"
    assert refusal(read_memory, path) == f"{NO_DGLM} {path}, which is not a file."


# --- convert ---------------------------------------------------------------------------------------------------------


def test_convert_writes_native_files(base, sketch, tmp_path):
    for state, kind, read in ((base, "CogVideoX1.5 I2V", read_base), (sketch, "SketchDiT", read_sketch)):
        out = tmp_path / "native.safetensors"
        assert convert(written(tmp_path, state), out) == kind
        with safe_open(out, framework="pt") as file:
            assert set(file.keys()) == {native_name(name) for name in state}
        assert_same(read(out)[0], state)


def test_convert_of_a_diffusers_folder_and_of_another_type(base, tmp_path):
    folder = tmp_path / "CogVideoX" / "transformer"
    folder.mkdir(parents=True)
    written(folder, base, "diffusion_pytorch_model.safetensors")
    for source in (folder, folder.parent):
        convert(source, tmp_path / "native.safetensors", torch.bfloat16)
        state, _ = read_base(tmp_path / "native.safetensors")
        assert {value.dtype for value in state.values()} == {torch.bfloat16}
        assert torch.equal(state["blocks.1.q.weight"], base["transformer_blocks.1.attn1.to_q.weight"].bfloat16())


def test_convert_replaces_no_source_and_writes_no_other_kind_of_file(base, tmp_path):
    path = written(tmp_path, base)
    message = f"destination must be another file than the source, which it would replace; got {path}."
    assert refusal(convert, path, path) == message
    message = f"destination must be a .safetensors file (cogvideox1.5_i2v.safetensors); got {tmp_path / 'out.pth'}."
    assert refusal(convert, path, tmp_path / "out.pth") == message
    bad = written(tmp_path, {"conv.weight": torch.ones(2)}, "bad.safetensors")
    out = tmp_path / "out.safetensors"
    assert "which is another network" in refusal(convert, bad, out)
    assert not out.exists()
