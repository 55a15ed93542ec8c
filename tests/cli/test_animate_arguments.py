"""Arguments of `everanimate animate` that cannot serve: what is said of them, and that nothing is written."""

import shutil
from pathlib import Path

import pytest
from cli_parts import DATA, animate, state, unboxed
from run_parts import video_of

# What the core says, in one line, with the name of the option where it is about one.
REFUSED = [
    (["--frames", "-3"], "--frames: must be between 0 and 1000000 (0); got -3."),
    (["--chunk-frames", "8"], "--chunk-frames: must be 4n + 1, such as 5 or 9; got 8."),
    (["--chunk-frames", "165"], "--chunk-frames: must be between 5 and 161 (77); got 165."),
    (["--overlap", "8"], "--overlap: must lie between 0 and --chunk-frames - 2 (0..7); got 8."),
    (["--width", "33"], "--width: must be a multiple of 16 (832); got 33."),
    (["--height", "30"], "--height: must be a multiple of 16 (480); got 30."),
    (["--width", "30", "--height", "30"], "--width: must be a multiple of 16 (832); got 30."),
    (["--width", "4294967296"], "--width: must be between 16 and 8192 (832); got 4294967296."),
    (["--steps", "0"], "--steps: must be between 1 and 1000 (20); got 0."),
    (["--steps", "1000000000000"], "--steps: must be between 1 and 1000 (20); got 1000000000000."),
    (["--steps", "9" * 1000], "--steps: must be between 1 and 1000 (20); got 999"),
    (["--shift", "0"], "--shift: must be between 0.01 and 100.0 (5.0); got 0.0."),
    (["--shift", "nan"], "--shift: must be a number, not NaN or infinity (5.0); got nan."),
    (["--shift", "1e39"], "--shift: must be between 0.01 and 100.0 (5.0); got 1e+39."),
    (["--cfg", "inf"], "--cfg: must be a number, not NaN or infinity (1.0); got inf."),
    (["--restore", "-1"], "--restore: must be between 0.0 and 10.0 (0.0); got -1.0."),
    (["--restore", "nan"], "--restore: must be a number, not NaN or infinity (0.0); got nan."),
    (["--lora-strength", "nan"], "--lora-strength: must be a number, not NaN or infinity (1.0); got nan."),
    (["--fps", "-25"], "--fps: must be between 0.0 and 240.0 (0.0); got -25."),
    (["--fps", "1000"], "--fps: must be between 0.0 and 240.0 (0.0); got 1000."),
    (["--fps", "0.0001"], "--fps: must be above 0 and at most 1000 (25, 29.97, 30000/1001); got 1/10000."),
    (["--seed", "-1"], f"--seed: must be between 0 and {2**64 - 1} (0); got -1."),
    (["--seed", str(2**64)], f"--seed: must be between 0 and {2**64 - 1} (0); got {2**64}."),
    (["--identity-latents", "0"], "--identity-latents: must be between 1 and 16 (4); got 0."),
    (["--motion-latents", "3"], "--motion-latents: must be between 1 and 2 for chunks of 9 frames (1); got 3."),
    (["--from-chunk", "1"], "--from-chunk: must be a finished chunk or the one after the last (0..0); got 1."),
    (["--from-chunk", "-1"], "--from-chunk: must be between 0 and 99999 (0); got -1."),
    (["--from-chunk", "1", "--no-resume"], "--from-chunk: needs the other chunks of the run (resume true); got 1 and"),
    (
        ["--from-chunk", "1", "--only-chunk", "1"],
        "--from-chunk: makes all that --only-chunk leaves as it is (one of the two)",
    ),
    (["--only-chunk", "1"], "--only-chunk: needs all chunks of the newest take (finish it with "),
    (["--only-chunk", "-2"], "--only-chunk: must be between -1 and 99999 (-1); got -2."),
    (["--candidates", "0"], "--candidates: must be between 1 and 64 (1); got 0."),
    (["--fit", "error"], "frames must be 32x16 (or fit stretch, crop or pad); got 256x384."),
    (["--continuation", "error", "--frames", "201"], "--pose: must have at least 201 frames when continuation is"),
    (["--background", str(DATA / "pose.mp4")], "--background and --mask: come together; got --background alone."),
    (["--mask", str(DATA / "pose.mp4")], "--background and --mask: come together; got --mask alone."),
    (["--face", str(DATA / "face.mp4")], "a face video needs the motion encoder"),
    (["--pose", "none.mp4"], "--pose: must be a readable video; got none.mp4 (No such file or directory)."),
    (["--pose", str(DATA)], "--pose: must be a readable video; got data (Is a directory)."),
    (["--pose", str(DATA / "README.md")], "--pose: must be a readable video; got README.md"),
    (["--face", "none.mp4"], "--face: must be a readable video; got none.mp4"),
    (["--background", "none.mp4", "--mask", str(DATA / "pose.mp4")], "--background: must be a readable video; got"),
    (["--mask", "none.mp4", "--background", str(DATA / "pose.mp4")], "--mask: must be a readable video; got none.mp4"),
    (["--reference", "none.jpg"], "--reference: must be a readable picture; got none.jpg"),
    (["--reference", str(DATA / "reference.jpg"), "none.jpg"], "--reference: must be a readable picture; got none.jpg"),
    (
        ["--reference", *[str(DATA / "reference.jpg")] * 5],
        "--reference: must hold between 1 and --identity-latents (4) images; got 5.",
    ),
    (["--prompts", "none.txt"], "--prompts: must be a file that is there (prompts.txt); got none.txt."),
    (["--prompts", str(DATA)], f"--prompts: must be a file that is there (prompts.txt); got {DATA}."),
    (["--prompts", "x" * 300], "--prompts: must be a file that is there (prompts.txt); got xxx"),
    (["--prompt", "a", "--prompts", "b"], "--prompts: must be left out where --prompt is given (one of the two); got"),
    (["--lora", "none.safetensors"], "got none.safetensors, which is not a file."),
    (["--lora", str(DATA)], "a LoRA is read from a .safetensors file (stage2_480p.safetensors); got"),
    (["--lora", "x" * 300], "x, which is not a file."),
    (["--lora", "two\nlines"], r"got two\nlines, which is not a file."),
    (["--model", "none"], "--model: must be a folder or file that is there; got none."),
    (["--model", "x" * 300], "--model: must be a folder or file that is there; got xxx"),
    (["--model", str(DATA)], "which lacks transformer, vae, text_encoder, tokenizer, image_encoder."),
    (
        ["--model", str(DATA / "reference.jpg")],
        "--parts: must be a diffusers folder with VAE and encoders where --model is a file; got none.",
    ),
    (["--model", str(DATA), "--parts", "none"], "--parts: must be a diffusers folder that is there; got none."),
    (
        ["--model", str(DATA / "pose.mp4"), "--parts", str(DATA)],
        "--model: must be a .safetensors file, or a folder; got",
    ),
    (["--tiled"], "--tiled: must be left out for the embedded toy, whose VAE has no tiles; got --model toy --tiled."),
    (["--device", "abacus"], "--device: must be one that torch has here (cpu, cuda, cuda:1); got abacus"),
    (["--out", "dance"], "--out: must be a video file that ends in .mp4, .mov, .mkv (dance.mp4); got dance."),
    (["--out", "dance.gif"], "--out: must be a video file that ends in .mp4, .mov, .mkv (dance.mp4); got dance.gif."),
]


@pytest.mark.parametrize(("more", "message"), REFUSED)
def test_arguments_that_cannot_serve(tmp_path, command, more, message):
    code, said, complaints = command(animate(tmp_path / "out" / "dance.mp4", *more))
    assert (code, said) == (2, "")
    assert message in complaints
    assert not message.startswith("--") or complaints.startswith(message)
    assert complaints.count("\n") == 1
    # Nothing was written: no video, no run.
    assert state(tmp_path) == {}
    assert not Path("dance").exists()


# What does not parse, and is said in a box.
UNREADABLE = [
    (["--steps", "1.5"], "--steps: must be a whole number; got 1.5."),
    (["--steps", "x"], "--steps: must be a whole number; got x."),
    (["--seed", ""], "--seed: must be a whole number; got ."),
    (["--frames", "9" * 5000], f"--frames: must be a whole number; got {'9' * 40}...."),
    (["--shift", "x"], "--shift: must be a number; got x."),
    (["--lora-strength", "1,5"], "--lora-strength: must be a number; got 1,5."),
    (["--fps", "x"], "--fps: must be a number or a fraction (25, 23.976, 30000/1001); got x."),
    (["--fps", "1/0"], "--fps: must be a number or a fraction (25, 23.976, 30000/1001); got 1/0."),
    (["--fps", "1e999999999"], "--fps: must be a number or a fraction (25, 23.976, 30000/1001); got 1e999999999."),
    (["--fps", "nan"], "--fps: must be a number or a fraction (25, 23.976, 30000/1001); got nan."),
    (["--reference"], "--reference: must have 1 or more; got none."),
    # Of these, versions of tyro have words of their own.
    (["--pose"], "--pose"),
    (["--seed-mode", "random"], "--seed-mode", "invalid choice", "'random'", "'released', 'fixed', 'increment'"),
    (["--restore-schedule", "none"], "--restore-schedule", "invalid choice", "'none'", "'gaussian', 'sigma_ramp', "),
    (["--restore-target", "none"], "--restore-target", "invalid choice", "'none'", "'statistics', 'low_frequency'"),
    (["--dtype", "float64"], "--dtype", "float64", "bfloat16", "float32"),
    # The last: tyro before 1.0 says it of everything that comes after in the same process.
    (["--bogus"], "Unrecognized options: --bogus"),
]


@pytest.mark.parametrize("case", UNREADABLE, ids=lambda case: " ".join(case[0])[:40])
def test_arguments_that_do_not_parse(tmp_path, command, case):
    more, *words = case
    code, said, complaints = command(animate(tmp_path / "out" / "dance.mp4", *more))
    assert (code, said) == (2, "")
    for part in (*words, "everanimate animate --help"):
        assert part in unboxed(complaints)
    assert list(tmp_path.iterdir()) == []


def test_a_rate_of_0_is_that_of_the_pose(tmp_path, command):
    out = tmp_path / "dance.mp4"
    assert command(animate(out, "--frames", "9", "--fps", "0"))[0] == 0
    assert video_of(out)[1] == 25


def test_a_fault_that_opens_no_video_is_told_with_the_option_too(tmp_path, command):
    heic = tmp_path / "a.heic"
    heic.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    code, _, complaints = command(animate(tmp_path / "dance.mp4", "--reference", str(heic)))
    assert code == 2
    assert complaints == "--reference: HEIC pictures cannot be read (save it as JPEG or PNG); got a.heic.\n"


@pytest.mark.parametrize(
    "out",
    ["reference.mp4", "pose.mp4", "face.mov", "background.mkv", "mask.mp4", "folder/../pose.mp4", "link.mp4"],
)
def test_no_input_is_written_over(tmp_path, command, out):
    (tmp_path / "folder").mkdir()
    names = ["reference.mp4", "pose.mp4", "face.mov", "background.mkv", "mask.mp4"]
    for name in names:
        shutil.copy(DATA / "pose.mp4", tmp_path / name)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pose.mp4")
    before = state(tmp_path)
    inputs = [part for name in names for part in (f"--{Path(name).stem}", str(tmp_path / name))]
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
