"""The templates' sample inputs come into the host's input folder once, and never in the way of the user's own files."""

import json

import pytest
from base_folder import PACK


@pytest.fixture(scope="module")
def samples(comfy):
    """The module of the pack under test."""
    return comfy.module(PACK, "nodes.samples")


@pytest.fixture(scope="module")
def shipped(samples):
    """{name: content}"""
    return {path.name: path.read_bytes() for path in samples.SAMPLES.iterdir()}


def contents(folder, but=()):
    """{name: content} of the files that a user sees."""
    seen = [path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in but]
    return {path.name: path.read_bytes() for path in seen}


def test_a_new_host_has_them(server, shipped):
    assert len(shipped) == 5
    assert {name: (server.input / name).read_bytes() for name in shipped} == shipped
    assert "could not be copied" not in server.log()


def test_they_show_in_the_loaders_of_the_host(server, shipped):
    described = server.get("/object_info")
    pictures = {name for name in shipped if name.endswith(".jpg")}
    for node, field, expected in (
        ("LoadImage", "image", pictures),
        ("LoadVideo", "file", set(shipped) - pictures),
    ):
        kind, *options = described[node]["input"]["required"][field]
        offered = kind if isinstance(kind, list) else options[0]["options"]
        assert {name for name in offered if name.startswith("everanimate")} == expected


def test_what_is_there_stays(samples, shipped, tmp_path):
    file, link, folder, *others = sorted(shipped)
    (tmp_path / file).write_bytes(b"mine")
    (tmp_path / link).symlink_to(tmp_path / "elsewhere")
    (tmp_path / folder).mkdir()
    samples.give_samples(tmp_path)
    assert (tmp_path / file).read_bytes() == b"mine"
    assert (tmp_path / link).is_symlink() and not (tmp_path / "elsewhere").exists()
    assert list((tmp_path / folder).iterdir()) == []
    assert contents(tmp_path, but=(file, link, folder)) == {name: shipped[name] for name in others}


def test_what_is_deleted_stays_deleted(samples, shipped, tmp_path):
    samples.give_samples(tmp_path)
    assert contents(tmp_path) == shipped
    gone = min(shipped)
    (tmp_path / gone).unlink()
    samples.give_samples(tmp_path)
    assert contents(tmp_path) == {name: content for name, content in shipped.items() if name != gone}
    (tmp_path / samples.GIVEN).unlink()
    samples.give_samples(tmp_path)
    assert contents(tmp_path) == shipped


def test_a_later_version_gives_what_it_adds(samples, shipped, tmp_path):
    added = min(shipped)
    before = [name for name in shipped if name != added] + ["everanimate_of_an_older_version.jpg"]
    (tmp_path / samples.GIVEN).write_text(json.dumps({"given": before}))
    samples.give_samples(tmp_path)
    assert contents(tmp_path) == {added: shipped[added]}
    assert json.loads((tmp_path / samples.GIVEN).read_text())["given"] == sorted([*before, added])


def test_a_folder_that_cannot_be_written_to_harms_nothing(samples, tmp_path, caplog):
    (tmp_path / "input").write_bytes(b"")
    samples.give_samples(tmp_path / "input")
    (said,) = caplog.messages
    assert said.startswith("EverAnimate: the templates' sample inputs could not be copied")


@pytest.mark.parametrize("content", ["[]", '{"given": [1]}', '{"given": "all"}', "nothing"])
def test_a_list_of_another_program_is_left_alone(samples, tmp_path, caplog, content):
    (tmp_path / samples.GIVEN).write_text(content)
    samples.give_samples(tmp_path)
    (said,) = caplog.messages
    assert "delete the file to get the samples again" in said
    assert (tmp_path / samples.GIVEN).read_text() == content and contents(tmp_path) == {}
