"""Which engine is chosen, from what is connected and what lies in the host's folders; what is missing is named."""

import sys

import pytest
from base_folder import PACK


def given_to(kind):
    """A class of the same name that keeps what it is made of, and needs no networks."""

    def keep(self, *given):
        self.given = given

    return type(kind.__name__, (), {"name": kind.name, "__init__": keep})


@pytest.fixture
def engines(comfy, monkeypatch, tmp_path):
    """The module of the pack, with a folder of models of its own."""
    import folder_paths

    module = comfy.module(PACK, "nodes.pose_engines")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "detection", ([str(tmp_path)], set()))
    for name in ("SdposeEngine", "OnnxEngine", "LitertEngine"):
        monkeypatch.setattr(module, name, given_to(getattr(module, name)))
    monkeypatch.setattr(module, "find_spec", lambda name: name)
    monkeypatch.setattr(module, "read_weights", lambda place: {"place": place})
    return module


def chosen(engines, *asked):
    engine = engines.chosen_engine(*asked)
    return engine.name, engine.given


def test_a_name_is_taken_at_its_word(engines, tmp_path):
    assert chosen(engines, "onnx", False, "model") == ("onnx", (tmp_path,))
    assert chosen(engines, "litert", False, "model") == ("litert", ({"place": None},))
    assert chosen(engines, "sdpose", False) == ("sdpose", (None, None, None))


def test_auto_takes_what_is_there(engines, tmp_path):
    assert chosen(engines, "auto", False) == ("litert", ({"place": None},))
    (tmp_path / "mediapipe-0.10.21-cp312-cp312-win_amd64.whl").touch()
    assert chosen(engines, "auto", False) == ("litert", ({"place": tmp_path},))
    (tmp_path / "yolox_l.onnx").touch()
    assert chosen(engines, "auto", False) == ("onnx", (tmp_path,))
    # It finds no masks.
    assert chosen(engines, "auto", True)[0] == "litert"
    # One is enough to say which is meant, and what is missing is then named.
    assert chosen(engines, "auto", True, None, "vae") == ("sdpose", (None, "vae", None))


def test_hosts_that_do_not_know_the_folder(engines, monkeypatch, tmp_path):
    import folder_paths

    monkeypatch.delitem(folder_paths.folder_names_and_paths, "detection")
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    assert engines.model_folders() == [tmp_path / "detection"]


def test_what_litert_lacks_is_named_with_one_command(engines, monkeypatch, tmp_path):
    def missing(place):
        raise engines.InputError("pose_models", "must be a wheel", "pip", f"nothing in {place}")

    monkeypatch.setattr(engines, "read_weights", missing)
    with pytest.raises(ValueError) as caught:
        engines.chosen_engine("auto", False)
    said = str(caught.value)
    assert said.startswith("engine litert needs the package ai-edge-litert and a mediapipe wheel in models/detection")
    assert sys.executable in said and str(tmp_path) in said and said.endswith("; got nothing in None.")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="got no package ai-edge-litert"):
        engines.chosen_engine("litert", False)


def test_what_onnx_lacks_is_named_by_the_hosts_folder(engines, monkeypatch):
    def missing(folder):
        raise engines.InputError("pose_models", "must hold a network for people", "yolox_l.onnx", "none")

    monkeypatch.setattr(engines.OnnxEngine, "__init__", lambda self, folder: missing(folder))
    with pytest.raises(ValueError) as caught:
        engines.chosen_engine("onnx", False)
    assert str(caught.value) == "models/detection must hold a network for people (yolox_l.onnx); got none."
