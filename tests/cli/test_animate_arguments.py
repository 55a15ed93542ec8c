"""Arguments of `everanimate animate` that cannot serve: what is said of them, and that nothing is written."""

import shutil
from pathlib import Path

import pytest
from cli_parts import DATA, animate, state


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--frames", "-3"], "total_frames must be at least 1 (250); got -3."),
        (["--chunk-frames", "8"], "chunk_frames must be 4n + 1 and at least 5"),
        (["--overlap", "8"], "overlap must lie between 0 and chunk_frames - 2 (0..7); got 8."),
        (["--width", "33"], "width and height must be multiples of 16 (832x480); got 33x16."),
        (["--steps", "0"], "steps must be at least 1 (20); got 0."),
        (["--shift", "0"], "shift must be above 0 and finite (5.0); got 0.0."),
        (["--fps", "0"], "--fps: must be above 0 and at most 1000 (25, 30000/1001); got 0."),
        (["--fps", "1/0"], "--fps: must be above 0 and at most 1000 (25, 30000/1001); got 1/0."),
        (["--fps", "-25"], "--fps: must be above 0 and at most 1000 (25, 30000/1001); got -25."),
        (["--seed", "-1"], "--seed: must be a whole number between 0 and 2^64 - 1 (42); got -1."),
        (["--seed", str(2**64)], f"between 0 and 2^64 - 1 (42); got {2**64}."),
        (["--seed-mode", "random"], "--seed-mode: invalid choice: 'random'"),
        (["--fit", "error"], "frames must be 32x16"),
        (["--identity-latents", "0"], "identity_latents (0)"),
        (["--motion-latents", "3"], "motion_latents must be between 1 and 2 for chunks of 9 frames (1); got 3."),
        (["--continuation", "error", "--frames", "201"], "pose_video must have at least 201 frames"),
        (["--background", str(DATA / "pose.mp4")], "background_video and character_mask come together"),
        (["--face", str(DATA / "face.mp4")], "a face video needs the motion encoder"),
        (["--pose", "none.mp4"], "must be a readable video; got none.mp4"),
        (["--pose", str(DATA)], "must be a readable video; got data"),
        (["--pose", str(DATA / "README.md")], "must be a readable video; got README.md"),
        (["--reference", "none.jpg"], "must be a readable video; got none.jpg"),
        (["--reference", *[str(DATA / "reference.jpg")] * 5], "between 1 and identity_latents (4) images; got 5."),
        (["--prompts", "none.txt"], "none.txt"),
        (["--prompts", str(DATA)], "data"),
        (["--prompt", "a", "--prompts", "b"], "not allowed with argument"),
        (["--lora", "none.safetensors"], "none.safetensors"),
        (["--model", "none"], "--model: must be a folder or file that is there; got none."),
        (["--model", str(DATA / "reference.jpg")], "--parts: a transformer file needs a diffusers folder"),
        (["--tiled"], "--tiled: the embedded toy's VAE has no tiles (leave it out); got --model toy --tiled."),
        (["--device", "abacus"], "--device: must be one that torch has here (cpu, cuda, cuda:1); got abacus"),
        (["--from-chunk", "1"], "from_chunk must be a finished chunk or the one after the last (0..0); got 1."),
        (["--from-chunk", "-1"], "(0..0); got -1."),
        (["--from-chunk", "1", "--no-resume"], "from_chunk needs the chunks before it (resume true)"),
        (["--out", "dance"], "--out: must be a video file that ends in .mp4, .mov, .mkv (dance.mp4); got dance."),
        (["--out", "dance.gif"], "--out: must be a video file that ends in"),
        (["--restore", "-1"], "Restoration: strength must be at least 0 and finite (1.0); got -1.0."),
        (["--restore", "nan"], "argument --restore: must be a finite number (1.5); got nan."),
        (["--shift", "nan"], "argument --shift: must be a finite number (1.5); got nan."),
        (["--shift", "1e39"], "argument --shift: must be a finite number (1.5); got 1e39."),
        (["--cfg", "inf"], "argument --cfg: must be a finite number (1.5); got inf."),
        (["--lora-strength", "nan"], "argument --lora-strength: must be a finite number (1.5); got nan."),
        (["--steps", "1000000000000"], "argument --steps: must be a whole number up to 10000 (16); got 1000000000000."),
        (
            ["--frames", "9" * 5000],
            f"argument --frames: must be a whole number up to 100000000 (16); got {'9' * 40}...",
        ),
        (["--width", "4294967296"], "argument --width: must be a whole number up to 16384 (16); got 4294967296."),
        (["--prompts", "none.txt"], "prompts: must be a file that is there (prompts.txt); got none.txt."),
        (["--model", str(DATA), "--parts", "none"], "--parts: must be a diffusers folder that is there; got none."),
        (
            ["--model", str(DATA / "pose.mp4"), "--parts", str(DATA)],
            "--model: a transformer is read from a .safetensors file; got",
        ),
        (["--model", str(DATA)], "which lacks transformer, vae, text_encoder, tokenizer, image_encoder."),
        (["--lora", str(DATA)], "Load EverAnimate LoRA: a LoRA is read from a .safetensors file"),
        (["--lora", "x" * 300], "x, which is not a file."),
        (["--model", "x" * 300], "--model: must be a folder or file that is there; got xxx"),
        (["--prompts", "x" * 300], "prompts: must be a file that is there (prompts.txt); got xxx"),
        (["--lora", "two\nlines"], r"got two\nlines, which is not a file."),
        (["--restore-schedule", "none"], "--restore-schedule: invalid choice: 'none'"),
        (["--restore-target", "none"], "--restore-target: invalid choice: 'none'"),
        (["--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_arguments_that_cannot_serve(tmp_path, command, more, message):
    code, said, complaints = command(animate(tmp_path / "out" / "dance.mp4", *more))
    assert (code, said) == (2, "")
    assert message in complaints
    # Nothing was written: no video, no run.
    assert state(tmp_path) == {}
    assert not Path("dance").exists()


@pytest.mark.parametrize("out", ["pose.mp4", "folder/../pose.mp4", "link.mp4", "face.mov"])
def test_no_input_is_written_over(tmp_path, command, out):
    (tmp_path / "folder").mkdir()
    shutil.copy(DATA / "pose.mp4", tmp_path)
    shutil.copy(DATA / "face.mp4", tmp_path / "face.mov")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pose.mp4")
    before = state(tmp_path)
    inputs = ["--pose", str(tmp_path / "pose.mp4"), "--face", str(tmp_path / "face.mov")]
    code, said, complaints = command(animate(tmp_path / out, *inputs))
    assert (code, said) == (2, "")
    assert complaints.startswith(
        "--out: must be another file than the inputs, which it would replace (dance.mp4); got "
    )
    assert state(tmp_path) == before


def test_an_out_that_is_a_folder(tmp_path, command):
    out = tmp_path / "dance.mp4"
    out.mkdir()
    code, _, complaints = command(animate(out))
    assert (code, "--out: must be a video file" in complaints, list(out.iterdir())) == (2, True, [])


def test_what_was_refused_may_be_started_otherwise(tmp_path, command):
    out = tmp_path / "dance.mp4"
    assert command(animate(out, "--frames", "9", "--face", str(DATA / "face.mp4"), "--seed", "4"))[0] == 2
    assert command(animate(out, "--frames", "9"))[0] == 0
