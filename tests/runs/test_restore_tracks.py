"""From planned tracks to restored crops and back into the frames, with a network whose answer is known.

The network finds the degraded clip perfect, so a restored crop is the crop as the stub VAE keeps it: means of 2x2.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.pasting import match_colors
from support.stubs import StubBackend, StubVAE
from support.tracks import part_of

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import FaceNotFoundError
from svfr_model.base.pixels import from_network_range, to_network_range
from svfr_model.base.tasks import Task
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Networks
from svfr_model.engine.self_reference import SelfReference
from svfr_model.faces import paste
from svfr_model.faces.crop import crop_mask, plan_crop
from svfr_model.faces.cut import crop_clip
from svfr_model.faces.options import CropOptions, PasteOptions
from svfr_model.faces.paste_clip import fit_colors, paste_clip
from svfr_model.faces.track import FaceTrack
from svfr_model.networks.identity import Identity
from svfr_model.runs.restore_clip import Request, restore_tracks, restore_whole

WIDTH, HEIGHT, COUNT, SIDE = 96, 64, 14, 32
BFR, INPAINTING = frozenset({Task.BFR}), frozenset({Task.INPAINTING})
ONE_PASS = RestoreOptions(steps=1, passes=1)


class Referrer:
    """Takes the first frame, and keeps the landmarks it was given."""

    def __init__(self):
        self.landmarks = []

    def __call__(self, frames, landmarks=None):
        self.landmarks.append(landmarks)
        return SelfReference(frames[0], 0, Identity(torch.zeros(5, 6), torch.ones(512)), 1.0)


def networks(change=lambda latents: latents, referrer=None):
    backend = StubBackend(lambda x, sigma, degraded, *_: change(degraded * StubVAE.scaling_factor))
    return Networks(backend, StubVAE(), referrer)


def kept(crops):
    """What the stub VAE keeps of crops (n,3,h,w) uint8."""
    vae = StubVAE()
    return from_network_range(vae.decode(vae.encode(to_network_range(crops))))


def assert_alike(first, second):
    """Equal pictures, uint8, but for a mean that lies on the edge between two levels."""
    assert first.shape == second.shape
    assert (first.int() - second.int()).abs().max() <= 1


@pytest.fixture(scope="module")
def clip():
    """Every frame has colours and noise of its own, and its left half is redder."""
    random = np.random.default_rng(1)
    frames = random.normal(110, 25, (COUNT, HEIGHT, WIDTH, 3)) + random.uniform(-30, 30, (COUNT, 1, 1, 3))
    frames[:, :, : WIDTH // 2] += (40, 0, -30)
    return ArrayClip(np.clip(frames, 0, 255).astype(np.uint8))


def planned(number, start, left, top, step, mode="static"):
    """A face of 20x24 that moves by `step` pixels a frame, through a crop that stays where it is or moves with it."""
    count = COUNT - 2 - start
    moves = step * np.arange(count)[:, None]
    boxes = np.array([left, top, left + 20.0, top + 24.0]) + np.concatenate([moves, 0 * moves] * 2, axis=1)
    points = np.array([[6.0, 8], [14, 8], [10, 13], [7, 18], [13, 18]]) + boxes[:, None, :2]
    found = FaceTrack(number, number, 0, start, boxes, points, np.ones(count), np.ones(count, bool), (WIDTH, HEIGHT))
    return plan_crop(found, CropOptions(mode=mode, size=(SIDE, SIDE)))


@pytest.fixture(scope="module")
def plans():
    """Two people: one from frame 2 at the left, one from frame 5 at the right, both to frame 11."""
    return [planned(0, 2, 6, 20, 1.5), planned(1, 5, 56, 16, -1.0)]


@pytest.fixture(scope="module")
def masks():
    """A mask in both halves that moves down by three rows a frame."""
    masks = np.zeros((COUNT, HEIGHT, WIDTH), bool)
    for number in range(COUNT):
        masks[number, 12 + 3 * number : 20 + 3 * number, 8:88] = True
    return masks


def test_each_track_is_cropped_from_its_own_frames(clip, plans):
    seen = []
    requests = [Request(BFR, ONE_PASS)] * 2
    restored = restore_tracks(clip, plans, networks(), requests, callback=lambda *told: seen.append(told[:3]))
    for entry, plan, crops in zip(restored, plans, crop_clip(clip, plans), strict=True):
        assert entry.plan is plan
        assert_alike(entry.crops, kept(crops))
        assert entry.mask is None
    cropped = [(done, total) for stage, done, total in seen if stage == "crop"]
    assert cropped == [(number + 1, 12) for number in range(2, 12)], "both are cut in one walk"


def test_each_track_has_its_own_request(clip, plans):
    picture = torch.full((3, SIDE, SIDE), 0.5)
    used = networks()
    requests = [Request(BFR, ONE_PASS), Request(frozenset({Task.COLORIZATION}), ONE_PASS, picture)]
    restore_tracks(clip, plans, used, requests)
    first, second, _ = used.backend.calls
    assert (first[5].tolist(), second[5].tolist()) == ([1, 0, 0], [0, 1, 0])
    assert first[3] is None
    assert torch.equal(second[3][-1], StubVAE().encode(picture[None])[0])
    with pytest.raises(ValueError, match="zip"):
        restore_tracks(clip, plans, networks(), requests[:1])


def test_the_first_pass_is_told_the_landmarks_in_the_crop(clip, plans):
    referrer = Referrer()
    restore_tracks(clip, plans, networks(referrer=referrer), [Request(BFR, RestoreOptions(steps=1))] * 2)
    for given, plan in zip(referrer.landmarks, plans, strict=True):
        assert given.shape == (len(plan), 5, 2)
        assert np.array_equal(given.numpy(), plan.landmarks)
        assert np.abs(plan.landmarks - plan.track.landmarks).max() > 5, "in the frame they lie elsewhere"


@pytest.mark.parametrize("mode", ["lab", "wavelet"])
def test_colours_are_measured_on_the_face_of_each_frame(mode, clip, plans, masks):
    """The same numbers as from all crops at once, and others than with the landmarks of the first frame."""
    tinted = networks(lambda latents: 0.8 * latents + torch.tensor([0.1, 0.02, -0.05, 0]).view(4, 1, 1))
    requests = [Request(INPAINTING, ONE_PASS)] * 2
    restored = restore_tracks(clip, plans, tinted, requests, masks=masks)
    colors = fit_colors(clip, restored, mode)
    for entry, color, plan, before in zip(restored, colors, plans, crop_clip(clip, plans), strict=True):
        cropped = [mask[0].numpy() for mask in entry.mask]
        assert not torch.equal(entry.crops, before)
        expected = match_colors(mode, plan, before, entry.crops, cropped)
        frozen = replace(plan, landmarks=plan.landmarks[:1].repeat(len(plan), 0))
        other = match_colors(mode, frozen, before, entry.crops, cropped)
        whole = match_colors(mode, plan, before, entry.crops)
        assert color.mode == mode
        if mode == "lab":
            assert np.array_equal(color.gain, expected.gain)
            assert np.array_equal(color.source, expected.source)
            assert np.array_equal(color.target, expected.target)
            assert np.abs(other.target - expected.target).max() > 0.2
            assert np.abs(whole.target - expected.target).max() > 0.2
        else:
            assert np.array_equal(color.field, expected.field)
            assert np.abs(whole.field - expected.field).max() > 0.005


def test_the_mask_of_each_frame_is_in_its_crop(clip, plans, masks):
    restored = restore_tracks(clip, plans, networks(), [Request(INPAINTING, ONE_PASS)] * 2, masks=masks)
    for entry, plan, before in zip(restored, plans, crop_clip(clip, plans), strict=True):
        expected = np.stack([crop_mask(masks[plan.track.start + i], plan, i) >= 0.5 for i in range(len(plan))])
        assert np.array_equal(entry.mask[:, 0].numpy(), expected)
        assert len({mask.tobytes() for mask in expected}) > 5, "the mask moves"
        assert_alike(entry.crops, kept(before.masked_fill(entry.mask, 255)))


def test_a_mask_that_stays_moves_through_a_crop_that_does_not(clip):
    plan = planned(0, 2, 10, 20, 3.0, "tracked")
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[24:40, 40:48] = True
    (entry,) = restore_tracks(clip, [plan], networks(), [Request(INPAINTING, ONE_PASS)], masks=[mask] * COUNT)
    expected = np.stack([crop_mask(mask, plan, i) >= 0.5 for i in range(len(plan))])
    assert np.array_equal(entry.mask[:, 0].numpy(), expected)
    columns = [np.flatnonzero(one.any(axis=0)).mean() for one in expected if one.any()]
    assert len(columns) > 5
    assert columns[0] > columns[-1] + 10


def test_masks_may_come_one_by_one_and_only_as_far_as_tracks_reach(clip, plans, masks):
    asked = []

    def stream():
        for number, mask in enumerate(masks):
            asked.append(number)
            yield mask

    requests = [Request(INPAINTING, ONE_PASS)] * 2
    once = restore_tracks(clip, plans, networks(), requests, masks=stream())
    listed = restore_tracks(clip, plans, networks(), requests, masks=list(masks))
    assert asked == list(range(12))
    assert all(torch.equal(a.crops, b.crops) for a, b in zip(once, listed, strict=True))


def test_a_track_shorter_than_the_network_takes_comes_back_in_full(clip):
    short = part_of(planned(0, 2, 20, 20, 0.0), slice(0, 2))
    (entry,) = restore_tracks(clip, [short], networks(), [Request(BFR, ONE_PASS)])
    assert_alike(entry.crops, kept(crop_clip(clip, [short])[0]))
    assert fit_colors(clip, [entry], "lab")[0].mode == "lab"


# back into the frames


def test_restored_crops_change_their_frames_and_no_others(clip, plans):
    """The network turns every picture into its negative."""
    restored = restore_tracks(clip, plans, networks(lambda latents: -latents), [Request(BFR, ONE_PASS)] * 2)
    told = []
    options = PasteOptions(color_match="none")
    pasted = list(paste_clip(clip, restored, options, BFR, callback=lambda *step: told.append(step[:3])))
    assert told == [("paste", i + 1, COUNT) for i in range(COUNT)]
    for number, ((frame, changed), before) in enumerate(zip(pasted, clip, strict=True)):
        there = [plan.track for plan in plans if plan.track.covers(number)]
        for track in there:
            x, y = track.centers[number - track.start].astype(int)
            middle = (slice(y - 3, y + 4), slice(x - 3, x + 4))
            assert frame[middle].mean((0, 1)) == pytest.approx(255 - before[middle].mean((0, 1)), abs=12)
            assert (changed[middle] == 1).all()
        assert np.array_equal(frame[changed == 0], before[changed == 0])
        assert changed.any() == bool(there)


def test_a_mask_beside_the_face_is_filled_where_it_is_in_that_frame(clip):
    """The mask passes the face at its right, from above to below; in that column nothing else may change."""
    plan = planned(0, 2, 30, 20, 0.0)
    _, y1, x2, y2 = plan.square
    masks = np.zeros((COUNT, HEIGHT, WIDTH), bool)
    for number in range(2, 12):
        masks[number, y1 + 2 * number : y1 + 2 * number + 4, x2 - 6 : x2 - 3] = True
    restored = restore_tracks(clip, [plan], networks(), [Request(INPAINTING, ONE_PASS)], masks=masks)
    for number, (frame, _) in enumerate(paste_clip(clip, restored, PasteOptions(color_match="none"), INPAINTING)):
        if plan.track.covers(number):
            top = y1 + 2 * number
            assert frame[top + 1 : top + 3, x2 - 5].min() > 240, number
            away = [row for row in range(y1, y2) if not top - 3 <= row < top + 7]
            assert np.array_equal(frame[away, x2 - 5], clip.frames[number][away, x2 - 5]), number


def test_each_frame_has_its_own_limits_and_weights_are_computed_once(clip, plans, monkeypatch):
    restored = restore_tracks(clip, plans, networks(lambda latents: -latents), [Request(BFR, ONE_PASS)] * 2)
    computed, original = [], paste._blend_weights

    def counting(frame, patch, options, window):
        computed.append((patch.plan.track.id, patch.index))
        return original(frame, patch, options, window)

    monkeypatch.setattr(paste, "_blend_weights", counting)
    limits = [np.full((HEIGHT, WIDTH), number % 2, np.float32) for number in range(COUNT)]
    pasted = list(paste_clip(clip, restored, PasteOptions(), BFR, allowed=iter(limits)))
    assert sorted(computed) == [(0, i) for i in range(10)] + [(1, i) for i in range(7)]
    assert [entry.changed.max() for entry in pasted] == [1.0 if 2 <= i < 12 and i % 2 else 0.0 for i in range(COUNT)]
    with pytest.raises(ValueError, match="zip"):
        list(paste_clip(clip, restored, PasteOptions(), BFR, allowed=limits[:-1]))


def test_colourised_faces_in_a_grey_clip_are_told_of_once(plans, caplog):
    grey = ArrayClip(np.full((COUNT, HEIGHT, WIDTH, 3), 90, np.uint8))
    colorization = frozenset({Task.COLORIZATION})
    restored = restore_tracks(grey, plans, networks(), [Request(colorization, ONE_PASS)] * 2)
    with caplog.at_level(logging.WARNING):
        list(paste_clip(grey, restored, PasteOptions(), colorization))
    assert len([record for record in caplog.records if "grey clip" in record.message]) == 1


# whole frames


class NobodyInBrightShots:
    def __call__(self, frames, landmarks=None):
        if frames[0, 0, -1, -1] > 0:
            raise FaceNotFoundError("nobody")
        return SelfReference(frames[0], 0, Identity(torch.zeros(5, 6), torch.ones(512)), 1.0)


def test_a_shot_restored_in_one_pass_for_want_of_a_face_keeps_its_mask(caplog):
    frames = np.full((10, 8, 12, 3), 60, np.uint8)
    frames[5:] = 180
    masks = np.zeros((10, 8, 12), bool)
    for number in range(10):
        masks[number, :, 2 * (number % 5) : 2 * (number % 5) + 2] = True
    request = Request(INPAINTING, RestoreOptions(steps=1))
    used = networks(referrer=NobodyInBrightShots())
    found = np.stack(list(restore_whole(ArrayClip(frames), used, request, [(0, 5), (5, 10)], masks=masks)))
    assert "Frames 5 to 9: no face" in caplog.text
    assert (found[masks] == 255).all()
    assert np.array_equal(found[~masks], frames[~masks])
