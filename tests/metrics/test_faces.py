"""Identity metrics on people whose place and identity are known, and AKD with the real detector."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from svfr_model.base.clip import ArrayClip
from svfr_model.faces.detectors.yunet import YuNetDetector
from svfr_model.faces.face import Face
from svfr_model.metrics import Instruments, evaluate
from svfr_model.metrics.faces import Embedder, Watcher, difference, landmark_distance
from svfr_model.networks.identity import build_recognizer

SIDE = 96
POINTS = np.array([[-9, -8], [9, -8], [0, 2], [-7, 10], [7, 10]], dtype=np.float64)
RED, GREEN = (200, 0, 0), (0, 200, 0)


def frame(*people: tuple[tuple[int, int], int, tuple[int, int, int]]) -> np.ndarray:
    """A grey picture with squares: their centre, half their side and their colour."""
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    for (x, y), half, color in people:
        picture[y - half : y + half, x - half : x + half] = color
    return picture


class SquareDetector:
    """Finds the squares of `frame`: anything red or green."""

    def detect(self, frames):
        return [
            [self._face(picture, channel) for channel in (0, 1) if self._mask(picture, channel).any()]
            for picture in frames
        ]

    def _mask(self, picture, channel):
        other = 1 - channel
        return (picture[..., channel] > 150) & (picture[..., other] < 80)

    def _face(self, picture, channel):
        y, x = np.nonzero(self._mask(picture, channel))
        box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float64)
        half = (box[2] - box[0]) / 2
        return Face(box, POINTS * half / 20 + (box[:2] + box[2:]) / 2, 0.9)


class ColorEncoder:
    """Identity is the mean colour of the middle of the aligned face: red and green people are 90 degrees apart."""

    def embed(self, faces):
        colors = (faces[:, :, 40:70, 40:70].mean(dim=(2, 3)) + 1) / 2
        embedding = torch.zeros(len(faces), 512)
        embedding[:, :3] = colors
        return torch.nn.functional.normalize(embedding, dim=1)


def measured(restored, truth=None, **instruments):
    tools = {"detector": SquareDetector(), "encoder": ColorEncoder()} | instruments
    clips = [None if frames is None else ArrayClip(frames) for frames in (restored, truth)]
    return evaluate(*clips, Instruments(**tools))


def test_same_person_and_another():
    truth = [frame(((40 + i, 50), 20, RED)) for i in range(4)]
    other = [frame(((40 + i, 50), 20, GREEN)) for i in range(4)]
    same = measured(truth, truth)
    assert same.values["ids"] == pytest.approx(1, abs=1e-6)
    assert same.values["vidd"] == pytest.approx(0, abs=1e-3)
    assert same.values["face_cons"] == pytest.approx(1, abs=1e-6)
    assert same.values["akd"] == 0
    assert measured(other, truth).values["ids"] == pytest.approx(0, abs=0.01)


def test_identity_that_changes_once():
    """Red, red, green, green: one of three pairs is 90 degrees apart, two of three later frames are not frame 1's."""
    restored = [frame(((48, 48), 20, color)) for color in (RED, RED, GREEN, GREEN)]
    truth = [frame(((48, 48), 20, RED))] * 4
    report = measured(restored, truth)
    assert report.values["vidd"] == pytest.approx(np.sqrt(2) / 3, abs=0.01)
    assert report.values["face_cons"] == pytest.approx(1 / 3, abs=0.01)
    assert report.values["ids"] == pytest.approx(1 / 2, abs=0.01)
    beside = {measure.key: measure.truth for measure in report.measures}
    assert beside["vidd"] == pytest.approx(0, abs=1e-3)
    assert beside["face_cons"] == pytest.approx(1, abs=1e-6)


def test_vidd_is_the_l2_distance_of_unit_embeddings():
    first, second = torch.zeros(512), torch.zeros(512)
    first[0], second[0], second[1] = 1, 0.6, 0.8
    assert difference(first, second) == pytest.approx(np.sqrt(2 - 2 * 0.6))


def test_frames_without_a_face_are_counted():
    truth = [frame(((48, 48), 20, RED))] * 5
    restored = [truth[0], frame(), truth[0], truth[0], truth[0]]
    report = measured(restored, truth)
    counts = {measure.key: (measure.counted, measure.expected) for measure in report.measures}
    assert (report.faceless_restored, report.faceless_truth) == (1, 0)
    assert counts["ids"] == counts["akd"] == (4, 5)
    assert counts["vidd"] == (2, 4)
    assert counts["face_cons"] == (3, 4)
    assert "No face was found in 1 of 5 restored frames and in 0 of 5 true frames" in report.table()


def test_no_face_anywhere_is_a_reason_not_a_number():
    empty = [frame()] * 3
    report = measured(empty, [frame(((48, 48), 20, RED))] * 3)
    for key in ("ids", "vidd", "face_cons", "akd"):
        assert "no face was found" in report.absent[key] or "was a face found" in report.absent[key]
    assert report.faceless_restored == 3
    assert "psnr" in report.values


def test_first_frame_without_a_face_leaves_no_face_cons():
    frames = [frame(), *[frame(((48, 48), 20, RED))] * 3]
    report = measured(frames)
    assert "frame 1" in report.absent["face_cons"]
    assert report.values["vidd"] == pytest.approx(0, abs=1e-3)


def test_the_larger_person_is_followed_when_another_grows():
    """The green person is larger at the end, but the red one was followed from the start."""
    truth = [frame(((30, 48), 16, RED), ((72, 48), half, GREEN)) for half in (10, 13, 20)]
    report = measured(truth)
    assert report.values["face_cons"] == pytest.approx(1, abs=0.01)


def test_a_restored_face_elsewhere_is_not_the_person():
    truth = [frame(((25, 48), 16, RED))] * 2
    restored = [frame(((75, 48), 16, RED))] * 2
    report = measured(restored, truth)
    assert report.faceless_restored == 2
    assert "ids" in report.absent


def test_given_landmarks_align_both_clips():
    frames = [frame(((40 + 2 * i, 50), 20, RED)) for i in range(3)]
    asked = []

    def landmarks(index):
        asked.append(index)
        return POINTS + np.array([40 + 2 * index, 50])

    report = measured(frames, frames, detector=None, landmarks=landmarks)
    assert asked == [0, 1, 2]
    assert report.values["ids"] == pytest.approx(1, abs=1e-6)
    assert "given" in report.absent["akd"]
    assert measured(frames, frames, detector=None, landmarks=lambda index: None).faceless_restored == 3


def test_landmarks_alone_make_akd():
    first, second = POINTS, POINTS + np.array([3, 4])
    assert landmark_distance(first, second, (256, 128)) == pytest.approx(10)


def test_embedder_gives_unit_vectors_of_the_recogniser():
    config = {"layers": [1, 1, 1, 1], "widths": [8, 8, 8, 8], "embedding_width": 512}
    recognizer = build_recognizer(config)
    faces = torch.rand(2, 3, 112, 112) * 2 - 1
    embeddings = Embedder(recognizer).embed(faces)
    assert embeddings.norm(dim=1).tolist() == pytest.approx([1, 1])
    raw = recognizer(faces)[1].detach()
    assert torch.nn.functional.cosine_similarity(embeddings, raw).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("size", [(512, 512), (1024, 768)])
def test_akd_of_a_known_shift_with_the_real_detector(yunet_path, size):
    """A picture moved by one 128th of its longer side moves its landmarks by 4 pixels at 512."""
    picture = cv2.resize(astronaut(), size, interpolation=cv2.INTER_CUBIC)
    shift = np.array([[1, 0, size[0] / 128], [0, 1, 0]])
    moved = cv2.warpAffine(picture, shift, size, borderMode=cv2.BORDER_REFLECT_101)
    restored, truth = Watcher(YuNetDetector(yunet_path), None, None).look(0, moved, picture)
    assert landmark_distance(restored.face.landmarks, truth.face.landmarks, size) == pytest.approx(4, abs=0.6)
