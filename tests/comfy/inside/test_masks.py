"""Masks that do nothing or lie in the wrong place are told of; what is painted is shown; pictures serve as masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from svfr_pack.nodes.bundled import TINY
from svfr_pack.nodes.conditioning import Conditioning
from svfr_pack.nodes.face import FaceCrop
from svfr_pack.nodes.load import LoadModel, LoadVAE
from svfr_pack.nodes.masks import EMPTY, MISSED, NO_MASK, UNUSED
from svfr_pack.nodes.task import TaskVector
from svfr_pack.svfr_model.base.tasks import Task
from test_nodes import FixedFaces

HEIGHT, WIDTH = 96, 160
FACE = FixedFaces((0.3, 0.2, 0.5, 0.5))
INPAINT = frozenset({Task.INPAINTING})


@pytest.fixture(scope="module")
def networks():
    return LoadModel.execute(TINY, "fp32").args[0], LoadVAE.execute(TINY, "fp32").args[0]


def frames(count=6):
    return torch.rand(count, HEIGHT, WIDTH, 3) * 0.2 + 0.3


def painted(top, left, size=12, shape=(HEIGHT, WIDTH)):
    mask = torch.zeros(1, *shape)
    mask[:, top : top + size, left : left + size] = 1
    return mask


def cropped(mask, clip=None):
    widgets = {"width": 64, "height": 64, "margin": 0.2, "min_length": 1}
    made = FaceCrop.execute(
        **{
            **{entry.id: entry.default for entry in FaceCrop.GET_SCHEMA().inputs if hasattr(entry, "default")},
            **widgets,
            "frames": frames() if clip is None else clip,
            "detector": FACE,
            "mask": mask,
            "face": None,
            "encoder": None,
        }
    )
    return made.args, made.ui["text"]


def test_a_mask_on_the_face_is_cropped_and_nothing_is_said():
    (_, masks, _, _), told = cropped(painted(24, 56))
    assert told == []
    assert masks[0].max() == 1


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (64, 64)], ids=["of the frames", "Load Image's without alpha"])
def test_an_empty_mask_is_told_of_with_the_nodes_that_help(shape, caplog):
    _, told = cropped(torch.zeros(1, *shape))
    assert told == [EMPTY]
    for name in ("mask editor", "Load Image (as Mask)", "channel red", "Convert Image to Mask"):
        assert name in EMPTY
    assert EMPTY in caplog.text


def test_paint_outside_every_crop_is_told_of():
    (_, masks, _, _), told = cropped(painted(80, 140))
    assert told == [MISSED]
    assert not masks[0].any()


def test_a_mask_of_another_shape_is_told_of_with_both_sizes():
    _, told = cropped(painted(10, 10, 60, (96, 96)))
    assert len(told) == 1
    assert "96x96" in told[0]
    assert "160x96" in told[0]
    scaled = torch.nn.functional.interpolate(painted(24, 56)[None], (48, 81))[0]
    assert cropped(scaled)[1] == []  # 160x96 halved with a rounded side


def test_a_black_and_white_picture_serves_as_a_mask():
    mask = painted(24, 56)
    picture = mask[..., None].expand(-1, -1, -1, 3)
    (_, masks, _, _), told = cropped(picture)
    assert told == []
    assert torch.equal(masks[0], cropped(mask)[0][1][0])


def test_the_preview_draws_the_mask():
    clip = frames()
    bare, drawn = (cropped(mask, clip)[0][3][0][0].numpy() for mask in (None, painted(80, 140)))
    masked = painted(80, 140)[0].bool().numpy()
    changed = np.abs(drawn - bare).max(-1) > 0.05
    assert changed[masked].mean() > 0.99
    assert not changed[~masked].any()
    red, green, blue = drawn[masked].mean(0)
    assert red > green + 0.2
    assert red > blue + 0.2


@pytest.mark.parametrize(
    ("tasks", "mask", "said"),
    [
        (INPAINT, None, [NO_MASK]),
        (INPAINT, torch.zeros(1, 64, 64), [NO_MASK]),
        (INPAINT, painted(10, 10, shape=(64, 64)), []),
        ({Task.BFR}, painted(10, 10, shape=(64, 64)), [UNUSED]),
        ({Task.BFR}, torch.zeros(1, 64, 64), []),
        ({Task.BFR}, None, []),
    ],
)
def test_what_a_sampling_node_says_of_its_mask(tasks, mask, said, networks):
    model, vae = networks
    made = Conditioning.execute(model, vae, torch.rand(3, 64, 64, 3), frozenset(tasks), mask=mask)
    assert made.ui["text"] == said


@pytest.mark.parametrize(
    ("preset", "switches", "tasks", "told"),
    [
        ("restore", (True, False, False), {Task.BFR}, None),
        ("restore", (False, False, False), {Task.BFR}, "none"),
        ("restore", (True, True, False), {Task.BFR}, "restore + colorize"),
        ("colorize", (True, False, False), {Task.COLORIZATION}, None),  # nobody has touched them
        ("colorize", (True, False, True), {Task.COLORIZATION}, "restore + inpaint"),
        ("switches below", (True, True, False), {Task.BFR, Task.COLORIZATION}, None),
    ],
)
def test_switches_under_a_preset_change_nothing_and_that_is_said(preset, switches, tasks, told):
    """As before, so that saved workflows give what they gave."""
    made = TaskVector.execute(preset, *switches)
    assert made.args == (frozenset(tasks),)
    assert [f"({told})" in text and f'"{preset}"' in text for text in made.ui["text"]] == [True] * (told is not None)
