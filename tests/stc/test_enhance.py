"""Clips of any length and frame size through BFVR-STC: windows, joins, framing, stretch, motion, bad input."""

from __future__ import annotations

import itertools
import logging

import cv2
import numpy as np
import pytest
import torch

from svfr_model.base.errors import InputError
from svfr_model.stc.enhance import enhance_crops, enhance_whole, plan_windows, run_windows
from svfr_model.stc.frames import Framing, smooth
from svfr_model.stc.motion import MotionMeter
from svfr_model.stc.network import build_network
from svfr_model.stc.options import EnhanceOptions

SIDE = 8
"""Crops have any side that the network has; whole frames have at least 64 pixels a side."""
WINDOWS = [(24, 8), (24, 0), (24, 22), (6, 2)]


class Stub:
    """Stands in for the network: checks what it is given, and returns it or what `change` makes of it."""

    temporal_stride = 2
    device = torch.device("cpu")

    def __init__(self, change=lambda x: x, task="bfr", img_size=SIDE):
        self.change, self.task, self.img_size, self.seen = change, task, img_size, []

    def __call__(self, x):
        assert x.dtype == torch.float32
        assert x.shape[:2] == (1, 3)
        assert x.shape[-2:] == (self.img_size, self.img_size)
        self.seen.append(x)
        return (self.change(x),)


def numbered(count, side=SIDE):
    """Pictures (count,3,side,side) uint8 that tell their number by their red value."""
    pictures = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    pictures[:, 0] = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1)
    return pictures


def picture(height, width):
    """A smooth colourful picture with some texture."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    channels = [128 + 90 * np.sin(rows / 17 + c) * np.cos(columns / (23 + c)) for c in range(3)]
    return np.stack(channels, -1).clip(0, 255).astype(np.uint8)


# windows


@pytest.mark.parametrize(("window", "overlap"), WINDOWS)
def test_an_identity_gives_the_input_back_for_every_length(window, overlap):
    options = EnhanceOptions(window=window, overlap=overlap)
    for count in range(1, 101, 1 if overlap == 8 else 9):
        clip = numbered(count)
        network = Stub()
        found = torch.stack(list(run_windows(network, iter(clip), [(0, count)], options)))
        assert found.shape == clip.shape
        assert (found - clip.float() / 255).abs().max() <= 1e-6, count
        assert {x.shape[2] for x in network.seen} == {window}


@pytest.mark.parametrize(("window", "overlap"), WINDOWS)
@pytest.mark.parametrize("count", [1, 2, 23, 24, 25, 26, 41, 99, 100])
def test_plans_are_aligned_and_repeat_little(count, window, overlap):
    plan = plan_windows(count, window, overlap, 2)
    covered = np.zeros(count)
    for part in plan:
        assert part.first % 2 == 0
        covered[part.first : part.last] += part.shares
        if count > window:
            assert part.last - part.first >= window - 1
    assert np.allclose(covered, 1)
    for part, following in itertools.pairwise(plan):
        assert part.last - following.first >= overlap // 2
    usual = 1 if count <= window else 1 + -(-(count - window) // (window - overlap))
    assert len(plan) <= usual


@pytest.mark.parametrize(
    ("count", "firsts"),
    [
        (24, [0]),
        (25, [0, 2]),
        (40, [0, 16]),
        (42, [0, 18]),  # two windows that share 6 frames, where 8 would need a third
        (44, [0, 20]),
        (46, [0, 16, 22]),  # a third is needed whatever they share
        (56, [0, 16, 32]),
        (64, [0, 20, 40]),
    ],
)
def test_a_window_is_saved_where_the_others_can_be_spread(count, firsts):
    assert [part.first for part in plan_windows(count, 24, 8, 2)] == firsts


def test_work_grows_with_the_clip():
    counts = [len(plan_windows(count, 24, 8, 2)) for count in range(1, 400)]
    assert all(after >= before for before, after in itertools.pairwise(counts))
    assert counts[-1] == -(-(399 - 4) // 20)


def test_without_an_overlap_windows_lie_as_before():
    assert [part.first for part in plan_windows(50, 24, 0, 2)] == [0, 24, 26]


@pytest.mark.parametrize(("window", "overlap"), [(23, 8), (24, 7)])
def test_windows_the_network_cannot_take(window, overlap):
    options = EnhanceOptions(window=window, overlap=overlap)
    with pytest.raises(InputError, match="multiples of 2"):
        enhance_crops(Stub(), numbered(30), options)


@pytest.mark.parametrize(
    ("window", "overlap", "message"),
    [
        (24, 24, "A window of 24 frames cannot overlap by 24"),
        (24, -2, "overlap must be a whole number between 0 and 255 frames, not -2"),
        (0, 0, "window must be a whole number between 1 and 256 frames, not 0"),
        (258, 8, "window must be a whole number between 1 and 256 frames, not 258"),
    ],
)
def test_windows_that_no_network_takes(window, overlap, message):
    with pytest.raises(InputError, match=message):
        EnhanceOptions(window=window, overlap=overlap)


def test_a_short_shot_repeats_its_last_frame():
    network = Stub()
    enhance_crops(network, numbered(5))
    numbers = (network.seen[0][0, 0, :, 0, 0] * 255).round().tolist()
    assert numbers == [0, 1, 2, 3, *[4] * 20]


def test_no_window_reaches_over_a_cut():
    network = Stub()
    spans = [(0, 30), (30, 31), (31, 50)]
    found = list(run_windows(network, iter(numbered(50)), spans, EnhanceOptions()))
    assert len(found) == 50
    shots = [{next(i for i, (a, b) in enumerate(spans) if a <= n < b) for n in numbers} for numbers in seen(network)]
    assert shots == [{0}, {0}, {1}, {2}]


def seen(network):
    return [(x[0, 0, :, 0, 0] * 255).round().int().tolist() for x in network.seen]


def test_only_about_a_window_of_pictures_is_read_ahead():
    read = 0

    def pictures():
        nonlocal read
        for frame in numbered(100):
            read += 1
            yield frame

    for index, _ in enumerate(run_windows(Stub(), pictures(), [(0, 100)], EnhanceOptions())):
        assert read - index <= 24


# joins


class Offsets(Stub):
    """Adds another brightness in every window, the worst that a network which sees one window at a time can do."""

    def __init__(self):
        super().__init__(lambda x: x + 0.1 * (len(self.seen) % 2))


def test_a_step_between_windows_is_faded_over_the_overlap():
    still = torch.full((56, 3, SIDE, SIDE), 100, dtype=torch.uint8)
    steps = {}
    for overlap in (0, 8):
        options = EnhanceOptions(overlap=overlap)
        found = torch.stack(list(run_windows(Offsets(), iter(still), [(0, 56)], options)))
        steps[overlap] = found.diff(dim=0).abs().max().item()
    assert steps[0] == pytest.approx(0.1, abs=1e-6)
    assert steps[8] == pytest.approx(0.1 / 9, abs=1e-6)


def moving(count):
    """Pictures (count,3,32,32) uint8 that pan over a texture."""
    texture = np.random.default_rng(1).integers(0, 256, (32, 2 * count + 32, 3), dtype=np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(texture, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([texture[:, 2 * index : 2 * index + 32] for index in range(count)])
    return torch.from_numpy(frames).permute(0, 3, 1, 2)  # NHWC -> NCHW


def test_joins_of_a_frozen_network_differ_no_more_than_frames_inside_windows():
    sizes = {"img_size": 32, "ch_mult": [1, 1, 1, 2], "emb_dim": 32, "codebook_size": 32, "n_layers": 1}
    network = build_network("bfr", {**sizes, "connect_list": []})
    for embedding in (network.position_emb_s, network.position_emb_t):
        torch.nn.init.normal_(embedding)
    clip = moving(56)
    options = EnhanceOptions()
    plan = plan_windows(56, options.window, options.overlap, 2)
    found = torch.stack(list(run_windows(network, iter(clip), [(0, 56)], options)))
    change = found.diff(dim=0).abs().mean((1, 2, 3))
    shares = np.zeros((len(plan), 56))
    for index, part in enumerate(plan):
        shares[index, part.first : part.last] = part.shares
    join = torch.from_numpy(np.abs(np.diff(shares)).max(0) > 0)
    assert len(plan) == 3
    assert join.sum() == 18
    assert change[~join].mean() > 0.01, "the network's result does not move, so nothing is shown"
    assert change[join].mean() <= 1.1 * change[~join].mean()


# crops


def test_crops_are_enhanced_in_place():
    crops = numbered(30)
    before = crops.clone()
    assert enhance_crops(Stub(lambda x: 1 - x), crops) is crops
    assert torch.equal(crops, 255 - before)


def test_values_beyond_the_range_are_clamped_by_default():
    crops = torch.tensor([10, 250], dtype=torch.uint8).view(2, 1, 1, 1).repeat(1, 3, SIDE, SIDE)
    enhance_crops(Stub(lambda x: 2 * x - 0.5), crops)
    assert crops[:, 0, 0, 0].tolist() == [0, 255]


def test_the_stretch_is_over_the_whole_clip():
    crops = (numbered(60) // 2) + 40
    low, high = crops.min().item(), crops.max().item()
    expected = ((crops.float() / 255 - low / 255) / (high / 255 - low / 255) * 255).round()
    stages = []
    enhance_crops(Stub(), crops, EnhanceOptions(stretch=True), callback=lambda stage, *_: stages.append(stage))
    assert (crops.float() - expected).abs().max() <= 1
    assert (crops.min(), crops.max()) == (0, 255)
    assert stages == ["measure"] * 3 + ["enhance"] * 3


def test_a_clip_of_one_value_is_not_stretched():
    crops = torch.full((3, 3, SIDE, SIDE), 77, dtype=torch.uint8)
    assert (enhance_crops(Stub(), crops, EnhanceOptions(stretch=True)) == 77).all()


@pytest.mark.parametrize(
    ("crops", "said"),
    [
        (torch.zeros(0, 3, SIDE, SIDE, dtype=torch.uint8), "no frames"),
        (torch.zeros(4, 3, SIDE, 6, dtype=torch.uint8), "8,8"),
        (torch.zeros(4, 3, 64, 64, dtype=torch.uint8), "8,8"),
        (torch.zeros(4, 3, SIDE, SIDE), "uint8"),
        (torch.zeros(3, SIDE, SIDE, dtype=torch.uint8), "n,3"),
    ],
)
def test_crops_it_cannot_take(crops, said):
    with pytest.raises(InputError, match=said):
        enhance_crops(Stub(), crops)


def test_progress_counts_windows_and_an_exception_cancels():
    told = []
    enhance_crops(Stub(), numbered(60), callback=lambda *state: told.append(state))
    assert told == [("enhance", done, 3, None) for done in (1, 2, 3)]

    def cancel(stage, done, total, preview):
        if done == 2:
            raise KeyboardInterrupt

    network = Stub()
    with pytest.raises(KeyboardInterrupt):
        enhance_crops(network, numbered(60), callback=cancel)
    assert len(network.seen) == 2


# whole frames


SIZES = [(90, 160), (160, 90), (64, 64), (128, 128), (65, 301), (64, 64 * 40)]


@pytest.mark.parametrize("size", SIZES)
def test_an_identity_gives_whole_frames_back(size):
    frame = picture(*size)
    network = Stub(img_size=128)
    found = list(enhance_whole([frame] * 3, network, [(0, 3)]))
    assert len(found) == 3
    for result in found:
        assert result.shape == frame.shape
        assert result.dtype == np.uint8
    if max(size) <= 128:
        assert np.abs(found[0].astype(int) - frame).mean() < 6
    if size == (128, 128):
        assert np.array_equal(found[0], frame)


@pytest.mark.parametrize("size", SIZES)
def test_the_references_framing_gives_a_frame_back(size):
    frame, framing = picture(*size), Framing(*size, 128, "squash")
    fitted = framing.fit(frame)
    assert np.array_equal(framing.cut(framing.pad(fitted)), fitted)
    assert fitted.shape == (128, 128, 3)
    found = framing.unfit(fitted.astype(np.float32))
    assert found.shape == frame.shape
    assert np.abs(found - frame).mean() < 6


def test_the_letterbox_keeps_the_aspect_and_is_cut_off_again():
    framing = Framing(90, 160, 128)
    assert framing.content == (72, 128)
    assert framing.corner == (28, 0)
    fitted = framing.fit(picture(90, 160))
    padded = framing.pad(fitted)
    assert padded.shape == (128, 128, 3)
    assert np.array_equal(framing.cut(padded), fitted)
    assert np.array_equal(padded[27], padded[29]), "the frame's reflection, not a bar"


def test_deflickering_keeps_fine_detail_and_takes_the_smooth_change():
    rng = np.random.default_rng(0)
    frame = rng.integers(40, 180, (256, 256, 3), dtype=np.uint8)
    brighter = Stub(lambda x: x + 0.2, task="deflicker", img_size=128)
    kept = next(iter(enhance_whole([frame], brighter, [(0, 1)])))
    assert np.abs(kept.astype(int) - frame - 51).max() <= 1
    enlarged = next(iter(enhance_whole([frame], brighter, [(0, 1)], EnhanceOptions(low_frequency=False))))
    detail = [cv2.Laplacian(value, cv2.CV_32F).std() for value in (frame, kept, enlarged)]
    assert detail[1] > 0.99 * detail[0]
    assert detail[2] < 0.5 * detail[0]


def test_pixel_flicker_is_removed_and_detail_beyond_the_network_kept():
    """A perfect remover of texture flicker, in frames of the network's size and in larger ones."""
    rng = np.random.default_rng(0)
    for side in (128, 256):
        still = picture(side, side)
        frames = [np.clip(still + rng.normal(0, 6, still.shape), 0, 255).astype(np.uint8) for _ in range(6)]
        perfect = torch.from_numpy(Framing(side, side, 128).fit(still)).permute(2, 0, 1)[None, :, None] / 255
        network = Stub(lambda x, perfect=perfect: perfect.expand_as(x), "deflicker_sd", img_size=128)
        found = list(enhance_whole(frames, network, [(0, 6)]))
        before, after = (np.mean(np.abs(np.diff(np.stack(clip).astype(float), axis=0))) for clip in (frames, found))
        assert after < (0.02 if side == 128 else 0.9) * before
    wide = rng.integers(40, 180, (256, 256, 3), dtype=np.uint8)
    kept = next(iter(enhance_whole([wide], Stub(task="deflicker_sd", img_size=128), [(0, 1)])))
    assert np.array_equal(kept, wide), "a network that changes nothing takes nothing away"


def test_restoration_never_keeps_the_old_detail():
    frame = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    restored = next(iter(enhance_whole([frame], Stub(lambda x: 0 * x + 0.5, img_size=128), [(0, 1)])))
    assert (restored == 128).all()


def test_the_smooth_change_has_no_texture():
    before = np.random.default_rng(0).random((128, 128, 3), dtype=np.float32)
    assert np.allclose(smooth(np.full_like(before, 0.1)), 0.1, atol=1e-6)
    texture = smooth(before - 0.5)
    assert texture.std() < 0.1 * before.std()


def test_the_stretch_of_whole_frames_leaves_the_letterbox_out_and_keeps_no_frame():
    frames = [np.full((64, 128, 3), value, np.uint8) for value in range(50, 80)]

    def bars(x):
        x = x.clone()
        x[..., :32, :] = 0
        return x

    found = list(enhance_whole(frames, Stub(bars, img_size=128), [(0, 30)], EnhanceOptions(stretch=True)))
    assert [result.mean() for result in found] == pytest.approx([255 * index / 29 for index in range(30)], abs=0.51)


def test_frames_that_come_once_cannot_be_stretched():
    frames = iter([picture(64, 64)] * 3)
    with pytest.raises(InputError, match="once only"):
        list(enhance_whole(frames, Stub(img_size=64), [(0, 3)], EnhanceOptions(stretch=True)))


def test_tasks_can_be_chained():
    frames = [picture(64, 64) // 2] * 30
    first = enhance_whole(iter(frames), Stub(lambda x: x + 0.2, "deflicker", 64), [(0, 30)])
    second = list(enhance_whole(first, Stub(lambda x: 1 - x, img_size=64), [(0, 30)]))
    assert len(second) == 30
    assert np.abs(second[29].astype(int) - (255 - 51 - frames[0].astype(int))).max() <= 1


@pytest.mark.parametrize(
    ("frames", "spans", "said"),
    [
        ([], [], "no frames"),
        ([], [(0, 0)], "no frames"),
        ([picture(64, 64)] * 3, [(0, 5)], "ended after 3 frames, but its shots reach to 5"),
        ([picture(64, 64)] * 3, [(0, 2)], "more frames than the 2"),
        ([picture(64, 64)] * 3, [(0, 1), (2, 3)], "without gaps"),
        ([picture(64, 64)] * 3, [(0, 2), (2, 2), (2, 3)], "without gaps"),
        ([picture(63, 200)], [(0, 1)], "200x63 pixels are too small"),
        ([picture(64, 64), picture(64, 65)], [(0, 2)], "like the first"),
        ([picture(64, 64)[..., 0]], [(0, 1)], "uint8"),
        ([picture(64, 64).astype(np.float32)], [(0, 1)], "uint8"),
    ],
)
def test_clips_it_cannot_take(frames, spans, said):
    with pytest.raises(InputError, match=said):
        list(enhance_whole(frames, Stub(img_size=64), spans))


def test_unknown_framing_is_refused():
    with pytest.raises(InputError, match="letterbox"):
        Framing(64, 64, 64, "crop")


# motion


def test_motion_is_the_changed_pixels_between_neighbours():
    frames = np.zeros((3, 10, 10, 3), np.uint8)
    frames[1, :4] = 26
    frames[2, :4] = 52
    frames[2, 5, :5] = 25
    meter = MotionMeter()
    for frame in frames:
        meter.add(frame)
    assert meter.changed == 80
    assert meter.intensity == pytest.approx(0.4)
    assert meter.fast


def test_cuts_and_flicker_are_no_motion():
    frame = picture(64, 64)
    meter = MotionMeter(level=True)
    for gain in (1, 0.6, 1):
        meter.add((frame * gain).astype(np.uint8))
    meter.cut()
    meter.add(255 - frame)
    assert meter.changed == 0
    plain = MotionMeter()
    plain.add(frame)
    plain.add((frame * 0.6).astype(np.uint8))
    assert plain.fast


@pytest.mark.parametrize(("task", "level"), [("deflicker", logging.INFO), ("bfr", logging.WARNING)])
def test_flicker_that_is_to_be_removed_is_no_motion(task, level, caplog):
    """A still picture whose brightness jumps: what de-flickering is for, and what blind restoration would blur."""
    frames = [(picture(64, 64) * (0.6 if index % 2 else 1)).astype(np.uint8) for index in range(6)]
    crops = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
    with caplog.at_level(logging.INFO):
        list(enhance_whole(frames, Stub(task=task, img_size=64), [(0, 6)]))
        enhance_crops(Stub(task=task, img_size=64), crops)
    told = [record for record in caplog.records if "Motion intensity" in record.message]
    assert [record.levelno for record in told] == [level] * 2
    assert ("Motion intensity: 0 changed pixels" in told[0].message) == (task == "deflicker")


def test_fast_clips_warn_and_slow_ones_do_not(caplog):
    noise = torch.randint(0, 256, (4, 3, SIDE, SIDE), dtype=torch.uint8)
    meter = MotionMeter()
    with caplog.at_level(logging.INFO):
        enhance_crops(Stub(), noise, motion=meter)
        enhance_crops(Stub(), torch.zeros_like(noise))
        list(enhance_whole([picture(64, 64), 255 - picture(64, 64)], Stub(), [(0, 1), (1, 2)]))
    assert meter.fast
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO, logging.INFO]
    assert "blurs" in caplog.records[0].message
