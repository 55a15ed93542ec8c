"""What a run hands on of the frames made so far, so that each window can be told of them."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ..digests import digest
from ..method import State
from .prompt import PREFIX
from .video_memory import Held, MemoryOfVideo


class Remembering(Protocol):
    """The part of a window's state that is the memory of the frames so far."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What decides a memory beside the network and the frames, as JSON values by the names of the settings."""

    @property
    def types(self) -> Mapping[str, torch.dtype]:
        """Of what is kept of it, by name."""

    def kept_numbers(self, frames: int) -> int:
        """How many float32 numbers of it a run keeps for so many frames of a window."""

    def after(self, state: State, frames: Tensor) -> State:
        """What is handed on of it. frames: that the window adds, [n, H, W, 3] in 0..1."""

    def memory(self, state: State) -> Tensor | None:
        """The memory of the frames so far, [2, 3, N, kv_width]; None where there are none."""

    def keep(self, before: State, after: State) -> State:
        """What of it has to be on disk."""

    def recall(self, before: State, kept: State) -> State:
        """What of `after` is not in the files as it was: see keep."""


class _OfVideo:
    """What both ways have in common."""

    def __init__(self, memory: MemoryOfVideo):
        self.of = memory

    @property
    def facts(self) -> Mapping[str, Any]:
        """See Remembering."""
        return vars(self.of.settings)

    @property
    def side(self) -> int:
        """Width and height of what is seen of a frame, in pixels."""
        return self.of.model.settings.vision.image

    @property
    def types(self) -> Mapping[str, torch.dtype]:
        """See Remembering. What was read is of the type that the network computes in."""
        return {"seen": torch.uint8, "past": self.of.model.computes_in}

    def seen(self, state: State, frames: Tensor) -> Tensor:
        """What is seen of the frames so far that the state has, and of these: [n, S, S, 3] uint8."""
        new = self.of.model.crops(frames)
        return torch.cat([state["seen"], new]) if "seen" in state else new


class Choosing(_OfVideo):
    """Frames are chosen anew for each window, as released: all of them are handed on, as they are seen.

    What was read for the window before is held in memory. That saves time alone: a run that goes on without it makes
    the same.
    """

    def __init__(self, memory: MemoryOfVideo):
        super().__init__(memory)
        # What is held, and the digest of the frames that it is of.
        self.held: Held | None = None
        self.held_of = ""

    def kept_numbers(self, frames: int) -> int:
        """See Remembering. A colour of a pixel is a byte."""
        return frames * 3 * self.side**2 // 4

    def after(self, state: State, frames: Tensor) -> State:
        """See Remembering."""
        return {"seen": self.seen(state, frames)}

    def memory(self, state: State) -> Tensor | None:
        """See Remembering."""
        if "seen" not in state:
            return None
        seen, held = state["seen"], self.held
        if held is not None and (held.frames > len(seen) or digest(seen[: held.frames]) != self.held_of):
            held = None
        memory, self.held = self.of.remember(seen, held)
        self.held_of = "" if self.held is None else digest(seen[: self.held.frames])
        return memory

    def keep(self, before: State, after: State) -> State:
        """The window's own frames."""
        return {"seen": after["seen"][len(before.get("seen", ())) :].contiguous()}

    def recall(self, before: State, kept: State) -> State:
        """Those before, and its own."""
        return {"seen": torch.cat([before["seen"], kept["seen"]]) if "seen" in before else kept["seen"]}


class Appending(_OfVideo):
    """Each frame is read once, and what is held of it is handed on; the oldest ones are forgotten.

    What is handed on does not grow with the animation. Of the frames as they are seen it has those that were not read
    yet, as they do not fill a window, and those of the local memory.
    """

    @property
    def beacons(self) -> int:
        """What is held of a frame."""
        return self.of.model.settings.beacons

    def kept_numbers(self, frames: int) -> int:
        """See Remembering."""
        language = self.of.model.settings.language
        held = 2 * (max(language.read) + 1) * frames * self.beacons * language.kv_width
        return held + max(self.of.settings.local_frames, self.of.at_once) * 3 * self.side**2 // 4

    def after(self, state: State, frames: Tensor) -> State:
        """See Remembering. past: see MemoryOfVideo.read. count: of all frames so far."""
        seen, before = self.seen(state, frames), _count(state)
        count = before + len(frames)
        unread = count - _whole(before, self.of.at_once)
        rest = count % self.of.at_once
        past, new = state.get("past"), seen[len(seen) - unread : len(seen) - rest]
        # Short windows may fill none of the video model's: then nothing new is held, and nothing is kept.
        if past is None or len(new):
            past = self.of.read(past, new)
        # One at least: files hold no empty tensors.
        stays = min(len(seen), max(self.of.settings.local_frames, rest, 1))
        return {
            "past": past,
            "count": torch.tensor([float(count)]),
            "seen": seen[len(seen) - stays :].contiguous(),
        }

    def memory(self, state: State) -> Tensor | None:
        """See Remembering."""
        if "past" not in state:
            return None
        seen, rest = state["seen"], _count(state) % self.of.at_once
        return self.of.end(state["past"], seen[len(seen) - rest :], seen)

    def keep(self, before: State, after: State) -> State:
        """What is new of that which is held, and the last frames."""
        kept = {name: after[name] for name in ("count", "seen")}
        if "past" not in before:
            kept["past"] = after["past"]
        elif after["past"] is not before["past"]:
            step = self.of.at_once
            new = (_whole(_count(after), step) - _whole(_count(before), step)) * self.beacons
            held = after["past"].shape[2] - len(PREFIX)
            kept["past"] = after["past"][:, :, after["past"].shape[2] - min(new, held) :].contiguous()
        return kept

    def recall(self, before: State, kept: State) -> State:
        """What was held before, as far as it is not forgotten, and what is new."""
        if "past" not in before or "past" not in kept:
            return {}
        past = torch.cat([before["past"], kept["past"]], 2)
        return {"past": self.of.model.forgotten(past, self.of.settings.memory_frames)}


def _count(state: State) -> int:
    return int(state["count"]) if "count" in state else 0


def _whole(count: int, step: int) -> int:
    """The frames that fill whole windows."""
    return count - count % step


def remembering(memory: MemoryOfVideo) -> Remembering:
    """The way that the settings of a memory name."""
    # A local memory alone holds nothing.
    append = memory.settings.memory_append and memory.settings.memory_frames
    return Appending(memory) if append else Choosing(memory)
