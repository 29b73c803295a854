"""The choice `preset`: what it replaces and says, and that workflows saved before it was there give what they gave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from comfy_api.latest import io
from near import assert_near
from svfr_pack.nodes.bundled import TINY
from svfr_pack.nodes.images import from_pixels
from svfr_pack.nodes.load import LoadIdentityEncoder, LoadModel, LoadVAE
from svfr_pack.nodes.presets import chosen
from svfr_pack.nodes.restore import Restore
from svfr_pack.nodes.sample import Sampler
from svfr_pack.svfr_model.base.tasks import Task
from svfr_pack.svfr_model.engine.options import RestoreOptions
from svfr_pack.svfr_model.engine.presets import PRESETS
from svfr_pack.svfr_model.faces.face import Face
from svfr_pack.svfr_model.synthesis.clips import make_clip
from svfr_pack.svfr_model.synthesis.degrade import degrade_clip
from svfr_pack.svfr_model.synthesis.options import DegradeOptions, LowQuality

BEFORE = json.loads((Path(__file__).parents[1] / "data" / "before_presets.json").read_text())
"""Nodes of workflows as saved before there were presets, and what that version made of a clip: see `restored`.

Of svfr-tiny's present weights it was recorded by a later version, which gave the same with the weights before.
"""
SEED, FRAMES, SIZE = 1_000_000, 4, 64


class DrawnFace:
    """A detector that knows where the face was drawn."""

    def __init__(self, five):
        self.five = five

    def detect(self, frames):
        box = np.array([8.0, 8.0, 56.0, 56.0])
        return [[Face(box, five.astype(np.float64), 0.9)] for five in self.five[: len(frames)]]


@pytest.fixture(scope="module")
def wired():
    """What both nodes are given: svfr-tiny and a drawn, degraded clip."""
    clip = make_clip(SEED, FRAMES, SIZE)
    degraded, _ = degrade_clip(clip.frames, DegradeOptions(low_quality=LowQuality()), SEED)
    (model,), (vae,) = LoadModel.execute(TINY, "fp32").args, LoadVAE.execute(TINY, "fp32").args
    crops = from_pixels(torch.from_numpy(degraded).permute(0, 3, 1, 2))
    both = {"model": model, "vae": vae, "crops": crops, "task": frozenset({Task.BFR})}
    (encoder,) = LoadIdentityEncoder.execute(TINY, TINY).args
    return {Sampler: both, Restore: {**both, "detector": DrawnFace(clip.five), "encoder": encoder}}


def saved_widgets(node, values):
    """Widgets by name, as the frontend reads them from their positions; a seed has one more value."""
    left, named = list(values), {}
    entries = [entry for entry in node.GET_SCHEMA().inputs if isinstance(entry, io.WidgetInput)]
    for entry in sorted(entries, key=lambda entry: bool(entry.optional)):
        if left:
            named[entry.id] = left.pop(0)
            left = left[1:] if entry.id == "seed" else left
        else:
            named[entry.id] = entry.default
    assert not left
    return named


def restored(node, wired, widgets):
    """Means of 8x8 pixels of the frames, in [0,1], and the whole output."""
    output = node.execute(**wired[node], **widgets)
    frames = output.args[0].permute(0, 3, 1, 2)
    return torch.nn.functional.avg_pool2d(frames, 8), output


NODES = {"SVFRSampler": Sampler, "SVFRRestore": Restore}


@pytest.mark.parametrize("kind", NODES)
def test_a_workflow_from_before_gives_what_it_gave(kind, wired):
    """Within 2e-3 of the full range, which is room for another CPU; on the same one the difference is 0."""
    node = NODES[kind]
    widgets = saved_widgets(node, BEFORE[kind]["widgets_values"])
    assert widgets["preset"] == "custom"
    blocks, output = restored(node, wired, widgets)
    assert_near(blocks, torch.tensor(BEFORE[kind]["blocks"]), 2e-3)
    assert output.ui == {"text": []}


@pytest.mark.parametrize("kind", NODES)
def test_the_choice_is_the_last_widget_and_says_what_it_replaces(kind):
    entries = [entry for entry in NODES[kind].GET_SCHEMA().inputs if isinstance(entry, io.WidgetInput)]
    last = sorted(entries, key=lambda entry: bool(entry.optional))[-1]
    assert (last.id, last.default, last.options) == ("preset", "custom", ["custom", *PRESETS])
    ids = {entry.id for entry in entries}
    replaced = {"steps", "levels", "guidance_sigma_low", "guidance_sigma_high", "decode_overlap"}
    replaced |= {"first_steps", "first_levels"} if kind == "SVFRRestore" else set()
    named = set(last.tooltip.partition("takes the place of ")[2].partition(". ")[0].replace(" and ", ", ").split(", "))
    assert named == replaced <= ids
    for name, preset in PRESETS.items():
        assert f"{name}: " in last.tooltip
        assert f"({preset.cost:.2f})" in last.tooltip


def test_custom_and_untouched_widgets_mean_the_engines_defaults():
    """So a new node gives what `exact` gives."""
    widgets = {e.id: e.default for e in Restore.GET_SCHEMA().inputs if isinstance(e, io.WidgetInput)}
    assert chosen(widgets) == (RestoreOptions(), ())
    exact, (told,) = chosen({**widgets, "preset": "exact"})
    assert exact == RestoreOptions()
    assert "preset exact" in told


def test_the_sampler_says_what_a_preset_replaces(wired):
    seen = []
    watched = wired[Sampler]["model"].clone()

    def watch(apply, told):
        seen.append(told["timestep"])
        return apply(told["input"], told["timestep"], **told["c"])

    watched.set_model_unet_function_wrapper(watch)
    widgets = saved_widgets(Sampler, BEFORE["SVFRSampler"]["widgets_values"]) | {"preset": "preview"}
    output = Sampler.execute(**{**wired[Sampler], "model": watched}, **widgets)
    assert len(seen) == 3
    (told,) = output.ui["text"]
    assert told == (
        "The preset preview takes the place of these inputs: decode_overlap 4, levels few-3, guidance_sigma_low 0, "
        "guidance_sigma_high 10000."
    )
    own = Sampler.execute(**wired[Sampler], **{**widgets, "preset": "custom", "levels": "700,3,0.5"})
    assert torch.equal(output.args[0], own.args[0])


def test_wired_sigmas_come_before_a_presets_levels(wired):
    widgets = saved_widgets(Sampler, BEFORE["SVFRSampler"]["widgets_values"])
    sigmas = torch.tensor([700.0, 2.0, 0.0])
    output = Sampler.execute(**wired[Sampler], sigmas=sigmas, **{**widgets, "preset": "fast"})
    assert "levels" not in output.ui["text"][0]
    own = Sampler.execute(**wired[Sampler], **{**widgets, "levels": "700,2"})
    assert torch.equal(output.args[0], own.args[0])


@pytest.mark.parametrize(("preset", "passes"), [("fast", 2), ("preview", 1)])
def test_restore_runs_the_presets_passes_and_always_has_a_reference(preset, passes, wired):
    widgets = saved_widgets(Restore, BEFORE["SVFRRestore"]["widgets_values"]) | {"preset": preset}
    frames, _, _, reference, identity, score, index = (output := Restore.execute(**wired[Restore], **widgets)).args
    assert frames.shape == (FRAMES, SIZE, SIZE, 3)
    assert reference.shape == (1, SIZE, SIZE, 3)
    assert identity.tokens.shape == (49, 64)
    assert 0 < score <= 1
    assert f"The preset {preset} takes the place of" in output.ui["text"][0]
    widgets = saved_widgets(Sampler, BEFORE["SVFRSampler"]["widgets_values"]) | {"preset": preset}
    one = Sampler.execute(**wired[Sampler], **widgets)
    assert torch.equal(frames, one.args[0]) is (passes == 1)
    if passes == 1:
        assert_near(reference[0], frames[index], 1e-5)
