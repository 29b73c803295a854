"""The logic of tracks, with faces that need no weights."""

from __future__ import annotations

import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from support import clips, dots

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import FaceNotFoundError, InputError
from svfr_model.faces.face import Face
from svfr_model.faces.find import _mean_direction, find_tracks, track_shots
from svfr_model.faces.follow import Follower, FollowOptions
from svfr_model.faces.options import TrackOptions

SIZE = {"width": 320, "height": 180, "noise": 0.0}


def actor(number, motion):
    return clips.Actor(dots.dot_person(number), motion)


def scene(length, *actors, background=-1):
    return clips.Scene((clips.Shot(length, actors, background=background),), **SIZE)


def moving(start, stop, length, y=90, scale=0.6):
    return lambda i: (start + (stop - start) * i / (length - 1), y, scale, 0.0)


def true_centers(clip, who, track):
    return np.array([who.motion(clip.locate(i)[1])[:2] for i in range(track.start, track.stop)])


def find(clip, encoder=None, detector=None, **options):
    return find_tracks(clip, detector or dots.DotDetector(), TrackOptions(**options), encoder)


def test_one_face_every_frame():
    who = actor(0, moving(60, 260, 23))
    clip = scene(23, who)
    found = find(clip)
    (track,) = found.require()
    assert (track.start, track.stop, track.id, track.shot) == (0, 23, 0, 0)
    assert track.seen.all()
    assert found.frame_count == 23
    assert found.frame_size == track.frame_size == (320, 180)
    assert np.abs(track.centers - true_centers(clip, who, track)).max() < 0.6
    assert track.size == pytest.approx(60, rel=0.03)
    assert track.landmarks.shape == (23, 5, 2)


def test_detection_on_reduced_frames_keeps_positions():
    who = actor(0, moving(200, 1000, 12, y=350, scale=2.0))
    clip = clips.Scene((clips.Shot(12, (who,), background=-1),), width=1280, height=720, noise=0.0)
    (track,) = find(clip, detect_size=400).tracks
    assert np.abs(track.centers - true_centers(clip, who, track)).max() < 1.5
    assert track.size == pytest.approx(200, rel=0.03)


class FrameEdgeDetector(dots.DotDetector):
    """As detectors do: what lies beyond the frame is not in the box."""

    def _detect_one(self, frame):
        height, width = frame.shape[:2]
        limits = [width, height, width, height]
        return [replace(face, box=np.clip(face.box, 0, limits)) for face in super()._detect_one(frame)]


def test_a_box_that_the_frames_edge_cuts_does_not_shrink_the_face():
    """A face of 60 pixels halts with 6 of them outside: its box stays what it was while the face was whole."""
    clip = scene(33, actor(0, lambda i: (min(56 + 8 * i, 296), 90, 0.6, 0.0)))
    (track,) = find(clip, detector=FrameEdgeDetector(), stride=1, looks=0).tracks
    widths = track.boxes[:, 2] - track.boxes[:, 0]
    assert np.abs(widths - 60).max() < 2


def test_search_uses_the_stride_and_batches():
    detector = dots.DotDetector()
    clip = scene(40, actor(0, clips.still(160, 90, 0.6)))
    find(clip, detector=detector, stride=8, batch=16, looks=1)
    assert detector.batches.count(2) == 2, "two key frames in each full batch of 16 are searched together"
    assert detector.frames <= 40 + 5 + 3, "one view per frame, one search per stride, few more"


def test_without_refinement_the_frames_between_are_interpolated():
    who = actor(0, moving(60, 260, 21))
    clip = scene(21, who)
    detector = dots.DotDetector()
    (track,) = find(clip, detector=detector, stride=5, looks=0).tracks
    assert detector.frames == 5
    assert track.seen.nonzero()[0].tolist() == [0, 5, 10, 15, 20]
    assert np.abs(track.centers - true_centers(clip, who, track)).max() < 1.0
    assert (track.scores > 0.85).all(), "nothing was missed, so there is no doubt"


def test_people_crossing_keep_their_numbers():
    length = 60
    clip = scene(length, actor(1, moving(60, 260, length, 88, 0.4)), actor(0, moving(260, 60, length, 92, 0.6)))
    for encoder in (None, dots.HeadColorEncoder()):
        tracks = find(clip, encoder, max_gap=25).tracks
        assert len(tracks) == 2
        first, second = tracks
        assert first.centers[0, 0] < 100 < 200 < first.centers[-1, 0]
        assert second.centers[0, 0] > 200 > 100 > second.centers[-1, 0]
        assert second.seen.all()
        assert not first.seen.all()
        hidden = np.flatnonzero(~first.seen)
        assert 20 < hidden[0] <= hidden[-1] < 40
        assert first.scores[hidden[len(hidden) // 2]] < first.scores[hidden[0]] < first.scores[0]


def leaving(i):
    return None if 15 <= i < 45 else (160.0, 90.0, 0.6, 0.0)


def test_gap_longer_than_the_limit_stays_open_but_the_person_is_known():
    clip = scene(60, actor(0, leaving))
    tracks = find(clip, max_gap=15).tracks
    assert [(t.start, t.stop) for t in tracks] == [(0, 15), (45, 60)]
    assert tracks[0].person == tracks[1].person
    assert tracks[0].id != tracks[1].id
    (whole,) = find(clip, max_gap=30).tracks
    assert (whole.start, whole.stop) == (0, 60)
    assert whole.seen.sum() == 30


def test_another_person_at_the_same_place_is_another_person():
    length = 60
    clip = scene(
        length, actor(0, lambda i: leaving(i) if i < 40 else None), actor(1, lambda i: leaving(i) if i > 40 else None)
    )
    tracks = find(clip, dots.HeadColorEncoder(), max_gap=15).tracks
    assert [t.person for t in tracks] == [0, 1]


def test_a_known_person_comes_back_at_another_place():
    def motion(i):
        return (70.0, 90.0, 0.6, 0.0) if i < 15 else None if i < 45 else (250.0, 90.0, 0.6, 0.0)

    encoder = dots.HeadColorEncoder()
    clip = scene(60, actor(0, motion), actor(1, lambda i: (250.0, 60.0, 0.5, 0.0) if i < 22 else None))
    tracks = find(clip, encoder).tracks
    assert [t.person for t in tracks] == [0, 1, 0]
    assert encoder.faces > 0
    assert np.linalg.norm(tracks[0].embedding) == pytest.approx(1, abs=1e-5)
    assert float(tracks[0].embedding @ tracks[2].embedding) > 0.9
    assert float(tracks[0].embedding @ tracks[1].embedding) < 0.4


@pytest.mark.parametrize(("gap", "tracks"), [(10, 1), (11, 2)])
def test_what_lies_between_two_places_of_a_person_is_filled_up_to_the_longest_gap(gap, tracks):
    """Too far away to be followed there, but known by the identity."""

    def motion(i):
        return None if 15 <= i < 15 + gap else (70.0 if i < 15 else 250.0, 90.0, 0.6, 0.0)

    found = find(scene(30 + gap, actor(0, motion)), dots.HeadColorEncoder(), max_gap=10).tracks
    assert len(found) == tracks
    assert {track.person for track in found} == {0}
    assert sum(len(track) for track in found) == (30 + gap if tracks == 1 else 30)


def test_no_track_crosses_a_cut():
    shots = (
        clips.Shot(17, (actor(0, clips.still(160, 90, 0.6)),), background=3),
        clips.Shot(18, (actor(0, clips.still(160, 90, 0.6)),), background=4),
    )
    clip = clips.Scene(shots, **{**SIZE, "noise": 1.0})
    found = find(clip, dots.HeadColorEncoder(), detector=dots.DotDetector(people=1))
    assert found.cuts == [17]
    tracks = [t for t in found.tracks if t.size > 50]
    assert [(t.shot, t.start, t.stop) for t in tracks] == [(0, 0, 17), (1, 17, 35)]
    assert tracks[0].person == tracks[1].person, "one identity, two tracks"


def test_someone_who_enters_between_searches_is_followed_back():
    clip = scene(30, actor(0, lambda i: None if i < 7 else (160.0, 90.0, 0.6, 0.0)))
    (track,) = find(clip, stride=10).tracks
    assert track.start == 7


def test_empty_first_frames_are_no_failure():
    clip = scene(40, actor(0, lambda i: None if i < 21 else (160.0, 90.0, 0.6, 0.0)))
    (track,) = find(clip).require()
    assert (track.start, track.stop) == (21, 40)


def test_short_and_weak_tracks_are_dropped():
    clip = scene(30, actor(0, lambda i: (160.0, 90.0, 0.6, 0.0) if 10 <= i < 13 else None))
    assert find(clip, min_length=5).tracks == []
    assert len(find(clip, min_length=3).tracks) == 1
    steady = scene(10, actor(0, clips.still(160, 90, 0.6)))
    assert find(steady, detector=dots.DotDetector(score=0.45)).tracks == []
    assert len(find(steady, detector=dots.DotDetector(score=0.45), min_score=0.4).tracks) == 1


@pytest.mark.parametrize(("first", "tracks"), [(3, 1), (4, 0)])
def test_in_a_short_shot_half_of_its_frames_are_enough(first, tracks):
    """Six frames: seen in three of them a face counts, in two it does not."""
    clip = scene(6, actor(0, lambda i: (160.0, 90.0, 0.6, 0.0) if i >= first else None))
    assert len(find(clip, stride=1, min_length=5).tracks) == tracks


@pytest.mark.parametrize(("seen", "away", "people"), [(5, 10, 1), (1, 4, 2)])
def test_the_more_was_seen_of_a_person_the_longer_they_are_waited_for(seen, away, people):
    clip = scene(seen + away + 3, actor(0, lambda i: None if seen <= i < seen + away else (160.0, 90.0, 0.6, 0.0)))
    follower = Follower(dots.DotDetector(), FollowOptions(stride=1, looks=1, max_gap=15))
    follower.feed(0, list(clip), set())
    assert len(follower.people) == people


@pytest.mark.parametrize("length", [1, 2, 3])
def test_clips_of_few_frames(length):
    (track,) = find(scene(length, actor(0, clips.still(160, 90, 0.6)))).tracks
    assert len(track) == length


def test_float_frames_are_frames_too():
    clip = scene(6, actor(0, moving(100, 150, 6)))
    floats = ArrayClip([frame.astype(np.float32) / 255 for frame in clip])
    (first,), (second,) = find(clip).tracks, find(floats).tracks
    assert np.allclose(first.boxes, second.boxes, atol=0.05)


def test_no_face_anywhere():
    found = find(scene(12))
    assert found.tracks == []
    with pytest.raises(FaceNotFoundError, match="threshold"):
        found.require()


def test_bad_clips_and_options():
    with pytest.raises(InputError, match="no frames"):
        find_tracks(Empty(), dots.DotDetector())
    frames = [np.zeros((90, 160, 3), np.uint8), np.zeros((80, 160, 3), np.uint8)]
    with pytest.raises(InputError, match=r"160x90.*160x80"):
        find(ArrayClip(frames))
    with pytest.raises(InputError, match="stride"):
        TrackOptions(stride=0)
    with pytest.raises(InputError, match="max_gap"):
        TrackOptions(stride=20, looks=0, max_gap=5)


class Empty:
    width, height, fps = 32, 32, 25

    def __iter__(self):
        return iter(())


def test_a_detector_without_five_landmarks_is_refused():
    class Blind:
        def detect(self, frames):
            return [[Face(np.array([1.0, 1, 9, 9]), np.zeros((2, 2)), 0.9)] for _ in frames]

    with pytest.raises(InputError, match="5 landmarks, but the detector gave 2"):
        find(scene(3), detector=Blind())


def test_progress_and_cancelling():
    seen = []
    clip = scene(20, actor(0, clips.still(160, 90, 0.6)))
    find_tracks(clip, dots.DotDetector(), TrackOptions(batch=8), callback=lambda *report: seen.append(report))
    assert seen == [("detect", 8, 20, None), ("detect", 16, 20, None), ("detect", 20, 20, None)]

    def cancel(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_tracks(clip, dots.DotDetector(), callback=cancel)


def test_a_shot_is_told_of_as_soon_as_it_is_over():
    """Three shots of 40 frames: each comes soon after its end, and together they are all there is."""
    shots = tuple(
        clips.Shot(40, (clips.Actor(dots.dot_person(number % 2), clips.still(160, 90, 0.6)),), background=number + 1)
        for number in range(3)
    )
    cut = clips.Scene(shots, width=320, height=180, noise=0.0)
    told = []
    found = []
    for shot in track_shots(cut, dots.DotDetector(), callback=lambda *entry: told.append(entry[1])):
        found.append((shot.first, shot.stop, [track.id for track in shot.tracks], told[-1]))
    assert [entry[:3] for entry in found] == [(0, 40, [0]), (40, 80, [1]), (80, 120, [2])]
    assert [entry[3] for entry in found[:2]] == [48, 96]
    whole = find_tracks(cut, dots.DotDetector())
    assert whole.cuts == [40, 80]
    spans = [(track.start, track.stop, track.person) for track in whole.tracks]
    assert spans == [(0, 40, 0), (40, 80, 1), (80, 120, 2)]


def test_reading_ahead_ends_with_the_walk():
    clip = scene(60, actor(0, clips.still(160, 90, 0.6)))
    before = threading.active_count()

    def cancel(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_tracks(clip, dots.DotDetector(), callback=cancel)
    assert threading.active_count() == before


def test_memory_is_flat_in_the_length_of_the_clip():
    def peak(length):
        clip = scene(length, actor(0, clips.still(160, 90, 0.6)))
        tracemalloc.start()
        find(clip)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(30)
    # How far the thread has read ahead at the peak is chance: a few frames of 172,800 bytes.
    short, long = peak(60), peak(480)
    assert long - short < 420 * 4000, "4 kB per frame: numbers only"


def test_blank_pictures_have_no_direction_and_no_nan():
    """The look of a picture of one colour is zero, so that its likeness to any other is 0."""
    assert _mean_direction([np.zeros(4), np.zeros(4)]).tolist() == [0, 0, 0, 0]
    assert _mean_direction([np.array([0.0, 1.0]), np.array([0.6, 0.8]), np.array([-1.0, 0.0])]) == pytest.approx(
        np.array([0.6, 1.8]) / np.hypot(0.6, 1.8)
    )
