"""Where networks run."""

import torch

from ..errors import InputError


def choose_device(name: str | None = None) -> torch.device:
    """The device of that name; without a name the accelerator, if there is one, else the CPU."""
    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without it
        got = f"{name} ({error})"
        raise InputError("device", "must be one that torch has here", "cpu, cuda, cuda:1", got) from error
