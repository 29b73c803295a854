"""The walk over two clips: what is computed, what is said of the rest, and that memory stays flat."""

from __future__ import annotations

import json
import weakref
from fractions import Fraction

import numpy as np
import pytest

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError, WeightsError
from svfr_model.media.pictures import write_picture
from svfr_model.metrics import METRICS, InstrumentChoice, Instruments, evaluate, psnr, run_evaluate, ssim
from svfr_model.metrics.report import Measure, bar_of


def clip(count: int, size: tuple[int, int] = (24, 32), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


class Stream:
    """Frames made on the fly, without a length; counts how many are alive."""

    fps = Fraction(25)
    width, height = 32, 24

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.alive, self.most = 0, 0

    def __iter__(self):
        for index in range(self.count):
            frame = clip(1, seed=self.seed + index)[0].copy()
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(frame, self._gone)
            yield frame
            del frame

    def _gone(self) -> None:
        self.alive -= 1


def test_means_are_over_frames():
    restored, truth = clip(3), clip(3, seed=1)
    report = evaluate(ArrayClip(restored), ArrayClip(truth))
    pairs = list(zip(restored, truth, strict=True))
    assert report.values["psnr"] == pytest.approx(np.mean([psnr(*pair) for pair in pairs]))
    assert report.values["ssim"] == pytest.approx(np.mean([ssim(*pair) for pair in pairs]))
    assert (report.frames, report.width, report.height) == (3, 32, 24)


def test_every_metric_has_a_value_or_a_reason():
    report = evaluate(ArrayClip(clip(3)), ArrayClip(clip(3, seed=1)))
    assert [measure.key for measure in report.measures] == list(METRICS)
    assert set(report.values) == {"psnr", "ssim", "chroma", "flow"}
    assert all(report.absent.values())
    assert "no face recogniser" in report.absent["ids"]
    assert "no face detector" in report.absent["akd"]
    assert "no LPIPS network" in report.absent["lpips"]
    assert report.faceless_restored is None


def test_without_a_truth_only_what_needs_none():
    report = evaluate(ArrayClip(clip(3)))
    assert set(report.values) == {"flow"}
    assert "none was given" in report.absent["psnr"]
    assert not report.against_truth


def test_reasons_given_by_the_caller_are_kept():
    report = evaluate(ArrayClip(clip(2)), ArrayClip(clip(2)), Instruments(reasons={"encoder": "it is on holiday"}))
    assert report.absent["ids"] == "it is on holiday"
    assert "Not computed: IDS, VIDD, Face-Cons, because it is on holiday" in report.table()


def test_masked_psnr_counts_frames_with_a_mask():
    truth = np.full((3, 24, 32, 3), 100, np.uint8)
    masks = np.zeros((3, 24, 32), bool)
    masks[1, :5, :5] = masks[2, 3:9, 3:9] = True
    restored = truth.copy()
    restored[masks] = 110
    report = evaluate(ArrayClip(restored), ArrayClip(truth), masks=masks)
    found = next(measure for measure in report.measures if measure.key == "psnr_mask")
    assert found.value == pytest.approx(20 * np.log10(25.5))
    assert (found.counted, found.expected) == (2, 3)
    empty = evaluate(ArrayClip(restored), ArrayClip(truth), masks=np.zeros_like(masks))
    assert "empty" in empty.absent["psnr_mask"]


def test_one_equal_frame_does_not_make_the_mean_infinite():
    truth = np.full((4, 24, 32, 3), 100, np.uint8)
    restored = truth.copy()
    restored[1:] += 10
    masks = np.zeros((4, 24, 32), bool)
    masks[:, 3:9, 3:9] = True
    report = evaluate(ArrayClip(restored), ArrayClip(truth), masks=masks)
    expected = (100 + 3 * 20 * np.log10(25.5)) / 4
    assert report.values["psnr"] == pytest.approx(expected)
    assert report.values["psnr_mask"] == pytest.approx(expected)
    assert "each at most 100 dB" in report.table()
    assert json.loads(report.to_json())["metrics"]["psnr"]["counted"] == 4


def test_float_frames_are_measured_as_uint8():
    truth = clip(2, seed=1)
    exact = evaluate(ArrayClip(clip(2)), ArrayClip(truth)).values
    assert evaluate(ArrayClip(clip(2).astype(np.float32) / 255), ArrayClip(truth)).values == exact


def test_sizes_that_differ_are_named():
    with pytest.raises(InputError, match="32x24 pixels, the true one of 24x32"):
        evaluate(ArrayClip(clip(2)), ArrayClip(clip(2, size=(32, 24))))


@pytest.mark.parametrize("kind", [ArrayClip, "stream"])
def test_lengths_that_differ_are_named(kind):
    if kind == "stream":
        pair = Stream(5, 0), Stream(3, 0)
    else:
        pair = ArrayClip(clip(5)), ArrayClip(clip(3))
    with pytest.raises(InputError, match="restored clip: 5 frames, true clip: 3 frames"):
        evaluate(*pair)


def test_masks_of_another_length_are_named():
    with pytest.raises(InputError, match="mask: 2 frames"):
        evaluate(ArrayClip(clip(3)), ArrayClip(clip(3)), masks=np.ones((2, 24, 32), bool))


def test_no_frames_at_all():
    with pytest.raises(InputError, match="at least one"):
        evaluate(Stream(0, 0), Stream(0, 0))


def test_a_single_frame_has_no_motion():
    report = evaluate(ArrayClip(clip(1)), ArrayClip(clip(1)))
    assert "only one" in report.absent["flow"]
    assert report.values["psnr"] == 100


@pytest.mark.parametrize("count", [6, 40])
def test_memory_does_not_follow_the_length(count):
    restored, truth = Stream(count, 0), Stream(count, 100)
    evaluate(restored, truth)
    assert restored.most <= 3
    assert truth.most <= 3


def test_progress_and_cancel():
    seen = []
    evaluate(ArrayClip(clip(3)), callback=lambda *step: seen.append(step[:3]))
    assert seen == [("evaluate", 1, 3), ("evaluate", 2, 3), ("evaluate", 3, 3)]

    def cancel(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(ArrayClip(clip(3)), callback=cancel)


def test_i3d_distance_of_long_enough_clips():
    def mean_color(clips):
        return clips.mean(dim=(2, 3, 4))

    restored, truth = np.full((12, 24, 32, 3), 102, np.uint8), np.full((12, 24, 32, 3), 153, np.uint8)
    tools = Instruments(i3d=mean_color)
    report = evaluate(ArrayClip(restored), ArrayClip(truth), tools)
    assert report.values["i3d_distance"] == pytest.approx(3 * 0.4**2, abs=1e-5)
    short = evaluate(ArrayClip(restored[:9]), ArrayClip(truth[:9]), tools)
    assert "at least 10 frames" in short.absent["i3d_distance"]


def test_json_is_strict_and_complete():
    report = evaluate(ArrayClip(clip(2)), ArrayClip(clip(2)))

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    stored = json.loads(report.to_json(), parse_constant=refuse)
    assert stored["metrics"]["psnr"]["value"] == 100.0
    assert stored["metrics"]["ssim"] == {
        "value": 1.0,
        "truth": None,
        "unit": "",
        "better": "higher",
        "counted": 2,
        "expected": 2,
        "over": "frames",
        "definition": METRICS["ssim"].definition,
    }
    assert stored["metrics"]["ids"] == {"value": None, "absent": report.absent["ids"]}


def test_table_names_every_metric():
    table = evaluate(ArrayClip(clip(2)), ArrayClip(clip(2, seed=1))).table()
    for metric in METRICS.values():
        assert metric.label in table
    assert "2 frames of 32x24" in table


def test_table_is_markdown():
    """A row per metric, all of as many cells; then a list of the reasons."""
    report = evaluate(ArrayClip(clip(2)), ArrayClip(clip(2, seed=1)))
    head, rows, notes = (part.splitlines() for part in report.table().split("\n\n"))
    assert len(head) == 1
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert cells[0][:2] == ["metric", "value"]
    assert all(set(cell) == {"-"} for cell in cells[1])
    assert [row[0] for row in cells[2:]] == [METRICS[key].label for key in report.values]
    assert cells[2][1] == f"{report.values['psnr']:.4f} dB"
    assert notes
    assert all(note.startswith("- Not computed: ") for note in notes)


def folder_of(frames, path):
    path.mkdir()
    for index, frame in enumerate(frames):
        write_picture(path / f"{index}.png", frame)
    return path


def test_files_to_report(tmp_path):
    restored, truth = folder_of(clip(2), tmp_path / "restored"), folder_of(clip(2, seed=1), tmp_path / "truth")
    mask = np.zeros((24, 32, 3), np.uint8)
    mask[4:12, 4:12] = 255
    write_picture(tmp_path / "mask.png", mask)
    choice = InstrumentChoice([tmp_path], device="cpu")
    report = run_evaluate(
        restored, truth, mask=tmp_path / "mask.png", instruments=choice, json_path=tmp_path / "r.json"
    )
    expected = [psnr(a, b, mask[..., 0] > 0) for a, b in zip(clip(2), clip(2, seed=1), strict=True)]
    assert report.values["psnr_mask"] == pytest.approx(np.mean(expected))
    assert (tmp_path / "r.json").read_text() == report.to_json() + "\n"
    assert "insightface_glint360k" in report.absent["ids"]
    assert "no frame was a face found" in report.absent["akd"], "the detector ships with the package"
    assert "i3d_torchscript.pt" in report.absent["i3d_distance"]


def test_nothing_is_written_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    restored = folder_of(clip(2), tmp_path / "restored")
    before = sorted(tmp_path.rglob("*"))
    run_evaluate(restored, instruments=InstrumentChoice(device="cpu"))
    assert sorted(tmp_path.rglob("*")) == before


def test_broken_weights_are_an_error_not_an_absence(tmp_path):
    restored = folder_of(clip(2), tmp_path / "restored")
    (tmp_path / "insightface_glint360k.pth").write_bytes(b"no checkpoint")
    with pytest.raises(WeightsError, match="not a PyTorch checkpoint"):
        run_evaluate(restored, instruments=InstrumentChoice([tmp_path], device="cpu"))


def test_a_bar_is_full_at_the_good_end():
    assert bar_of(Measure("psnr", 30.0), 30.0) == pytest.approx(0.5)
    assert bar_of(Measure("psnr", 5.0), 5.0) == 0
    assert bar_of(Measure("psnr", 100.0), 100.0) == 1
    assert bar_of(Measure("akd", 5.0), 5.0) == pytest.approx(0.75)  # lower is better
    assert bar_of(Measure("ids", float("nan")), float("nan")) is None
    assert bar_of(Measure("i3d_distance", 3.0), 3.0) is None


def test_a_bar_of_what_should_be_as_the_truth_tells_how_near_it_is():
    assert bar_of(Measure("flow", 2.0, truth=4.0), 2.0) == bar_of(Measure("flow", 8.0, truth=4.0), 8.0) == 0.5
    assert bar_of(Measure("flow", 0.0, truth=0.0), 0.0) == 1
    assert bar_of(Measure("flow", 2.0), 2.0) is None
