"""Memory that runs out: at what, and which settings need less of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from ..errors import one_line
from .store import RunFailed

Stage = Literal["encoding frames", "decoding latents", "sampling", "loading the network", "making a chunk"]
ENCODING: Stage = "encoding frames"
DECODING: Stage = "decoding latents"
SAMPLING: Stage = "sampling"
LOADING: Stage = "loading the network"
MAKING: Stage = "making a chunk"

# What torch and its libraries say where they raise no class of their own: the CPU's allocator on Linux and on Windows,
# Apple's GPUs, cuBLAS and cuDNN.
_SAID = ("DefaultCPUAllocator: ", "out of memory", "ALLOC_FAILED")
# Settings that need less, in words, by stage: first those that change the result least.
_LESS: dict[Stage, tuple[tuple[str, str], ...]] = {
    ENCODING: (("width", "a smaller {}"), ("height", "a smaller {}")),
    DECODING: (("tiled", "{} switched on"), ("width", "a smaller {}"), ("height", "a smaller {}")),
    SAMPLING: (
        ("width", "a smaller {}"),
        ("height", "a smaller {}"),
        ("chunk_frames", "a smaller {}"),
        ("window_frames", "a smaller {}"),
    ),
    LOADING: (),
}
_LESS[MAKING] = _LESS[SAMPLING]
# The setting by which the VAE takes turns with the network.
BESIDE = "beside"
_SETTINGS = frozenset(name for ways in _LESS.values() for name, _ in ways)


class OutOfMemory(RunFailed):
    """The computer's memory ran out. doing: at what. torch_said: in the words of torch or Python, one line.

    chunk: that was being made, None outside of a run. settings: names of those that there are. kept: what a run says of
    its finished chunks, "" outside of one. message: "" for what `told` says.
    """

    where = "memory (RAM)"

    def __init__(
        self,
        doing: Stage,
        torch_said: str,
        chunk: int | None = None,
        settings: frozenset[str] = _SETTINGS,
        kept: str = "",
        message: str = "",
    ):
        self.doing, self.torch_said, self.chunk, self.settings, self.kept = doing, torch_said, chunk, settings, kept
        super().__init__(message or self.told())

    def of_chunk(self, chunk: int) -> "OutOfMemory":
        """The same of a chunk, unless one is named already: what is done beside the sampling fails in another one."""
        named = chunk if self.chunk is None else self.chunk
        return type(self)(self.doing, self.torch_said, named, self.settings, self.kept)

    def in_run(self, settings: frozenset[str], kept: str) -> "OutOfMemory":
        """The same in a run. settings: those that there are, BESIDE among them where the VAE works beside."""
        less = (self.settings | {BESIDE}) & settings
        return type(self)(self.doing, self.torch_said, self.chunk, less, kept)

    def told(self, called: Callable[[str], str] = str, host: str = "") -> str:
        """The message, with what to change. called: names of settings. host: what else frees memory, a sentence."""
        doing: str = self.doing
        if self.chunk is not None:
            doing = f"making chunk {self.chunk}" if doing == MAKING else f"{doing} in chunk {self.chunk}"
        parts = [f"out of {self.where} while {doing}; got {self.torch_said}"]
        parts += ["Close other programs that use it.", self.host_helps(host)]
        if BESIDE in self.settings:
            parts.append(f"With {called(BESIDE)} files, network and VAE take turns.")
        less = [words.format(called(name)) for name, words in _LESS[self.doing] if name in self.settings]
        if less:
            parts.append(f"It needs less with {' or '.join(less)}{self._anew(called)}.")
        return " ".join(part for part in [*parts, self.kept] if part)

    def host_helps(self, host: str) -> str:
        """What a host can do: it moves weights from the GPU to this memory, and makes things worse."""
        return ""

    def _anew(self, called: Callable[[str], str]) -> str:
        """What becomes of the finished chunks of a run where a setting changes."""
        if not self.chunk:
            return ""
        stay = f"; where only {called('tiled')} changes, {called('from_chunk')} {self.chunk} leaves finished ones"
        tiled = self.doing == DECODING and "tiled" in self.settings
        return f" (all chunks are made anew then{stay if tiled else ''})"

    def saying(self, message: str) -> "OutOfMemory":
        """The same with another message."""
        return type(self)(self.doing, self.torch_said, self.chunk, self.settings, self.kept, message)

    def __reduce__(self) -> tuple:
        return type(self), (self.doing, self.torch_said, self.chunk, self.settings, self.kept, str(self))


class OutOfDeviceMemory(OutOfMemory, torch.cuda.OutOfMemoryError):
    """The GPU's memory ran out. Hosts that free their models on torch's own error see this one as such."""

    where = "GPU memory"

    def host_helps(self, host: str) -> str:
        """What a host can do."""
        return host


def memory_error(error: BaseException) -> type[OutOfMemory] | None:
    """Which memory an error of torch or Python says to be out; None where it says something else."""
    if isinstance(error, MemoryError):
        return OutOfMemory
    said = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return OutOfDeviceMemory
    if isinstance(error, RuntimeError) and any(words in said for words in _SAID):
        return OutOfMemory if _SAID[0] in said else OutOfDeviceMemory
    return None


@contextmanager
def stage(doing: Stage, lacks: str = "") -> Iterator[None]:
    """Where memory runs out in the block, or in the decorated function, raise OutOfMemory, which says at what.

    lacks: a setting that there is not here, and that would need less.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        kind = None if isinstance(error, OutOfMemory) else memory_error(error)
        if kind is None:
            raise
        said = one_line(str(error).strip().split("\n")[0] or type(error).__name__, 200)
        settings = _SETTINGS - {lacks}
        raise kind(doing, said if said.endswith(".") else f"{said}.", settings=settings) from error


@contextmanager
def in_chunk(chunk: int) -> Iterator[None]:
    """The same for all that is done for a chunk, whose number the error is told."""
    try:
        with stage(MAKING):
            yield
    except OutOfMemory as error:
        raise error.of_chunk(chunk) from error
