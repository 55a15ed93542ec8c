"""Where networks run: the accelerator where there is one, and what torch has here of what is asked for."""

import pytest
import torch
import torch.distributed as dist
from refusals import refusal

from everanimate_core.backends.devices import choose_device, choose_devices

RULE = "device must be one that torch has here (cpu, cuda, cuda:1); got "


def test_the_cpu_where_there_is_no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert choose_device() == torch.device("cpu")


def test_the_accelerator_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda", 0))
    assert choose_device() == torch.device("cuda", 0)


def test_only_an_accelerator_that_is_available_is_asked_for():
    found = choose_device()
    assert torch.zeros(1, device=found).cpu() == 0


def test_one_that_is_named():
    assert choose_device("cpu") == torch.device("cpu")


# `meta` holds shapes without numbers; "vulkan" and "xla" are known to torch by name, and in none of its usual builds.
@pytest.mark.parametrize("name", ["abacus", "", "cpu:x", "meta", "vulkan", "cuda:99", "xla"])
def test_one_that_is_not_here_is_refused_by_its_name(name):
    said = refusal(choose_device, name)
    assert said.startswith(f"{RULE}{name} (")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is one")
def test_cuda_without_a_gpu_is_refused():
    assert refusal(choose_device, "cuda").startswith(f"{RULE}cuda (")


@pytest.fixture
def gpus(monkeypatch):
    """gpus(count): as many as torch says that there are, with what they exchange data by."""

    def there(count):
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(dist, "is_backend_available", lambda name: name == "nccl")

    return there


def test_each_process_has_a_gpu_of_its_own(gpus):
    gpus(3)
    assert choose_devices(None, 2) == [torch.device("cuda", 0), torch.device("cuda", 1)]


def test_processes_share_the_cpu():
    assert choose_devices("cpu", 3) == [torch.device("cpu")] * 3


def test_one_process_takes_the_device_that_is_named():
    assert choose_devices("cpu", 1) == [choose_device("cpu")]


def test_no_process_is_refused():
    assert refusal(choose_devices, "cpu", 0) == "processes must be at least 1 (2 for two GPUs); got 0."


def test_more_processes_than_gpus_are_refused(gpus):
    gpus(1)
    assert refusal(choose_devices, None, 2) == "processes must be at most the number of GPUs (1); got 2."


def test_a_device_with_a_number_is_refused_for_several_processes():
    assert refusal(choose_devices, "cpu:0", 2) == (
        "device must be without a number where several processes sample together, each on the next GPU "
        "(cuda, and CUDA_VISIBLE_DEVICES=2,3 for others than the first); got cpu:0."
    )


def test_gpus_without_what_they_exchange_data_by_are_refused(gpus, monkeypatch):
    gpus(2)
    monkeypatch.setattr(dist, "is_backend_available", lambda name: name == "gloo")
    assert refusal(choose_devices, None, 2) == (
        "processes must be 1 where torch has no library by which processes exchange data (NCCL for CUDA, on Linux); "
        "got 2."
    )
