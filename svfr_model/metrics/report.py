"""What an evaluation found: each metric's value, or why there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .fvd import FVD_FRAMES
from .pixels import MOST_PSNR
from .temporal import REFERENCE_SIZE

Better: TypeAlias = Literal["higher", "lower", "as the truth"]


@dataclass(frozen=True)
class Metric:
    """What a metric is, whatever its value."""

    label: str
    better: Better
    definition: str
    """How it is computed, in words, for the table."""
    unit: str = ""
    over: Literal["frames", "pairs", "clips"] = "frames"
    """What the mean is taken over; pairs are pairs of neighbouring frames."""
    ends: tuple[float, float] | None = None
    """The values of an empty bar and of a full one, the good end: chosen for reading, not the papers'. None: no bar, or
    of a metric that should be as the truth, a bar whose length is the smaller value's part of the larger."""


METRICS: dict[str, Metric] = {
    "psnr": Metric(
        "PSNR", "higher", f"mean of the frames' PSNR, RGB, peak 255, each at most {MOST_PSNR:g} dB", "dB", ends=(10, 50)
    ),
    "psnr_mask": Metric("PSNR in mask", "higher", "the same inside the mask alone", "dB", ends=(10, 50)),
    "ssim": Metric("SSIM", "higher", "RGB, Gaussian window of 11 pixels, sigma 1.5", ends=(0, 1)),
    "lpips": Metric("LPIPS", "lower", "VGG-16, RGB", ends=(1, 0)),
    "chroma": Metric("Chroma error", "lower", "mean distance of colours (a,b) in CIELAB", ends=(25, 0)),
    "ids": Metric("IDS", "higher", "cosine of face embeddings, restored against truth", ends=(0, 1)),
    "vidd": Metric(
        "VIDD", "lower", "L2 distance of unit face embeddings of neighbouring frames", over="pairs", ends=(1, 0)
    ),
    "face_cons": Metric(
        "Face-Cons", "higher", "cosine of frame 1's face embedding with every later frame's", ends=(0, 1)
    ),
    "akd": Metric(
        "AKD-5",
        "lower",
        f"distance of the detector's five landmarks, at a longer side of {REFERENCE_SIZE}; the papers' AKD has others",
        "px",
        ends=(20, 0),
    ),
    "flow": Metric(
        "Flow score",
        "as the truth",
        f"mean length of OpenCV's DIS flow, at a longer side of {REFERENCE_SIZE}",
        "px",
        "pairs",
    ),
    "i3d_distance": Metric(
        "I3D distance",
        "lower",
        f"squared distance of the I3D features of the first {FVD_FRAMES} frames; FVD proper is for sets of clips",
        over="clips",
    ),
}
"""Every metric by its key, in the order of the table. The papers' face embeddings are ArcFace's; here the caller
chooses the recogniser. The papers do not state VIDD's norm: L2 is our choice (docs/reference/training.md#metrics)."""


@dataclass(frozen=True)
class Measure:
    """One metric of one clip."""

    key: str
    """Which of METRICS."""
    value: float | None
    """None where it was not computed."""
    absent: str = ""
    """Why there is no value."""
    truth: float | None = None
    """The true clip's own value, for metrics that need no truth: what a perfect restoration would score."""
    counted: int = 0
    """The number of frames, or pairs of neighbouring frames, that the mean is taken over."""
    expected: int = 0
    """The number that there are; the others could not be measured."""


@dataclass(frozen=True)
class Report:
    """All measures of one restored clip."""

    frames: int
    width: int
    height: int
    against_truth: bool
    measures: tuple[Measure, ...]
    """In the order of METRICS, each exactly once."""
    faceless_restored: int | None = None
    """The number of frames of the restored clip in which no face was found; None where none was sought."""
    faceless_truth: int | None = None
    """The same for the true clip."""

    @property
    def values(self) -> dict[str, float]:
        """The computed values by key."""
        return {measure.key: measure.value for measure in self.measures if measure.value is not None}

    @property
    def absent(self) -> dict[str, str]:
        """Why the others were not computed, by key."""
        return {measure.key: measure.absent for measure in self.measures if measure.value is None}

    @property
    def head(self) -> str:
        """What was measured, in a line."""
        against = "against the truth, frame by frame" if self.against_truth else "without a truth"
        return f"{self.frames} frames of {self.width}x{self.height}, {against}"

    @property
    def notes(self) -> list[str]:
        """What was not computed and why, a line for each reason."""
        return [*self._faceless(), *self._left_out()]

    def table(self) -> str:
        """The report as a Markdown table, a row per metric, and below it what was not computed and why."""
        rows = [_TITLES, *(row_of(measure) for measure in self.measures if measure.value is not None)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_TITLES))]
        rows.insert(1, tuple("-" * width for width in widths))
        lines = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows]
        return "\n".join([self.head, "", *lines, "", *(f"- {note}" for note in self.notes)])

    def _faceless(self) -> list[str]:
        """A line on frames without a face, which the face metrics leave out."""
        counts = {"restored": self.faceless_restored, "true": self.faceless_truth}
        looked = {which: count for which, count in counts.items() if count is not None}
        if not looked:
            return []
        if not any(looked.values()):
            return ["A face was found in every frame."]
        parts = [f"{count} of {self.frames} {which} frames" for which, count in looked.items()]
        return [f"No face was found in {' and in '.join(parts)}: the face metrics are means over the rest."]

    def _left_out(self) -> list[str]:
        """A line for each reason, with the metrics that it applies to."""
        labels: dict[str, list[str]] = {}
        for key, reason in self.absent.items():
            labels.setdefault(reason, []).append(METRICS[key].label)
        return [f"Not computed: {', '.join(names)}, because {reason}" for reason, names in labels.items()]

    def to_json(self) -> str:
        """The report as strict JSON, in which a value that is not finite is a string."""
        return json.dumps(
            {
                "frames": self.frames,
                "width": self.width,
                "height": self.height,
                "against_truth": self.against_truth,
                "frames_without_face": {"restored": self.faceless_restored, "truth": self.faceless_truth},
                "metrics": {measure.key: _entry(measure) for measure in self.measures},
            },
            indent=2,
            allow_nan=False,
        )


def bar_of(measure: Measure, value: float | None) -> float | None:
    """How full a bar is that shows a value of this measure's metric, 0 to 1, 1 being the good end; None for no bar."""
    metric = METRICS[measure.key]
    if value is None or not math.isfinite(value):
        return None
    if metric.better == "as the truth":
        low, high = sorted((value, value if measure.truth is None else measure.truth))
        return None if measure.truth is None else low / high if high else 1.0
    if metric.ends is None:
        return None
    empty, full = metric.ends
    return min(1.0, max(0.0, (value - empty) / (full - empty)))


_TITLES = ("metric", "value", "truth itself", "better", "mean of", "how")


def row_of(measure: Measure) -> tuple[str, ...]:
    """A measure's row of the table: metric, value, the truth's own value, which is better, what of, and how."""
    metric = METRICS[measure.key]
    truth = "" if measure.truth is None else f"{measure.truth:.4f}"
    counted = "" if metric.over == "clips" else f"{measure.counted} of {measure.expected} {metric.over}"
    value = f"{measure.value:.4f} {metric.unit}".rstrip()
    return metric.label, value, truth, metric.better, counted, metric.definition


def _entry(measure: Measure) -> Mapping[str, object]:
    metric = METRICS[measure.key]
    if measure.value is None:
        return {"value": None, "absent": measure.absent}
    return {
        "value": _number(measure.value),
        "truth": _number(measure.truth),
        "unit": metric.unit,
        "better": metric.better,
        "counted": measure.counted,
        "expected": measure.expected,
        "over": metric.over,
        "definition": metric.definition,
    }


def _number(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
