"""Progress: the bar against the true share of the time, texts, steps within a phase, previews of several frames."""

import base64
import io
import itertools
from dataclasses import replace

import pytest
import torch
from PIL import Image
from svfr_pack.nodes import phases
from svfr_pack.nodes.phases import CUT, DECODE, ENCODE, PREVIEW, ROW, SEARCH, Phases, Previews, Work
from svfr_pack.svfr_model.engine.options import RestoreOptions
from test_nodes import folder, model, vae  # noqa: F401

OPTIONS = RestoreOptions(steps=8, first_steps=8)
TINY = Work(encode=3.3e-4, row=2.6e-4, decode=1.1e-3)
SECONDS = {
    "svfr-tiny": (
        TINY,
        {"detect": 0.59, "crop": 0.25, "encode": 1.74, "first denoise": 1.36, "first decode": 0.76, "denoise": 9.25,
         "decode": 4.49, "paste": 0.28},
    ),
    "full size, at one speed": (
        Work(),
        {"detect": 2.0, "crop": 0.5, "encode": 4.7, "first denoise": 9.0, "first decode": 3.0, "denoise": 117.0,
         "decode": 16.2, "paste": 2.0},
    ),
    "svfr-tiny, one pass": (TINY, {"encode": 1.84, "denoise": 6.05, "decode": 5.3}),
    "a slow disk": (
        TINY,
        {"detect": 0.5, "crop": 3.0, "encode": 1.7, "first denoise": 1.4, "first decode": 0.8, "denoise": 9.0,
         "decode": 4.5, "paste": 9.0},
    ),
}  # fmt: skip
"""By name: the work of a frame, and what each phase of a clip of 85 frames takes. svfr-tiny as measured, in two passes
(docs/speed.md) and in one; then work of the full-size networks at one speed; then walks through the clip that take half
of all."""
PIECES = 20


class Bar:
    """Stands in for ComfyUI's bar."""

    def __init__(self, total):
        self.total, self.shown = total, []

    def update_absolute(self, value, total=None, preview=None):
        self.shown.append(value / self.total)


class Clock:
    """Stands in for the time."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    running = Clock()
    monkeypatch.setattr(phases, "time", running)
    return running


@pytest.fixture
def told(monkeypatch):
    texts = []
    monkeypatch.setattr(phases.comfy.utils, "ProgressBar", Bar)
    monkeypatch.setattr(phases, "tell", lambda node, text: texts.append(text))
    monkeypatch.setattr(phases, "BETWEEN", 0.0)
    return texts


def played(clock, work, seconds, dropped=()):
    """(stage, true share of the time, share of the bar) at the end of each phase of a video; and all of the bar."""
    searched = "detect" in seconds
    running, whole, passed, ends = Phases("7", "detect" if searched else None), sum(seconds.values()), 0.0, []
    if not searched:
        running.plan(0, [85], replace(OPTIONS, passes=1), work=work)
    for stage, cost in seconds.items():
        for piece in range(PIECES):
            clock.now += cost / PIECES
            running(stage, piece + 1, PIECES)
        passed += cost
        ends.append((stage, passed / whole, running._bar.shown[-1]))
        if stage == "detect":
            running.plan(85, [85], OPTIONS, work=work)
            for name in dropped:
                del running._remaining._work[name]
    return ends, running._bar.shown


@pytest.mark.parametrize("name", SECONDS)
def test_the_bar_is_near_the_true_share_of_the_time_at_each_phases_end(name, told, clock):
    ends, shown = played(clock, *SECONDS[name])
    assert {stage: (true, bar) for stage, true, bar in ends if abs(true - bar) > 0.1} == {}
    assert ends[-1][2] == 1
    assert shown == sorted(shown)


@pytest.mark.parametrize("name", ["denoise", "decode", "first decode"])
def test_a_phase_that_were_not_counted_would_be_seen(name, told, clock):
    """So the bounds above are not too wide."""
    work, seconds = SECONDS["full size, at one speed"]
    ends, _ = played(clock, work, {**seconds, "first decode": 40.0, "decode": 40.0}, [name])
    assert max(abs(true - bar) for _, true, bar in ends) > 0.1


def test_the_bar_moves_all_the_time(told, clock):
    """Also where a phase takes longer than was thought: here the last one, three times as long as its work says."""
    work, seconds = SECONDS["svfr-tiny"]
    _, shown = played(clock, work, {**seconds, "decode": 15.0})
    steps = [after - before for before, after in itertools.pairwise(shown)]
    assert min(steps) > 0
    assert max(steps) < 0.1


def test_a_video_begins_with_a_search_of_unknown_length(told, clock):
    running = Phases("7")
    running("detect", 20, 20)
    assert running.share == SEARCH
    running.plan(20, [20], OPTIONS)
    running("crop", 10, 20)
    assert running.share == pytest.approx((SEARCH + CUT) / 2)
    assert told == ["finding faces, 5%", "cutting out, 6%"]


def test_phases_are_told_with_the_time_left(told, clock):
    running = Phases("7", None)
    running.plan(0, [20], OPTIONS)
    running("load", 0, 1)
    clock.now += 5
    running("load", 1, 1)
    clock.now += 22
    running("encode", 20, 20)
    rows, share = 8 * 16, 2 * 16 / (16 - 3)
    left = 22 * (ROW * rows + DECODE * 16 + ROW * share * 8 * 20 + DECODE * 20) / (ENCODE * 20)
    assert told == [
        "loading the networks, 0%",
        f"encoding, {27 / (27 + left):.0%}, about {left / 60:.0f} min left",
    ]
    running.finished()
    assert running._bar.shown[-1] == 1
    assert told[-1] == "done in 27 s"


def test_the_bar_moves_within_a_step(told, clock):
    running = Phases("7", None)
    running.plan(0, [20], OPTIONS)
    for stage in ("encode", "first denoise", "first decode"):
        clock.now += 1
        running(stage, 1, 1)
    before = running.share
    clock.now += 1
    running("windows", 1, 2)
    assert running.share > before
    assert running._remaining._finished("denoise") == pytest.approx(running._remaining._work["denoise"][0] / 16)
    running("windows", 2, 2)
    running("denoise", 1, 8)
    assert running._remaining._finished("denoise") == pytest.approx(running._remaining._work["denoise"][0] / 8)


def test_one_step_is_one_run(told, clock):
    running = Phases("7", None)
    running.plan(0, [20], RestoreOptions(steps=1, passes=1))
    running("windows", 1, 1)
    running("denoise", 1, 1)
    assert running._remaining.runs("denoise") == (1, 1)


def test_given_noise_levels_are_counted(told):
    running = Phases("7", None)
    running.plan(0, [20], OPTIONS, [9.0, 3.0, 0.0])
    usual = Phases("7", None)
    usual.plan(0, [20], OPTIONS)
    half = usual._remaining._work["denoise"][0] / 4
    assert running._remaining._work["denoise"][0] == pytest.approx(half)
    assert running._steps["denoise"] == 2


def test_work_is_that_of_the_networks_that_are_loaded(model, vae):  # noqa: F811
    small, large = (Work.of(model, vae, (side, side)) for side in (64, 128))
    for name in ("encode", "row", "decode"):
        assert getattr(large, name) == pytest.approx(4 * getattr(small, name))
    assert 0 < small.row < ROW / 1000
    assert 0 < small.encode < ENCODE / 100
    assert small.decode / small.encode == pytest.approx(DECODE / ENCODE)


class Painter:
    """Stands in for ComfyUI's previewer: a picture as bright as the latent."""

    def decode_latent_to_preview(self, latents):
        assert len(latents) == 1
        return Image.new("RGB", (6, 4), (int(latents.mean()),) * 3)


@pytest.mark.parametrize(
    ("count", "seen"),
    [(1, []), (2, [0, 10]), (7, [0, 10, 20, 30, 40, 50, 60]), (16, [0, 20, 40, 60, 80, 100, 120, 140]),
     (85, [0, 20, 40, 60, 80, 100, 120, 140])],
)  # fmt: skip
def test_a_preview_plays_frames_of_the_window(count, seen, monkeypatch):
    sent = []
    monkeypatch.setattr(phases, "send", lambda event, data: sent.append((event, data)))
    monkeypatch.setattr(phases.latent_preview, "get_previewer", lambda *_: Painter())
    latents = 10 * torch.arange(count).view(-1, 1, 1, 1).expand(-1, 4, 2, 3).float()
    kind, picture, _ = Previews("7", torch.device("cpu")).of(latents)
    assert (kind, picture.size, picture.getpixel((0, 0))[0]) == ("JPEG", (6, 4), 0)
    pictures = [Image.open(io.BytesIO(base64.b64decode(text))) for _, data in sent for text in data["frames"]]
    assert [round(each.getpixel((3, 2))[0], -1) for each in pictures] == seen
    assert [(event, data["node"]) for event, data in sent] == [(PREVIEW, "7")] * bool(seen)


def test_no_preview_where_comfyui_makes_none(monkeypatch):
    monkeypatch.setattr(phases.latent_preview, "get_previewer", lambda *_: None)
    assert Previews("7", torch.device("cpu")).of(torch.zeros(3, 4, 2, 2)) is None
