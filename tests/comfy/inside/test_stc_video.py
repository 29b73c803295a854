"""STC Enhance Video: from file to file the same as STC Enhance."""

from __future__ import annotations

import re

import comfy.model_management
import numpy as np
import pytest
import torch
from random_networks import RANDOM_STC
from svfr_pack.nodes import phases
from svfr_pack.nodes.phases import Phases
from svfr_pack.nodes.stc import CROPS, WHOLE, EnhanceSTC
from svfr_pack.nodes.stc_video import EnhanceVideo
from svfr_pack.nodes.types import ResidentSTC
from svfr_pack.svfr_model.base.errors import InputError
from svfr_pack.svfr_model.stc.network import build_network
from test_nodes import call
from test_video import FACE, frames, frames_of, of_components, of_file, temporary  # noqa: F401

FFV1 = {"codec": "ffv1"}


@pytest.fixture(params=["bfr", "deflicker"])
def stc(request):
    return ResidentSTC(build_network(request.param, RANDOM_STC))


@pytest.mark.parametrize("mode", [WHOLE, CROPS])
def test_the_frames_are_those_of_the_wired_node(stc, frames, tmp_path, mode):  # noqa: F811
    given = {"stc_model": stc, "mode": mode, "detector": FACE}
    theirs, _ = call(EnhanceSTC, frames=frames, **given)
    for video in (of_components(frames), of_file(tmp_path / "in.mkv", frames)):
        (result,) = call(EnhanceVideo, video=video, **FFV1, **given)
        error = np.abs(frames_of(result).astype(float) - 255 * theirs.clamp(0, 1).numpy())
        assert np.quantile(error, 0.999) < 1.5  # LAB is steep in the colours of random networks
        assert error.mean() < 0.3
    assert (theirs - frames).abs().max() > 0.05, "something was enhanced"


def test_a_cancel_leaves_no_file(stc, frames, temporary, monkeypatch):  # noqa: F811
    plain = Phases.__call__

    def cancelled(self, name, done, total, preview=None):
        if name == "enhance" and done:
            comfy.model_management.interrupt_current_processing()
        plain(self, name, done, total, preview)

    monkeypatch.setattr(Phases, "__call__", cancelled)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        call(EnhanceVideo, video=of_components(frames), stc_model=stc, mode=WHOLE, **FFV1)
    assert not temporary.exists() or list(temporary.iterdir()) == []


def test_crops_need_a_detector(stc, frames):  # noqa: F811
    with pytest.raises(InputError, match="needs a detector"):
        call(EnhanceVideo, video=of_components(frames), stc_model=stc, mode=CROPS)


def test_a_codec_that_does_not_take_the_size_is_refused_before_any_work(stc, frames, monkeypatch):  # noqa: F811
    monkeypatch.setattr("svfr_pack.nodes.stc_video.enhance_faces", lambda *_, **__: pytest.fail("it was enhanced"))
    video = of_components(frames[:, :, :-1])
    with pytest.raises(InputError, match="even sides only"):
        call(EnhanceVideo, video=video, stc_model=stc, mode=CROPS, detector=FACE, codec="hevc")


def test_the_text_does_not_stay_at_the_last_phase(stc, monkeypatch):
    told = []
    monkeypatch.setattr(phases, "tell", lambda node, text: told.append(text))
    call(EnhanceVideo, video=of_components(torch.rand(4, 64, 80, 3)), stc_model=stc, mode=WHOLE, **FFV1)
    assert re.fullmatch(r"done in \d+ s", told[-1])


def test_the_bar_ends_full(stc, monkeypatch):
    shown = []
    plain = Phases.__call__

    def watched(self, *told):
        plain(self, *told)
        shown.append(self.share)

    monkeypatch.setattr(Phases, "__call__", watched)
    call(EnhanceVideo, video=of_components(torch.rand(30, 64, 80, 3)), stc_model=stc, mode=WHOLE, stretch=True, **FFV1)
    assert shown == sorted(shown)
    assert shown[-1] == pytest.approx(1)
