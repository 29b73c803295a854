"""The demonstration restores the clip that it makes."""

import re

import cv2
import numpy as np
import pytest
from support.files import frames_of

from svfr_model.base.errors import InputError
from svfr_model.faces.detectors.yunet import YuNetDetector
from svfr_model.faces.geometry import box_iou
from svfr_model.tiny import stc_demo
from svfr_model.tiny.demo import FRAMES, WINDOW, make_scene, run_demo
from svfr_model.tiny.stc_demo import run_stc_demo


def test_the_scene_is_spoiled():
    scene = make_scene()
    assert scene.degraded.shape == scene.truth.shape == (FRAMES, WINDOW, WINDOW, 3)
    assert (scene.degraded[scene.masks] == 255).all()


def test_a_detector_agrees_where_the_face_is(yunet_path):
    scene = make_scene()
    found = np.stack([faces[0].box for faces in YuNetDetector(yunet_path).detect(list(scene.truth))])
    assert np.diag(box_iou(found, scene.track.boxes)).min() > 0.6


def test_the_face_is_found_without_being_told_and_comes_out_better_than_it_went_in(tmp_path):
    said = run_demo(tmp_path)
    table = {line[:14].strip(): line[14:].split() for line in said.splitlines()}
    for metric, least in (("PSNR", 3.0), ("SSIM", 0.02)):
        before, after = (float(value) for value in table[metric][:2])
        assert after > before + least, table
    assert "YuNet found the face" in said
    frames = frames_of(tmp_path / "side_by_side.mp4")
    assert len(frames) == FRAMES
    assert frames[0].shape == (2 * WINDOW, 6 * WINDOW, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"side_by_side.mp4", "deflicker.mp4", "deflicker_profiles.png"}


def test_flicker_goes_and_the_profiles_show_it(tmp_path):
    said = run_stc_demo(tmp_path)
    before, after = (float(value) for value in re.search(r"jumps by ([\d.]+) .* next, ([\d.]+) after", said).groups())
    assert after < before / 3
    frames = frames_of(tmp_path / "deflicker.mp4")
    assert len(frames) == stc_demo.FRAMES
    assert frames[0].shape == (256, 768, 3)
    profiles = cv2.imread(str(tmp_path / "deflicker_profiles.png")).astype(np.float32)
    assert profiles.shape == (3 * 256, 4 * stc_demo.FRAMES, 3)
    flickers, steady, truth = (np.abs(np.diff(part.mean((0, 2)))).mean() for part in np.split(profiles, 3))
    assert flickers > 2 * steady > truth


def test_a_package_without_the_model_says_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("svfr_model.tiny.model.MODEL_FOLDER", tmp_path / "absent")
    with pytest.raises(InputError, match="absent is missing: svfr-tiny comes with this package"):
        run_demo(tmp_path / "out")
    assert not (tmp_path / "out").exists()
