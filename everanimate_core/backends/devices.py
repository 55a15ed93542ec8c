"""Where networks run."""

import torch

from ..errors import InputError


def choose_device(name: str | None = None) -> torch.device:
    """The device of that name; without a name the accelerator, if there is one, else the CPU."""
    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        there = torch.zeros(1, device=name)
        there.cpu()  # not of `meta`, which holds no numbers
        return there.device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without it
        got = f"{name} ({error})"
        raise InputError("device", "must be one that torch has here", "cpu, cuda, cuda:1", got) from error
