"""Wherever a run is killed, one that goes on with its work gives the same numbers; and so do files instead of memory.

The network is none, but what it answers depends on all that it is given, so that nothing can be mixed up unseen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.dying import DyingMemory, Killed
from support.stubs import StubBackend, StubVAE
from support.tracks import make_track

from svfr_model.base.clip import ArrayClip
from svfr_model.base.memory import PLAIN
from svfr_model.base.tasks import Task
from svfr_model.engine import conditioning
from svfr_model.engine.level_log import LevelLog
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Networks
from svfr_model.engine.self_reference import SelfReference
from svfr_model.engine.windows import WindowPlan
from svfr_model.faces import cut
from svfr_model.faces.crop import plan_crop
from svfr_model.faces.options import CropOptions, PasteOptions
from svfr_model.faces.paste_clip import paste_clip
from svfr_model.files.mapped import MappedMemory
from svfr_model.networks.identity import Identity
from svfr_model.runs.restore_clip import Request, find_shots, restore_tracks, restore_whole

COUNT, WIDTH, HEIGHT, SIDE = 23, 96, 64, 16
MOVED = np.array([[0, 0, 1], [0, 0, 0]])
"""By one pixel."""
TASKS = frozenset({Task.BFR, Task.INPAINTING})
OPTIONS = RestoreOptions(
    steps=3, first_steps=2, passes=2, decode_chunk=5, decode_overlap=2, plan=WindowPlan(length=6, overlap=2)
)


class Referrer:
    """Takes the second frame, whose colours are the identity."""

    def __call__(self, frames, landmarks=None):
        means = frames.mean((0, 2, 3))
        return SelfReference(frames[1], 1, Identity(means.repeat(5, 2), means.repeat(171)[:512]), 0.75)


class MixingVAE(StubVAE):
    """What it decodes depends on the whole chunk, as in the published decoder."""

    def decode(self, latents):
        return super().decode(latents + 0.1 * latents.mean(0, keepdim=True))


def estimate(x, sigma, degraded, reference, tokens, task):
    mixed = degraded + 0.05 * x / (1 + sigma) + 0.1 * degraded.mean(1, keepdim=True) + 0.2 * reference[:, None]
    return (mixed + tokens.mean() / 10).tanh() * StubVAE.scaling_factor


@pytest.fixture(autouse=True)
def no_open_file_is_replaced():
    """That is looked at in tests/files; here it would take most of the time."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Several parts in encoding and in the solvers, though the clip is short."""
    monkeypatch.setattr(conditioning, "ENCODE_PIXELS", 4 * SIDE * SIDE)
    monkeypatch.setattr("svfr_model.engine.solvers.AT_ONCE", 7)
    # Only a machine that loses its power forgets what is not flushed, and that takes long.
    monkeypatch.setattr("svfr_model.files.mapped.os.fsync", lambda file: None)
    monkeypatch.setattr("svfr_model.files.mapped.np.memmap.flush", lambda mapped: None)


@pytest.fixture(scope="module")
def clip():
    random = np.random.default_rng(5)
    return ArrayClip(random.integers(30, 220, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def masks():
    marked = np.zeros((COUNT, HEIGHT, WIDTH), bool)
    marked[:, 20:26, 30:60] = True
    return marked


@pytest.fixture(scope="module")
def plans():
    tracks = [
        make_track([(40 + i, 30) for i in range(17)], 22.0, (WIDTH, HEIGHT), start=1),
        make_track([(50, 28 + i) for i in range(3)], 24.0, (WIDTH, HEIGHT), start=19, number=1),
    ]
    return [plan_crop(track, CropOptions(size=(SIDE, SIDE))) for track in tracks]


def pasted(clip, plans, masks, options, memory=PLAIN, backend=None):
    """The clip's frames with the restored tracks in them."""
    networks = Networks(backend or StubBackend(estimate), MixingVAE(), Referrer())
    requests = [Request(TASKS, options)] * len(plans)
    restored = restore_tracks(clip, plans, networks, requests, masks=iter(masks), memory=memory)
    return np.stack([entry.frame for entry in paste_clip(clip, restored, PasteOptions(color_match="lab"), TASKS)])


def dies(work, folder, save):
    """Whether the work ended by the death of its memory at this save."""
    DyingMemory.left = save
    try:
        work(DyingMemory(folder))
    except Killed:
        return True
    return False


VARIANTS = {
    "two passes": OPTIONS,
    "one pass": replace(OPTIONS, passes=1),
    "heun": replace(OPTIONS, solver="heun"),
    "dpmpp_2m": replace(OPTIONS, solver="dpmpp_2m"),
    "augmentation": replace(OPTIONS, augmentation=0.1),
    "chunks without overlap": replace(OPTIONS, decode_overlap=0),
    "chunks that overlap by more than half": replace(OPTIONS, decode_overlap=3),
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_files_instead_of_memory_give_the_same_numbers(clip, plans, masks, tmp_path, options):
    expected = pasted(clip, plans, masks, options)
    assert np.array_equal(pasted(clip, plans, masks, options, MappedMemory(tmp_path / "work")), expected)
    assert not np.array_equal(expected, clip.frames)


@pytest.mark.parametrize(("options", "apart"), [(OPTIONS, 2), *((options, 7) for options in VARIANTS.values())])
def test_a_run_killed_at_a_save_goes_on_to_the_same_frames(clip, plans, masks, tmp_path, options, apart):
    """What was to be saved is written, but not noted; at every second save, or every seventh."""
    expected = pasted(clip, plans, masks, options)
    save = 1
    while dies(lambda memory: pasted(clip, plans, masks, options, memory), tmp_path / str(save), save):
        found = pasted(clip, plans, masks, options, MappedMemory(tmp_path / str(save)))
        assert np.array_equal(found, expected), f"killed at save {save}"
        save += apart
    assert save > 25


def test_a_run_killed_again_and_again_comes_to_its_end(clip, plans, masks, tmp_path):
    expected = pasted(clip, plans, masks, OPTIONS)
    while dies(lambda memory: pasted(clip, plans, masks, OPTIONS, memory), tmp_path / "work", 4):
        pass
    assert np.array_equal(pasted(clip, plans, masks, OPTIONS, MappedMemory(tmp_path / "work")), expected)


def test_at_most_one_step_is_done_again(clip, plans, masks, tmp_path):
    """Of 2 + 3 steps for each of two tracks: those before the kill and those after it are one more than all at most."""
    whole = StubBackend(estimate)
    pasted(clip, plans, masks, OPTIONS, backend=whole)
    save, most = 1, 0
    while True:
        before, after = StubBackend(estimate), StubBackend(estimate)
        if not dies(lambda m, b=before: pasted(clip, plans, masks, OPTIONS, m, b), tmp_path / str(save), save):
            break
        pasted(clip, plans, masks, OPTIONS, MappedMemory(tmp_path / str(save)), after)
        most = max(most, len(before.calls) + len(after.calls) - len(whole.calls))
        save += 3
    levels = [call[1] for call in whole.calls]
    assert 0 < most <= max(levels.count(level) for level in set(levels)), "the calls of one step"


def test_at_most_one_frame_is_cut_again(clip, plans, masks, tmp_path, monkeypatch):
    """Where each is saved, as it is here; a run saves as many as it cuts in two seconds."""
    seen = []
    plain = cut.crop_frame
    monkeypatch.setattr(cut, "crop_frame", lambda frame, plan, index: seen.append(index) or plain(frame, plan, index))
    pasted(clip, plans, masks, OPTIONS)
    whole = len(seen)
    assert whole == sum(map(len, plans))
    for save in range(1, whole + 1, 4):
        seen.clear()
        assert dies(lambda m: pasted(clip, plans, masks, OPTIONS, m), tmp_path / str(save), save)
        assert len(seen) == save
        pasted(clip, plans, masks, OPTIONS, MappedMemory(tmp_path / str(save)))
        assert len(seen) == whole + 1, f"killed at save {save}"


def test_shots_are_looked_for_from_where_the_search_was(clip, tmp_path):
    still = [np.repeat(clip.frames[number : number + 1] // dark, 20, 0) for number, dark in ((0, 1), (5, 6), (9, 1))]
    cut_clip = ArrayClip(np.concatenate(still))
    expected = find_shots(cut_clip)
    assert expected == [(0, 20), (20, 40), (40, 60)]
    for save in (1, 19, 23, 45, 60):
        assert dies(lambda memory: find_shots(cut_clip, None, memory), tmp_path / str(save), save)
        told, kept = [], MappedMemory(tmp_path / str(save))
        found = find_shots(cut_clip, lambda *entry, told=told: told.append(entry[1]), kept)
        assert (found, told[0]) == (expected, save), f"killed at save {save}"


@pytest.mark.parametrize("options", [OPTIONS, replace(OPTIONS, passes=1, steps=1)], ids=["two passes", "one step"])
def test_a_log_of_levels_goes_on_too(clip, plans, masks, tmp_path, options):
    def logged(memory=PLAIN):
        log = LevelLog(options, None, memory.part("levels"))
        networks = Networks(StubBackend(estimate), MixingVAE(), Referrer())
        requests = [Request(TASKS, options)] * len(plans)
        restore_tracks(clip, plans, networks, requests, masks=iter(masks), memory=memory, callback=log)
        return log.changes

    expected, save = logged(), sum(map(len, plans)) + 1
    assert len(expected) == 2 * (5 if options.passes == 2 else 1)
    while dies(logged, tmp_path / str(save), save):
        assert logged(MappedMemory(tmp_path / str(save))) == expected, f"killed at save {save}"
        save += 1


def test_latents_are_gone_when_a_track_is_restored(clip, plans, masks, tmp_path):
    memory = MappedMemory(tmp_path / "work")
    pasted(clip, plans, masks, OPTIONS, memory)
    left = sorted(path.name for path in memory.folder.rglob("*.npy"))
    assert left.count("crops.npy") == 2
    assert not [name for name in left if name.startswith(("latents", "estimate", "start"))]


def test_whole_frames_go_on_shot_by_shot(tmp_path):
    random = np.random.default_rng(7)
    frames = ArrayClip(random.integers(30, 220, (13, 15, 18, 3), dtype=np.uint8))
    masks = random.random((13, 15, 18)) > 0.8

    def restored(memory=PLAIN):
        networks = Networks(StubBackend(estimate), MixingVAE(), Referrer())
        request = Request(TASKS, OPTIONS)
        spans = [(0, 6), (6, 13)]
        return np.stack(list(restore_whole(frames, networks, request, spans, masks=iter(masks), memory=memory)))

    expected, save = restored(), 1
    assert np.array_equal(restored(MappedMemory(tmp_path / "whole")), expected)
    while dies(restored, tmp_path / str(save), save):
        assert np.array_equal(restored(MappedMemory(tmp_path / str(save))), expected), f"killed at save {save}"
        save += 2
    assert save > 15


def test_a_track_that_is_followed_otherwise_is_not_mixed_with_the_old_one(clip, plans, masks, tmp_path):
    pasted(clip, plans, masks, OPTIONS, MappedMemory(tmp_path / "work"))
    moved = [replace(plan, matrices=plan.matrices + MOVED) for plan in plans]
    expected = pasted(clip, moved, masks, OPTIONS)
    assert np.array_equal(pasted(clip, moved, masks, OPTIONS, MappedMemory(tmp_path / "work")), expected)
    assert not torch.equal(torch.from_numpy(expected), torch.from_numpy(pasted(clip, plans, masks, OPTIONS)))
