"""Which engine is chosen."""

import pytest
from refusals import refusal

from everanimate_core.driving.engines import choice
from everanimate_core.driving.engines.choice import ENGINES, chosen_engine
from everanimate_core.errors import InputError


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """chosen(name, masks=False, folder=...) -> (engine and its folder, the lines that were said)."""

    def litert(weights):
        return "litert", weights

    litert.name = "litert"

    def onnx(folder):
        if (folder / "broken.onnx").exists():
            raise InputError("pose_models", "must hold whole ONNX files", "", "broken.onnx")
        return "onnx", folder

    onnx.name = "onnx"
    monkeypatch.setattr(choice, "LitertEngine", litert)
    monkeypatch.setattr(choice, "OnnxEngine", onnx)
    monkeypatch.setattr(choice, "read_weights", lambda folder: folder)

    def call(name, masks=False, folder=tmp_path):
        said = []
        return chosen_engine(name, folder, masks, said.append), said

    return call


def test_the_names():
    assert ENGINES == ("auto", "onnx", "litert")


def test_auto_is_onnx_where_its_files_are(chosen, tmp_path):
    assert chosen("auto") == (("litert", tmp_path), [])
    (tmp_path / "a.onnx").touch()
    assert chosen("auto") == (("onnx", tmp_path), [])
    assert chosen("auto", masks=True) == (("litert", tmp_path), [])
    assert chosen("auto", folder=None) == (("litert", None), [])
    assert chosen("litert") == (("litert", tmp_path), [])


def test_auto_says_why_it_is_not_onnx(chosen, tmp_path):
    (tmp_path / "broken.onnx").touch()
    line = "The engine onnx is left out: pose_models must hold whole ONNX files; got broken.onnx."
    assert chosen("auto") == (("litert", tmp_path), [line])
    assert refusal(chosen, "onnx") == "pose_models must hold whole ONNX files; got broken.onnx."


def test_onnx_needs_a_folder(chosen, tmp_path):
    assert chosen("onnx", masks=True) == (("onnx", tmp_path), [])
    assert refusal(chosen, "onnx", folder=None) == (
        "pose_models must be given for the engine onnx (a folder with its files); got none."
    )
