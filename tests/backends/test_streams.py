"""Streams of GPUs; on a CPU there are none."""

import pytest
import torch

from everanimate_core.backends.streams import own_stream


def test_a_cpu_has_no_streams():
    assert own_stream(torch.device("cpu")) is None
    with torch.cuda.stream(None):
        assert torch.ones(2).sum() == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_stream_of_its_own():
    stream = own_stream(torch.device("cuda", 0))
    assert stream != torch.cuda.current_stream(stream.device)
