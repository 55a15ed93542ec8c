"""The signs of life of a run in the node that makes it, whatever previews the host is set to: text, pictures, video."""

import logging
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..everanimate_core.errors import InputError
from ..everanimate_core.runs.progress import Making, Progress, RemainingTime, is_behind
from . import host

# How much longer each video so far is than the one before. Joining copies all that is finished, and nothing is sampled
# meanwhile: after every chunk, that would grow with the square of the length. So all of them together take about twenty
# times as long as the last.
GROWTH = Fraction(21, 20)


class RunProgress:
    """One progress bar over all chunks and steps, with the preview of the chunk being sampled, and Cancel; a text in
    the node, "chunk 7 of 21, step 3 of 20, 34 min left"; and the video so far, whenever it has grown by a twentieth.

    A context: where the block ends early, the text says how to go on, unless an input was refused. hidden: the hidden
    inputs of the node. candidates: of each chunk. called: what the method calls a chunk. previewer: that of a method
    whose latents the host has none for.
    """

    def __init__(
        self, model, hidden, chunks: int, steps: int, candidates: int = 1, called: str = "chunk", previewer=None
    ):
        self.hidden, self.chunks, self.steps, self.candidates, self.called = hidden, chunks, steps, candidates, called
        self.bar = host.progress_bar(chunks * candidates * steps)
        self.remaining = RemainingTime()
        own = host.latent_previewer(model)
        self.previewer = previewer if own is None else own
        self.notes: list[str] = []
        self.making: Making | None = None
        self.done: Progress | None = None
        # Where the bar stands, and how many chunks the video has that was shown last.
        self.place_of_bar = self.shown = 0

    def __enter__(self) -> "RunProgress":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is None:
            self.tell(f"{self.done_of_all()} are finished.")
        elif isinstance(error, InputError):
            # The same graph would be refused again: the error says what to change.
            if self.making is not None:
                self.tell(f"{self.done_of_all()} are finished.")
        elif self.making is not None or self.done is not None:
            self.tell(f"{self.done_of_all()} are finished. Queue the same graph again to go on.")

    def done_of_all(self) -> str:
        """ "4 of 21 chunks" """
        done = 0 if self.done is None else self.done.index + 1
        return f"{done} of {self.chunks} {self.called}s"

    def tell(self, line: str) -> None:
        """Show a line in the node, and below it what was said of the run."""
        host.tell(self.hidden.unique_id, "\n".join([line, *self.notes]))

    def say(self, note: str) -> None:
        """Put into the log, and below the line in the node, what is to be known of the run."""
        host.say(note)
        self.notes.append(note)

    def on_making(self, making: Making) -> None:
        """Before a chunk is made."""
        self.making = making
        self.remaining.begin(making)
        self.tell(self.place())
        self.place_of_bar = self.at(0)
        if self.done is not None and self.done.kept and self.previewer is None:
            self.bar.update_absolute(self.place_of_bar, preview=host.preview_of(self.done.last_frame()))

    def place(self) -> str:
        """ "chunk 7 of 21, candidate 2 of 3": what is being made."""
        making = self.making
        candidate = f", candidate {making.candidate + 1} of {making.candidates}" if making.candidates > 1 else ""
        return f"{self.called} {making.index + 1} of {making.chunks}{candidate}"

    def at(self, step: int) -> int:
        """Where the bar stands after so many steps of what is being made."""
        return (self.making.index * self.candidates + self.making.candidate) * self.steps + step

    def on_step(self, anchors: int) -> Callable[[int, int, Tensor], None]:
        """The callback of what is being made: its first `anchors` latents are anchors and are not shown."""

        def step_done(step: int, steps: int, clean: Tensor) -> None:
            host.check_cancel()
            self.making.catch_up()
            preview = None
            if self.previewer is not None:
                preview = self.previewer.decode_latent_to_preview_image("JPEG", clean[:, :, anchors:])
            self.place_of_bar = self.at(step + 1)
            self.bar.update_absolute(self.place_of_bar, preview=preview)
            self.tell(f"{self.place()}, step {step + 1} of {steps}{self.remaining.at_step(step + 1, steps)}")

        return step_done

    def on_chunk(self, done: Progress) -> None:
        """After each chunk: a line in the log, the bar at the chunk's end, the video so far, Cancel.

        Where it was finished beside the next one, the bar stays where that is.
        """
        self.done, behind = done, is_behind(done, self.making)
        logging.info("EverAnimate: %s%s", done, self.remaining.after(done))
        preview = None if done.kept or self.previewer is not None else host.preview_of(done.last_frame())
        if not behind:
            self.place_of_bar = (done.index + 1) * self.candidates * self.steps
        if not behind or preview is not None:
            self.bar.update_absolute(self.place_of_bar, preview=preview)
        # Where nothing is left to be made, the whole video follows at once.
        if not done.kept and (behind or self.making.left) and done.index + 1 >= GROWTH * self.shown:
            # On some systems a video that is being watched cannot be replaced. The next chunk tries again.
            with suppress(OSError):
                host.show_video(self.hidden, done.so_far(), finished=False)
                self.shown = done.index + 1
        host.check_cancel()

    def on_stopped(self, video: Path) -> None:
        """Show what is finished of a run that ended early."""
        host.show_video(self.hidden, video)

    def callbacks(self) -> dict[str, Callable]:
        """What a run calls, by name."""
        return {
            "on_making": self.on_making,
            "on_chunk": self.on_chunk,
            "say": self.say,
            "on_stopped": self.on_stopped,
        }
