"""`everanimate animate --processes 2 --device cpu`: one animation, sampled by two processes together."""

import multiprocessing
import os
import shlex
import signal

import pytest
import torch
from cli_parts import CHUNKS, DATA, animate, finish, latents_of, place_of, start
from run_parts import posix_only
from wan_folder import save_wan

from everanimate_core.cli import animate as animate_module
from everanimate_core.cli.command import Command
from everanimate_core.cli.main import parse
from everanimate_core.runs.store import RunFailed

TOGETHER = ["--processes", "2", "--device", "cpu"]


def assert_equal(one, other):
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


def test_with_pose_face_and_guidance_it_is_that_of_one_process(tmp_path, command):
    save_wan(tmp_path / "model")
    options = ["--model", str(tmp_path / "model"), "--face", str(DATA / "face.mp4"), "--cfg", "2", "--frames", "14"]
    # Pictures for CLIP are rounded to 8 bits, which would make much of the last bit of a frame.
    options += ["--negative-prompt", "b", "--clip-source", "reference"]
    alone, both = tmp_path / "alone.mp4", tmp_path / "both.mp4"
    assert command(animate(alone, *options))[0] == 0
    code, said, _ = command(animate(both, *options, *TOGETHER))
    assert code == 0
    assert said.splitlines()[-1] == f"Wrote {both}"
    assert_equal(latents_of(both, 2), latents_of(alone, 2))


class KillingHelpers(Command):
    """A command whose helper is killed as soon as it is told of the second chunk. told: of how many it was in all."""

    told = 0

    def say(self, line):
        self.told += line.startswith("chunk ")
        if line.startswith("chunk 2"):
            multiprocessing.active_children()[0].kill()


@posix_only
@pytest.mark.parametrize("beside", ["off", "all"])
def test_when_a_process_dies_finished_chunks_are_kept_for_however_many_processes(tmp_path, command, beside):
    out, whole = tmp_path / "dance.mp4", tmp_path / "whole.mp4"
    options = parse(animate_module.Options, "animate", animate(out, *TOGETHER, "--beside", beside)[1:])
    killing = KillingHelpers()
    with pytest.raises(RunFailed, match=r"got exit code -9 of process 2 of 2\. Finished chunks are kept"):
        animate_module.main(options, killing)
    # The third may be sampled before the second is kept beside it.
    assert killing.told in ([2] if beside == "off" else [2, 3])
    assert len(latents_of(out)) == killing.told

    code, said, _ = command(animate(out, "--device", "cpu"))
    assert code == 0
    assert said.count(", kept, ") == killing.told
    assert place_of(out).store.take_numbers() == [1]
    assert command(animate(whole, "--device", "cpu"))[0] == 0
    assert_equal(latents_of(out), latents_of(whole))


@posix_only
def test_ctrl_c_reaches_all_of_them_and_one_speaks(tmp_path, command):
    out = tmp_path / "dance.mp4"
    # A group of its own, as a terminal gives each command; not deaf to Ctrl-C, as where tests run in the background.
    process = start(
        animate(out, *TOGETHER),
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline().startswith(f"chunk 1/{CHUNKS}")
    os.killpg(process.pid, signal.SIGINT)
    code, _, complaints = finish(process)
    assert code == 1
    words, _, again = complaints.partition(": everanimate ")
    assert words == "Stopped; finished chunks are kept. Go on with"
    assert shlex.split(again) == animate(out, *TOGETHER)
