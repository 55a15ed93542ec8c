"""`everanimate animate` with a run that is there: what is made again, and with what it is not gone on with."""

from cli_parts import animate, assert_same_result, frames_of, refused, result, state


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
        "this run was started with other settings (choose another run name or --out, or start anew with resume false "
        "or --no-resume; with from_chunk the seed may change); got seed 0 (was 9).\n"
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


def test_a_restored_run_goes_on_with_its_own_restoration_alone(finished, tmp_path, command):
    assert "; got restore_schedule gaussian (was None), " in refused(command, finished, "--restore", "0.5")
    out = tmp_path / "restored" / "dance.mp4"
    assert command(animate(out, "--frames", "14", "--restore", "0.5"))[0] == 0
    assert "; got restore_strength 0.25 (was 0.5).\n" in refused(command, out, "--frames", "14", "--restore", "0.25")
    code, said, _ = command(animate(out, "--frames", "14", "--restore", "0.5"))
    assert (code, said.count(", kept, ")) == (0, 2)


def test_another_network_or_sampler_is_refused(finished, lora, command):
    complaints = refused(command, finished, "--lora", str(lora))
    assert "got network " in complaints
    complaints = refused(command, finished, "--steps", "3")
    assert complaints.count("; got sigmas [1.0, 0.909091, 0.714286, 0.0] (was [1.0, 0.833333, 0.0]).\n") == 1
    assert "; got overlap 5 (was 4).\n" in refused(command, finished, "--overlap", "5")
    assert "dtype torch.bfloat16 (was torch.float32)" in refused(command, finished, "--dtype", "bfloat16")


def test_a_run_with_a_lora_goes_on_with_it_alone(tmp_path, lora, command):
    out = tmp_path / "dance.mp4"
    with_lora = ["--frames", "9", "--lora", str(lora)]
    assert command(animate(out, *with_lora))[0] == 0
    assert "got network " in refused(command, out, "--frames", "9")
    assert "got network " in refused(command, out, *with_lora, "--lora-strength", "0.5")
    code, said, _ = command(animate(out, *with_lora))
    assert (code, said.count(", kept, ")) == (0, 1)
