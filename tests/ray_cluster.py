"""A Ray cluster of this machine alone, in a process of its own: what Ray starts in a process stays in its way."""

import os
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from secrets import token_hex

import pytest

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra batch")

_HOLDER = """
import sys
import ray

options = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
quiet = {"logging_level": "error", "log_to_driver": False}
context = ray.init("local", num_cpus=int(sys.argv[1]), object_store_memory=80_000_000, **options, **quiet)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@contextmanager
def cluster(cpus):
    """A cluster with room for so many workers on CPUs, as its address."""
    # For this cluster alone: Ray would keep one in the user's home.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", _HOLDER, str(cpus)]
    before = dict(os.environ)
    os.environ |= token
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    holder = subprocess.Popen(command, **pipes)
    try:
        address = holder.stdout.readline().strip()
        assert address, holder.stderr.read()
        yield address
    finally:
        # It ends the cluster when nobody holds its input any more.
        holder.communicate()
        for name in token:
            os.environ.pop(name)
        os.environ |= before
