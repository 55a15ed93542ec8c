"""Which engine is chosen, from what is connected and what lies in the host's folders; what is missing is named."""

import pytest
from base_folder import PACK
from refusals import refusal


def given_to(kind):
    """A class of the same name that keeps what it is made of, and needs no networks."""

    def keep(self, *given):
        self.given = given

    return type(kind.__name__, (), {"name": kind.name, "__init__": keep})


@pytest.fixture
def engines(comfy, monkeypatch, tmp_path):
    """The module of the pack, with two folders of models, none of which is there yet."""
    import folder_paths

    module = comfy.module(PACK, "nodes.pose_engines")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    places = [str(tmp_path / name) for name in ("own", "shared")]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "detection", (places, set()))
    return module


@pytest.fixture
def chosen(engines, comfy, monkeypatch):
    """Name of the engine that is chosen, and what it is made of."""
    choice = comfy.module(PACK, "everanimate_core.driving.engines.choice")
    monkeypatch.setattr(engines, "SdposeEngine", given_to(engines.SdposeEngine))
    for name in ("OnnxEngine", "LitertEngine"):
        monkeypatch.setattr(choice, name, given_to(getattr(choice, name)))
    monkeypatch.setattr(choice, "PACKAGE", "json")
    monkeypatch.setattr(choice, "read_weights", lambda place: {"place": place})

    def choose(*asked):
        engine = engines.pose_engine(*asked)
        return engine.name, engine.given

    return choose


def test_a_name_is_taken_at_its_word(chosen, tmp_path):
    assert chosen("onnx", False, "model") == ("onnx", (tmp_path / "own",))
    assert chosen("litert", False, "model") == ("litert", ({"place": tmp_path / "own"},))
    assert chosen("sdpose", False) == ("sdpose", (None, None, None))


def test_auto_takes_what_is_there(chosen, tmp_path):
    own, shared = tmp_path / "own", tmp_path / "shared"
    own.mkdir()
    shared.mkdir()
    assert chosen("auto", False) == ("litert", ({"place": own},))
    (shared / "mediapipe-0.10.21-cp312-cp312-win_amd64.whl").touch()
    assert chosen("auto", False) == ("litert", ({"place": shared},))
    (own / "yolox_l.onnx").touch()
    assert chosen("auto", False) == ("onnx", (own,))
    # It finds no masks.
    assert chosen("auto", True) == ("litert", ({"place": shared},))
    # One is enough to say which is meant, and what is missing is then named.
    assert chosen("auto", True, None, "vae") == ("sdpose", (None, "vae", None))


def test_hosts_that_do_not_know_the_folder(engines, monkeypatch, tmp_path):
    import folder_paths

    monkeypatch.delitem(folder_paths.folder_names_and_paths, "detection")
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    assert engines.model_folders() == [tmp_path / "detection"]


def test_what_litert_lacks_is_named_with_one_command(engines, comfy, tmp_path):
    install_command = comfy.module(PACK, "everanimate_core.driving.engines.fetch").install_command
    said = refusal(engines.pose_engine, "auto", False)
    assert said.startswith("models/detection must hold MediaPipe's networks, 36 MB (get what is missing with: ")
    assert install_command(tmp_path / "own") in said


def test_what_onnx_lacks_is_named_by_the_hosts_folder(engines, tmp_path):
    pytest.importorskip("onnxruntime", reason="its package is named first where it is missing")
    with pytest.raises(ValueError, match=r"^models/detection must hold a network for"):
        engines.pose_engine("onnx", False)
