"""Value ranges, grey and white."""

import numpy as np
import pytest
import torch
from PIL import Image

from svfr_model.base.errors import InputError
from svfr_model.base.pixels import degrade_for_tasks, from_network_range, to_network_range
from svfr_model.base.tasks import Task

BFR, GREY, PAINT = (frozenset({task}) for task in Task)


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (3, 3, 16, 24), dtype=torch.uint8)


def test_range_round_trip_is_exact_for_every_value():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(from_network_range(to_network_range(values)), values)
    assert to_network_range(values).min() == -1
    assert to_network_range(values).max() == 1


def test_rounding_clamps_and_truncation_drops_the_fraction():
    values = torch.tensor([-1.3, -0.5, 0.0, 0.0039, 1.0, 1.2])
    assert from_network_range(values).tolist() == [0, 64, 128, 128, 255, 255]
    assert from_network_range(values, truncate=True).tolist() == [0, 63, 127, 127, 255, 255]


def test_restoration_changes_no_pixel(pixels):
    assert torch.equal(degrade_for_tasks(pixels, BFR), pixels)


def test_colorization_equals_pillows_grey(pixels):
    ours = degrade_for_tasks(pixels, GREY)
    for frame, grey in zip(pixels, ours, strict=True):
        expected = Image.fromarray(frame.permute(1, 2, 0).numpy()).convert("L").convert("RGB")
        assert np.array_equal(grey.permute(1, 2, 0).numpy(), np.asarray(expected))


@pytest.mark.parametrize("count", [1, 3])
def test_inpainting_is_white_exactly_where_the_mask_reaches_one_half(pixels, count):
    mask = torch.rand(count, 1, 16, 24)
    mask[..., 0, 0], mask[..., 0, 1] = 0.5, 0.4999
    before = pixels.clone()
    ours = degrade_for_tasks(pixels, PAINT, mask)
    missing = (mask >= 0.5).expand_as(pixels)
    assert (ours[missing] == 255).all()
    assert torch.equal(ours[~missing], pixels[~missing])
    assert torch.equal(pixels, before)


def test_grey_comes_before_white(pixels):
    mask = torch.zeros(1, 1, 16, 24)
    mask[..., :8, :] = 1
    ours = degrade_for_tasks(pixels, GREY | PAINT, mask)
    assert (ours[..., :8, :] == 255).all()
    assert torch.equal(ours[..., 8:, :], degrade_for_tasks(pixels, GREY)[..., 8:, :])


def test_a_mask_without_the_task_is_not_painted(pixels):
    assert torch.equal(degrade_for_tasks(pixels, BFR, torch.ones(1, 1, 16, 24)), pixels)


@pytest.mark.parametrize("shape", [(1, 1, 8, 24), (2, 1, 16, 24), (1, 3, 16, 24), (16, 24)])
def test_masks_that_do_not_fit_are_refused_with_both_shapes(pixels, shape):
    with pytest.raises(InputError, match=r"mask is .*3 frames of 16x24"):
        degrade_for_tasks(pixels, PAINT, torch.ones(shape))


def test_floats_are_refused():
    with pytest.raises(InputError, match="uint8"):
        degrade_for_tasks(torch.zeros(1, 3, 4, 4), BFR)
