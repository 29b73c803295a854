"""Face geometry, detector wrapper, alignment and preprocessing against the unmodified reference.

The recorded cases: docs/reference/svfr.md#golden.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from support.near import assert_near

from svfr_model.base.pixels import degrade_for_tasks, from_network_range, to_network_range
from svfr_model.base.tasks import parse_tasks
from svfr_model.faces import geometry
from svfr_model.faces.crop import crop_resize
from svfr_model.faces.detectors import yoloface

HERE = Path(__file__).resolve().parent.parent / "golden" / "svfr"
FOLDERS = [HERE] + ([Path(os.environ["SVFR_GOLDEN_DIR"])] if os.environ.get("SVFR_GOLDEN_DIR") else [])
OPENCV = tuple(int(part) for part in cv2.__version__.split(".")[:2])


def corners(xywh):
    boxes = np.asarray(xywh, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: str(folder.name) + f"{FOLDERS.index(folder)}")
def folder(request):
    return request.param


@pytest.fixture(scope="module")
def golden(folder):
    return json.loads((folder / "face_geometry.json").read_text())


def test_template(golden):
    assert np.array_equal(geometry.TEMPLATE_256.astype(np.float64), golden["mean_face_lm5p_256"])


def test_union_box(golden):
    assert len(golden["union"]) == 20
    for case in golden["union"]:
        assert geometry.union_box(case["in"]).tolist() == case["out"]


def test_square_crop(golden):
    assert len(golden["process_bbox"]) == 60
    for case in golden["process_bbox"]:
        found = geometry.square_crop(case["bbox"], case["height"], case["width"], case["expand"])
        assert list(found) == case["out"]


def test_largest_face(golden):
    differing = 0
    for case in golden["maxface"]:
        assert geometry.largest_box(corners(case["bboxes_xywh"])) == case["true_largest"]
        differing += case["true_largest"] != case["chosen"]
    assert differing > 0, "the golden cases hold none in which the reference takes another box"


def test_similarity(golden):
    target = geometry.TEMPLATE_256.astype(np.float64) * 2
    assert any("degenerate" in case["note"] for case in golden["affine"])
    for case in golden["affine"]:
        assert_near(geometry.similarity(case["pts"], target), case["M"], 1e-5)


def test_yoloface_wrapper(golden):
    assert any(case["scores"] for case in golden["yoloface"])
    for case in golden["yoloface"]:
        height, width = yoloface.input_size(case["h0"], case["w0"])
        assert [1, 3, height, width] == case["model_input_shape"]
        assert [list(grid.shape) for grid in yoloface.grids(height, width)] == case["grid_shapes"]
        faces = yoloface.decode(np.array(case["pred"]), case["h0"], case["w0"])
        assert len(faces) == len(case["scores"])
        if faces:
            assert_near([face.box for face in faces], corners(case["bboxes_xywh"]), 1e-5, "boxes")
            assert_near([face.landmarks for face in faces], case["kps"], 1e-5, "landmarks")
            assert_near([face.score for face in faces], case["scores"], 1e-5, "scores")


def test_to_uint8(golden):
    values = torch.tensor(golden["to_uint8"]["value"])
    expected = golden["to_uint8"]
    assert from_network_range(values, truncate=True).tolist() == expected["reference_image_and_mp4_truncate"]
    assert from_network_range(values).tolist() == expected["png_round"]


def test_alignment(folder):
    data = load_file(folder / "face_align_chain.safetensors")
    for case in sorted(key.removeprefix("M_") for key in data if key.startswith("M_")):
        warped, matrix = geometry.reference_warp(data[f"ref_uint8_{case}"], data[f"pts5_{case}"])
        assert_near(matrix, data[f"M_{case}"], 1e-5, "matrix")
        expected = data[f"warped_uint8_{case}"].astype(int)
        # The golden warp is OpenCV 4.11's; OpenCV 5 computes its bicubic weights otherwise.
        assert np.abs(warped.astype(int) - expected).max() <= (0 if OPENCV[0] == 4 else 2)
        aligned = geometry.halve_to_input(data[f"warped_uint8_{case}"]).numpy()
        assert_near(aligned, data[f"arc_in_{case}"][0], 1e-6, "aligned")
        whole = geometry.align_face(data[f"ref_uint8_{case}"], data[f"pts5_{case}"], mode="reference").numpy()
        assert np.abs(whole - data[f"arc_in_{case}"][0]).max() <= (0 if OPENCV[0] == 4 else 2) / 127.5 + 1e-6


def lq_pixels(frame, square, mask):
    """What the network sees of a frame: cropped, resized, grey, and white where it is missing."""
    crop = torch.from_numpy(crop_resize(frame, square, (128, 128))).permute(2, 0, 1)[None]
    masked = torch.from_numpy(mask)[None, None].float() / 255
    return to_network_range(degrade_for_tasks(crop, parse_tasks("colorization,inpainting"), masked))[0].numpy()


def test_lq_preprocessing(folder):
    data = load_file(folder / "lq_preprocess.safetensors")
    frame, square = data["frame_uint8"], tuple(int(v) for v in data["bbox"])
    resized = crop_resize(frame, square, (128, 128))
    assert np.array_equal(resized, data["resized_uint8"])
    grey = degrade_for_tasks(torch.from_numpy(resized).permute(2, 0, 1)[None], parse_tasks("colorization"))[0]
    assert np.array_equal(grey.permute(1, 2, 0).numpy(), data["gray_rgb_uint8"])
    binary = np.where(data["mask_uint8"] == 255, 255, 0).astype(np.uint8)
    assert np.array_equal(lq_pixels(frame, square, binary), data["lq_tensor"])


def test_soft_masks_are_thresholded_at_one_half(folder):
    """The reference takes 255 alone for missing, ours everything from one half on: the same for a binary mask."""
    data = load_file(folder / "lq_preprocess.safetensors")
    frame, square = data["frame_uint8"], tuple(int(v) for v in data["bbox"])
    found = lq_pixels(frame, square, data["mask_uint8"])
    assert (found[:, data["mask_uint8"] >= 128] == 1).all()
    known = data["mask_uint8"] < 128
    assert np.array_equal(found[:, known], data["lq_tensor"][:, known])
