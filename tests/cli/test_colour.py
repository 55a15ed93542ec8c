"""`everanimate colour`: CogVideoX and SketchDiT in diffusers' classes, at tiny size, as the core puts them together."""

import shutil

import pytest
import torch
from cli_parts import DATA, place_of, state
from colour_parts import dglm_network, save_cog
from PIL import Image
from run_parts import video_of
from safetensors.torch import load, load_file, save_file
from video_model_parts import video_model

from everanimate_core.backends.cog_checkpoint import load_networks, load_vae
from everanimate_core.backends.cog_codec import CogCodec
from everanimate_core.backends.cog_encoders import encode_cog_prompts
from everanimate_core.backends.diffusers_cog import DiffusersCog
from everanimate_core.cli import colour as colour_module
from everanimate_core.cli.command import Command
from everanimate_core.cli.kept import Kept
from everanimate_core.cli.main import parse
from everanimate_core.longanimation.dglm import DglmSizes
from everanimate_core.longanimation.method import long_animation
from everanimate_core.longanimation.settings import MemorySettings, Settings
from everanimate_core.longanimation.video_files import write_video_model
from everanimate_core.longanimation.video_memory import MemoryOfVideo
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.writer import VideoWriter
from everanimate_core.method import each_made
from everanimate_core.toy.learning.scores import psnr
from everanimate_core.toy.world.world import World

WIDTH, HEIGHT, TOTAL = 32, 48, 30
SETTINGS = Settings(window_frames=17, overlap=9, steps=4, fuse_from=2, cfg=2.0, blocks="full")
OPTIONS = (
    "--window-frames 17 --overlap 9 --steps 4 --fuse-from 2 --cfg 2 --blocks full --width 32 --height 48 --frames 30"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cog")
    save_cog(folder)
    return folder


def colour(command, folder, out, *more):
    return command(
        [
            "colour",
            *(str(DATA / "pose.mp4"), "--reference", str(DATA / "reference.jpg"), "--out", str(out)),
            *("--model", str(folder), "--sketch", str(folder / "control_module.safetensors"), "--device", "cpu"),
            *OPTIONS.split(),
            *more,
        ]
    )


def windows(out):
    place = place_of(out)
    return [load(place.chunk_path(index).read_bytes()) for index in range(len(place.take().chunks))]


def by_the_core(folder, prompts, negative):
    base, sketch, _ = load_networks(folder, folder / "control_module.safetensors", device="cpu", dtype=torch.float32)
    texts = [encode_cog_prompts(folder, texts, device="cpu") for texts in (prompts, [negative])]
    model = DiffusersCog(base, sketch, CogCodec(load_vae(folder, device="cpu")), 0.7, *texts)
    with VideoFrames(DATA / "reference.jpg") as image, VideoFrames(DATA / "pose.mp4") as lineart:
        method = long_animation(lineart, image.read([0]), SETTINGS, WIDTH, HEIGHT, total_frames=TOTAL)
        sample = lambda request, seed: model.sample_window(request, seed, settings=SETTINGS)  # noqa: E731
        return [(method.plan.kept(made.index), made) for made in each_made(method, sample, model.codec)]


def test_a_run_is_what_the_core_makes(folder, tmp_path, command):
    (tmp_path / "prompts.txt").write_text("0: ab\n17: b\n", encoding="utf-8")
    out = tmp_path / "coloured.mp4"
    more = ["--prompts", str(tmp_path / "prompts.txt"), "--negative-prompt", "ba"]
    code, said, complaints = colour(command, folder, out, *more)
    assert code == 0
    trained = "but the released network was trained with 81: set 81 unless yours was trained otherwise."
    # Picture and line art have the proportions of the animation.
    assert said.splitlines()[0] == f"--window-frames is 17, {trained}"
    assert said.splitlines()[1].startswith("chunk 1/3")
    assert said.splitlines()[-1] == f"Wrote {out}"
    expected = by_the_core(folder, ["ab", "b", "b"], "ba")
    found = windows(out)
    assert len(found) == len(expected) == 3
    for window, (_, made) in zip(found, expected, strict=True):
        assert torch.equal(window["latents"], made.sampled.latents)
        assert torch.equal(window["tails"], made.sampled.extras["tails"])
    frames, _ = video_of(out)
    assert len(frames) == TOTAL
    # The same command is done at once; another setting makes another take.
    before, video = state(tmp_path), out.read_bytes()
    code, said, _ = colour(command, folder, out, *more)
    assert code == 0 and said.count(", kept, ") == 3
    assert state(tmp_path) == before
    code, _, complaints = colour(command, folder, out, *more, "--strength", "0.4", "--on-change", "stop")
    assert code == 2 and complaints.endswith("; got strength was 0.5 and is 0.4.\n")
    assert state(tmp_path) == before
    code, said, _ = colour(command, folder, out, *more, "--strength", "0.4")
    assert code == 0 and said.count(", kept, ") == 0
    assert "take 2 is opened: strength was 0.5 and is 0.4" in said.splitlines()
    after = state(tmp_path)
    assert after.pop("coloured.run/takes/00001.mp4") == before.pop("coloured.mp4")
    assert {name: after[name] for name in before} == before
    assert out.read_bytes() != video


def test_with_kept_networks_other_prompts_are_as_with_new_ones(folder, tmp_path, command, monkeypatch):
    loaded, kept = [], Kept()
    load_all = colour_module._load
    monkeypatch.setattr(colour_module, "_load", lambda *asked: loaded.append(asked[1]) or load_all(*asked))
    for number, prompt in enumerate(("b", "ab", "b")):
        alone, together = (tmp_path / where / f"{number}.mp4" for where in ("alone", "together"))
        assert colour(command, folder, alone, "--frames", "17", "--prompt", prompt)[0] == 0

        def call(arguments):
            return colour_module.main(parse(colour_module.Options, "colour", arguments[1:]), Command(), kept)

        colour(call, folder, together, "--frames", "17", "--prompt", prompt)
        for found, expected in zip(windows(together), windows(alone), strict=True):
            assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert place_of(together).take().settings == place_of(alone).take().settings
    assert loaded == [["b"], ["b"], ["ab"], ["b"]]
    assert kept.value.texts.keys() == {"b", ""}


def test_lines_of_the_reference_and_an_autoregressive_reference_change_the_windows(folder, tmp_path, command):
    plain, other = tmp_path / "plain.mp4", tmp_path / "other.mp4"
    assert colour(command, folder, plain)[0] == 0
    assert colour(command, folder, other, "--reference-lineart", str(DATA / "reference.jpg"))[0] == 0
    first, second = windows(plain), windows(other)
    assert not torch.equal(first[0]["latents"], second[0]["latents"])
    other = tmp_path / "autoregressive.mp4"
    assert colour(command, folder, other, "--reference-mode", "autoregressive")[0] == 0
    second = windows(other)
    assert torch.equal(first[0]["latents"], second[0]["latents"])
    assert not torch.equal(first[1]["latents"], second[1]["latents"])
    assert second[0]["next_reference"].shape == (1, HEIGHT, WIDTH, 3)


@pytest.fixture(scope="module")
def lineart(tmp_path_factory):
    """Line art of the toy's world, two windows long, and its reference: files."""
    folder, world = tmp_path_factory.mktemp("lineart"), World(5)
    with VideoWriter(folder / "lines.mp4", 25, 64, 64) as video:
        video.write(world.lineart(range(100)))
    Image.fromarray((world.reference() * 255).round().byte().numpy()).save(folder / "reference.png")
    return folder


def test_the_toy_colours_without_a_model(lineart, tmp_path, command):
    out, inputs = tmp_path / "out.mp4", [lineart / "lines.mp4", "--reference", lineart / "reference.png"]
    code, said, complaints = command(["colour", *map(str, inputs), "--out", str(out), "--prompt", "a house"])
    assert (code, complaints) == (0, "")
    assert "The embedded toy reads no prompts, so they change no picture." in said.splitlines()
    made, _ = video_of(out)
    truth = World(5).frames(range(100))
    assert made.shape == truth.shape
    # Grey would be some 12 dB.
    assert psnr(made, truth) > 15


def test_the_toy_has_its_own_sketch(lineart, tmp_path, command):
    inputs = [lineart / "lines.mp4", "--reference", lineart / "reference.png", "--out", tmp_path / "out.mp4"]
    code, _, complaints = command(["colour", *map(str, inputs), "--sketch", "s.safetensors"])
    assert code == 2
    assert complaints == "--sketch: must be left out for the embedded toy; got s.safetensors.\n"
    memory = ["--memory-file", "m.safetensors", "--video-model", "v.safetensors"]
    code, _, complaints = command(["colour", *map(str, inputs), *memory])
    assert code == 2
    assert complaints == "--memory-file: must be left out for the embedded toy; got m.safetensors.\n"
    code, _, complaints = command(["colour", *map(str, inputs), "--model", str(lineart)])
    assert code == 2
    assert complaints == "--sketch: must be given with --model (control_module.safetensors); got none.\n"


def without(folder, tmp_path, *names):
    """A copy of the model without these."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for name in names:
        shutil.rmtree(copy / name) if (copy / name).is_dir() else (copy / name).unlink()
    return copy


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (["vae"], "--model: must be a folder with vae/config.json"),
        (["tokenizer"], "tokenizer must have a JSON object of settings as tokenizer_config.json"),
        (["text_encoder"], "text_encoder must be a folder with config.json and weights in it"),
        (["control_module.safetensors"], "which is not a file."),
        (["transformer"], "must have its weights in .safetensors files"),
    ],
)
def test_parts_that_are_missing_are_named(folder, tmp_path, command, missing, said):
    code, _, complaints = colour(command, without(folder, tmp_path, *missing), tmp_path / "out.mp4")
    assert code == 2
    assert said in complaints
    assert not (tmp_path / "out.mp4").exists()
    assert not (tmp_path / "out.run").exists()


def test_weights_that_are_missing_are_named(folder, tmp_path, command):
    copy = without(folder, tmp_path)
    path = copy / "control_module.safetensors"
    weights = load_file(path)
    del weights["zero_conv.weight"]
    save_file(weights, path)
    code, _, complaints = colour(command, copy, tmp_path / "out.mp4")
    assert code == 2
    assert "must be SketchDiT (control_module.safetensors); got" in complaints
    assert complaints.strip().endswith("which has no zero_conv.weight.")


def saved_memory(folder, width=128, kv=32):
    """Options for a DGLM, and for the video model that it reads; the width of its keys is 32."""
    dglm, video = folder / "glm_module.safetensors", folder / "video_xl.safetensors"
    network = dglm_network(sizes=DglmSizes(width=width, kv=kv, narrow=6, wide=10, inner=96))
    save_file(network.state_dict(), dglm)
    model = video_model()
    write_video_model(video, model.state_dict(), model.settings)
    return ["--memory-file", str(dglm), "--video-model", str(video)]


def test_the_first_window_is_the_same_with_memory_and_the_run_another(folder, tmp_path, command):
    out, one = tmp_path / "out.mp4", ["--frames", "17"]
    assert colour(command, folder, out, *one)[0] == 0
    (before,) = windows(out)
    code, said, _ = colour(command, folder, out, *one, *saved_memory(tmp_path))
    assert code == 0
    (line,) = (line for line in said.splitlines() if line.startswith("take 2 is opened"))
    assert "the DGLM is another one" in line and "the video model is another one" in line
    (after,) = windows(out)
    assert torch.equal(before["latents"], after["latents"])


def test_a_run_with_memory_is_what_the_core_makes(folder, tmp_path, command):
    out = tmp_path / "out.mp4"
    remembered = [*saved_memory(tmp_path), "--memory-frames", "12", "--local-frames", "5"]
    assert colour(command, folder, out, *remembered)[0] == 0
    files = folder / "control_module.safetensors", tmp_path / "glm_module.safetensors"
    base, sketch, dglm = load_networks(folder, *files, device="cpu", dtype=torch.float32)
    texts = encode_cog_prompts(folder, [""], device="cpu")
    model = DiffusersCog(base, sketch, CogCodec(load_vae(folder, device="cpu")), 0.7, texts, texts, dglm)
    with VideoFrames(DATA / "reference.jpg") as image, VideoFrames(DATA / "pose.mp4") as lineart:
        method = long_animation(lineart, image.read([0]), SETTINGS, WIDTH, HEIGHT, total_frames=TOTAL)
        method = method.with_memory(MemoryOfVideo(video_model(), MemorySettings(12, 5)))
        sample = lambda request, seed: model.sample_window(request, seed, settings=SETTINGS)  # noqa: E731
        expected = [made.sampled.latents for made in each_made(method, sample, model.codec)]
    assert len(expected) == 3
    assert all(torch.equal(mine["latents"], theirs) for mine, theirs in zip(windows(out), expected, strict=True))
    plain = by_the_core(folder, [""], "")
    assert [torch.equal(made.sampled.latents, theirs) for (_, made), theirs in zip(plain, expected, strict=True)] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 64}, "--memory-file: must be of SketchDiT's width, 128; got 64."),
        ({"kv": 8}, "--video-model: must be of the width that the DGLM reads, 8; got 32."),
    ],
)
def test_a_memory_that_does_not_fit_is_refused(folder, tmp_path, command, sizes, message):
    out = tmp_path / "out.mp4"
    code, _, complaints = colour(command, folder, out, *saved_memory(tmp_path, **sizes))
    assert code == 2
    assert complaints.strip().splitlines()[-1] == message
    assert not out.exists() and not (tmp_path / "out.run").exists()


@pytest.mark.parametrize(("left", "given"), [(0, "--memory-file"), (2, "--video-model")])
def test_half_a_memory_is_refused(folder, tmp_path, command, left, given):
    options = saved_memory(tmp_path)
    missing = options[2 - left]
    code, _, complaints = colour(command, folder, tmp_path / "out.mp4", *options[left : left + 2])
    assert code == 2
    assert complaints.strip().splitlines()[-1] == f"{missing}: must be given with {given}; got none."


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--steps", "2"], "--fuse-from: must be below steps (2), or fuse must be off (31 of 50); got 2."),
        (
            ["--overlap", "10"],
            "--overlap: must be 4n + 1 and at least 5 where overlaps are blended, or 16 as released (17); got 10.",
        ),
        (["--blocks", "0-9"], "--blocks: must lie between 0 and 3 in this network (0-3:2); got 0-9."),
        (["--width", "40"], "--width: must be a multiple of 16 (832); got 40."),
        (["--prompt", "a" * 300], "--prompt: must have at most 226 tokens (about 150 words); got 301."),
        (["--out", "x.gif"], "--out: must be a video file that ends in .mp4, .mov, .mkv (dance.mp4); got x.gif."),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(folder, tmp_path, command, more, said):
    code, _, complaints = colour(command, folder, tmp_path / "out.mp4", *more)
    assert code == 2
    # transformers shows its progress.
    assert complaints.strip().splitlines()[-1] == said
    assert not (tmp_path / "out.mp4").exists()
