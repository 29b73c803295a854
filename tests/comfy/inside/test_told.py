"""What the nodes tell in the page: each such text is in the list that web/js/words.js translates from."""

import itertools
import json
import re

import pytest
import torch
from conftest import ROOT
from svfr_pack.nodes import bundled, get_weights, load, masks, quality, task
from svfr_pack.nodes.by_eye import parse_by_eye
from svfr_pack.nodes.presets import chosen
from svfr_pack.nodes.widgets import inputs_of
from svfr_pack.svfr_model.base.tasks import Task
from svfr_pack.svfr_model.engine.options import RestoreOptions
from svfr_pack.svfr_model.engine.presets import PRESETS
from svfr_pack.svfr_model.faces.track import FoundFaces
from svfr_pack.svfr_model.metrics import instruments
from svfr_pack.svfr_model.metrics.evaluate import GIVEN_LANDMARKS, NEEDS_TRUTH, NO_MASK, _meters
from svfr_pack.svfr_model.metrics.report import METRICS, Measure, Report, row_of
from svfr_pack.svfr_model.weights import REGISTRY

TOLD = json.loads((ROOT / "locales" / "en" / "main.json").read_text(encoding="utf-8"))["svfr_told"]
PATTERNS = [re.compile("(.+?)".join(map(re.escape, re.split(r"\{\d\}", text))), re.S) for text in TOLD]
NAMES = {"SSIM", "LPIPS", "IDS", "VIDD", "AKD-5", "PSNR", "Face-Cons", "VGG-16, RGB", "MIT"}
"""What is the same in every language."""


def untold(texts):
    """Those that nothing in the list fits."""
    return [text for text in texts if text and text not in NAMES and not any(p.fullmatch(text) for p in PATTERNS)]


def test_a_text_that_is_not_in_the_list_is_found():
    known = "The mask is not used: choose a task that includes inpaint."
    assert untold([known, "No such words."]) == ["No such words."]


def test_metrics():
    measures = [Measure(key, 1.0, counted=2, expected=3) for key in METRICS]
    cells = [cell for measure in measures for cell in row_of(measure) if not re.match(r"[\d.]+( dB| px)?$", cell)]
    reports = [
        Report(3, 4, 5, against, (Measure("psnr", None, "no mask was given"),), *faceless)
        for against, faceless in itertools.product((True, False), [(None, None), (0, 0), (1, None), (1, 2)])
    ]
    meters = _meters(instruments.Instruments())
    reasons = [*instruments.NOT_GIVEN.values(), *(meter._nothing for meter in meters.values())]
    reasons += [NO_MASK, NEEDS_TRUTH, GIVEN_LANDMARKS, quality.COMMAND_LINE]
    reasons.remove("no LPIPS network was given")  # the node has its own reason for these two
    reasons.remove("no I3D network was given")
    shown = [*quality.TITLES, *cells, *(report.head for report in reports)]
    assert untold([*shown, *reasons, *(note for report in reports for note in report.notes)]) == []


def test_weights(tmp_path):
    (tmp_path / "unet.pth").write_bytes(b"PK cut off")
    places = [get_weights._place(entry, tmp_path / "unet.pth") for entry in REGISTRY.values() if entry.role == "unet"]
    assert "DAMAGED" in places[0]
    sizes = [get_weights._size(entry, None) for entry in REGISTRY.values()]
    terms = [text for entry in REGISTRY.values() for text in (entry.purpose, entry.note, entry.licence)]
    heads = [get_weights._head({"unet": None}), get_weights.REFUSED, "missing"]
    sizes = [size for size in sizes if not size[0].isdigit()]
    assert untold([*get_weights.TITLES, *places, *sizes, *terms, *heads]) == []


def test_warnings():
    empty, marked = torch.zeros(1, 8, 8), torch.ones(1, 8, 16)
    inpaint, restore = frozenset({Task.INPAINTING}), frozenset({Task.BFR})
    told = [
        *masks.mask_faults(empty, (8, 8), []),
        *masks.mask_faults(marked, (8, 8), [empty]),
        *(fault for tasks in (inpaint, restore) for fault in masks.sampler_faults(marked, (8, 8), tasks)),
        *(fault for tasks in (inpaint, restore) for fault in masks.video_faults(marked, (8, 8), tasks)),
        *masks.sampler_faults(None, (8, 8), inpaint),
        *masks.video_faults(None, (8, 8), inpaint),
        *task._overruled("restore", False, True, False),
        *task._overruled("restore", False, False, False),
        bundled.TINY_NOTICE,
        quality.BESIDE,
        f"yolo.pt {load.RUNS_CODE}",
    ]
    assert len(told) >= 13
    assert untold(told) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset):
    widgets = {entry.id: entry.default for entry in inputs_of(RestoreOptions)}
    _, told = chosen({**widgets, "preset": preset})
    assert len(told) == 1
    assert untold(told) == []


def test_faces_chosen_by_eye():
    choice = parse_by_eye(json.dumps({"size": [64, 64], "frames": 3, "marks": [[0, 1, 1, 9, 9]]}))
    _, told = choice.pick(FoundFaces([], [], 4, (32, 32)))
    assert untold(told) == []
