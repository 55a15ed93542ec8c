"""The engine for ONNX files: what the networks are shown, where boxes and points lie, and small files of each kind."""

import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal

from everanimate_core.driving.engines import onnx as engine
from everanimate_core.driving.engines.onnx import Network, kind_of

RED = np.float32([1.0, 0.25, 0.0])
# The same as pose networks see it: less ImageNet's mean, in its deviations.
NORMAL = [0.515 / 0.229, -0.206 / 0.224, -0.406 / 0.225]


class Shown:
    """A network that keeps what it is shown and says what it was given."""

    def __init__(self, *outputs):
        self.outputs = [np.asarray(output, np.float32) for output in outputs]

    def __call__(self, picture):
        self.picture = picture
        return self.outputs


def network(run, width, height, kind):
    return Network(run, width, height, kind, Path())


def frame(height=240, width=320):
    return np.tile(RED, (height, width, 1))


def yolov10_rows():
    rows = np.zeros((300, 6))
    rows[3] = [160, 64, 480, 576, 0.9, 0]
    return rows


def yolox_rows():
    rows = np.zeros((8400, 85))
    # Cell 10, 5 of the grid of 32: its centre and its size, 320 x 256, in cells.
    rows[6400 + 1600 + 5 * 20 + 10] = [0.0, 3.0, np.log(10), np.log(8), 0.9, 0.9, *[0] * 79]
    return rows


def heatmap_values(sigma=2.0):
    """133 maxima at cell (20, 30), 0.8 high."""
    y, x = np.mgrid[:64, :48]
    return np.tile(0.8 * np.exp(-((x - 20) ** 2 + (y - 30) ** 2) / (2 * sigma**2)), (133, 1, 1))


def simcc_values():
    across, down = np.zeros((133, 576)), np.zeros((133, 768))
    across[:, 240], down[:, 360] = 0.3, 0.65
    return across, down


def test_yolov10_sees_the_frame_stretched_in_rgb():
    run = Shown(yolov10_rows())
    boxes = engine.yolov10_boxes(network(run, 640, 640, "yolov10"), frame())
    assert boxes.tolist() == [[80, 24, 240, 216]]
    assert (run.picture.shape, run.picture.dtype) == ((3, 640, 640), np.float32)
    assert run.picture[:, [0, 0, -1, -1], [0, -1, 0, -1]].T.tolist() == [RED.tolist()] * 4


def test_yolox_sees_it_in_a_corner_of_grey_in_bgr():
    run = Shown(yolox_rows())
    boxes = engine.yolox_boxes(network(run, 640, 640, "yolox"), frame())
    # The centre 320, 256 and the size 320 x 256, in a picture of twice the frame's size.
    np.testing.assert_allclose(boxes, [[80, 64, 240, 192]], atol=1e-4)
    assert run.picture[:, 0, 0].tolist() == run.picture[:, 479, 639].tolist() == [0, 63.75, 255]
    np.testing.assert_allclose(run.picture[:, [480, 639], [0, 639]], 114, atol=1e-4)


def test_heatmaps_are_cells_of_four_pixels():
    run = Shown(heatmap_values())
    points, scores = engine.heatmap_points(network(run, 192, 256, "heatmaps"), frame(256, 192))
    np.testing.assert_allclose(points, np.tile([80, 120], (133, 1)), atol=0.1)
    np.testing.assert_allclose(scores, 0.8)
    assert (run.picture.shape, run.picture.dtype) == ((3, 256, 192), np.float32)
    np.testing.assert_allclose(run.picture[:, 9, 9], NORMAL, rtol=1e-6)


def test_simcc_is_drawn_from_0_3_on():
    run = Shown(*simcc_values())
    points, scores = engine.simcc_points(network(run, 288, 384, "simcc"), frame(384, 288))
    assert points.tolist() == [[120, 180]] * 133
    np.testing.assert_allclose(scores, 0.5)
    np.testing.assert_allclose(run.picture[:, 9, 9], NORMAL, rtol=1e-6)


@pytest.mark.parametrize(
    "picture, outputs, kind",
    [
        ([1, 3, 640, 640], [[1, 300, 6]], "yolov10"),
        (["batch", 3, 640, 640], [["batch", "anchors", 6]], "yolov10"),
        ([1, 3, 640, 640], [[1, 8400, 85]], "yolox"),
        (["N", 3, 256, 192], [["N", 133, 64, 48]], "heatmaps"),
        ([None, 3, 384, 288], [[None, 133, 576], [None, 133, 768]], "simcc"),
        ([1, 3, 256, 192], [[1, 17, 64, 48]], None),  # bodies only
        ([1, 3, 640, 640], [[1, 84, 8400]], None),  # another YOLO
        (["N", 3, "height", "width"], [["N", 133, 64, 48]], None),
        ([1, 512], [[1, 300, 6]], None),
    ],
)
def test_kinds_by_shapes(picture, outputs, kind):
    assert kind_of(picture, outputs) == kind


@pytest.fixture
def write(tmp_path):
    """Writes a small ONNX file: fixed outputs, whatever picture it is given. beside: where onnx.save puts weights."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    def write(name, width, height, *outputs, **beside):
        helper = onnx.helper
        names = [f"output{number}" for number in range(len(outputs))]
        tensors = [
            onnx.numpy_helper.from_array(np.asarray(output, np.float32)[None], f"{name}_value")
            for name, output in zip(names, outputs, strict=True)
        ]
        nodes = [helper.make_node("ReduceMax", ["picture"], ["most"], keepdims=0)]
        nodes += [helper.make_node("Mul", ["most", "zero"], ["nothing"])]
        nodes += [helper.make_node("Add", [f"{name}_value", "nothing"], [name]) for name in names]
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, ["batch", 3, height, width])],
            [
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", *np.shape(output)])
                for name, output in zip(names, outputs, strict=True)
            ],
            [*tensors, onnx.numpy_helper.from_array(np.float32(0), "zero")],
        )
        model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
        onnx.save(model, tmp_path / name, **beside)
        return tmp_path

    return write


def test_yolov10_and_heatmaps(write):
    write("a.onnx", 192, 256, heatmap_values())
    folder = write("b.onnx", 640, 640, yolov10_rows())
    (person,) = engine.OnnxEngine(folder).find(frame())
    # The box 80..240, 24..216: 200 wide with its margin, about (160, 120).
    step = 200 / 192
    expected = [60 + 80 * step, 120 + (120 - 128) * step]
    np.testing.assert_allclose(person.points, np.tile(expected, (133, 1)), atol=0.1)
    np.testing.assert_allclose(person.scores, 0.8)
    assert person.mask is None


def test_yolox_and_simcc(write):
    write("yolox.onnx", 640, 640, yolox_rows())
    folder = write("dw.onnx", 288, 384, *simcc_values())
    (person,) = engine.OnnxEngine(folder).find(frame())
    # The box 80..240, 64..192: 200 wide with its margin, about (160, 128).
    step = 200 / 288
    expected = [60 + 120 * step, 128 + (180 - 192) * step]
    np.testing.assert_allclose(person.points, np.tile(expected, (133, 1)), atol=0.1)
    np.testing.assert_allclose(person.scores, 0.5)


def test_only_so_many_people_the_surest_first(write):
    rows = yolov10_rows()
    rows[5] = [0, 0, 60, 60, 0.3, 0]
    rows[6] = [500, 0, 620, 90, 0.95, 0]
    write("a.onnx", 192, 256, heatmap_values())
    folder = write("b.onnx", 640, 640, rows)
    three, two = (engine.OnnxEngine(folder, people=people).find(frame()) for people in (3, 2))
    assert len(three) == 3
    assert [found.points[0].tolist() for found in two] == [found.points[0].tolist() for found in three[:2]]
    assert two[0].points[0, 0] > two[1].points[0, 0]


def test_of_several_the_first_by_name_and_others_are_passed_over(write):
    write("0.onnx", 10, 10, np.zeros((4, 4)))
    write("c.onnx", 288, 384, *simcc_values())
    write("d.onnx", 192, 256, heatmap_values())
    folder = write("e.onnx", 640, 640, yolov10_rows())
    detector, pose = engine.networks_in(folder)
    assert (detector.kind, pose.kind, pose.width, pose.height) == ("yolov10", "simcc", 288, 384)


BESIDE = {"save_as_external_data": True, "size_threshold": 0, "location": "vitpose_data.bin"}


def test_the_digest_is_that_of_both_networks_and_of_weights_beside_them(write, tmp_path):
    write("b.onnx", 640, 640, yolov10_rows())
    write("a.onnx", 192, 256, heatmap_values(), **BESIDE)
    weights, found = tmp_path / "vitpose_data.bin", []
    found.append(engine.OnnxEngine(tmp_path).digest)
    # What is not used does not count.
    write("c.onnx", 192, 256, heatmap_values(sigma=3.0))
    (tmp_path / "notes.bin").write_bytes(b"1")
    assert engine.OnnxEngine(tmp_path).digest == found[0]
    assert engine.weights_beside(tmp_path / "a.onnx") == [weights]
    assert engine.weights_beside(tmp_path / "b.onnx") == engine.weights_beside(tmp_path / "c.onnx") == []
    content = bytearray(weights.read_bytes())
    content[4 * 64 * 48] ^= 1
    weights.write_bytes(content)
    found.append(engine.OnnxEngine(tmp_path).digest)
    write("a.onnx", 192, 256, heatmap_values())
    found.append(engine.OnnxEngine(tmp_path).digest)
    write("b.onnx", 640, 640, 2 * yolov10_rows())
    found.append(engine.OnnxEngine(tmp_path).digest)
    assert len(set(found)) == 4


def test_weights_that_are_not_beside_their_file_are_named(write, tmp_path):
    write("b.onnx", 640, 640, yolov10_rows())
    write("a.onnx", 192, 256, heatmap_values(), **BESIDE)
    (tmp_path / "vitpose_data.bin").unlink()
    assert "vitpose_data.bin" in refused(tmp_path)


def refused(folder):
    return refusal(engine.OnnxEngine, folder)


def test_what_is_missing_is_named(write, tmp_path):
    detector = "a network for people (yolov10m.onnx or yolox_l.onnx)"
    assert f"must hold {detector}; got no .onnx file in {tmp_path}." in refused(tmp_path)
    write("pose.onnx", 192, 256, heatmap_values())
    assert f"must hold {detector}; got pose.onnx in {tmp_path}." in refused(tmp_path)
    (tmp_path / "pose.onnx").unlink()
    write("yolo.onnx", 640, 640, yolov10_rows())
    assert "must hold a network for 133 points (vitpose_h_wholebody.onnx, " in refused(tmp_path)


def test_a_broken_file_is_named(write, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not a network")
    assert f"must hold whole ONNX files; got {tmp_path / 'a.onnx'}: " in refused(tmp_path)


def test_without_onnxruntime(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="The engine onnx: the package onnxruntime is needed"):
        engine.OnnxEngine(tmp_path)
