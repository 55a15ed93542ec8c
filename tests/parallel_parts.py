"""What processes that compute together load: a Wan-Animate transformer that two do not divide evenly, or nothing."""

import os
import time

from tiny_wan import tiny_wan


def uneven_transformer(device="cpu"):
    """Three heads of 12, 10 blocks, 2 face adapters, faces of 16 pixels; the same random values in every process."""
    return tiny_wan(heads=3).to(device)


def ending(device):
    """A process that ends where it should load."""
    os._exit(3)


def loading(device):
    """A process that loads for a minute."""
    print("loading", flush=True)
    time.sleep(60)
