"""The command line as its users start it: real processes, killed, interrupted and started again, and what they say."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import pytest
import torch
from exact_parts import is_rate
from safetensors.torch import load, load_file, save_file

from everanimate_core.cli import main as cli
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.media.reader import VideoFrames

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
# Six chunks of 9 frames that share 4, the last one cut: 0..8, 9..13, ..., 29..31.
TOTAL, CHUNKS = 32, 6
# At this size the encoder is deterministic, so that whole files can be compared. (At many others, x264 decides on the
# quality of a B-frame by memory that it never set.)
WIDTH, HEIGHT = 32, 16
# Kills of each kind. EVERANIMATE_KILLS=30 is the whole proof; a few are enough to notice that something broke.
KILLS = int(os.environ.get("EVERANIMATE_KILLS", "2"))
INPUTS = ["--reference", str(DATA / "reference.jpg"), "--pose", str(DATA / "pose.mp4")]
NETWORK = ["--model", "toy", "--width", str(WIDTH), "--height", str(HEIGHT)]
CHUNKING = ["--chunk-frames", "9", "--overlap", "4", "--steps", "2", "--frames", str(TOTAL)]
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def animate(out, *more):
    """The arguments of the animation that all tests make."""
    return ["animate", *INPUTS, *NETWORK, *CHUNKING, "--out", str(out), *more]


def start(arguments, **options):
    """The command in a process of its own, from this repository."""
    # One thread: two kinds of addition are two results, and threads wait for each other on a busy machine.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-m", "everanimate_core", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=env, **pipes, **options)


def finish(process):
    """Exit code and what was said, of a process that may have been read from already."""
    said, complaints = process.communicate()
    assert "Traceback" not in complaints
    return process.returncode, said, complaints


def result(out):
    """All that must not depend on how often a run was interrupted."""
    folder = out.with_suffix(".run")
    run = json.loads((folder / "manifest.json").read_text())["run"]
    records = [{**chunk, "latents": None, "seconds": None} for chunk in run["chunks"]]
    chunks = [load((folder / f"chunk_{i:04d}.safetensors").read_bytes()) for i in range(len(records))]
    segments = [(folder / f"segment_{i:04d}.mp4").read_bytes() for i in range(len(records))]
    return run["settings"], records, chunks, segments, out.read_bytes()


def assert_same_result(one, other):
    *plain, chunks, segments, video = one
    *other_plain, other_chunks, other_segments, other_video = other
    assert plain == other_plain
    assert len(chunks) == len(other_chunks)
    for mine, theirs in zip(chunks, other_chunks, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert mine[name].dtype == torch.float32
            assert torch.equal(mine[name], theirs[name]), name
    assert segments == other_segments
    assert video == other_video


def state(folder):
    """{name: (content, time of change)} of the files of a folder, with all below it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def frames_of(path):
    with VideoFrames(path) as video:
        return video.read(range(video.frame_count)), video.fps


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """A run from start to end, as (its video, seconds from each line that it said to the next)."""
    out = tmp_path_factory.mktemp("uninterrupted") / "dance.mp4"
    process = start(animate(out))
    times = [time.monotonic(), *(time.monotonic() for _ in process.stdout)]
    assert process.wait() == 0, process.stderr.read()
    return out, [after - before for before, after in pairwise(times)]


@pytest.fixture
def finished(uninterrupted, tmp_path):
    """A copy of the finished run, as the path of its video."""
    shutil.copytree(uninterrupted[0].parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "dance.mp4"


@pytest.fixture
def command(capsys):
    """command(arguments) -> (exit code, what was said, what was complained of), in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def call(arguments):
        try:
            code = cli.main(arguments)
        except SystemExit as refused:
            code = refused.code
        return code, *capsys.readouterr()

    yield call
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "arguments",
    [
        "demo --seconds inf",
        "demo --seconds nan",
        "ablate --seconds nan",
        "train-toy --out none --minutes nan",
        "train --stage 1 --data none --model toy --out none --rate inf",
        "train --stage 1 --data none --model toy --out none --rate -1",
        "train --stage 2 --data none --model toy --out none --augmented nan",
    ],
)
def test_numbers_of_every_command_are_finite(arguments, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, complaints = command(arguments.split())
    *_, option, value = arguments.split()
    assert code == 2
    assert re.search(rf"error: argument {option}: must be a finite number .*; got {value}\.$", complaints)
    assert list(tmp_path.iterdir()) == []


# --- the animation ---------------------------------------------------------------------------------------------------


def test_the_video(uninterrupted):
    frames, fps = frames_of(uninterrupted[0])
    assert frames.shape == (TOTAL, HEIGHT, WIDTH, 3)
    assert fps == 25
    with av.open(str(uninterrupted[0])) as container:
        stream = container.streams.audio[0]
        sound = [packet for packet in container.demux(stream) if packet.size]
        seconds = float((sound[-1].pts + sound[-1].duration) * stream.time_base)
    assert abs(seconds - TOTAL / 25) < 0.05
    with av.open(str(DATA / "pose.mp4")) as container:
        source = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    assert [bytes(packet) for packet in sound] == source[: len(sound)]


def by_the_core(model, total):
    """The chunks of the same animation, without the command line."""
    from everanimate_core.everanimate import propagation
    from everanimate_core.everanimate.flow import sigma_schedule
    from everanimate_core.everanimate.memory import build_memory
    from everanimate_core.media.frames import FittedFrames, fit_frames
    from everanimate_core.plan import ChunkPlan

    with VideoFrames(DATA / "reference.jpg") as image, VideoFrames(DATA / "pose.mp4") as pose:
        yield from propagation.animate(
            ChunkPlan(total, 9, 4),
            build_memory(fit_frames(image.read([0]), WIDTH, HEIGHT, "stretch"), model.codec),
            partial(model.sample_chunk, sigmas=sigma_schedule(2, 5.0)),
            model.codec,
            Drivers(pose=FittedFrames(pose, WIDTH, HEIGHT, "stretch")),
        )


def test_it_is_what_the_core_makes_of_the_same_inputs(uninterrupted, command):
    from everanimate_core.toy.network.engine import load_toy

    folder = uninterrupted[0].with_suffix(".run")
    for made in by_the_core(load_toy(), TOTAL):
        kept = load_file(folder / f"chunk_{made.index:04d}.safetensors")
        assert torch.equal(kept["latents"], made.latents)
        assert torch.equal(kept["last_frames"], made.memory.last_frames)
    assert made.index == CHUNKS - 1


def test_the_baseline_takes_a_lora_of_its_own(tmp_path, command):
    from everanimate_core.lora.files import read_lora
    from everanimate_core.lora.fit import apply_lora
    from everanimate_core.toy.network.engine import load_toy
    from everanimate_core.toy.network.state import BASELINE_WEIGHTS, STAGE_2

    out = tmp_path / "dance.mp4"
    assert command(animate(out, "--frames", "9", "--model", "toy-baseline", "--lora", str(STAGE_2)))[0] == 0
    model = load_toy(BASELINE_WEIGHTS)
    apply_lora(model.transformer, read_lora(STAGE_2))
    (made,) = by_the_core(model, 9)
    assert torch.equal(latents_of(out, 1)[0], made.latents)


def test_a_second_start_makes_nothing_again(finished, command):
    before = state(finished.parent)
    code, said, complaints = command(animate(finished))
    assert (code, complaints) == (0, "")
    lines = said.splitlines()
    assert [line.split(", ")[:2] for line in lines[:2]] == [
        ["chunk 1/6: frames 0-8", "kept"],
        ["chunk 2/6: frames 9-13", "kept"],
    ]
    assert [", kept, " in line for line in lines] == [True] * 6 + [False]
    assert lines[6] == f"Wrote {finished}"
    after = state(finished.parent)
    assert {name for name in after if after[name] != before[name]} == {"dance.mp4"}
    assert after["dance.mp4"][0] == before["dance.mp4"][0]


# --- killed ----------------------------------------------------------------------------------------------------------


def moments(count):
    """Seeded moments (n, part) to kill at: when `part` of the time from line n of the run to the next has passed.

    The first lies in start-up, the second while the video is joined; together they cover the run evenly.
    """
    stages, chance = [0, CHUNKS, 3, 1, 5, 2, 4], random.Random(0)
    return [(stages[number % len(stages)], chance.random()) for number in range(count)]


def killed(arguments, lines, seconds):
    """Start the command and kill it `seconds` after its line number `lines`; whether it was still running then."""
    process = start(arguments)
    for _ in range(lines):
        assert process.stdout.readline()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    _, complaints = process.communicate()
    assert complaints == ""
    return process.returncode == -signal.SIGKILL


@posix_only
@pytest.mark.parametrize(("line", "part"), moments(KILLS))
def test_killed_at_any_moment_a_run_ends_as_if_nothing_had_happened(uninterrupted, tmp_path, line, part):
    video, gaps = uninterrupted
    out, seconds = tmp_path / "dance.mp4", part * gaps[line]
    for _ in range(8):
        if killed(animate(out), line, seconds):
            break
        # It was quicker than the run that was measured.
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        seconds /= 2
    else:
        pytest.fail("the run always ended before it could be killed")
    assert_it_goes_on(out, video, line)


def assert_it_goes_on(out, video, line=0):
    """The killed run that is to make `out` goes on; at least `line` chunks are there, and the result is as `video`."""
    kept = {name: file for name, file in state(out.parent).items() if ".part" not in name}
    manifest = out.with_suffix(".run") / "manifest.json"
    done = len(json.loads(manifest.read_text())["run"]["chunks"]) if manifest.exists() else 0
    assert line <= done

    code, said, complaints = finish(start(animate(out)))
    assert (code, complaints) == (0, "")
    assert [", kept, " in line for line in said.splitlines()[:CHUNKS]] == [True] * done + [False] * (CHUNKS - done)
    assert_same_result(result(out), result(video))
    assert torch.equal(frames_of(out)[0], frames_of(video)[0])
    after = state(out.parent)
    for name in kept:
        if name.startswith("dance.run/") and any(f"_{index:04d}." in name for index in range(done)):
            assert after[name] == kept[name], name
    assert not [name for name in after if ".part" in name]


# The command, killed at the n-th of the steps by which it writes: names given and taken, files and folders made and
# flushed. It says the number of each step.
KILLED_AT_A_STEP = """
import os, signal, sys

last, done, flush = int(sys.argv[1]), 0, os.fsync

def step(event):
    global done
    if done == last:
        os.kill(os.getpid(), signal.SIGKILL)
    done += 1
    print(done, file=steps, flush=True)

def watch(event, arguments):
    made = event == "open" and ".everanimate-" in str(arguments[0]) and arguments[2] & os.O_EXCL
    if made or event in ("os.rename", "os.remove", "os.mkdir") and root in str(arguments[0]):
        step(event)

def fsync(handle):
    step("fsync")
    flush(handle)

root, steps = sys.argv[2], open(sys.argv[2] + ".steps", "w")
os.fsync = fsync
from everanimate_core.cli import main
sys.addaudithook(watch)
main(sys.argv[3:])
"""


def at_a_step(number, out):
    """Run the command in a process that is killed at step `number` of its writing; how many steps it made."""
    command = [sys.executable, "-c", KILLED_AT_A_STEP, str(number), str(out.parent), *animate(out)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    steps = len(Path(f"{out.parent}.steps").read_text().split())
    assert ended.returncode == (-signal.SIGKILL if steps == number else 0), ended.stderr
    return steps


@pytest.fixture(scope="session")
def steps(tmp_path_factory):
    """The number of steps of a whole run."""
    return at_a_step(10**9, tmp_path_factory.mktemp("steps") / "dance.mp4")


@posix_only
@pytest.mark.parametrize("kill", range(KILLS))
def test_killed_in_its_checks_and_parts_a_run_ends_as_if_nothing_had_happened(uninterrupted, steps, tmp_path, kill):
    out = tmp_path / "out" / "dance.mp4"
    out.parent.mkdir()
    # The first among the checks before the first chunk, the second while the parts of files get their names.
    number = kill % 8 if kill % 2 == 0 else random.Random(kill).randrange(8, steps)
    assert at_a_step(number, out) == number
    if kill % 3 == 0:
        # Killed again while it clears what the first kill left, and in what follows.
        at_a_step(random.Random(kill).randrange(8), out)
    assert_it_goes_on(out, uninterrupted[0])


@posix_only
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(uninterrupted, tmp_path, command):
    out = tmp_path / "my dance.mp4"
    # Where these tests run in the background, children would be born deaf to SIGINT.
    process = start(animate(out, "--no-resume"), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        for _ in range(2):
            process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        # While it is there, no other writer.
        code, said, complaints = command(animate(out, "--seed", "3"))
        assert (code, said) == (2, "")
        assert complaints == (
            "Animate Long Video: a run is written by one program at a time (choose another run name or --out, or "
            f"wait); got a second one for {tmp_path / 'my dance.run'}.\n"
        )
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        code, said, complaints = finish(process)
    finally:
        process.kill()
    assert code == 1
    words, _, again = complaints.partition(": everanimate ")
    assert words == "Stopped; finished chunks are kept. Go on with"
    # Without the last word, the part that is finished would be set aside.
    assert shlex.split(again) == [*animate(out, "--no-resume"), "--resume"]

    manifest = json.loads((tmp_path / "my dance.run" / "manifest.json").read_text())
    done = len(manifest["run"]["chunks"])
    assert done >= 2
    frames, fps = frames_of(out)
    assert (len(frames), fps) == (manifest["run"]["chunks"][-1]["stop"], Fraction(25))
    assert torch.equal(frames, frames_of(uninterrupted[0])[0][: len(frames)])

    code, said, _ = command(shlex.split(again))
    assert code == 0
    assert said.count(", kept, ") == done
    assert_same_result(result(out), result(uninterrupted[0]))


# --- again, longer, otherwise ----------------------------------------------------------------------------------------


def test_redo_from_a_chunk_with_another_seed(finished, tmp_path, command):
    before = state(finished.with_suffix(".run"))
    code, said, _ = command(animate(finished, "--from-chunk", "3", "--seed", "9"))
    assert code == 0
    assert [", kept, " in line for line in said.splitlines()] == [True] * 3 + [False] * 4
    after = state(finished.with_suffix(".run"))
    for index in range(3):
        for name in (f"chunk_{index:04d}.safetensors", f"segment_{index:04d}.mp4"):
            assert after[name] == before[name]
    redone = result(finished)

    # The same from nothing: three chunks with the first seed, the others with the second.
    other = tmp_path / "other" / "dance.mp4"
    assert command(animate(other, "--frames", "19"))[0] == 0
    assert command(animate(other, "--from-chunk", "3", "--seed", "9"))[0] == 0
    assert_same_result(result(other), redone)

    code, said, _ = command(animate(finished, "--seed", "9"))
    assert (code, said.count(", kept, ")) == (0, 6)
    before = state(finished.parent)
    code, said, complaints = command(animate(finished))
    assert (code, said) == (2, "")
    assert complaints == (
        "Animate Long Video: a run is continued with what it was started with (choose another run name or "
        "--out, or start anew with resume false or --no-resume; with from_chunk the seed may change); "
        "got seed 0 instead of 9.\n"
    )
    assert state(finished.parent) == before


def test_prompts_that_change_keep_the_chunks_before(finished, tmp_path, command):
    prompts = tmp_path / "prompts.txt"
    # Frame 24 is the first that chunk 4 adds.
    prompts.write_text("0:\n24: she turns\n")
    code, said, _ = command(animate(finished, "--prompts", str(prompts)))
    assert code == 0
    assert [", kept, " in line for line in said.splitlines()] == [True] * 4 + [False] * 3


def test_more_and_fewer_frames(finished, command):
    code, said, _ = command(animate(finished, "--frames", "36"))
    assert (code, said.count(", kept, "), len(frames_of(finished)[0])) == (0, 6, 36)
    code, said, _ = command(animate(finished, "--frames", "10"))
    assert (code, said.count(", kept, "), len(frames_of(finished)[0])) == (0, 2, 10)


def test_the_run_may_lie_elsewhere_and_the_rate_be_another(tmp_path, command):
    out, folder = tmp_path / "new" / "dance.mkv", tmp_path / "runs" / "dance"
    assert command(animate(out, "--run", str(folder), "--frames", "9", "--fps", "30000/1001"))[0] == 0
    assert is_rate(frames_of(out)[1], Fraction(30000, 1001), ".mkv")
    assert sorted(path.name for path in folder.iterdir()) == [
        "chunk_0000.safetensors",
        "manifest.json",
        "segment_0000.mp4",
    ]
    assert sorted(path.name for path in out.parent.iterdir()) == ["dance.mkv"]


def test_guidance_reaches_the_network(tmp_path, command):
    assert command(animate(tmp_path / "a.mp4", "--frames", "9", "--cfg", "2"))[0] == 0


def latents_of(out, chunks=CHUNKS):
    files = [out.with_suffix(".run") / f"chunk_{index:04d}.safetensors" for index in range(chunks)]
    return [load_file(file)["latents"] for file in files]


def test_restoration_off_is_no_restoration(finished, tmp_path, command):
    off = ["--restore", "0", "--restore-schedule", "fixed", "--restore-target", "low_frequency"]
    out = tmp_path / "off" / "dance.mp4"
    assert command(animate(out, *off))[0] == 0
    assert_same_result(result(out), result(finished))
    # A run that knows of no restoration goes on with it off.
    assert not [name for name in result(finished)[0] if "restor" in name]
    code, said, _ = command(animate(finished, *off))
    assert (code, said.count(", kept, ")) == (0, CHUNKS)


@pytest.mark.parametrize("target", ["statistics", "low_frequency"])
def test_restoration_is_what_the_core_makes_of_it(tmp_path, command, target):
    from everanimate_core.everanimate import propagation
    from everanimate_core.everanimate.flow import draw_noise, sigma_schedule
    from everanimate_core.everanimate.memory import build_memory
    from everanimate_core.everanimate.restoration import Restoration, correction, restored
    from everanimate_core.everanimate.sampling import euler
    from everanimate_core.media.frames import FittedFrames, fit_frames
    from everanimate_core.plan import ChunkPlan
    from everanimate_core.toy.network.engine import load_toy

    out = tmp_path / "dance.mp4"
    # Large enough for cells that the pose stays away from.
    width, height = 64, 32
    options = ["--frames", "14", "--width", str(width), "--height", str(height)]
    options += ["--restore", "2", "--restore-schedule", "fixed", "--restore-target", target]
    assert command(animate(out, *options))[0] == 0
    model, plan, sigmas = load_toy(), ChunkPlan(14, 9, 4), sigma_schedule(2)
    with VideoFrames(DATA / "reference.jpg") as image, VideoFrames(DATA / "pose.mp4") as video:
        memory = build_memory(fit_frames(image.read([0]), width, height, "stretch"), model.codec)
        pose = FittedFrames(video, width, height, "stretch")
        drivers = Drivers(pose=pose)
        for index, found in enumerate(latents_of(out, 2)):
            request = propagation.request_chunk(plan, memory, index, drivers, model.codec)
            shown = pose.read(plan.source_indices(index, pose.frame_count))
            correct = correction(Restoration(2.0, "fixed", target), memory, shown)
            with torch.no_grad():
                noise = draw_noise(request.latents_shape, 42 * index)
                x = euler(restored(model.velocity(request), correct), noise, sigmas)
                plain = euler(model.velocity(request), noise, sigmas)
            expected = x[:, :, request.anchors :].contiguous()
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
            # The first chunk has no statistics before it.
            assert torch.equal(x, plain) == (index == 0 and target == "statistics")
            memory = propagation.hand_over(plan, memory, index, expected, model.codec).memory


def test_a_restored_run_goes_on_with_its_own_restoration_alone(finished, tmp_path, command):
    assert "got restore_schedule gaussian instead of None; " in refused(command, finished, "--restore", "0.5")
    out = tmp_path / "restored" / "dance.mp4"
    assert command(animate(out, "--frames", "14", "--restore", "0.5"))[0] == 0
    assert "got restore_strength 0.25 instead of 0.5.\n" in refused(command, out, "--frames", "14", "--restore", "0.25")
    code, said, _ = command(animate(out, "--frames", "14", "--restore", "0.5"))
    assert (code, said.count(", kept, ")) == (0, 2)


# --- faults ----------------------------------------------------------------------------------------------------------


def refused(command, finished, *more):
    """Complaint about a run that is not continued, its files untouched."""
    before = state(finished.parent)
    code, said, complaints = command(animate(finished, *more))
    assert (code, said) == (2, "")
    assert state(finished.parent) == before
    return complaints


@pytest.fixture
def lora(tmp_path):
    """A LoRA file for the toy's network, named as the released ones are."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator) * 0.1 for shape in ((4, 256), (256, 4)))
    layer = "blocks.0.self_attn.q"
    path = tmp_path / "lora.safetensors"
    save_file({f"{layer}.lora_A.default.weight": a, f"{layer}.lora_B.default.weight": b}, path)
    return path


def test_another_network_or_sampler_is_refused(finished, lora, command):
    complaints = refused(command, finished, "--lora", str(lora))
    assert "got network " in complaints
    complaints = refused(command, finished, "--steps", "3")
    assert complaints.count("; got sigmas [1.0, 0.909091, 0.714286, 0.0] instead of [1.0, 0.833333, 0.0].\n") == 1
    assert "overlap 5 instead of 4" in refused(command, finished, "--overlap", "5")
    assert "dtype torch.bfloat16 instead of torch.float32" in refused(command, finished, "--dtype", "bfloat16")


def test_a_run_with_a_lora_goes_on_with_it_alone(tmp_path, lora, command):
    out = tmp_path / "dance.mp4"
    with_lora = ["--frames", "9", "--lora", str(lora)]
    assert command(animate(out, *with_lora))[0] == 0
    assert "got network " in refused(command, out, "--frames", "9")
    assert "got network " in refused(command, out, *with_lora, "--lora-strength", "0.5")
    code, said, _ = command(animate(out, *with_lora))
    assert (code, said.count(", kept, ")) == (0, 1)


@pytest.mark.parametrize("damage", ["cut", "bit", "gone"])
def test_a_damaged_chunk(finished, uninterrupted, command, damage):
    chunk = finished.with_suffix(".run") / "chunk_0004.safetensors"
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1
    chunk.write_bytes(content if damage == "bit" else content[:1000])
    if damage == "gone":
        chunk.unlink()
    before = state(finished.parent)
    code, said, complaints = command(animate(finished))
    assert code == 2
    assert said.count(", kept, ") == 4
    assert complaints == (
        "Animate Long Video: chunk_0004.safetensors must be as it was written (make it and all after it "
        f"again with from_chunk or --from-chunk 4; what is before is kept); "
        f"got {'no' if damage == 'gone' else 'an altered'} file.\n"
    )
    assert state(finished.parent) == before
    assert command(animate(finished, "--from-chunk", "4"))[0] == 0
    assert_same_result(result(finished), result(uninterrupted[0]))


@pytest.mark.parametrize("alter", [lambda text: text.replace("25", "24"), lambda text: text[:-9]])
def test_a_damaged_manifest(finished, command, alter):
    manifest = finished.with_suffix(".run") / "manifest.json"
    manifest.write_text(alter(manifest.read_text()))
    assert "manifest.json must be as it was written" in refused(command, finished)


@posix_only
def test_a_full_disk(finished, uninterrupted, command):
    import resource  # POSIX only

    # Room for the latents, not for the frames of the next chunk.
    assert command(animate(finished, "--frames", "14"))[0] == 0
    before = state(finished.with_suffix(".run"))
    limit = 5_000
    process = start(
        animate(finished, "--from-chunk", "2", "--seed", "1"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    code, said, complaints = finish(process)
    assert code == 1
    assert said.count(", kept, ") == 2
    assert complaints.startswith("Animate Long Video: the run's files must be writable and the disk not full; got ")
    assert complaints.endswith(
        f"2 finished chunks are kept in {finished.with_suffix('.run')}; the same run goes on from there.\n"
    )
    after = state(finished.with_suffix(".run"))
    for name in before:
        if "_0000." in name or "_0001." in name:
            assert after[name] == before[name]
    code, said, _ = command(animate(finished, "--from-chunk", "2"))
    assert (code, said.count(", kept, ")) == (0, 2)
    assert_same_result(result(finished), result(uninterrupted[0]))


@pytest.mark.parametrize("place", ["file/dance.mp4", "/proc/everanimate/dance.mp4"])
def test_a_place_that_cannot_be_written(tmp_path, command, place):
    (tmp_path / "file").write_text("in the way")
    code, said, complaints = command(animate(tmp_path / place))
    assert (code, said) == (1, "")
    assert complaints.startswith("Animate Long Video: the run's files must be writable and the disk not full; got ")
    assert "0 finished chunks" in complaints


def test_names_that_the_output_cannot_show_end_no_run(tmp_path):
    out = tmp_path / "\u8df3\u821e \u2744.mp4"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "everanimate_core", *animate(out, "--frames", "9")]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\\u2744.mp4" in ended.stdout
    assert out.exists()


def test_control_characters_of_names_are_shown_escaped(tmp_path, command):
    code, said, complaints = command(animate(tmp_path / "dance.mp4", "--model", "\x1b[2J\x07none"))
    assert (code, said) == (2, "")
    assert complaints == "--model: must be a folder or file that is there; got \\x1b[2J\\x07none.\n"


# --- arguments -------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "arguments", [[], ["animate"], ["dance"], ["lora"], ["lora", "inspect"], ["demo", "--seconds", "x"]]
)
def test_incomplete_commands(command, arguments):
    code, said, complaints = command(arguments)
    assert (code, said) == (2, "")
    assert complaints.startswith("usage: everanimate")


def test_help_of_the_module():
    code, said, _ = finish(start(["--help"]))
    assert code == 0
    assert said.startswith("usage: everanimate")
    for name in ("animate", "demo", "lora"):
        assert name in said


@pytest.mark.parametrize("name", [["animate"], ["demo"], ["lora"], ["lora", "inspect"], ["lora", "convert"]])
def test_help_of_every_command(command, name):
    code, said, _ = command([*name, "--help"])
    assert code == 0
    assert said.startswith(f"usage: everanimate {' '.join(name)}")


# --- LoRA files ------------------------------------------------------------------------------------------------------


def test_lora_inspect(lora, command):
    code, said, complaints = command(["lora", "inspect", str(lora)])
    assert (code, complaints) == (0, "")
    assert isinstance(json.loads(said), dict)
    assert '"rank' in said


def test_lora_convert(lora, tmp_path, command):
    comfyui, back = tmp_path / "comfyui.safetensors", tmp_path / "back.safetensors"
    assert command(["lora", "convert", str(lora), str(comfyui)])[0] == 0
    assert all(name.startswith("diffusion_model.blocks.0.self_attn.q.") for name in load_file(comfyui))
    assert command(["lora", "convert", str(comfyui), str(back), "--format", "released"])[0] == 0
    once, again = load_file(lora), load_file(back)
    assert once.keys() == again.keys()
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_lora_convert_rounds_when_asked(lora, tmp_path, command):
    half = tmp_path / "half.safetensors"
    assert command(["lora", "convert", str(lora), str(half), "--format", "released", "--dtype", "float16"])[0] == 0
    once, rounded = load_file(lora), load_file(half)
    assert {value.dtype for value in rounded.values()} == {torch.float16}
    assert all(torch.equal(rounded[name], once[name].half()) for name in once)


@pytest.mark.parametrize("name", ["inspect", "convert"])
@pytest.mark.parametrize("file", ["none.safetensors", "text.safetensors", "."])
def test_lora_files_that_cannot_be_read(tmp_path, command, name, file):
    (tmp_path / "text.safetensors").write_text("no LoRA")
    out = tmp_path / "out.safetensors"
    code, said, complaints = command(["lora", name, str(tmp_path / file), *([str(out)] if name == "convert" else [])])
    assert (code, said) == (2, "")
    assert complaints
    assert not out.exists()


@pytest.mark.parametrize(("out", "code"), [("none/out.safetensors", 2), ("file/out.safetensors", 1), ("folder", 2)])
def test_lora_files_that_cannot_be_written(lora, tmp_path, command, out, code):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    before = state(tmp_path)
    found, said, complaints = command(["lora", "convert", str(lora), str(tmp_path / out)])
    assert (found, said) == (code, "")
    assert complaints
    assert state(tmp_path) == before
