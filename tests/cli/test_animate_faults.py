"""`everanimate animate` with damaged files, places that cannot be written, and names that cannot be shown."""

import os
import subprocess
import sys

import pytest
from cli_parts import ROOT, animate, finish, place_of, result, start, state
from run_parts import assert_same_result, posix_only


@pytest.mark.parametrize("damage", ["cut", "bit", "gone"])
def test_a_damaged_chunk_is_made_again_alone(finished, uninterrupted, command, damage):
    place, video = place_of(finished), finished.read_bytes()
    chunk = place.chunk_path(4)
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1
    chunk.write_bytes(content if damage == "bit" else content[:1000])
    if damage == "gone":
        chunk.unlink()
    others = place.files(0, 3) | place.files(5, 5)
    code, said, complaints = command(animate(finished))
    assert (code, complaints) == (0, "")
    assert [", kept, " in line for line in said.splitlines()] == [True] * 4 + [False, True] + [False]
    assert place.store.take_numbers() == [1]
    assert place.files(0, 3) | place.files(5, 5) == others
    assert finished.read_bytes() == video
    assert_same_result(result(finished), result(uninterrupted[0]))


@pytest.mark.parametrize("alter", [lambda text: text.replace("25", "24"), lambda text: text[:-9]])
def test_a_damaged_take(finished, command, alter):
    place = place_of(finished)
    take, before, video = place.store.take_path(1), place.files(), finished.read_bytes()
    take.write_text(alter(take.read_text()))
    altered = state(finished.parent)
    code, said, complaints = command(animate(finished))
    assert (code, said) == (2, "")
    assert complaints == (
        "take 00001.json must be as it was written (restore it, or start anew with resume false or --no-resume: that "
        f"opens the next take, and the chunks in {place.store.folder} are untouched); got an altered one.\n"
    )
    assert state(finished.parent) == altered
    # As it says.
    code, said, complaints = command(animate(finished, "--no-resume", "--frames", "9"))
    assert (code, complaints, said.count(", kept, ")) == (0, "", 0)
    assert place.store.take_numbers() == [1, 2]
    assert (place.store.folder / "takes" / "00001.mp4").read_bytes() == video
    after = state(place.store.folder / "chunks")
    assert {name: after[name] for name in before} == before


@posix_only
def test_a_full_disk(finished, uninterrupted, command):
    import resource  # POSIX only

    # Room for the latents, not for the frames of the next chunk.
    assert command(animate(finished, "--frames", "14"))[0] == 0
    place = place_of(finished)
    before = place.files(number=1)
    limit = 5_000
    process = start(
        animate(finished, "--from-chunk", "2", "--seed", "1"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    code, said, complaints = finish(process)
    assert code == 1
    assert said.count(", kept, ") == 2
    assert complaints.startswith("the run's files must be writable and the disk not full; got ")
    assert complaints.endswith(
        f"2 finished chunks are kept in {place.store.folder}; the same run goes on from there.\n"
    )
    assert place.files(number=1) == before
    # With the first seed, all chunks are there.
    code, said, _ = command(animate(finished, "--from-chunk", "2"))
    assert (code, said.count(", kept, ")) == (0, 6)
    assert_same_result(result(finished), result(uninterrupted[0]))


@pytest.mark.parametrize("place", ["file/dance.mp4", "/proc/everanimate/dance.mp4"])
def test_a_place_that_cannot_be_written(tmp_path, command, place):
    (tmp_path / "file").write_text("in the way")
    code, said, complaints = command(animate(tmp_path / place))
    assert (code, said) == (1, "")
    assert complaints.startswith("the run's files must be writable and the disk not full; got ")
    assert "0 finished chunks" in complaints


def test_names_that_the_output_cannot_show_end_no_run(tmp_path):
    out = tmp_path / "\u8df3\u821e \u2744.mp4"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "everanimate_core", *animate(out, "--frames", "9")]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\\u2744.mp4" in ended.stdout
    assert out.exists()


def test_control_characters_of_names_are_shown_escaped(tmp_path, command):
    code, said, complaints = command(animate(tmp_path / "dance.mp4", "--model", "\x1b[2J\x07none"))
    assert (code, said) == (2, "")
    assert complaints == "--model: must be a folder or file that is there; got \\x1b[2J\\x07none.\n"
