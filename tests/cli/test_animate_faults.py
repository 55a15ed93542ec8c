"""`everanimate animate` with damaged files, places that cannot be written, and names that cannot be shown."""

import os
import subprocess
import sys

import pytest
from cli_parts import ROOT, animate, assert_same_result, finish, posix_only, refused, result, start, state


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
        "chunk_0004.safetensors must be as it was written (make it and all after it "
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
    assert complaints.startswith("the run's files must be writable and the disk not full; got ")
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
    assert complaints.startswith("the run's files must be writable and the disk not full; got ")
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
