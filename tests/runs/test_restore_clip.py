"""Whole clips with networks whose answers are known."""

import numpy as np
import pytest
import torch
from support.stubs import StubBackend, StubVAE

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import FaceNotFoundError
from svfr_model.base.tasks import Task
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Networks
from svfr_model.engine.self_reference import SelfReference
from svfr_model.networks.identity import Identity
from svfr_model.runs.restore_clip import Request, restore_whole

BFR = frozenset({Task.BFR})


def block_clip(count, height, width):
    small = np.random.default_rng(0).integers(0, 256, (count, height // 2, width // 2, 3), dtype=np.uint8)
    return ArrayClip(small.repeat(2, 1).repeat(2, 2))


class FaceInDarkShotsOnly:
    """Finds nobody in a shot that begins bright."""

    def __call__(self, frames, landmarks=None):
        if frames[0, 0, 0, 0] > 0:
            raise FaceNotFoundError("nobody")
        return SelfReference(frames[0], 0, Identity(torch.zeros(5, 6), torch.ones(512)), 1.0)


def networks(referrer=None):
    backend = StubBackend(lambda x, sigma, degraded, *_: degraded * StubVAE.scaling_factor)
    return Networks(backend, StubVAE(), referrer)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (10, 14), (6, 4)])
def test_whole_frames_of_any_size_come_back_unstretched(height, width):
    clip = block_clip(9, height, width)
    request = Request(BFR, RestoreOptions(steps=2, passes=1))
    frames = list(restore_whole(clip, networks(), request, [(0, 5), (5, 9)]))
    assert np.array_equal(np.stack(frames), clip.frames)


def test_a_shot_without_a_face_gets_one_pass_and_does_not_end_the_clip(caplog):
    clip = block_clip(10, 8, 8)
    clip.frames[0, 0, 0], clip.frames[5, 0, 0] = 0, 255
    clip.frames[0, :2, :2], clip.frames[5, :2, :2] = 0, 255
    request = Request(BFR, RestoreOptions(steps=2))
    frames = list(restore_whole(clip, networks(FaceInDarkShotsOnly()), request, [(0, 5), (5, 10)]))
    assert np.array_equal(np.stack(frames), clip.frames)
    assert "Frames 5 to 9: no face" in caplog.text


def test_a_clip_of_one_shot_without_a_face_is_an_error():
    clip = block_clip(5, 8, 8)
    clip.frames[:] = 255
    request = Request(BFR, RestoreOptions(steps=2))
    with pytest.raises(FaceNotFoundError):
        list(restore_whole(clip, networks(FaceInDarkShotsOnly()), request, [(0, 5)]))
