"""Degradations do what their names say, in the amount that was asked for, and the same for the same seed."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from svfr_model.base.errors import InputError
from svfr_model.base.tasks import Task, parse_tasks
from svfr_model.metrics.pixels import psnr
from svfr_model.synthesis.clips import make_clip
from svfr_model.synthesis.degrade import add_noise, blur, degrade_clip, mpeg4_quantiser, recode, to_grey
from svfr_model.synthesis.masks import paint_white, random_mask
from svfr_model.synthesis.options import DegradeOptions, LowQuality, options_for


@pytest.fixture(scope="module")
def clip():
    return make_clip(11, 8, 128).frames


def mean_psnr(first, second):
    return np.mean([psnr(a, b) for a, b in zip(first, second, strict=True)])


def test_a_seed_is_one_degradation(clip):
    options = DegradeOptions(LowQuality(), brightness_flicker=0.3, pixel_flicker=8, grey=True, mask="any")
    first, masks = degrade_clip(clip, options, 3)
    second, again = degrade_clip(clip, options, 3)
    assert np.array_equal(first, second)
    assert np.array_equal(masks, again)
    assert not np.array_equal(first, degrade_clip(clip, options, 4)[0])


def test_leaving_one_part_out_does_not_change_another(clip):
    both, masks = degrade_clip(clip, DegradeOptions(LowQuality(), mask="brush"), 3)
    alone, none = degrade_clip(clip, DegradeOptions(LowQuality()), 3)
    assert np.array_equal(both[masks == 0], alone[masks == 0])
    assert not none.any()


def test_input_is_left_alone(clip):
    before = clip.copy()
    degrade_clip(clip, DegradeOptions(LowQuality(), brightness_flicker=0.5, pixel_flicker=5, grey=True, mask="box"), 1)
    assert np.array_equal(before, clip)


def test_progress_and_cancel(clip):
    told = []
    degrade_clip(clip, DegradeOptions(LowQuality()), 0, lambda *step: told.append(step[:3]))
    assert told == [("degrade", done, 8) for done in range(1, 9)]
    told.clear()
    degrade_clip(clip, DegradeOptions(grey=True), 0, lambda *step: told.append(step[:3]))
    assert told == [("degrade", done, 8) for done in range(1, 9)]

    def cancel(stage, done, *_):
        if done == 3:
            raise KeyboardInterrupt(stage)

    with pytest.raises(KeyboardInterrupt, match="degrade"):
        degrade_clip(clip, DegradeOptions(LowQuality()), 0, cancel)


@pytest.mark.parametrize("order", ["paper", "code"])
def test_only_results_and_the_codecs_bytes_grow_with_the_clip(clip, order):
    every = DegradeOptions(
        LowQuality(order=order), pixel_flicker=8, brightness_flicker=0.3, grey=True, mask="box", moving=False
    )

    def beyond(count):
        frames = np.repeat(clip[:1], count, axis=0)
        tracemalloc.start()
        results = degrade_clip(frames, every, 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - sum(result.nbytes for result in results)

    frame = clip[0].nbytes
    beyond(2)  # what is imported at first use
    assert beyond(80) - beyond(10) < 70 * frame / 4


@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
def test_crf_has_effect(clip, codec):
    quality = [mean_psnr(list(recode(clip, codec, crf)), clip) for crf in (18, 25, 35)]
    assert quality[0] > quality[1] + 0.5 > quality[2] + 1.0


def test_no_codec_changes_nothing(clip):
    assert np.array_equal(list(recode(clip, "none", 25)), clip)


def test_odd_sides_pass_the_codec(clip):
    assert np.stack(list(recode(clip[:, :37, :51], "h264", 20))).shape == (8, 37, 51, 3)


def test_quantisers_span_mpeg4s_range():
    assert [mpeg4_quantiser(crf) for crf in (0, 18, 24, 51)] == [1, 2, 4, 31]


def test_blur_scales_with_the_picture():
    """A clip of half the size gets half the blur: the same part of the picture."""
    options = LowQuality(sigma=(16, 16), shrink=(1, 1), noise=(0, 0), codec="none")
    large, small = make_clip(2, 1, 256).frames, make_clip(2, 1, 128).frames
    halved = degrade_clip(large, DegradeOptions(options), 0)[0][0, ::2, ::2]
    assert psnr(degrade_clip(small, DegradeOptions(options), 0)[0][0], halved) > 27
    assert np.array_equal(degrade_clip(large, DegradeOptions(options), 0)[0][0], blur(large[0], 8.0))


def test_noise_has_the_level_asked_for():
    flat = np.full((64, 64, 3), 128, np.uint8)
    assert add_noise(flat, 5.0, np.random.default_rng(0)).std() == pytest.approx(5.0, abs=0.2)
    assert np.array_equal(add_noise(flat, 0.0, np.random.default_rng(0)), flat)


def test_noise_is_fresh_in_each_frame():
    still = np.full((2, 64, 64, 3), 128, np.uint8)
    options = LowQuality(sigma=(0, 0), shrink=(1, 1), noise=(5, 5), codec="none")
    noisy = degrade_clip(still, DegradeOptions(options), 0)[0].astype(float)
    assert abs(np.corrcoef(noisy[0].ravel(), noisy[1].ravel())[0, 1]) < 0.05


def test_a_clip_is_degraded_alike_unless_asked_otherwise():
    still = np.repeat(make_clip(3, 1, 128).frames, 6, axis=0)
    options = LowQuality(noise=(0, 0), codec="none")
    alike = degrade_clip(still, DegradeOptions(options), 5)[0]
    assert all(np.array_equal(alike[0], frame) for frame in alike)
    each = degrade_clip(still, DegradeOptions(replace(options, per_frame=True)), 5)[0]
    assert not np.array_equal(each[0], each[1])


def test_both_orders_compress(clip):
    paper = degrade_clip(clip, DegradeOptions(LowQuality(order="paper")), 5)[0]
    code = degrade_clip(clip, DegradeOptions(LowQuality(order="code")), 5)[0]
    free = degrade_clip(clip, DegradeOptions(LowQuality(codec="none")), 5)[0]
    assert mean_psnr(paper, free) < mean_psnr(code, free)  # a small picture's artefacts are enlarged


def test_brightness_flicker_rate_and_gain():
    flat = np.full((2000, 4, 4, 3), 100, np.uint8)
    gains = degrade_clip(flat, DegradeOptions(brightness_flicker=0.3), 0)[0][:, 0, 0, 0] / 100
    hit = gains != 1
    assert hit.mean() == pytest.approx(0.3, abs=0.03)
    assert 0.5 <= gains.min() < 0.52
    assert 1.48 < gains.max() <= 1.5


def test_pixel_flicker_changes_texture_not_brightness(clip):
    changed = degrade_clip(clip, DegradeOptions(pixel_flicker=12), 0)[0].astype(float)
    assert abs((changed - clip).mean()) < 0.5
    assert np.abs(changed[0] - changed[1]).mean() > np.abs(clip[0].astype(float) - clip[1]).mean()


def test_grey_is_grey_and_keeps_luma(clip):
    grey = to_grey(clip)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert np.abs(grey[..., 0] - clip @ [0.299, 0.587, 0.114]).max() <= 0.51


@pytest.mark.parametrize("kind", ["brush", "box", "any"])
def test_masks_are_seeded_and_moderate(kind):
    covered = []
    for seed in range(20):
        masks = random_mask(np.random.default_rng(seed), 4, (64, 96), kind)
        assert masks.shape == (4, 64, 96)
        assert set(np.unique(masks)) <= {0, 1}
        assert np.array_equal(masks, random_mask(np.random.default_rng(seed), 4, (64, 96), kind))
        covered.append(masks.mean())
    assert 0.05 < np.mean(covered) < 0.3


def test_masks_move_only_if_asked():
    still = random_mask(np.random.default_rng(1), 16, (64, 64), "box", moving=False)
    assert (still == still[0]).all()
    moving = [random_mask(np.random.default_rng(s), 16, (64, 64), "box", moving=True) for s in range(5)]
    assert any((m != m[0]).any() for m in moving)


def test_masked_pixels_are_white(clip):
    masks = random_mask(np.random.default_rng(1), len(clip), clip.shape[1:3], "box")
    painted = paint_white(clip, masks)
    assert (painted[masks == 1] == 255).all()
    assert np.array_equal(painted[masks == 0], clip[masks == 0])


def test_tasks_have_their_degradations():
    every = options_for(frozenset(Task))
    assert (every.low_quality, every.grey, every.mask) == (LowQuality(), True, "any")
    assert options_for(parse_tasks("colorization")) == DegradeOptions(grey=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codec": "vp9"}, "vp9"),
        ({"sigma": (5, 2)}, "sigma"),
        ({"shrink": (0.5, 2)}, "shrink"),
        ({"crf": (18, 60)}, "51"),
    ],
)
def test_bad_ranges_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LowQuality(**settings)


def test_wrong_frames_are_refused(clip):
    with pytest.raises(InputError, match="uint8"):
        degrade_clip(clip.astype(np.float32), DegradeOptions(), 0)
    with pytest.raises(InputError, match="ellipse"):
        random_mask(np.random.default_rng(0), 1, (8, 8), "ellipse")
