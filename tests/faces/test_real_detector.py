"""The promises on footage, with the real YuNet on clips whose motion is known (figures: benchmarks/faces.py)."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from support import clips
from support import face_metrics as metrics
from support.pasting import paste

from svfr_model.base.clip import ArrayClip
from svfr_model.faces.crop import plan_crop
from svfr_model.faces.cut import crop_clip
from svfr_model.faces.debug import draw
from svfr_model.faces.detectors.yunet import YuNetDetector
from svfr_model.faces.find import find_tracks
from svfr_model.faces.options import CropOptions, PasteOptions, TrackOptions
from svfr_model.faces.paste import Patch

LENGTH = 40


class CountingDetector:
    """YuNet that counts the pixels it was shown: what detection costs, without a clock."""

    def __init__(self, path):
        self._net = YuNetDetector(path)
        self.pixels = 0

    def detect(self, frames):
        self.pixels += sum(frame.shape[0] * frame.shape[1] for frame in frames)
        return self._net.detect(frames)


@pytest.fixture(scope="module")
def detector(yunet_path):
    return YuNetDetector(yunet_path)


@pytest.fixture(scope="module")
def truths(detector):
    return {p.name: metrics.calibrate(p, detector) for p in (clips.portrait(), clips.portrait("other"))}


@pytest.fixture(scope="module")
def found(detector):
    """Scenes and what was found in them, each once."""
    other = clips.portrait("other")
    makers = {
        "static": lambda: clips.static(LENGTH),
        "pan": lambda: clips.pan(LENGTH),
        "zoom": lambda: clips.zoom(LENGTH),
        "roll": lambda: clips.roll(LENGTH),
        "shake": lambda: clips.shake(LENGTH),
        "crossing": lambda: clips.crossing(other, 70),
        "reentering": lambda: clips.reentering(66),
        "hard_cut": lambda: clips.hard_cut(other, LENGTH),
        "faceless_start": lambda: clips.faceless_start(LENGTH),
        "at_border": lambda: clips.at_border(LENGTH),
    }
    cache = {}

    def get(name):
        if name not in cache:
            scene = makers[name]()
            cache[name] = scene, find_tracks(scene, detector)
        return cache[name]

    return get


NAMES = ["static", "pan", "zoom", "roll", "shake", "crossing", "reentering", "hard_cut", "faceless_start", "at_border"]


@pytest.mark.parametrize("name", NAMES)
def test_tracks(name, found, truths):
    scene, detection = found(name)
    report = metrics.report_tracks(scene, detection.tracks, truths)
    assert report.purity == 1.0
    assert report.switches == 0
    assert report.coverage == 1.0
    assert report.error < 0.02
    assert report.error_rms < 0.01
    assert detection.cuts == scene.cuts
    assert detection.frame_count == len(scene)


def test_people_of_the_clips(found):
    """Who is who: one track per stay, one number per person."""
    assert [t.person for t in found("crossing")[1].tracks] in ([0, 1, 0], [0, 1])
    assert [t.person for t in found("reentering")[1].tracks] == [0, 0]
    cut = found("hard_cut")[1].tracks
    assert [(t.shot, t.person) for t in cut] == [(0, 0), (1, 1)]
    assert cut[0].stop == cut[1].start == found("hard_cut")[0].cuts[0]
    (late,) = found("faceless_start")[1].tracks
    assert 13 < late.start < 22


@pytest.mark.parametrize("name", ["pan", "zoom", "roll"])
def test_smoothed_crop_stays_on_the_face(name, found, truths):
    scene, detection = found(name)
    plan = plan_crop(detection.tracks[0])
    assert metrics.crop_error(scene, plan, scene.shots[0].actors[0], truths["woman"]) < 0.02


@pytest.mark.parametrize("roll", [False, True])
def test_shaken_face_stays_wholly_inside_the_crop(roll, found, truths):
    scene, detection = found("shake")
    plan = plan_crop(detection.tracks[0], CropOptions(roll=roll))
    assert metrics.face_inside_crop(scene, plan, scene.shots[0].actors[0], truths["woman"])


@pytest.mark.parametrize("name", ["static", "pan", "zoom"])
def test_crop_is_steadier_than_detection_on_every_frame(name, found, detector):
    scene, detection = found(name)
    ours = metrics.jitter(plan_crop(detection.tracks[0]).matrices)
    assert ours <= metrics.jitter(metrics.per_frame_matrices(scene, detector)) / 3


def test_real_footage_is_one_track(real_clip, detector):
    """85 frames of a talking, turning head: one person, no cut, and the crop holds the detector's own box."""
    capture, frames = cv2.VideoCapture(str(real_clip)), []
    while (step := capture.read())[0]:
        frames.append(np.ascontiguousarray(step[1][..., ::-1]))
    detection = find_tracks(ArrayClip(frames), detector)
    assert detection.cuts == []
    (track,) = detection.tracks
    assert (track.start, track.stop) == (0, 85)
    assert track.seen.all()
    assert track.scores.mean() > 0.9
    planned = plan_crop(track, CropOptions(size=(192, 192)))
    for index in range(0, 85, 7):
        box = detector.detect([frames[index]])[0][0].box
        middle = (box[:2] + box[2:]) / 2
        assert np.hypot(*(track.centers[index] - middle)) < 0.12 * track.size
        corners = planned.matrices[index][:, :2] @ box.reshape(2, 2).T + planned.matrices[index][:, 2:]
        assert corners.min() > 0
        assert corners.max() < 191
    (crops,) = crop_clip(ArrayClip(frames), [planned])
    for index in (0, 40, 84):
        result = paste(frames[index], [Patch(planned, index, crops[index])])
        mask = metrics.paste_mask(planned, index, PasteOptions())
        assert metrics.psnr(result, frames[index], mask > 0) > 40
        assert np.array_equal(result[mask == 0], frames[index][mask == 0])


def test_moving_face_round_trip(found):
    scene, detection = found("pan")
    native = metrics.native_size(plan_crop(detection.tracks[0]))
    for factor, least in ((1.0, 35.0), (1.5, 40.0)):
        size = round(native * factor)
        plan = plan_crop(detection.tracks[0], CropOptions(size=(size, size)))
        (crops,) = crop_clip(scene, [plan])
        for index in (0, 7, 21):
            frame = scene.frame(index)
            result = paste(frame, [Patch(plan, index, crops[index])])
            mask = metrics.paste_mask(plan, index, PasteOptions())
            assert metrics.psnr(result, frame, mask > 0) >= least
            assert np.array_equal(result[mask == 0], frame[mask == 0])
            band = metrics.edge_band(mask)
            assert metrics.gradient(result)[band].mean() <= 1.05 * metrics.gradient(frame)[band].mean()


def test_frames_without_the_face_pass_exactly(found):
    scene, detection = found("faceless_start")
    (track,) = detection.tracks
    plan = plan_crop(track)
    for index in (0, 5, track.start - 1):
        patches = [Patch(plan, index - track.start, torch.zeros(3, 512, 512))] if track.covers(index) else []
        assert np.array_equal(paste(scene.frame(index), patches), scene.frame(index))


def test_detection_looks_at_few_pixels(yunet_path):
    """What makes it at least three times faster than detecting on every 1280x720 frame, counted instead of timed."""
    detector = CountingDetector(yunet_path)
    scene = clips.one(clips.still(640, 360, 1.6), 30, width=1280, height=720)
    (track,) = find_tracks(scene, detector, TrackOptions()).tracks
    assert len(track) == 30
    assert detector.pixels < 30 * 1280 * 720 / 5


def test_debug_picture_of_a_crossing(found):
    scene, detection = found("crossing")
    plans = [plan_crop(track) for track in detection.tracks]
    picture = draw(scene.frame(10), detection.tracks, 10, detection.cuts, plans=plans)
    changed = np.abs(picture.astype(int) - scene.frame(10)).max(axis=2) > 40
    for track in detection.tracks:
        if track.covers(10):
            x1, y1, x2, _ = track.boxes[10 - track.start].round().astype(int)
            assert changed[y1 - 1 : y1 + 2, x1 + 5 : x2 - 5].any(axis=0).mean() > 0.9
