"""Prompts that change along the animation: a text file with a line `frame: prompt` for each change."""

import os
from os import PathLike

from ..errors import InputError, one_line, shown
from ..json_files import read_text
from ..plan import ChunkPlan

# Of a frame's number: enough for a year of video.
MOST_DIGITS = 9


def read_prompts(path: str | PathLike) -> list[tuple[int, str]]:
    """The changes in the file, by frame; ValueError, naming the line, unless they rise from frame 0."""

    def refuse(got: str) -> ValueError:
        return InputError("prompts", "must be a file of UTF-8 text", "save it as such", f"{got} in {one_line(path)}")

    if not os.path.isfile(path):
        raise InputError("prompts", "must be a file that is there", "prompts.txt", one_line(path))
    text = read_text(path, refuse)
    changes: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        frame, colon, prompt = line.partition(":")
        after = changes[-1][0] + 1 if changes else 0
        counts = colon and frame.strip().isdecimal() and len(frame.strip()) <= MOST_DIGITS
        if not counts or int(frame) < after or (not changes and int(frame) != 0):
            raise InputError(
                "prompts",
                "must be lines of `frame: prompt`, frames rising from 0",
                "0: a woman dances",
                f"{shown(line)} in line {number} of {one_line(path)}",
            )
        changes.append((int(frame), prompt.strip()))
    if not changes:
        raise InputError("prompts", "must have a line for frame 0", "0: a woman dances", f"none in {one_line(path)}")
    return changes


def chunk_prompts(changes: list[tuple[int, str]], plan: ChunkPlan) -> list[str]:
    """The prompt of every chunk: the last change at or before the first frame that it adds to the animation."""
    starts = [plan.output_range(index).start for index in range(plan.chunk_count)]
    return [[prompt for frame, prompt in changes if frame <= start][-1] for start in starts]
