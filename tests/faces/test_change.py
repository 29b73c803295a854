"""What a restoration changed: pixels against paste itself, colours against known ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from svfr_model.faces.change import changed_region, color_shift
from svfr_model.faces.crop import CropOptions, plan_crop
from svfr_model.faces.paste import PasteOptions, Patch, paste
from svfr_model.faces.track import FaceTrack

POINTS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])


def plan_at(x, y, side, number=0):
    return plan_crop(
        FaceTrack(
            id=number,
            person=number,
            shot=0,
            start=0,
            boxes=np.array([[x, y, x + side, y + side]], dtype=np.float64),
            landmarks=(POINTS * side + (x, y))[None],
            scores=np.array([0.9]),
            seen=np.array([True]),
            frame_size=(160, 120),
        ),
        CropOptions(size=(64, 64)),
    )


@pytest.mark.parametrize("region", ["face", "crop"])
@pytest.mark.parametrize("limit", [None, 0.5])
def test_the_region_is_how_far_paste_replaces(region, limit):
    """A white crop in a black frame shows its own weight."""
    frame = np.zeros((120, 160, 3), np.float32)
    patches = [Patch(plan, 0, torch.ones(3, 64, 64)) for plan in (plan_at(20, 30, 40), plan_at(55, 40, 30, 1))]
    options = PasteOptions(region=region, color_match="none")
    mask = None if limit is None else np.full((120, 160), limit, np.float32)
    found = changed_region(frame, patches, options, mask)
    assert np.abs(found - paste(frame, patches, options, mask)[..., 0]).max() < 1e-4
    assert found.max() >= (limit or 1.0)


def test_nothing_is_changed_without_patches():
    assert (changed_region(np.zeros((20, 30, 3), np.uint8), []) == 0).all()


def test_color_shift_is_the_distance_of_the_mean_colours():
    before, after = (np.full((64, 64, 3), value, np.float32) for value in ((0.5, 0.4, 0.3), (0.5, 0.45, 0.4)))
    lab = [cv2.cvtColor(picture, cv2.COLOR_RGB2Lab)[0, 0] for picture in (before, after)]
    clips = [torch.from_numpy(picture).permute(2, 0, 1).expand(3, -1, -1, -1) for picture in (before, after)]
    assert color_shift(*clips) == pytest.approx(float(np.linalg.norm(lab[0] - lab[1])), abs=1e-3)
    assert color_shift(clips[0], clips[0]) == 0
