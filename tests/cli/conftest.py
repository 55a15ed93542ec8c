"""What tests of several commands start from."""

import shutil
import time
from itertools import pairwise

import pytest
import torch
from cli_parts import animate, start
from safetensors.torch import save_file

from everanimate_core.cli import main as cli


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """A run from start to end, as (its video, seconds from each line that it said to the next)."""
    out = tmp_path_factory.mktemp("uninterrupted") / "dance.mp4"
    process = start(animate(out))
    times = [time.monotonic(), *(time.monotonic() for _ in process.stdout)]
    assert process.wait() == 0, process.stderr.read()
    return out, [after - before for before, after in pairwise(times)]


@pytest.fixture
def finished(uninterrupted, tmp_path):
    """A copy of the finished run, as the path of its video."""
    shutil.copytree(uninterrupted[0].parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "dance.mp4"


@pytest.fixture
def command(capsys):
    """command(arguments) -> (exit code, what was said, what was complained of), in this process."""

    def call(arguments):
        try:
            code = cli.main(arguments)
        except SystemExit as refused:
            code = refused.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def lora(tmp_path):
    """A LoRA file for the toy's network, named as the released ones are."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator) * 0.1 for shape in ((4, 256), (256, 4)))
    layer = "blocks.0.self_attn.q"
    path = tmp_path / "lora.safetensors"
    save_file({f"{layer}.lora_A.default.weight": a, f"{layer}.lora_B.default.weight": b}, path)
    return path


@pytest.fixture
def new_accelerator():
    """accelerate keeps its settings for the process: none are left over."""
    from accelerate.state import AcceleratorState, GradientState  # of the extra train

    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
