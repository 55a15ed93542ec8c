"""What a long run has to know of a method: what a chunk needs, what it hands on, and what of it is kept on disk.

A run owns the plan's progress, the folder, seeds, prompts, videos and the report, and asks a `Method` for the rest. It
knows none by name: whoever starts a run hands one in, with the host's way of sampling what the method requests.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import torch
from torch import Tensor

from .plan import ChunkPlan
from .ports import Codec

# What is handed from chunk to chunk, by name: tensors on the CPU, laid out as they are read from a file.
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Sampled:
    """What a host sampled. latents: [1, C, T, h, w] of the chunk. extras: what else the method wants, by name."""

    latents: Tensor
    extras: State = field(default_factory=dict)


class Chunk(Protocol):
    """The driving frames of one chunk, each video read when it is first asked for."""

    @property
    def index(self) -> int:
        """Its number."""

    def all(self) -> Mapping[str, Tensor]:
        """The frames of each video [F, H, W, 3], by the video's name."""


class Method(Protocol):
    """A way to make a long video chunk by chunk, with all of its inputs but the network, the VAE and the prompts.

    A chunk that it is given is one that its own `chunk` made.
    """

    @property
    def name(self) -> str:
        """What runs call it in their folders."""

    @property
    def plan(self) -> ChunkPlan:
        """Its chunks."""

    @property
    def width(self) -> int:
        """Of the video, in pixels."""

    @property
    def height(self) -> int:
        """Of the video, in pixels."""

    @property
    def fps(self) -> Fraction | None:
        """Frames a second of what drives it, None where that has no rate."""

    @property
    def seed(self) -> int:
        """Of the chunks that this start makes."""

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of what its host hands over beside the latents."""

    def check(self) -> None:
        """Raise InputError for inputs that cannot serve."""

    def constants(self) -> Mapping[str, Any]:
        """What a run must share with an earlier part of it, as JSON values."""

    def widgets(self) -> Mapping[str, Any]:
        """What the user set, by the names of the settings, as JSON values."""

    def begun_with(self, seed: int) -> "Method":
        """The same in a run whose first start had that seed, for what a method chooses at random by itself."""

    @property
    def end_latents(self) -> int:
        """How many latents at the end of a chunk the next one is made from."""

    def noise_seed(self, index: int) -> int:
        """Seed of the noise of a chunk."""

    def shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Of all that is kept of a chunk, latents and extras included, by name; None: of any length.

        A chunk with anything else in its file is not read, and is made again.
        """

    def types(self) -> Mapping[str, torch.dtype]:
        """Of what is kept of a chunk, by name, where it is not float32."""

    def kept_numbers(self, chunks: int) -> int:
        """How many float32 numbers a run of so many chunks keeps, as far as that is known before."""

    def chunk(self, index: int) -> Chunk:
        """The driving frames of a chunk; none is read before it is asked for."""

    def start(self) -> State:
        """What the first chunk is handed."""

    def prepare(self, chunk: Any, codec: Codec) -> None:
        """Encode what the chunk before has no say in; the chunk keeps it, and `request` need not do it again.

        It may be called while another chunk is sampled, or not at all: `request` makes the same either way.
        """

    def request(self, state: State, chunk: Any, codec: Codec, end: Tensor | None = None) -> Any:
        """All that the host must know to sample a chunk; a run hands it on as it is.

        end: [1, C, end_latents, h, w], latents that the chunk has to end with, for one that is sampled alone between
        neighbours that stay; None: it ends as it will.
        """

    def decode(self, state: State, latents: Tensor, codec: Codec) -> Tensor:
        """The chunk's F frames [F, H, W, 3] in 0..1. state: what the chunk was handed."""

    def hand_over(self, state: State, chunk: Any, sampled: Sampled, frames: Tensor, codec: Codec) -> State:
        """What the next chunk is handed, `statistics` [2, C] of the first chunk's latents among it."""

    def handed_early(self, state: State, chunk: Any, sampled: Sampled) -> State | None:
        """The same as `hand_over`, where it is known without the chunk's frames; None where it waits for them."""

    @property
    def score_name(self) -> str:
        """What people call its score."""

    def score(self, state: State, chunk: Any, sampled: Sampled, frames: Tensor) -> float | None:
        """What tells candidates for a chunk apart, less is better; None where there is nothing to measure it by.

        state: what the chunk was handed. frames: all F of it.
        """

    def keep(self, before: State, after: State) -> State:
        """What of `after` must be on disk, so that it can be recalled."""

    def recall(self, before: State, kept: State) -> State:
        """`after` again, from what is on disk: kept has the latents, the extras, and what `keep` said."""


# How a host samples what a method requests, from noise of the given seed; latents alone where there are no extras.
Sample = Callable[[Any, int], Tensor | Sampled]


@dataclass(frozen=True)
class Made:
    """A chunk that was made just now. frames: all F of it [F, H, W, 3]. after: what it hands on."""

    index: int
    sampled: Sampled
    frames: Tensor
    after: State


def each_made(method: Method, sample: Sample, codec: Codec) -> Iterator[Made]:
    """All chunks of a method, one after another, none of them kept anywhere."""
    state = method.start()
    for index in range(method.plan.chunk_count):
        chunk = method.chunk(index)
        made = sample(method.request(state, chunk, codec), method.noise_seed(index))
        sampled = made if isinstance(made, Sampled) else Sampled(made)
        frames = method.decode(state, sampled.latents, codec)
        state = method.hand_over(state, chunk, sampled, frames, codec)
        yield Made(index, sampled, frames, state)
