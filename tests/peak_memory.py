"""The largest memory that a process has had, for tests and benchmarks that measure in a process of their own."""

import re
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
linux_only = pytest.mark.skipif(not STATUS.exists(), reason="needs /proc")


def peak_memory():
    """Of this process, in MiB. getrusage would not do: a new process inherits its number from whoever started it."""
    return int(re.search(r"VmHWM:\s+(\d+)", STATUS.read_text())[1]) / 1024
