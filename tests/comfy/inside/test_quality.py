"""The nodes that damage and measure, called in ComfyUI's own process: against the library and closed forms."""

from __future__ import annotations

import json
from dataclasses import replace

import comfy.model_management
import numpy as np
import pytest
import torch
from random_networks import RANDOM_PROJECTION, RANDOM_RECOGNIZER
from svfr_pack.nodes.images import to_frames, to_pictures, to_pixels
from svfr_pack.nodes.quality import Degrade, Metrics, TemporalProfile
from svfr_pack.nodes.task import TaskVector
from svfr_pack.nodes.types import ResidentEncoder
from svfr_pack.svfr_model.base.clip import ArrayClip
from svfr_pack.svfr_model.base.errors import InputError
from svfr_pack.svfr_model.base.tasks import Task
from svfr_pack.svfr_model.metrics import METRICS, Instruments, evaluate
from svfr_pack.svfr_model.networks.identity import IdentityEncoder, build_projection, build_recognizer
from svfr_pack.svfr_model.synthesis.degrade import degrade_clip
from svfr_pack.svfr_model.synthesis.options import DegradeOptions, options_for
from test_nodes import WHOLE, call, clip


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(3)
    networks = build_recognizer(RANDOM_RECOGNIZER).eval(), build_projection(RANDOM_PROJECTION).eval()
    return ResidentEncoder(IdentityEncoder(*networks))


def figures(**inputs):
    """Table, figures by metric, and what the node shows."""
    output = Metrics.execute(**inputs)
    table, stored = output.args
    return table, json.loads(stored)["metrics"], output.ui


def level(value, count=3, height=24, width=32):
    """Frames of one grey level of 255."""
    return torch.full((count, height, width, 3), value / 255)


@pytest.mark.parametrize("preset", ["restore", "colorize", "inpaint", "restore + colorize + inpaint"])
def test_damage_is_the_librarys_on_the_same_frames(preset):
    frames = clip(6, 70, 90)
    (task,) = call(TaskVector, preset=preset)
    degraded, mask = call(Degrade, frames=frames, task=task, seed=5)
    pictures = (frames.numpy() * 255 + 0.5).astype(np.uint8)
    expected, masks = degrade_clip(pictures, options_for(task), 5)
    assert degraded.dtype == mask.dtype == torch.float32
    assert np.array_equal((degraded * 255).round().numpy(), expected)
    assert np.array_equal(mask.numpy(), masks)
    assert (mask.max() == 1) == (Task.INPAINTING in task)
    assert (degraded[mask == 1] == 1).all()


def test_flicker_goes_with_a_task_or_alone():
    frames = clip(6, 70, 90)
    flicker = {"brightness_flicker": 0.5, "pixel_flicker": 9.0}
    alone, mask = call(Degrade, frames=frames, **flicker)
    assert np.array_equal(to_frames(alone), degrade_clip(to_frames(frames), DegradeOptions(**flicker), 0)[0])
    assert mask.shape == (6, 70, 90)
    assert not mask.any()
    grey = frozenset({Task.COLORIZATION})
    both = call(Degrade, frames=frames, task=grey, **flicker)[0]
    expected = degrade_clip(to_frames(frames), replace(options_for(grey), **flicker), 0)[0]
    assert np.array_equal(to_frames(both), expected)
    assert not torch.equal(both, alone)


def test_a_seed_is_one_damage():
    frames, task = clip(4), frozenset(Task)
    before = frames.clone()
    (one, mask), (same, again), (other, _) = (call(Degrade, frames=frames, task=task, seed=n) for n in (7, 7, 2**62))
    assert torch.equal(one, same)
    assert torch.equal(mask, again)
    assert not torch.equal(one, other)
    assert torch.equal(frames, before)


def test_no_damage_at_all_is_refused():
    with pytest.raises(InputError, match="wire SVFR Tasks to task, or raise brightness_flicker"):
        call(Degrade, frames=clip(2))


def test_known_levels_have_the_psnr_of_the_formula():
    table, found, shown = figures(restored=level(110), truth=level(100))
    assert found["psnr"]["value"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-9)
    assert found["flow"]["value"] == pytest.approx(0, abs=1e-6)
    assert "| PSNR " in table
    assert "28.1308 dB" in table
    assert shown["text"] == [table]
    (drawn,) = shown["svfr_table"]
    assert drawn["head"] == "3 frames of 32x24, against the truth, frame by frame"
    rows = {row[0]: dict(zip(drawn["titles"], row, strict=True)) for row in drawn["rows"]}
    assert rows["PSNR"]["value"] == "28.1308 dB"
    assert rows["PSNR"]["fuller is better"]["bar"] == pytest.approx((28.1308 - 10) / 40, abs=1e-5)
    assert rows["Flow score"]["fuller is better"]["mark"] == 1.0
    assert "Not computed: AKD-5, because no face detector was given" in drawn["notes"]
    assert figures(restored=level(100), truth=level(100))[1]["psnr"]["value"] == 100


@pytest.mark.parametrize("frames", [1, 3])
def test_inside_the_mask_alone(frames):
    mask = torch.zeros(frames, 24, 32)
    mask[:, :12] = 1
    restored = level(100)
    restored[:, :12] = 120 / 255
    restored[:, 12:] = 101 / 255
    found = figures(restored=restored, truth=level(100), mask=mask)[1]
    assert found["psnr_mask"]["value"] == pytest.approx(20 * np.log10(255 / 20), abs=1e-9)
    assert found["psnr"]["value"] == pytest.approx(10 * np.log10(255**2 / ((400 + 1) / 2)), abs=1e-9)


def test_figures_are_the_librarys(encoder):
    restored, truth, mask = clip(5, 80, 96), clip(5, 80, 96), torch.rand(5, 80, 96)
    table, found, _ = figures(restored=restored, truth=truth, mask=mask, detector=WHOLE, encoder=encoder)
    with encoder.loaded() as networks:
        expected = evaluate(
            ArrayClip(to_frames(restored)),
            ArrayClip(to_frames(truth)),
            Instruments(detector=WHOLE, encoder=networks),
            masks=mask.numpy() >= 0.5,
        )
    assert {name: entry["value"] for name, entry in found.items() if entry["value"] is not None} == expected.values
    assert set(expected.values) == set(METRICS) - {"lpips", "i3d_distance"}
    assert "A face was found in every frame." in table


def test_what_is_not_measured_is_listed_with_the_reason(encoder):
    table, found, _ = figures(restored=clip(3), truth=clip(3))
    assert {name for name, entry in found.items() if entry["value"] is not None} == {"psnr", "ssim", "chroma", "flow"}
    assert "Not computed: PSNR in mask, because no mask was given" in table
    assert "Not computed: LPIPS, I3D distance, because no node loads its network" in table
    assert "Not computed: IDS, VIDD, Face-Cons, because no face recogniser was given" in table
    assert "Not computed: AKD-5, because no face detector was given" in table
    blind, _, _ = figures(restored=clip(3), truth=clip(3), encoder=encoder)
    assert "IDS, VIDD, Face-Cons, AKD-5, because no face detector" in blind
    table, found, _ = figures(restored=clip(3), detector=WHOLE, encoder=encoder)
    assert {name for name, entry in found.items() if entry["value"] is not None} == {"vidd", "face_cons", "flow"}
    assert "it compares with the true clip, and none was given" in table


def test_clips_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="restored clip: 3 frames, true clip: 4 frames"):
        figures(restored=clip(3), truth=clip(4))
    with pytest.raises(InputError, match="frames of 64x64 pixels, the true one of 72x64"):
        figures(restored=clip(3), truth=clip(3, 64, 72))
    with pytest.raises(InputError, match="The mask has 2 frames, the clip 3"):
        figures(restored=clip(3), truth=clip(3), mask=torch.zeros(2, 64, 64))
    with pytest.raises(InputError, match="at least 12"):
        figures(restored=clip(3, 8, 40))


@pytest.mark.parametrize(("position", "column"), [(0, 0), (0.25, 16), (0.5, 33), (1, 65)])
def test_a_profile_is_the_column_over_time(position, column):
    frames = clip(7, 20, 66)
    (profile,) = call(TemporalProfile, frames=frames, position=position)
    assert profile.shape == (1, 20, 7, 3)
    for time in range(7):
        expected = (frames[time, :, column] * 255 + 0.5).floor() / 255
        assert torch.equal(profile[0, :, time], expected)


def test_before_and_after_stand_beside_each_other():
    """With a white line between them, and at one height."""
    before, after = clip(5, 10, 33), clip(7, 20, 66)
    (profile,) = call(TemporalProfile, frames=after, position=0.5, before=before)
    assert profile.shape == (1, 20, 5 + 4 + 7, 3)
    for time in range(5):
        expected = (before[time, :, 16] * 255 + 0.5).floor() / 255
        assert torch.equal(profile[0, :, time], expected.repeat_interleave(2, 0))
    assert (profile[0, :, 5:9] == 1).all()
    assert torch.equal(profile[:, :, 9:], call(TemporalProfile, frames=after, position=0.5)[0])


@pytest.mark.parametrize(
    ("node", "inputs", "told_before"),
    [
        pytest.param(Degrade, {"frames": clip(6), "task": frozenset(Task)}, 1, id="degrade"),
        pytest.param(Degrade, {"frames": clip(6), "task": frozenset(Task)}, 4, id="degrade, later"),
        pytest.param(Metrics, {"restored": clip(6), "truth": clip(6)}, 2, id="evaluate"),
    ],
)
def test_cancel_ends_each_stage_at_its_next_frame(node, inputs, told_before, monkeypatch):
    told = []

    def check():
        told.append(1)
        if len(told) > told_before:
            comfy.model_management.interrupt_current_processing(True)
        original()

    original = comfy.model_management.throw_exception_if_processing_interrupted
    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", check)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            call(node, **inputs)
    finally:
        comfy.model_management.interrupt_current_processing(False)
    assert len(told) == told_before + 1


def test_frames_and_pictures_are_rounded_alike():
    """An alpha channel is left out, and values outside 0..1 are cut."""
    image = torch.rand(3, 10, 12, 4) * 1.4 - 0.2
    frames = to_frames(image)
    assert np.array_equal(frames, to_pixels(image).permute(0, 2, 3, 1).numpy())
    assert np.array_equal(np.stack(to_pictures(image)), frames)
