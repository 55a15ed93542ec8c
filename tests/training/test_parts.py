"""The whole way with the real classes at tiny size: a diffusers folder, films with prompts and faces, both stages."""

import json
from fractions import Fraction

import pytest
import torch
from accelerate.state import AcceleratorState
from wan_folder import TEXT, save_wan

from everanimate_core.backends.wan_checkpoint import load_transformer
from everanimate_core.backends.wan_encoders import ClipVision, WanFiles, encode_prompts
from everanimate_core.cli import main as cli
from everanimate_core.cli.toy_training import toy_parts
from everanimate_core.lora.files import read_lora
from everanimate_core.lora.fit import check_coverage
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.writer import VideoWriter
from everanimate_core.toy.network.state import BASELINE_WEIGHTS, MEMORY_WEIGHTS, read_state
from everanimate_core.training.records import FilmSet, as_frames


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A diffusers folder of Wan-Animate with all of its parts."""
    folder = tmp_path_factory.mktemp("model")
    save_wan(folder)
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two films of 22 frames (F = 9: first chunk 4..16, target 13..21) in a list."""
    folder, rows = tmp_path_factory.mktemp("films"), []
    for number, prompt in enumerate(("ab", "b")):
        row = {"prompt": prompt}
        for kind in ("video", "pose", "face"):
            row[kind] = f"{number}.{kind}.mp4"
            pictures = torch.rand(22, 32, 48, 3, generator=torch.Generator().manual_seed(number))
            with VideoWriter(folder / row[kind], Fraction(24), 48, 32) as video:
                video.write(1 - pictures if kind == "pose" else pictures)
        rows.append(row)
    (folder / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "films.jsonl"


def test_films_become_a_lora_of_both_stages(model, films, tmp_path, capsys):
    data, one, two = (tmp_path / name for name in ("set", "one", "two"))
    sizes = ["--width", "48", "--height", "32", "--chunk-frames", "9", "--fps", "24", "--candidates", "5"]
    precompute = ["train", "precompute", "--data", str(films), "--model", str(model), "--out", str(data), *sizes]
    assert cli.main(precompute) == cli.DONE
    assert capsys.readouterr().out.splitlines()[-1].endswith("set: 2 films, 0 left out")

    files, record = WanFiles.from_folder(model), FilmSet.open(data).read(1, ["text", "clip", "face", "target_pixels"])
    assert torch.equal(record["text"], encode_prompts(files, ["b"], device="cpu"))
    clip = ClipVision.from_folder(files.image_encoder, device="cpu")
    assert torch.equal(record["clip"], clip(as_frames(record["target_pixels"][:1])))
    assert record["face"].shape == (9, 512, 512, 3) and record["text"].shape == (1, 512, TEXT)

    train = ["train", "--data", str(data), "--model", str(model), "--rank", "2", "--batch", "2", "--steps", "2"]
    assert cli.main([*train, "--stage", "1", "--out", str(one), "--sample-every", "2", "--checkpointing"]) == cli.DONE
    lora = one / "lora-000002.safetensors"
    with VideoFrames(one / "sample-000002.mp4") as video:
        assert (video.frame_count, video.width, video.height, video.fps) == (9, 48, 32, 24)
    # As in a process of its own: accelerate has one precision for each.
    AcceleratorState._reset_state(reset_partial_state=True)
    more = ["--stage", "2", "--out", str(two), "--lora", str(lora), "--precision", "bf16"]
    assert cli.main([*train, *more]) == cli.DONE
    assert "nan" not in capsys.readouterr().out

    transformer = load_transformer(model, device="cpu", dtype=torch.float32)
    trained = read_lora(two / "lora-000002.safetensors")
    assert check_coverage(trained, transformer.state_dict()).matched == 50
    start = read_lora(lora)
    assert all(not torch.equal(one.B, two.B) for one, two in zip(start.layers, trained.layers, strict=True))


@pytest.mark.parametrize("weights", [MEMORY_WEIGHTS, BASELINE_WEIGHTS])
def test_the_toys_network_is_the_one_asked_for(weights):
    network = toy_parts(weights).network(torch.device("cpu"), torch.float32)
    stored = read_state(weights)["blocks.3.ffn.0.weight"]
    assert torch.equal(network.blocks[3].ffn.net[0].proj.weight, stored)
