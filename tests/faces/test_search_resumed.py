"""A search that was killed goes on where it was, to the same tracks bit for bit."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from support import clips, dots
from support.dying import DyingMemory, Killed

from svfr_model.base.clip import ArrayClip
from svfr_model.faces.find import find_tracks, track_shots
from svfr_model.faces.options import TrackOptions
from svfr_model.files.mapped import MappedMemory

LENGTHS = 27, 30, 20
SPANS = [(0, 27), (13, 27), (27, 57), (30, 45), (46, 57), (57, 77)]
BATCH = 8


@pytest.fixture(autouse=True)
def no_open_file_is_replaced():
    """That is looked at in tests/files."""


@pytest.fixture(autouse=True)
def no_power_is_lost(monkeypatch):
    monkeypatch.setattr("svfr_model.files.mapped.os.fsync", lambda file: None)
    monkeypatch.setattr("svfr_model.files.mapped.np.memmap.flush", lambda mapped: None)


def comes_and_goes(first, stop, left, right):
    def motion(i):
        return (left + (right - left) * i / 30, 90.0, 0.5, 0.0) if first <= i < stop else None

    return motion


@pytest.fixture(scope="module")
def clip():
    """Three shots: one person stays and one comes between two searches, they change places, and one is alone."""
    casts = (
        [(0, comes_and_goes(0, 99, 60, 90)), (1, comes_and_goes(13, 99, 240, 200))],
        [
            (1, comes_and_goes(0, 99, 70, 80)),
            (0, comes_and_goes(3, 18, 240, 240)),
            (2, comes_and_goes(19, 99, 160, 150)),
        ],
        [(0, comes_and_goes(0, 99, 160, 170))],
    )
    shots = [
        clips.Shot(length, tuple(clips.Actor(dots.dot_person(who), motion) for who, motion in cast), background=number)
        for number, (length, cast) in enumerate(zip(LENGTHS, casts, strict=True), 1)
    ]
    return ArrayClip(list(clips.Scene(tuple(shots), width=320, height=180, noise=1.0)))


def search(clip, memory, encoder=None, detector=None, callback=None):
    options = TrackOptions(batch=BATCH)
    return find_tracks(clip, detector or dots.DotDetector(), options, encoder, callback, memory)


def bits(found):
    """All that was found, ready to be compared."""
    tracks = [
        {name: value.tobytes() if isinstance(value, np.ndarray) else value for name, value in vars(track).items()}
        for track in found.tracks
    ]
    return found.cuts, found.frame_count, tracks


@pytest.mark.parametrize("encoder", [None, dots.HeadColorEncoder()], ids=["looks", "identities"])
def test_wherever_it_is_killed_it_goes_on_to_the_same_tracks(clip, tmp_path, encoder):
    whole, looks = dots.DotDetector(), [0]
    expected = search(
        clip, MappedMemory(tmp_path / "whole"), encoder, whole, lambda *_: looks.append(whole.frames)
    )
    most = max(np.diff(looks))
    assert expected.cuts == [27, 57]
    assert [(track.start, track.stop) for track in expected.tracks] == SPANS
    saves = -(-sum(LENGTHS) // BATCH) + 1
    for save in range(1, saves + 1):
        before, after, told = dots.DotDetector(), dots.DotDetector(), []
        DyingMemory.left = save
        with pytest.raises(Killed):
            search(clip, DyingMemory(tmp_path / str(save)), encoder, before)
        memory = MappedMemory(tmp_path / str(save))
        found = search(clip, memory, encoder, after, lambda *entry, told=told: told.append(entry[1]))
        assert bits(found) == bits(expected), f"killed at save {save}"
        assert told[0] == min(save * BATCH, sum(LENGTHS)) if told else save == saves
        assert before.frames + after.frames - whole.frames <= most, "the looks at one batch"


def test_a_search_that_has_ended_looks_at_nothing_and_tells_the_same(clip, tmp_path):
    expected = search(clip, MappedMemory(tmp_path / "work"))
    again = dots.DotDetector()
    assert bits(search(clip, MappedMemory(tmp_path / "work"), detector=again)) == bits(expected)
    assert again.frames == 0


def test_shots_that_were_found_come_first_and_at_once(clip, tmp_path):
    DyingMemory.left = 6
    with pytest.raises(Killed):
        search(clip, DyingMemory(tmp_path / "work"))
    detector = dots.DotDetector()
    shots = track_shots(clip, detector, TrackOptions(batch=BATCH), memory=MappedMemory(tmp_path / "work"))
    first = next(shots)
    assert (first.first, first.stop, len(first.tracks), detector.frames) == (0, 27, 2, 0)
    shots.close()


def test_what_is_damaged_is_searched_anew(clip, tmp_path, caplog):
    expected = search(clip, MappedMemory(tmp_path / "work"))
    kept = next((tmp_path / "work" / "aside-search").glob("shot-1.npy"))
    content = kept.read_bytes()
    kept.write_bytes(content[:200] + bytes(len(content) - 200))
    with caplog.at_level(logging.WARNING):
        assert bits(search(clip, MappedMemory(tmp_path / "work"))) == bits(expected)
    assert "is damaged" in caplog.text
