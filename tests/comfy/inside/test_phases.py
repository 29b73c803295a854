"""Progress by counted work over all phases: shares, texts, steps within a phase, previews of several frames."""

import time

import pytest
import torch
from PIL import Image
from svfr_pack.nodes import phases
from svfr_pack.nodes.phases import DECODE, ENCODE, PASTE, ROW, SEARCH, Phases, Previews
from svfr_pack.svfr_model.engine.options import RestoreOptions

OPTIONS = RestoreOptions(steps=4, first_steps=2)


class Bar:
    """Stands in for ComfyUI's bar."""

    def __init__(self, total):
        self.total, self.shown, self.pictures = total, [], []

    def update_absolute(self, value, total=None, preview=None):
        self.shown.append(value / self.total)
        self.pictures.append(preview)


@pytest.fixture
def told(monkeypatch):
    texts = []
    monkeypatch.setattr(phases.comfy.utils, "ProgressBar", Bar)
    monkeypatch.setattr(phases, "tell", lambda node, text: texts.append(text))
    monkeypatch.setattr(phases, "BETWEEN", 0.0)
    return texts


def parts(count=20, pasted=0):
    """The work of each phase of a clip of so many frames, by the stage that ends it."""
    plan = OPTIONS.plan
    first, share = min(plan.length, count), 2 * plan.length / (plan.length - plan.overlap)
    work = {
        "encode": ENCODE * count,
        "first denoise": ROW * 2 * first,
        "first decode": DECODE * first,
        "denoise": ROW * share * 4 * count,
        "decode": DECODE * count,
        "paste": PASTE * pasted,
    }
    return {stage: amount / sum(work.values()) for stage, amount in work.items() if amount}


def test_a_clip_fills_the_bar_by_the_work_of_its_phases(told):
    running = Phases("7", None)
    running.plan(0, [20], OPTIONS)
    done = 0.0
    for stage, part in parts().items():
        running(stage, 1, 2)
        assert running._bar.shown[-1] == pytest.approx(done + part / 2, abs=1e-3), stage
        running(stage, 2, 2)
        done += part
        assert running._bar.shown[-1] == pytest.approx(done, abs=1e-3), stage
    running.finished()
    assert running._bar.shown[-1] == 1
    assert [text.partition(",")[0] for text in told[::2]][:5] == [
        "encoding", "first pass", "first pass", "restoring", "decoding",
    ]  # fmt: skip
    assert told[-1].startswith("done in ")


def test_a_video_begins_with_a_search_of_unknown_length_and_ends_with_pasting(told):
    running = Phases("7")
    running("detect", 20, 20)
    assert running._bar.shown == [pytest.approx(SEARCH, abs=1e-3)]
    running.plan(20, [20], OPTIONS)
    done = SEARCH
    for stage, part in parts(pasted=20).items():
        running(stage, 1, 1)
        done += (1 - SEARCH) * part
        assert running._bar.shown[-1] == pytest.approx(done, abs=1e-3), stage
    assert done == pytest.approx(1)


def test_the_bar_moves_within_a_step(told):
    running = Phases("7", None)
    running.plan(0, [20], OPTIONS)
    running("encode", 1, 1)
    running("first denoise", 2, 2)
    running("first decode", 1, 1)
    before = running._bar.shown[-1]
    running("windows", 1, 2)
    assert running._bar.shown[-1] == pytest.approx(before + parts()["denoise"] / 8, abs=1e-3)
    running("windows", 2, 2)
    running("denoise", 1, 4)
    assert running._bar.shown[-1] == pytest.approx(before + parts()["denoise"] / 4, abs=1e-3)


def test_given_noise_levels_are_counted(told):
    running = Phases("7", None)
    running.plan(0, [20], OPTIONS, [9.0, 3.0, 0.0])
    usual = Phases("7", None)
    usual.plan(0, [20], OPTIONS)
    assert running._weights["denoise"][0] == pytest.approx(usual._weights["denoise"][0] / 2)
    assert running._steps["denoise"] == 2


def test_the_time_left_follows_the_work(told, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    running = Phases("7", None)
    running.plan(0, [20], OPTIONS)
    now[0] += 10
    running("encode", 1, 1)
    left = 10 / parts()["encode"] - 10
    assert told[-1] == f"encoding, {parts()['encode']:.0%}, about {left / 60:.0f} min left"


class Painter:
    """Stands in for ComfyUI's previewer: a picture as bright as the latent."""

    def decode_latent_to_preview(self, latents):
        assert len(latents) == 1
        return Image.new("RGB", (6, 4), (int(latents.mean()),) * 3)


@pytest.mark.parametrize(
    ("count", "size", "seen"),
    [(1, (6, 4), [0]), (2, (12, 4), [0, 10]), (3, (12, 8), [0, 10, 20]), (16, (12, 8), [0, 50, 100, 150])],
)
def test_a_preview_shows_several_frames_of_the_clip(count, size, seen, monkeypatch):
    monkeypatch.setattr(phases.latent_preview, "get_previewer", lambda *_: Painter())
    latents = 10 * torch.arange(count).view(-1, 1, 1, 1).expand(-1, 4, 2, 3).float()
    kind, sheet, _ = Previews(torch.device("cpu")).of(latents)
    assert (kind, sheet.size) == ("JPEG", size)
    corners = [(0, 0), (6, 0), (0, 4), (6, 4)][: len(seen)]
    assert [sheet.getpixel(corner)[0] for corner in corners] == seen


def test_no_preview_where_comfyui_makes_none(monkeypatch):
    monkeypatch.setattr(phases.latent_preview, "get_previewer", lambda *_: None)
    assert Previews(torch.device("cpu")).of(torch.zeros(3, 4, 2, 2)) is None
