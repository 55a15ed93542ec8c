"""set.json: read as it was written, and refused in words of our own when anybody else wrote it."""

import json
import random
from dataclasses import replace

import pytest
from mutations import mutations

from everanimate_core.errors import InputError
from everanimate_core.training.manifest import read_manifest, write_manifest

RECORDS = ("000000.safetensors", "000003.safetensors")


@pytest.fixture
def path(tmp_path, settings):
    write_manifest(tmp_path / "set.json", settings, RECORDS, {"b.mp4": "too short"})
    return tmp_path / "set.json"


def test_it_is_read_as_it_was_written(path, settings):
    assert read_manifest(path) == (settings, RECORDS, {"b.mp4": "too short"})
    assert b"\r" not in path.read_bytes()


def test_a_set_without_later_fields_is_what_sets_were(path, settings):
    """Sets of 0.1.0 go on; and what is as it was then is not written."""
    written = json.loads(path.read_text(encoding="utf-8"))["settings"]
    assert not written.keys() & {"reference", "anchors", "motion_pixels"}
    assert (settings.reference, settings.anchors, settings.motion_pixels) == ("start", "released", False)
    rolled = replace(settings, reference="own", anchors="roll-out", motion_pixels=True)
    write_manifest(path, rolled, RECORDS, {})
    assert read_manifest(path) == (rolled, RECORDS, {})


CHANGES = {
    "a path as record": (("records", 0), "../../secret.safetensors", "the record '../../secret.safetensors'"),
    "an absolute path as record": (("records", 0), "/secret.safetensors", "the record"),
    "a number as record": (("records", 0), 5, "the record 5"),
    "text as records": (("records",), "000000.safetensors", "'records' .*, which is not a list"),
    "a number as reason": (("skipped", "b.mp4"), 5, "which is not text"),
    "no settings": (("settings",), None, "'settings' None, which is not an object"),
    "text as width": (("settings", "width"), "64", "'width' '64', which is not a whole number"),
    "a width that is not whole": (("settings", "width"), 32.5, "'width' 32.5"),
    "a huge width": (("settings", "width"), 10**30, "width 1"),
    "true as candidates": (("settings", "candidates"), True, "'candidates' True"),
    "a negative height": (("settings", "height"), -16, "height -16"),
    "another width": (("settings", "width"), 40, "settings that make no set .*width must be a multiple of 16"),
    "a rate of zero": (("settings", "fps"), "0", "settings that make no set .*fps must be a fraction"),
    "a division by zero": (("settings", "fps"), "25/0", "fps must be a fraction"),
    "a rate that takes for ever": (("settings", "fps"), "1e999999999", "fps must be a fraction"),
    "no fit": (("settings", "fit"), "shrink", "fit must be one of"),
    "too few candidates": (("settings", "candidates"), 2, "candidates must be between"),
    "a long chunk": (("settings", "geometry", "frames"), 10**20 + 1, "frames 1"),
    "an even chunk": (("settings", "geometry", "frames"), 10, "chunk_frames must be 4n"),
    "another reference": (("settings", "reference"), "far", "reference must be one of start, own"),
    "other anchors": (("settings", "anchors"), "all", "anchors must be one of released, roll-out"),
    "text for yes": (("settings", "motion_pixels"), "yes", "'motion_pixels' 'yes', which is not true or false"),
    "no motion": (("settings", "geometry", "motion"), 0, "motion_latents must be"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_was_altered_is_named(path, case):
    place, value, message = CHANGES[case]
    facts = json.loads(path.read_text(encoding="utf-8"))
    inside = facts
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^a training set must have the set\.json .*{message}.* in .*set\.json\.$"):
        read_manifest(path)


def test_whatever_is_in_it_it_is_read_or_refused(path):
    rng, whole = random.Random(2), path.read_bytes()
    pieces = [
        b'"',
        b",",
        b":",
        b"}",
        b"[" * 300,
        b"9" * 5000,
        b"NaN",
        b"null",
        b"1e999",
        b"\\ud800",
        b"\xff",
        b"\0",
        b"",
    ]
    for _ in range(mutations(600)):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            at, other = sorted(rng.randrange(len(content) + 1) for _ in range(2))
            content[at : min(other, at + 12) if rng.random() < 0.5 else at] = rng.choice(pieces)
        path.write_bytes(content)
        try:
            read_manifest(path)
        except ValueError as error:
            assert type(error) is InputError and str(error).startswith("a training set must have the set.json")
            assert str(error).isprintable()
