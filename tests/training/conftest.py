"""Training sets of tiny films, and a tiny Wan-Animate with CLIP and face."""

from functools import partial

import pytest
from accelerate.state import AcceleratorState, GradientState

from everanimate_core.cli.toy_training import ToyEntry, toy_parts
from everanimate_core.digests import weights_digest
from everanimate_core.everanimate.geometry import ChunkGeometry
from everanimate_core.toy.network.state import MEMORY_WEIGHTS
from everanimate_core.training.precompute import precompute
from everanimate_core.training.records import SetSettings

# F = 9, T = 3: first chunk 4..16, target 13..21.
GEOMETRY = ChunkGeometry(frames=9)
SIZE = 32


@pytest.fixture(autouse=True)
def new_accelerator():
    """accelerate keeps its settings for the process; every test has its own."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="session")
def toy():
    return toy_parts(MEMORY_WEIGHTS)


@pytest.fixture(scope="session")
def codec(toy):
    return toy.codec()


@pytest.fixture(scope="session")
def settings(codec):
    digest = weights_digest(codec.vae.state_dict().items())
    return SetSettings(GEOMETRY, SIZE, SIZE, "25", "stretch", candidates=6, faces=False, vae=digest)


@pytest.fixture(scope="session")
def films(toy, codec, settings, tmp_path_factory):
    """Five films of the toy's world; tests leave them as they are."""
    entries = [ToyEntry(number) for number in range(5)]
    return precompute(entries, settings, toy, codec, tmp_path_factory.mktemp("set"), lambda line: None)


@pytest.fixture
def wan():
    """make() -> a WanAnimateTransformer3DModel with 5 blocks of width 24, CLIP tokens of 16, faces of 16 pixels."""
    from tiny_wan import tiny_wan

    return partial(tiny_wan, layers=5)
