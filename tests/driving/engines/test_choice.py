"""Which engine is chosen, and what is said where something is missing."""

import sys

import pytest
from refusals import refusal

from everanimate_core.driving.engines import choice
from everanimate_core.driving.engines.choice import ENGINES, chosen_engine
from everanimate_core.driving.engines.fetch import install_command
from everanimate_core.errors import InputError


class Engines:
    """What makes an engine, without its networks: the pair of its name and of what it is made of. broken: in which
    folders it cannot serve."""

    def __init__(self, name):
        self.name, self.broken = name, []

    def __call__(self, made_of):
        if made_of in self.broken:
            raise InputError("pose_models", "must hold whole ONNX files", "", "broken.onnx")
        return self.name, made_of


@pytest.fixture
def onnx(monkeypatch, tmp_path):
    """The folder "given" and an empty cache; engines are named. The makers of onnx."""
    made = Engines("onnx")
    monkeypatch.setattr(choice, "LitertEngine", Engines("litert"))
    monkeypatch.setattr(choice, "OnnxEngine", made)
    monkeypatch.setattr(choice, "read_weights", lambda folder: folder)
    monkeypatch.setattr(choice, "PACKAGE", "json")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "given").mkdir()
    return made


def chosen(name, folder, masks=False):
    """The engine, and the lines that were said."""
    said = []
    return chosen_engine(name, folder, masks, said.append), said


def test_the_names():
    assert ENGINES == ("auto", "onnx", "litert")


def test_auto_is_onnx_where_its_files_are(onnx, tmp_path):
    given, cache = tmp_path / "given", tmp_path / "everanimate"
    for folder, place in ((given, given), (None, cache)):
        assert chosen("auto", folder) == (("litert", folder), [])
        place.mkdir(exist_ok=True)
        (place / "a.onnx").touch()
        assert chosen("auto", folder) == (("onnx", place), [])
        assert chosen("auto", folder, masks=True) == (("litert", folder), [])
        assert chosen("litert", folder) == (("litert", folder), [])
        assert chosen("onnx", folder, masks=True) == (("onnx", place), [])


def test_auto_says_why_it_is_not_onnx(onnx, tmp_path):
    given = tmp_path / "given"
    (given / "broken.onnx").touch()
    onnx.broken.append(given)
    line = "The engine onnx is left out: pose_models must hold whole ONNX files; got broken.onnx."
    assert chosen("auto", given) == (("litert", given), [line])
    assert refusal(chosen, "onnx", given) == "pose_models must hold whole ONNX files; got broken.onnx."


def test_without_its_package_litert_names_the_extra_and_the_command(onnx, monkeypatch, tmp_path):
    monkeypatch.setattr(choice, "PACKAGE", "ai_edge_litert")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    for folder in (tmp_path / "given", None):
        assert refusal(chosen, "litert", folder, kind=ImportError).startswith(
            "the engine litert needs the package ai-edge-litert (the extra pose of everanimate; "
            f"get what is missing with: {install_command(folder)}); got "
        )
