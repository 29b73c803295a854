"""SCRFD and 1k3d68 through onnxruntime, on graphs of the real signatures. The real weights were not at hand here."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tracks import TEMPLATE, make_track

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError, WeightsError
from svfr_model.faces.crop import plan_crop
from svfr_model.faces.detectors.load import load_detector
from svfr_model.faces.detectors.scrfd import ScrfdDetector, decode, letterbox
from svfr_model.faces.landmarks import LandmarkModel, add_outlines
from svfr_model.faces.options import CropOptions
from svfr_model.weights.onnx import active_provider, open_session

SIZE = 640
CELLS = {8: 12800, 16: 3200, 32: 800}


def save(path, nodes, inputs, outputs, constants):
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "stand-in", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def scrfd_outputs(faces):
    """The nine outputs that say these faces: (stride, anchor row, column, which anchor, score, box, points)."""
    outputs = [np.zeros((CELLS[s], width), np.float32) for width in (1, 4, 10) for s in (8, 16, 32)]
    for stride, row, column, anchor, score, box, points in faces:
        level = (8, 16, 32).index(stride)
        index = (row * (SIZE // stride) + column) * 2 + anchor
        cell = np.array([column, row]) * stride
        outputs[level][index] = score
        outputs[3 + level][index] = np.concatenate([cell - box[:2], box[2:] - cell]) / stride
        outputs[6 + level][index] = ((points - cell) / stride).ravel()
    return outputs


def face_at(x, y, side):
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])
    return box, TEMPLATE * side + (x, y)


def scrfd_file(path, outputs, count=9):
    """A graph with SCRFD's signature, whose scores fall by how much darker the upper left pixel is than white."""
    nodes = [
        helper.make_node("Slice", ["input.1", "start", "stop", "axes"], ["corner"]),
        helper.make_node("ReduceMax", ["corner"], ["white"], keepdims=0),
    ]
    constants = {"start": np.array([0, 0]), "stop": np.array([1, 1]), "axes": np.array([2, 3])}
    values = []
    for number, output in enumerate(outputs[:count]):
        constants[f"c{number}"] = output
        kind = "Mul" if number < 3 else "Identity"
        nodes.append(helper.make_node(kind, [f"c{number}", "white"] if number < 3 else [f"c{number}"], [f"o{number}"]))
        values.append(helper.make_tensor_value_info(f"o{number}", TensorProto.FLOAT, output.shape))
    picture = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "?", "?"])
    return save(path, nodes, [picture], values, constants)


@pytest.fixture
def scrfd(tmp_path):
    near, far = face_at(200, 180, 120), face_at(500, 90, 30)
    again = face_at(203, 181, 118)
    outputs = scrfd_outputs(
        [
            (32, 5, 6, 0, 0.91, *near),
            (16, 11, 12, 1, 0.74, *again),
            (8, 11, 62, 1, 0.66, *far),
            (8, 40, 40, 0, 0.3, *face_at(320, 320, 40)),
        ]
    )
    return scrfd_file(tmp_path / "det_10g.onnx", outputs)


def test_scrfd_decodes_boxes_landmarks_and_scores(scrfd):
    """A frame of 1280x960 is shown at half its size, so what the graph says is doubled."""
    detector = load_detector("scrfd", scrfd)
    (faces,) = detector.detect([np.full((960, 1280, 3), 255, np.uint8)])
    white = (255 - 127.5) / 128
    assert [face.score for face in faces] == pytest.approx([0.91 * white, 0.66 * white], rel=1e-5)
    for face, (x, y, side) in zip(faces, ((200, 180, 120), (500, 90, 30)), strict=True):
        box, points = face_at(x, y, side)
        assert np.allclose(face.box, 2 * box, atol=1e-3)
        assert np.allclose(face.landmarks, 2 * points, atol=1e-3)
    assert active_provider(detector._session) == "CPUExecutionProvider"


def test_scrfd_sees_the_picture_and_the_threshold(scrfd):
    dark = [np.full((640, 640, 3), 150, np.uint8)]
    assert ScrfdDetector(scrfd).detect(dark) == [[]]
    low = ScrfdDetector(scrfd, threshold=0.1).detect(dark)[0]
    assert [face.score for face in low] == pytest.approx([0.91 * 22.5 / 128, 0.66 * 22.5 / 128], rel=1e-4)


def test_letterbox_keeps_proportions():
    frame = np.full((100, 400, 3), 255, np.uint8)
    batch, scale = letterbox(frame, (640, 640))
    assert scale == 1.6
    assert batch.shape == (1, 3, 640, 640)
    assert batch[0, :, :160].min() == pytest.approx(127.5 / 128)
    assert batch[0, :, 160:].max() == pytest.approx(-127.5 / 128)


def test_decode_accepts_batched_outputs_too():
    outputs = scrfd_outputs([(16, 10, 10, 0, 0.8, *face_at(170, 165, 60))])
    flat = decode(outputs, (640, 640), 1.0, 0.5, 0.4)
    batched = decode([output[None] for output in outputs], (640, 640), 1.0, 0.5, 0.4)
    assert np.array_equal(flat[0].box, batched[0].box)


def test_other_graphs_are_refused(tmp_path):
    outputs = scrfd_outputs([])
    six = scrfd_file(tmp_path / "without_landmarks.onnx", outputs, count=6)
    with pytest.raises(WeightsError, match=r"without_landmarks\.onnx.*nine"):
        ScrfdDetector(six)
    short = scrfd_file(tmp_path / "one_anchor.onnx", [output[::2] for output in outputs])
    with pytest.raises(WeightsError, match="two anchors"):
        ScrfdDetector(short).detect([np.zeros((64, 64, 3), np.uint8)])


def test_requested_but_inactive_provider_warns(scrfd, caplog):
    import onnxruntime

    with caplog.at_level(logging.WARNING):
        ScrfdDetector(scrfd)
        assert not caplog.records
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this onnxruntime offers CUDA")
        detector = ScrfdDetector(scrfd, device="cuda:0")
    assert active_provider(detector._session) == "CPUExecutionProvider"
    assert "runs on CPUExecutionProvider, not on CUDAExecutionProvider" in caplog.text
    assert "install onnxruntime-gpu alone" in caplog.text


@pytest.mark.parametrize("content", [b"", b"not a network" * 50, b"\x08\x08\x12"])
def test_broken_files(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"broken\.onnx"):
        open_session(path, "a network")
    with pytest.raises(WeightsError, match=r"missing\.onnx"):
        LandmarkModel(tmp_path / "missing.onnx")


def landmark_file(path, vertices=1103):
    """A graph of 1k3d68's signature: its last 68 points lie where the red channel is bright, in a fixed pattern."""
    pattern = np.zeros((vertices, 3), np.float32)
    pattern[-68:, 0] = np.linspace(-0.4, 0.4, 68)
    pattern[-68:, 1] = 0.25
    pattern[:-68] = 7.0  # the mesh before them must not be taken
    line = np.linspace(-1, 1, 193)[:-1].astype(np.float32) + 1 / 192
    nodes = [
        helper.make_node("Slice", ["data", "zero", "one", "axis"], ["red"]),
        helper.make_node("ReduceSum", ["red", "all"], ["total"], keepdims=0),
        helper.make_node("Mul", ["red", "columns"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "all"], ["moment"], keepdims=0),
        helper.make_node("Div", ["moment", "total"], ["center"]),
        helper.make_node("Mul", ["center", "along"], ["shift"]),
        helper.make_node("Add", ["pattern", "shift"], ["fc1"]),
    ]
    along = np.zeros(3 * vertices, np.float32)
    along[0::3] = 1
    constants = {
        "zero": np.array([0]), "one": np.array([1]), "axis": np.array([1]), "all": np.array([0, 1, 2, 3]),
        "columns": line.reshape(1, 1, 1, 192), "along": along[None], "pattern": pattern.reshape(1, -1),
    }  # fmt: skip
    picture = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["None", 3, 192, 192])
    points = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, 3 * vertices])
    return save(path, nodes, [picture], [points], constants)


def stripe(x):
    """A frame with one red column of full brightness over some grey."""
    frame = np.zeros((180, 320, 3), np.uint8)
    frame[..., 1] = 90
    frame[:, x - 1 : x + 2, 0] = 255
    return frame


def test_landmarks_are_the_last_68_in_the_frames_pixels(tmp_path):
    model = LandmarkModel(landmark_file(tmp_path / "1k3d68.onnx"))
    boxes = [np.array([100.0, 50, 160, 110]), np.array([90.0, 40, 180, 120])]
    found = model.detect(stripe(140), boxes)
    assert found.shape == (2, 68, 2)
    for points, box in zip(found, boxes, strict=True):
        side = 1.5 * max(box[2:] - box[:2])
        assert np.allclose(points[:, 0], 140 + np.linspace(-0.4, 0.4, 68) * side / 2, atol=0.03 * side)
        assert np.allclose(points[:, 1], (box[1] + box[3]) / 2 + 0.25 * side / 2, atol=0.02 * side)
    assert model.detect(stripe(140), []).shape == (0, 68, 2)
    assert active_provider(model._session) == "CPUExecutionProvider"


def test_outlines_are_added_to_tracks_and_follow_the_crop(tmp_path):
    model = LandmarkModel(landmark_file(tmp_path / "1k3d68.onnx"))
    tracks = [make_track([(140 + 2 * i, 90) for i in range(6)], start=1)]
    frames = [stripe(138 + 2 * i) for i in range(7)]
    (track,) = add_outlines(ArrayClip(frames), tracks, model)
    assert track.outlines.shape == (6, 68, 2)
    middles = track.outlines[:, :, 0].mean(axis=1)
    assert np.allclose(middles, 140 + 2 * np.arange(6), atol=2)
    planned = plan_crop(track, CropOptions(size=(128, 128)))
    assert planned.outlines.shape == (6, 68, 2)
    assert np.abs(planned.outlines[:, :, 0].mean(axis=1) - 63.5).max() < 4
    assert plan_crop(replace(track, outlines=None)).outlines is None


def test_landmark_model_of_too_few_points(tmp_path):
    model = LandmarkModel(landmark_file(tmp_path / "five.onnx", vertices=68 - 1 + 1))
    assert model.detect(stripe(140), [np.array([100.0, 50, 160, 110])]).shape == (1, 68, 2)
    short = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])
    picture = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["None", 3, 192, 192])
    nodes = [helper.make_node("Identity", ["c"], ["y"])]
    path = save(tmp_path / "short.onnx", nodes, [picture], [short], {"c": np.zeros((1, 10), np.float32)})
    with pytest.raises(WeightsError, match="at least 68 3-D points"):
        LandmarkModel(path).detect(stripe(140), [np.array([100.0, 50, 160, 110])])
    with pytest.raises(InputError, match="area"):
        model.detect(stripe(140), [np.array([100.0, 50, 100, 50])])


def test_another_graph_under_the_name_of_1k3d68_is_refused(scrfd, tmp_path):
    with pytest.raises(WeightsError, match=r"det_10g\.onnx is a network, but not 1k3d68.*1, 3, '\?', '\?'"):
        LandmarkModel(scrfd)
    few = landmark_file(tmp_path / "few.onnx", vertices=68)
    LandmarkModel(few)
    with pytest.raises(WeightsError, match=r"another\.onnx is a network, but not 1k3d68"):
        LandmarkModel(plain_file(tmp_path / "another.onnx", (1, 3, 192, 192), (1, 212)))


def plain_file(path, given, result):
    """A graph that says the same of every picture."""
    nodes = [helper.make_node("Identity", ["constant"], ["fc1"])]
    picture = helper.make_tensor_value_info("data", TensorProto.FLOAT, given)
    points = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, result)
    return save(path, nodes, [picture], [points], {"constant": np.zeros(result, np.float32)})


def test_another_graph_under_the_name_of_yunet_or_yoloface_is_refused(scrfd, tmp_path):
    for kind in ("yunet", "yoloface"):
        with pytest.raises(WeightsError, match=r"det_10g\.onnx is .*not (YuNet|yoloface)"):
            load_detector(kind, scrfd)
    landmarks = landmark_file(tmp_path / "1k3d68.onnx")
    for kind in ("yunet", "yoloface", "scrfd"):
        with pytest.raises(WeightsError, match=r"1k3d68\.onnx"):
            load_detector(kind, landmarks)
