"""Names of runs: what people call their work, in any script, as folders that every system can keep apart."""

import os
import re
import unicodedata
from pathlib import Path

from .earlier import MANIFEST
from .store import CHUNKS, TAKES, RunError

# Bytes of a part of a name in UTF-8. Its files have longer names, and most systems keep 255 bytes of these.
LONGEST = 180
# Signs that some system gives a meaning, or does not keep in names.
_SIGNS = set('<>:"\\|?*')
# Categories of Unicode without a sign to be seen: control, format, halves of signs, private use, none, separators.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Format signs that words need, in Persian and in Hindi.
_JOINERS = "\u200c\u200d"
# Names that Windows gives to devices, with or without an ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³]) *(\..*)?", re.IGNORECASE)
# What lies beside the folder of a run, and in it.
_ENDINGS, _KEPT = (".mp4", ".driving"), (TAKES, CHUNKS)


def run_folder(root: str | os.PathLike, name: str, ending: str = "") -> Path:
    """The folder of run `name` under root/everanimate: a name, or a path of names with `/` between them.

    ending: of the name of a folder in which something else than an animation is made. Raises RunError for a name that
    some system cannot keep or that leads out of root, for one that on some systems is that of another run, and for one
    inside or around the folder of another run.
    """
    parts = [unicodedata.normalize("NFC", part) for part in name.split("/")]
    for part in parts:
        wrong = wrong_with(part)
        if wrong:
            raise _refusal("must be a name that every system can keep", f"{name!r}: {wrong}")
    root = Path(root).resolve()
    folder = root / "everanimate"
    for part in parts[:-1]:
        folder = _beside(folder, part)
        if _is_run(folder):
            raise _refusal("must not lie in the folder of another run", f"{name!r}, and a run {part!r} is there")
    folder = _beside(folder, f"{parts[-1]}{ending}")
    # A link that someone put there may lead out.
    if not folder.resolve().is_relative_to(root):
        raise RunError("a run", "stays inside the output folder", root, f"{folder}, a link to elsewhere")
    if any(_is_run(inside) for inside in folder.glob("*/**/")):
        raise _refusal("must not be that of a folder with other runs in it", repr(name))
    return folder


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / MANIFEST).exists() or (folder / TAKES).is_dir()


def wrong_with(part: str) -> str:
    """What keeps a name, or a part of one, from being that of a folder on some system; nothing for a good one."""
    seen = [sign for sign in part if sign not in _JOINERS and unicodedata.category(sign) in _UNSEEN]
    if not part.strip(" "):
        return "an empty name"
    if seen or any(sign in _SIGNS for sign in part):
        sign = seen[0] if seen else next(sign for sign in part if sign in _SIGNS)
        return f"the sign {sign!r}"
    if part[0] in " ." or part[-1] in " .":
        return "a space or dot at an end"
    if len(part.encode()) > LONGEST:
        return f"more than {LONGEST} bytes"
    if _DEVICES.fullmatch(part):
        return "a device of Windows"
    if part.casefold().endswith(_ENDINGS) or part.casefold() in _KEPT:
        return "a name that files of a run have"
    return ""


def _beside(folder: Path, name: str) -> Path:
    """The path `name` in a folder. RunError where something there is called otherwise, and alike on some systems.

    What is called alike in other numbers (ä is one, or a and two dots) is what is meant.
    """
    for found in os.listdir(folder) if folder.is_dir() else []:
        if unicodedata.normalize("NFC", found) == name:
            return folder / found
        if alike(found) == alike(name):
            rule = "must differ from the names that are there by more than capital letters"
            raise _refusal(rule, f"{name!r} beside {found!r}")
    return folder / name


def alike(name: str) -> str:
    """The same for all names that are one on a system that ignores case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _refusal(rule: str, got: str) -> RunError:
    return RunError("run_name", rule, "Tänzerin, dance (2), clips/dancer", got)
