"""`everanimate animate` with a run that is there: what is made again, and when the next take is opened."""

from cli_parts import animate, place_of, refused, result, state
from run_parts import assert_same_result, video_of

STOPPED = (
    "this run was made with other settings (--on-change new take: finished chunks stay, and those that are still right "
    "are used); got {}.\n"
)


def again(command, out, *more):
    """Start the command; which chunks were kept, and what else was said before the last line."""
    code, said, complaints = command(animate(out, *more))
    assert (code, complaints) == (0, "")
    lines = said.splitlines()
    assert lines.pop() == f"Wrote {out}"
    return (
        [", kept, " in line for line in lines if line.startswith("chunk ")],
        [line for line in lines if not line.startswith("chunk ")],
    )


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
    assert state(finished.parent) == before


def test_redo_from_a_chunk_with_another_seed(finished, tmp_path, command):
    place, before, video = place_of(finished), place_of(finished).files(), finished.read_bytes()
    assert again(command, finished, "--from-chunk", "3", "--seed", "9") == ([True] * 3 + [False] * 3, [])
    assert place.files(number=1) == before
    assert [one == two for one, two in zip(place.take(1).chunks, place.take(2).chunks, strict=True)] == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert (place.store.folder / "takes" / "00001.mp4").read_bytes() == video
    redone, second = result(finished), finished.read_bytes()

    # The same from nothing: three chunks with the first seed, the others with the second.
    other = tmp_path / "other" / "dance.mp4"
    assert command(animate(other, "--frames", "19"))[0] == 0
    assert command(animate(other, "--from-chunk", "3", "--seed", "9"))[0] == 0
    assert_same_result(result(other), redone)

    before = state(finished.parent)
    assert again(command, finished, "--seed", "9") == ([True] * 6, [])
    assert again(command, finished, "--from-chunk", "3", "--seed", "9") == ([True] * 6, [])
    assert state(finished.parent) == before
    # The first seed again: a take of chunks that are all there.
    assert refused(command, finished) == STOPPED.format("seed was 9 and is 0")
    assert again(command, finished) == ([True] * 6, ["take 3 is opened: seed was 9 and is 0"])
    assert place.take(3).chunks == place.take(1).chunks
    assert finished.read_bytes() == video
    assert (place.store.folder / "takes" / "00002.mp4").read_bytes() == second


def test_prompts_that_change_keep_the_chunks_before(finished, tmp_path, command):
    prompts, before = tmp_path / "prompts.txt", place_of(finished).files()
    # Frame 24 is the first that chunk 4 adds.
    prompts.write_text("0:\n24: she turns\n")
    code, said, _ = command(animate(finished, "--prompts", str(prompts)))
    assert code == 0
    told, *lines = said.splitlines()
    assert told == "The embedded toy reads no prompts, so they change no picture."
    assert [", kept, " in line for line in lines] == [True] * 4 + [False] * 4
    assert lines[4] == "take 2 is opened: the prompt is another one from chunk 4 on"
    assert place_of(finished).files(number=1) == before


def test_the_toy_says_that_it_reads_no_negative_prompt_either(finished, command):
    code, said, _ = command(animate(finished, "--negative-prompt", "blurred"))
    assert code == 0
    told, *lines = said.splitlines()
    assert told == "The embedded toy reads no prompts, so they change no picture."
    assert all(", kept, " in line for line in lines[:6])


def test_more_and_fewer_frames(finished, command):
    said = ["take 2 is opened: total_frames was 32 and is 36"]
    assert again(command, finished, "--frames", "36") == ([True] * 6 + [False], said)
    assert len(video_of(finished)[0]) == 36
    said = ["take 3 is opened: total_frames was 36 and is 12"]
    assert again(command, finished, "--frames", "12") == ([True] * 2, said)
    assert len(video_of(finished)[0]) == 12
    older = [finished.with_suffix(".run") / "takes" / f"0000{number}.mp4" for number in (1, 2)]
    assert [len(video_of(path)[0]) for path in older] == [32, 36]


def test_another_rate_of_a_driving_video_changes_what_the_chunks_see(finished, command):
    said = ["take 2 is opened: fps was 0.0 and is 12.5"]
    # The pose is shown at the rate of the result, and its chunks see other frames of it.
    assert again(command, finished, "--fps", "12.5") == ([False] * 6, said)


def test_a_restored_run_goes_on_with_its_own_restoration_alone(finished, tmp_path, command):
    assert refused(command, finished, "--restore", "0.5") == STOPPED.format("--restore was 0.0 and is 0.5")
    out = tmp_path / "restored" / "dance.mp4"
    assert command(animate(out, "--frames", "14", "--restore", "0.5"))[0] == 0
    told = "--restore was 0.5 and is 0.25"
    assert refused(command, out, "--frames", "14", "--restore", "0.25") == STOPPED.format(told)
    said = ["take 2 is opened: restore_strength was 0.5 and is 0.25"]
    assert again(command, out, "--frames", "14", "--restore", "0.25") == ([False] * 2, said)
    assert again(command, out, "--frames", "14", "--restore", "0.25") == ([True] * 2, [])


def test_another_network_or_sampler_is_named(finished, lora, command):
    assert refused(command, finished, "--lora", str(lora)) == STOPPED.format("the model is another one")
    assert refused(command, finished, "--steps", "3") == STOPPED.format("steps was 2 and is 3")
    assert refused(command, finished, "--overlap", "5") == STOPPED.format("overlap was 4 and is 5")
    told = "dtype was torch.float32 and is torch.bfloat16, the model is another one"
    assert refused(command, finished, "--dtype", "bfloat16") == STOPPED.format(told)


def test_with_another_lora_the_next_take_is_opened(tmp_path, lora, command):
    out = tmp_path / "dance.mp4"
    assert again(command, out, "--frames", "9") == ([False], [])
    said = ["take 2 is opened: the model is another one"]
    assert again(command, out, "--frames", "9", "--lora", str(lora)) == ([False], said)
    assert again(command, out, "--frames", "9", "--lora", str(lora)) == ([True], [])
    assert refused(command, out, "--frames", "9", "--lora", str(lora), "--lora-strength", "0.5") == STOPPED.format(
        "the model is another one"
    )
