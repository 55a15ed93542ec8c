"""Where networks run: the accelerator where there is one, and what torch has here of what is asked for."""

import pytest
import torch
from refusals import refusal

from everanimate_core.backends.devices import choose_device

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
