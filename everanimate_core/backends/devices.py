"""Where networks run, and in which numbers."""

import torch
import torch.distributed as dist

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


def choose_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The number type of that name; without a name float32 on a CPU, else bfloat16."""
    return getattr(torch, name or ("float32" if device.type == "cpu" else "bfloat16"))


def choose_devices(name: str | None, processes: int) -> list[torch.device]:
    """A device for each process: `choose_device` for one; for several, GPUs of that kind in their order, or the CPU.

    Raises InputError for more processes than GPUs, and where torch has nothing by which they could exchange data.
    """
    if processes < 1:
        raise InputError("processes", "must be at least 1", "2 for two GPUs", processes)
    first = choose_device(name)
    if processes == 1:
        return [first]
    if name is not None and ":" in name:
        rule = "must be without a number where several processes sample together, each on the next GPU"
        raise InputError("device", rule, "cuda, and CUDA_VISIBLE_DEVICES=2,3 for others than the first", name)
    if first.type == "cpu":
        devices = [first] * processes
    else:
        count = torch.get_device_module(first.type).device_count()
        devices = [torch.device(first.type, number) for number in range(count)][:processes]
    if len(devices) < processes:
        raise InputError("processes", "must be at most the number of GPUs", len(devices), processes)
    # Some builds of torch have none of it, and those for Windows have no NCCL.
    if not dist.is_available() or not dist.is_backend_available(dist.get_default_backend_for_device(first.type)):
        rule = "must be 1 where torch has no library by which processes exchange data"
        raise InputError("processes", rule, "NCCL for CUDA, on Linux", processes)
    return devices
