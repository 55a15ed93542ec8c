"""A folder of driving videos belongs to one program at a time, and what goes wrong in it is said in words."""

import av
import pytest

from everanimate_core.errors import InputError
from everanimate_core.runs.driving import driving_folder
from everanimate_core.runs.ownership import OwnershipLost
from everanimate_core.runs.store import RunFailed


def failed(folder, error):
    with pytest.raises(RunFailed) as caught, driving_folder(folder, "the same command"):
        raise error
    return str(caught.value)


def test_nobody_else_writes_meanwhile(tmp_path):
    folder = tmp_path / "new" / "dance.driving"
    with driving_folder(folder, "") as check:
        check()
        with pytest.raises(InputError) as caught, driving_folder(folder, ""):
            pass
    assert str(caught.value).startswith("a folder of driving videos is written by one program at a time (")
    assert not folder.exists()
    with driving_folder(folder, ""):
        pass


def test_what_goes_wrong_is_said(tmp_path):
    lost = failed(tmp_path, OwnershipLost())
    assert lost.startswith(
        f"a folder of driving videos is written by one program at a time; another one took over {tmp_path}"
    )
    for error in (OSError("disk full"), av.error.OSError(28, "disk full")):
        said = failed(tmp_path, error)
        assert said.startswith(f"the files in {tmp_path} must be writable and the disk not full; got ")
        assert "disk full" in said and said.endswith(
            "What was found is kept there; the same command goes on from there."
        )


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(InputError), driving_folder(tmp_path, ""):
        raise InputError("fps", "must be above 0", "", 0)
    with pytest.raises(KeyboardInterrupt), driving_folder(tmp_path, ""):
        raise KeyboardInterrupt
