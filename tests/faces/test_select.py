"""Choosing whose faces are worked on, and the errors that say why nobody was found."""

from __future__ import annotations

import numpy as np
import pytest
from support import dots
from support.tracks import make_track

from svfr_model.base.errors import FaceNotFoundError, InputError
from svfr_model.faces.select import Mark, reference_embedding, select_marked, select_similar, select_tracks


def stay(x, start, stop, number, side=50.0, **changes):
    return make_track([(x, 90)] * (stop - start), side=side, start=start, number=number, **changes)


@pytest.fixture
def tracks():
    """A large face until frame 40, a small one to its left throughout, and a middling one from frame 40 on."""
    return [stay(220, 0, 40, 0, side=70), stay(60, 0, 80, 1, side=30), stay(160, 40, 80, 2, side=50)]


def ids(tracks):
    return [track.id for track in tracks]


def test_all_number_and_place(tracks):
    assert ids(select_tracks(tracks, "all")) == [0, 1, 2]
    assert ids(select_tracks(tracks, 1)) == [1]
    assert ids(select_tracks(tracks, "2")) == [2]
    assert ids(select_tracks(tracks, (70.0, 80.0))) == [1]


def test_largest_and_outermost_are_chosen_moment_by_moment(tracks):
    assert ids(select_tracks(tracks, "largest")) == [0, 2]
    assert ids(select_tracks(tracks, "right")) == [0, 2]
    assert ids(select_tracks(tracks, "left")) == [1]


def test_a_passer_by_does_not_take_the_place_of_the_main_person():
    lead, passer = stay(60, 0, 60, 0, side=50), stay(220, 40, 50, 1, side=90)
    for choice in ("largest", "right"):
        assert ids(select_tracks([lead, passer], choice)) == [0]


def test_nobody_at_all():
    for choice in ("all", "largest", 0, (1.0, 2.0)):
        with pytest.raises(FaceNotFoundError, match="No face was found in any frame"):
            select_tracks([], choice)
    with pytest.raises(FaceNotFoundError, match="No face was found in any frame"):
        select_similar([], np.zeros(512))


def test_absent_number_names_what_was_found(tracks):
    for choice in (7, "7", -1):
        with pytest.raises(FaceNotFoundError, match=r"no face number (7|-1).*0 \(frames 0 to 39, 70 pixels\)"):
            select_tracks(tracks, choice)


def test_unknown_choice(tracks):
    with pytest.raises(InputError, match='"tallest"'):
        select_tracks(tracks, "tallest")


def unit(*values):
    vector = np.zeros(512)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


def test_similar_takes_every_stay_of_the_person():
    tracks = [
        stay(220, 0, 20, 0, embedding=unit(1, 0.1)),
        stay(60, 0, 20, 1, embedding=unit(0, 1)),
        stay(220, 30, 50, 2, embedding=unit(1, 0.3), person=0),
        stay(100, 60, 80, 3, embedding=unit(1, 1.5)),
    ]
    assert ids(select_similar(tracks, unit(1))) == [0, 2, 3]
    assert ids(select_similar(tracks, unit(1), threshold=0.9)) == [0, 2]
    assert ids(select_similar(tracks, unit(0, 1), threshold=0.9)) == [1]


def test_later_stays_of_the_person_count_though_they_resemble_the_picture_less():
    """Turned away, the same person may fall below the threshold: the tracks' own numbers say who it is."""
    tracks = [
        stay(220, 0, 20, 0, embedding=unit(1, 0.1), person=4),
        stay(60, 0, 20, 1, embedding=unit(0, 1), person=5),
        stay(220, 30, 50, 2, embedding=unit(0.1, 1), person=4),
        stay(100, 60, 80, 3, embedding=unit(0, 1), person=5),
    ]
    assert ids(select_similar(tracks, unit(1))) == [0, 2]


def test_similar_is_in_one_place_at_a_time():
    twins = [stay(220, 0, 20, 0, embedding=unit(1, 0.1)), stay(60, 0, 20, 1, embedding=unit(1, 0.5))]
    assert ids(select_similar(twins, unit(1))) == [0]


def test_nobody_similar_and_no_embeddings():
    tracks = [stay(220, 0, 20, 0, embedding=unit(0, 1))]
    with pytest.raises(FaceNotFoundError, match=r"face 0 with a similarity of 0\.00, but 0\.30 is needed"):
        select_similar(tracks, unit(1))
    with pytest.raises(InputError, match="encoder"):
        select_similar([stay(60, 0, 9, 0)], unit(1))


def test_reference_picture():
    person = dots.dot_person(1)
    encoder = dots.HeadColorEncoder()
    embedding = reference_embedding(person.picture, dots.DotDetector(), encoder)
    assert embedding.shape == (512,)
    same = reference_embedding(person.picture.astype(np.float32) / 255, dots.DotDetector(), encoder)
    other = reference_embedding(dots.dot_person(0).picture, dots.DotDetector(), encoder)
    assert embedding @ same > 0.99
    assert embedding @ other < 0.4


def test_reference_picture_without_a_face():
    with pytest.raises(FaceNotFoundError, match=r"in the reference picture \(64x48\)"):
        reference_embedding(np.zeros((48, 64, 3), np.uint8), dots.DotDetector(), dots.HeadColorEncoder())


def test_a_face_that_was_pointed_at_is_found_again_by_its_place(tracks):
    """Numbers change with the detector, and its boxes a little."""
    mark = Mark(60, tuple(tracks[2].boxes[20] + [3, -3, 3, -3]))
    assert select_marked(tracks, [mark]) == ([tracks[2]], [])


def test_what_was_pointed_at_and_is_gone_is_told(tracks):
    elsewhere, later = Mark(60, (300.0, 150.0, 319.0, 169.0)), Mark(50, tuple(tracks[0].boxes[-1]))
    just_after = Mark(43, tuple(tracks[0].boxes[-1]))  # a track may end a little sooner than in the other search
    chosen, missed = select_marked(tracks, [elsewhere, later, just_after])
    assert ids(chosen) == [0]
    assert missed == [elsewhere, later]
    assert select_marked([], [elsewhere]) == ([], [elsewhere])
