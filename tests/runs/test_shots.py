"""The way of shots past the network: what runs beside it, in which order, and how all of it ends."""

from __future__ import annotations

import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from support.tracks import make_track

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError
from svfr_model.faces.crop import plan_crop
from svfr_model.faces.cut import cut_shots
from svfr_model.faces.find import FoundShot
from svfr_model.faces.options import CropOptions, PasteOptions
from svfr_model.faces.paste_clip import RestoredTrack, paste_clip, paste_shots
from svfr_model.runs.shots import PlannedShot, ShotSteps, restore_shots

LENGTH, WIDTH, HEIGHT = 6, 96, 64
SHOTS = 5
OPTIONS = PasteOptions(color_match="lab")
PATIENCE = 20.0


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert not [thread for thread in threading.enumerate() if thread not in before]


@pytest.fixture(scope="module")
def clip():
    random = np.random.default_rng(3)
    return ArrayClip(random.integers(40, 200, (SHOTS * LENGTH, HEIGHT, WIDTH, 3), dtype=np.uint8), Fraction(25))


class Steps:
    """Every shot but the third has a face; the network makes negatives. Keeps what happened, in its order."""

    def __init__(self, clip, wait=lambda step, number: None):
        self.clip, self.wait, self.happened, self.frames, self.threads = clip, wait, [], [], {}

    def all(self):
        return ShotSteps(self.search, self.plan, self.restore, self.write)

    def note(self, step, number):
        self.threads.setdefault(step, set()).add(threading.current_thread())
        self.wait(step, number)
        self.happened.append((step, number))

    def search(self, told):
        for number in range(SHOTS):
            first = number * LENGTH
            self.note("search", number)
            told("detect", first + LENGTH, SHOTS * LENGTH)
            centers = [(40 + index, 30) for index in range(LENGTH - 1)]
            track = make_track(centers, 20.0, (WIDTH, HEIGHT), start=first, number=number)
            yield FoundShot(first, first + LENGTH, [] if number == 2 else [track])

    def plan(self, shots, told):
        for shot in shots:
            yield PlannedShot(shot, [plan_crop(track, CropOptions(size=(32, 32))) for track in shot.tracks])

    def restore(self, track, told):
        number = track.plan.track.id
        self.note("restore", number)
        told("denoise", 1, 1)
        self.happened.append(("restored", number))
        track.crops.copy_(255 - track.crops)
        return RestoredTrack(track.plan, track.crops, track.mask, track.colors)

    def write(self, shots, told):
        def noted():
            for number, shot in enumerate(shots):
                self.note("write", number)
                yield shot

        for entry in paste_shots(self.clip, noted(), OPTIONS, None, callback=told):
            self.frames.append(entry.frame)


def until(true):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def test_the_frames_are_those_of_one_step_after_the_other(clip):
    steps = Steps(clip)
    shots = restore_shots(clip, steps.all())
    assert [(shot.found.first, len(shot.plans)) for shot in shots] == [(0, 1), (6, 1), (12, 0), (18, 1), (24, 1)]
    plans = [plan for shot in shots for plan in shot.plans]
    (cut,) = cut_shots(clip, [plans])  # in turn, and with the originals' colours from a walk of their own
    restored = [RestoredTrack(track.plan, 255 - track.crops) for track in cut]
    expected = [entry.frame for entry in paste_clip(clip, restored, OPTIONS, None)]
    assert len(steps.frames) == SHOTS * LENGTH
    assert np.array_equal(np.stack(steps.frames), np.stack(expected))
    assert not np.array_equal(steps.frames[0], clip.frames[0])
    assert np.array_equal(steps.frames[13], clip.frames[13])


def test_search_and_cutting_run_ahead_and_writing_behind(clip):
    """The network's second shot waits until the last is found, the third is cut, and the first is being written."""

    def wait(step, number):
        if (step, number) == ("restore", 1):
            until(lambda: ("search", SHOTS - 1) in steps.happened and ("write", 0) in steps.happened)

    steps = Steps(clip, wait)
    restore_shots(clip, steps.all())
    order = steps.happened.index
    assert order(("search", 4)) < order(("restore", 1))
    assert order(("write", 0)) < order(("restore", 1))
    assert steps.threads["restore"] == {threading.current_thread()}
    assert threading.current_thread() not in steps.threads["search"] | steps.threads["write"]
    assert steps.threads["search"].isdisjoint(steps.threads["write"])


def test_progress_is_told_in_order_and_in_the_callers_thread(clip):
    told = []
    restore_shots(clip, Steps(clip).all(), callback=lambda *this: told.append((threading.current_thread(), *this[:3])))
    assert {entry[0] for entry in told} == {threading.current_thread()}
    for stage in ("detect", "crop", "paste"):
        done = [entry[2] for entry in told if entry[1] == stage]
        assert done == sorted(set(done)), stage
        assert done[-1] == {"crop": SHOTS * LENGTH - 1}.get(stage, SHOTS * LENGTH)
    stages = [entry[1] for entry in told]
    assert stages.count("denoise") == 4
    assert stages[0] == "detect"
    assert stages[-1] == "paste"


@pytest.mark.parametrize("stage", ["detect", "crop", "denoise", "colors", "paste"])
def test_cancelling_ends_every_thread_at_once(clip, stage):
    def cancel(name, done, total, preview):
        if name == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_shots(clip, Steps(clip).all(), callback=cancel)


@pytest.mark.parametrize("step", ["search", "restore", "write"])
@pytest.mark.parametrize("number", [0, 3])
def test_what_goes_wrong_in_a_step_ends_all_of_them(clip, step, number):
    def wait(name, place):
        if (name, place) == (step, number):
            raise InputError(f"{step} broke")

    with pytest.raises(InputError, match=f"{step} broke"):
        restore_shots(clip, Steps(clip, wait).all())


def test_a_failure_behind_stops_the_network_at_its_next_report(clip):
    """A full disk must not be told only after hours."""

    def wait(step, number):
        if step == "write":
            raise OSError("disk full")
        if (step, number) == ("restore", 1):
            until(lambda: not [thread for thread in threading.enumerate() if thread.name == "Behind"])

    steps = Steps(clip, wait)
    with pytest.raises(OSError, match="disk full"):
        restore_shots(clip, steps.all())
    assert ("restore", 1) in steps.happened
    assert ("restored", 1) not in steps.happened
