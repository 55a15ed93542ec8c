"""Names of runs: in any script, and never those of another run's files on any system."""

import unicodedata

import pytest
from run_parts import refused

from everanimate_core.runs.names import LONGEST, alike, run_folder

EXAMPLE = "Tänzerin, dance (2), clips/dancer"


def make_run(folder):
    """What tells a run's folder from any other."""
    (folder / "takes").mkdir(parents=True)


def make_earlier_run(folder):
    """The same of 0.1.0."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")


@pytest.mark.parametrize(
    "name",
    [
        *["dance", "dance 01", "a", "_x", "-x", "~", "2026-01-31", "v1.2", "Con-cert", "console", "com10", "x.mp4a"],
        *[
            "Tänzerin",
            "舞蹈",
            "dance (2)",
            "رقص",
            "می\u200cرقصد",
            "नृत्य",
            "💃🏽",
            "it's 100 % & more; [a], {b}!",
            "#1=$@+",
        ],
        *["x" * LONGEST, "舞" * (LONGEST // 3), "clips/dancer", "2026/Mai/Tänzerin"],
    ],
)
def test_a_run_lies_in_the_output_folder(tmp_path, name):
    folder = run_folder(tmp_path, name)
    assert folder == tmp_path / "everanimate" / name
    assert list(tmp_path.iterdir()) == []
    # This system keeps it, with the longest ending that a file of a run has.
    make_run(folder)
    folder.with_name(f".{folder.name}.driving.owner").touch()


REFUSED = {
    "an empty name": ["", " ", "/x", "/etc/x", "a//b", "a/"],
    "a space or dot at an end": [".", "..", "...", "../x", "a/../b", "x.", "x ", " x", ".x", "a/ b", "a./b"],
    "the sign '\\\\'": ["..\\x", "a\\b", "\\\\host\\x"],
    "the sign ':'": ["C:x", "a:b", "C:\\x"],
    "the sign '*'": ["a*b"],
    "the sign '?'": ["a?b"],
    "the sign '\"'": ['a"b'],
    "the sign '|'": ["a|b"],
    "the sign '<'": ["a<b"],
    "the sign '\\n'": ["x\n", "\nx"],
    "the sign '\\x1b'": ["a\x1b[2J\n"],
    "the sign '\\x00'": ["x\0"],
    "the sign '\\u202e'": ["x\u202e4pm.exe"],
    "the sign '\\ud800'": ["x\ud800"],
    f"more than {LONGEST} bytes": ["x" * (LONGEST + 1), "舞" * (LONGEST // 3) + "x", "a/" + "x" * (LONGEST + 1)],
    "a device of Windows": ["CON", "con", "nul.txt", "NUL", "aux.tar.gz", "prn", "COM1", "com¹", "con .txt", "a/nul/b"],
    "a name that files of a run have": ["x.mp4", "x.MP4", "x.driving", "takes", "Chunks", "takes/x", "a/chunks"],
}


@pytest.mark.parametrize(("name", "wrong"), [(name, wrong) for wrong, names in REFUSED.items() for name in names])
def test_names_that_some_system_cannot_keep_are_refused(tmp_path, name, wrong):
    message = refused(run_folder, tmp_path, name)
    assert message == f"run_name must be a name that every system can keep ({EXAMPLE}); got {name!r}: {wrong}."
    assert message.isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("there", "name"), [("dance", "Dance"), ("TÄNZERIN", "Tänzerin"), ("Straße", "strasse"), ("clips", "Clips/x")]
)
def test_names_that_are_one_where_case_is_ignored_are_refused(tmp_path, there, name):
    make_run(tmp_path / "everanimate" / there)
    part = name.split("/")[0]
    assert refused(run_folder, tmp_path, name) == (
        f"run_name must differ from the names that are there by more than capital letters ({EXAMPLE}); "
        f"got {part!r} beside {there!r}."
    )
    assert run_folder(tmp_path, there) == tmp_path / "everanimate" / there


def test_a_video_that_is_called_alike_is_in_nobodys_way(tmp_path):
    # Videos have numbers, see NumberedVideos.
    (tmp_path / "everanimate").mkdir()
    (tmp_path / "everanimate" / "Dance.mp4").touch()
    assert run_folder(tmp_path, "dance") == tmp_path / "everanimate" / "dance"


def test_names_that_are_alike():
    assert len({alike(name) for name in ("Tänzerin", "TÄNZERIN", unicodedata.normalize("NFD", "tänzerin"))}) == 1
    assert alike("Straße") == alike("STRASSE")
    assert alike("dance") != alike("dance 2")


def test_a_name_in_other_numbers_is_the_same_name(tmp_path):
    """As macOS writes names, and as most keyboards do."""
    apart, together = unicodedata.normalize("NFD", "Tänzerin"), unicodedata.normalize("NFC", "Tänzerin")
    assert apart != together
    assert run_folder(tmp_path, apart) == run_folder(tmp_path, together) == tmp_path / "everanimate" / together
    make_run(tmp_path / "everanimate" / apart)
    assert run_folder(tmp_path, together) == run_folder(tmp_path, apart) == tmp_path / "everanimate" / apart


@pytest.mark.parametrize("make_run", [make_run, make_earlier_run])
def test_no_run_lies_in_another_one(tmp_path, make_run):
    make_run(tmp_path / "everanimate" / "dance")
    make_run(tmp_path / "everanimate" / "clips" / "old" / "dancer")
    assert refused(run_folder, tmp_path, "dance/x") == (
        f"run_name must not lie in the folder of another run ({EXAMPLE}); got 'dance/x', and a run 'dance' is there."
    )
    for name in ("clips", "clips/old"):
        assert refused(run_folder, tmp_path, name) == (
            f"run_name must not be that of a folder with other runs in it ({EXAMPLE}); got {name!r}."
        )
    assert run_folder(tmp_path, "clips/new") == tmp_path / "everanimate" / "clips" / "new"


def test_other_works_have_folders_of_their_own(tmp_path):
    make_run(tmp_path / "everanimate" / "dance")
    assert run_folder(tmp_path, "dance", ".driving") == tmp_path / "everanimate" / "dance.driving"


@pytest.mark.parametrize("link", ["everanimate", "everanimate/clips", "everanimate/clips/x"])
@pytest.mark.parametrize("there", [True, False])
def test_links_that_lead_outside_are_refused(tmp_path, link, there):
    outside, root = tmp_path / "outside", tmp_path / "output"
    if there:
        outside.mkdir()
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside)
    message = refused(run_folder, root, "clips/x")
    assert message.startswith(f"a run stays inside the output folder ({root}); got {root}")
    assert message.endswith("a link to elsewhere.")


def test_links_that_stay_inside_are_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "everanimate").symlink_to(tmp_path / "disk")
    (tmp_path / "link").symlink_to(tmp_path)
    assert run_folder(tmp_path, "dance") == tmp_path / "everanimate" / "dance"
    assert run_folder(tmp_path / "link", "dance") == tmp_path / "everanimate" / "dance"
