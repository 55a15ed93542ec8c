"""`everanimate animate` killed and interrupted at any moment, and started again."""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from cli_parts import CHUNKS, ROOT, animate, finish, place_of, result, start, state
from run_parts import assert_same_result, posix_only, video_of

# Kills of each kind. EVERANIMATE_KILLS=30 is the whole proof; a few are enough to notice that something broke.
KILLS = int(os.environ.get("EVERANIMATE_KILLS", "2"))


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
    place = place_of(out)
    # A chunk is finished when its record has its name, even if no take lists it yet.
    done, listed = len(place.records()), place.files()
    assert line <= done
    assert done - len(listed) / 2 in (0, 1)

    code, said, complaints = finish(start(animate(out)))
    assert (code, complaints) == (0, "")
    assert [", kept, " in line for line in said.splitlines()[:CHUNKS]] == [True] * done + [False] * (CHUNKS - done)
    assert_same_result(result(out), result(video))
    assert torch.equal(video_of(out)[0], video_of(video)[0])
    after = place.files()
    assert {name: after[name] for name in listed} == listed
    assert place.store.take_numbers() == [1]
    assert not [name for name in state(out.parent) if ".part" in name]


@posix_only
def test_a_reader_that_goes_away_ends_the_run_in_words_and_keeps_it(uninterrupted, tmp_path):
    """`everanimate animate ... | head -1`"""
    out = tmp_path / "dance.mp4"
    process = start(animate(out))
    assert process.stdout.readline()
    process.stdout.close()
    complaints = process.stderr.read()
    assert process.wait() == 1
    assert complaints == "Stopped, as nobody reads what is printed any more; finished chunks are kept.\n"
    assert_it_goes_on(out, uninterrupted[0], 1)


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
from everanimate_core.cli.main import main
sys.addaudithook(watch)
main(sys.argv[3:])
"""


def at_a_step(number, out):
    """Run the command in a process that is killed at step `number` of its writing; how many steps it made."""
    command = [sys.executable, "-c", KILLED_AT_A_STEP, str(number), str(out.parent), *animate(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
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
            "a run is written by one program at a time (choose another run name or --out, or wait); "
            f"got a second one for {tmp_path / 'my dance.run'}.\n"
        )
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        code, said, complaints = finish(process)
    finally:
        process.kill()
    assert code == 1
    words, _, again = complaints.partition(": everanimate ")
    assert words == "Stopped; finished chunks are kept. Go on with"
    # Without the last word, the part that is finished would be left in a take of its own.
    assert shlex.split(again) == [*animate(out, "--no-resume"), "--resume"]

    chunks = place_of(out).take().chunks
    done = len(chunks)
    assert done >= 2
    frames, fps = video_of(out)
    assert (len(frames), fps) == (chunks[-1].stop, Fraction(25))
    assert torch.equal(frames, video_of(uninterrupted[0])[0][: len(frames)])

    code, said, _ = command(shlex.split(again))
    assert code == 0
    assert said.count(", kept, ") == done
    assert place_of(out).store.take_numbers() == [1]
    assert_same_result(result(out), result(uninterrupted[0]))
