"""The pictures and videos that the pack's templates open with, given to the host's input folder."""

import logging
import os
import shutil
from pathlib import Path

from ..everanimate_core.errors import InputError
from ..everanimate_core.files import write_whole
from ..everanimate_core.json_files import check_fields, is_kind, read_json, write_json

SAMPLES = Path(__file__).resolve().parents[1] / "workflows" / "inputs"
# Which samples a folder was given, so that those which its user deletes stay deleted. Hidden from the host's lists.
GIVEN = ".everanimate_samples.json"


def give_samples(folder: str | os.PathLike) -> None:
    """Copy the pack's samples into the host's input folder, each once.

    What has the name of a sample stays as it is, whether it is a file, a folder or a link. A sample that the folder was
    given before is not copied again, unless GIVEN is deleted. A folder that cannot be written to is logged, and the
    host goes on without samples.
    """
    folder = Path(folder)
    try:
        given = _given(folder / GIVEN)
        new = sorted(sample for sample in SAMPLES.iterdir() if sample.name not in given)
        if not new:
            return
        for sample in new:
            # Links that lead nowhere, too.
            if not os.path.lexists(folder / sample.name):
                with write_whole(folder / sample.name) as part:
                    shutil.copyfile(sample, part)
        write_json(folder / GIVEN, {"given": sorted({*given, *(sample.name for sample in new)})})
    except (OSError, InputError) as error:
        logging.warning("EverAnimate: the templates' sample inputs could not be copied to %s: %s", folder, error)
    else:
        logging.info("EverAnimate: the templates' sample inputs are in %s.", folder)


def _given(path: Path) -> list[str]:
    """The names of the samples that a folder was given before; none where GIVEN is missing."""

    def refuse(got: str) -> InputError:
        return InputError(path.name, "must be as this pack wrote it", "delete the file to get the samples again", got)

    if not path.exists():
        return []
    names = check_fields(read_json(path, refuse), {"given": list}, refuse)["given"]
    if not all(is_kind(name, str) for name in names):
        raise refuse("a list of something else than names")
    return names
