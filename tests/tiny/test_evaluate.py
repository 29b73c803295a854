"""Evaluation: measures are those of the metrics, and intervals mean what they say."""

import numpy as np
import pytest
from support.random_networks import RANDOM_PROJECTION, RANDOM_RECOGNIZER

from svfr_model.base.errors import InputError
from svfr_model.metrics.pixels import psnr
from svfr_model.networks.identity import IdentityEncoder, build_projection, build_recognizer
from svfr_model.synthesis.clips import make_clip
from svfr_model.tiny.evaluate import KnownFaces, Sample, markdown, measure, paired_bootstrap, summary


@pytest.fixture(scope="module")
def encoder():
    return IdentityEncoder(build_recognizer(RANDOM_RECOGNIZER), build_projection(RANDOM_PROJECTION))


def test_the_truth_is_perfect(encoder):
    clip = make_clip(1, 3, 64)
    quality = measure(clip.frames, clip, np.zeros((3, 64, 64), np.uint8), encoder)
    assert quality["psnr"] == 100
    assert quality["ssim"] == pytest.approx(1)
    assert quality["chroma"] == pytest.approx(0, abs=1e-4)
    assert quality["ids"] == pytest.approx(1, abs=1e-5)
    assert "psnr_mask" not in quality


def test_damage_is_measured_where_it_is(encoder):
    clip = make_clip(1, 3, 64)
    masks = np.zeros((3, 64, 64), np.uint8)
    masks[:, :16] = 1
    made = clip.frames.copy()
    made[:, :16] = 255
    quality = measure(made, clip, masks, encoder)
    expected = np.mean([psnr(a[:16], b[:16]) for a, b in zip(made, clip.frames, strict=True)])
    assert quality["psnr_mask"] == pytest.approx(expected)
    assert quality["psnr_mask"] < quality["psnr"]


def test_known_faces_are_where_they_were_drawn():
    clip = make_clip(1, 3, 64)
    faces = KnownFaces(clip).detect(list(clip.frames[:2]))
    assert len(faces) == 2
    assert np.array_equal(faces[1][0].landmarks, clip.five[1])
    x1, y1, x2, y2 = faces[0][0].box
    assert (clip.five[0] > (x1, y1)).all()
    assert (clip.five[0] < (x2, y2)).all()


def test_intervals_hold_the_mean_and_shrink_with_more_clips():
    rng = np.random.default_rng(0)
    few, many = rng.normal(1, 1, 10), rng.normal(1, 1, 1000)
    wide, narrow = paired_bootstrap(few), paired_bootstrap(many)
    assert wide.low < wide.mean < wide.high
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 / 1000**0.5, rel=0.1)
    assert narrow.high - narrow.low < wide.high - wide.low
    assert paired_bootstrap(few) == wide
    with pytest.raises(InputError):
        paired_bootstrap([])


def test_tables_hold_means_per_task_and_changes():
    def quality(value):
        return {"psnr": value, "ssim": 0.5, "chroma": 1.0, "ids": 0.9, "vidd": 0.1}

    samples = [Sample(k, "bfr", quality(20.0), quality(24.0 + k), quality(25.0 + k)) for k in range(3)]
    table = summary(samples)["bfr"]
    assert table["degraded"]["psnr"] == 20.0
    assert table["single"]["psnr"] == 25.0
    assert table["change of psnr"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    text = markdown(summary(samples))
    assert "| bfr | single | 25.00 |" in text
    assert "- bfr, psnr: +1.0000 [+1.0000, +1.0000]" in text
