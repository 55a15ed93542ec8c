"""`everanimate train precompute`: films -> a training set. A film that cannot serve is named and left out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError, one_line
from ..files import clear_parts
from ..ports import Codec
from ..tensor_files import write_tensors
from .parts import Parts
from .records import (
    BLACK_POSE,
    MANIFEST,
    SHARED,
    FilmSet,
    SetSettings,
    as_frames,
    encode_film,
    read_stamp,
    write_record,
)
from .sources import Entry

# Prompts encoded at a time, before their films: the text encoder is loaded for each group, and gone again after it.
GROUP = 256


def precompute(
    entries: Sequence[Entry],
    settings: SetSettings,
    parts: Parts,
    codec: Codec,
    folder: Path,
    say: Callable[[str], None],
) -> FilmSet:
    """Make the records of all films in `folder`, but for those that are there; the set.

    settings.vae is the digest of the codec's weights. Raises ValueError when the folder holds a set of other settings,
    and when no film can serve.
    """
    _begin(settings, folder)
    write_tensors(folder / SHARED, {BLACK_POSE: black_pose(settings, codec)})
    encode_image = parts.image_encoder() if parts.image_encoder else None
    paths = [folder / f"{number:06}.safetensors" for number in range(len(entries))]
    skipped = {}
    for start in range(0, len(entries), GROUP):
        numbers = range(start, min(start + GROUP, len(entries)))
        missing = [number for number in numbers if read_stamp(paths[number]) != entries[number].stamp]
        prompts = list(dict.fromkeys(entries[number].prompt for number in missing))
        texts = dict(zip(prompts, parts.texts(prompts).split(1), strict=True)) if prompts else {}
        for number in missing:
            # The name of a file may have bytes that no text has.
            entry, name = entries[number], one_line(entries[number].name)
            paths[number].unlink(missing_ok=True)
            try:
                with entry.open(settings.demands) as film:
                    record = encode_film(film, settings, number, codec)
                record["text"] = texts[entry.prompt]
                if encode_image is not None:
                    record["clip"] = encode_image(as_frames(record["target_pixels"][:1]))
                write_record(paths[number], record, entry.stamp, name)
            except ValueError as error:
                skipped[name] = str(error).rstrip(".")
                say(f"{name}: left out; {skipped[name]}.")
        say(f"{numbers.stop} of {len(entries)} films done, {len(skipped)} left out")
    films = FilmSet(folder, settings, tuple(path.name for path in paths if path.exists()), skipped)
    films.write()
    if not films.records:
        first = one_line(entries[0].name)
        got = f"{len(skipped)} that cannot, the first {first}: {skipped[first]}"
        raise InputError("data", "must hold a film that can be used", "", got)
    return films


def _begin(settings: SetSettings, folder: Path) -> None:
    """Make the folder a set without records yet, unless it is a set of the same settings."""
    folder.mkdir(parents=True, exist_ok=True)
    clear_parts(folder)
    if (folder / MANIFEST).exists():
        before = FilmSet.open(folder).settings
        if before != settings:
            raise InputError("out", "must be a new folder or a set of the same settings", before, settings)
    else:
        FilmSet(folder, settings).write()


@torch.no_grad()
def black_pose(settings: SetSettings, codec: Codec) -> Tensor:
    """A black pose video of the target's length, encoded: [1, 16, T, h, w]."""
    return codec.encode(torch.zeros(settings.geometry.frames, settings.height, settings.width, 3))
