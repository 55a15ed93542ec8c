"""Reports as data: JSON, seams, means."""

import json

import pytest

from everanimate_core.evaluation.alignment import Shift
from everanimate_core.evaluation.doubling import Doubled
from everanimate_core.evaluation.report import Findings, Report, Seam, as_json, equal_frames, mean, shown

INF, NAN = float("inf"), float("nan")
REPORT = Report(
    frames=4,
    width=64,
    height=32,
    fps=2.0,
    compared_with="truth",
    joins=[2],
    curves={"psnr": [INF, 30.0, 20.0, 10.0], "face_psnr": [NAN, 5.0, 6.0, NAN], "lightness": [1.0, 2.0, 3.0, 4.0]},
    truth={"lightness": [1.0, 1.0, 1.0, 1.0]},
    slopes={"psnr": -1000.0, "face_psnr": NAN, "lightness": 100.0},
    numbers={"psnr": INF},
    seams=[Seam(2, 3.0, 1.5)],
    findings=Findings(None, 3, None, [1], [], [Shift(2, -1)], [2], [Doubled(2, 1)]),
    missing={"fid": "n/a"},
    sha256={},
)


def test_json_has_no_infinities():
    found = json.loads(REPORT.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert found["curves"]["psnr"] == [None, 30, 20, 10]
    assert found["curves"]["face_psnr"] == [None, 5, 6, None]
    assert found["numbers"] == {"psnr": None}
    assert found["slopes"]["face_psnr"] is None
    assert found["seams"] == [{"join": 2, "index": 3, "truth": 1.5}]
    assert found["findings"] == {
        "colour": None,
        "sharpness": 3,
        "identity": None,
        "flashes": [1],
        "seams": [],
        "shifts": [{"frame": 2, "ahead": -1, "within": 0}],
        "repeats": [2],
        "doubled": [{"join": 2, "frames": 1}],
    }
    assert set(found) == set(vars(REPORT))


def test_seams_are_judged_by_the_true_video():
    assert (Seam(77, 3.0, 1.2).relative, Seam(77, 3.0, 1.2).visible) == (2.5, True)
    assert not Seam(77, 3.0, 1.6).visible
    assert not Seam(77, 2.9, None).visible
    assert Seam(77, 3.1, None).visible


def test_json_of_anything():
    assert as_json({"a": (INF, [NAN, 1]), "b": "NaN"}, indent=None) == '{"a": [null, [null, 1]], "b": "NaN"}'


def test_numbers_for_people():
    assert [shown(1.5), shown(NAN), shown(-INF), shown(0.25, "+.3g")] == ["1.5000", "none", "none", "+0.25"]


def test_equal_frames():
    assert equal_frames([INF, 30.0, NAN, INF]) == 2


def test_mean():
    assert mean([1.0, NAN, 3.0]) == 2
    assert mean([1.0, INF]) == 1
    assert mean([NAN]) != mean([NAN])
