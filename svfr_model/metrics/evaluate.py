"""Go through a restored and a true clip frame by frame and measure everything that can be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path

import numpy as np
import torch

from ..base.clip import Clip
from ..base.errors import InputError
from ..base.pixels import as_uint8
from ..base.progress import Callback, report
from ..files.paths import Output, check_paths
from ..files.staging import staged
from ..media.pictures import write_picture
from ..networks.identity import similarity
from .faces import Watcher, difference, landmark_distance
from .fvd import LEAST_FRAMES, I3d, frechet_distance, fvd_features
from .instruments import InstrumentChoice, Instruments, load_instruments
from .meters import ChainMeter, FrameMeter, Meter, Pair
from .pixels import chroma_error, psnr, ssim
from .report import METRICS, Measure, Report
from .temporal import flow_frame, flow_magnitude, temporal_profile

COMPARING = ("psnr", "psnr_mask", "ssim", "lpips", "chroma", "ids", "akd", "i3d_distance")
"""Metrics that compare the restored clip with the true one."""

NEEDS_TRUTH = "it compares with the true clip, and none was given"
NO_MASK = "no mask was given"
GIVEN_LANDMARKS = "the landmarks were given, not detected in the frames"
NO_FRAME = "there is no frame to measure"


def evaluate(
    restored: Clip,
    truth: Clip | None = None,
    instruments: Instruments | None = None,
    *,
    masks: Iterable[np.ndarray] | None = None,
    callback: Callback | None = None,
) -> Report:
    """Measure a restored clip, against the true one where there is one.

    masks: one (H,W) bool array per frame, True where the picture was missing. One frame of each clip is in memory at a
    time. The report gives the reason for each metric that cannot be computed, and the number of frames in which no
    face was found. Reports the stage "evaluate". Raises InputError for clips that differ in size or length: nothing is
    resized or cut.
    """
    instruments = instruments or Instruments()
    total = _check_fit(restored, truth)
    absent = _absent(instruments, against_truth=truth is not None, masked=masks is not None)
    meters = [meter for key, meter in _meters(instruments).items() if key not in absent]
    watcher = Watcher(instruments.detector, instruments.landmarks, instruments.encoder)
    count, faceless = 0, [0, 0]
    for frame, true_frame, mask in _in_step(restored, truth, masks):
        people = watcher.look(count, frame, true_frame)
        faceless = [missed + (person is None) for missed, person in zip(faceless, people, strict=True)]
        pair = Pair(frame, true_frame, mask, *people)
        for meter in meters:
            meter.add(pair)
        count += 1
        report(callback, "evaluate", count, max(total, count))
    found = [meter.measure() for meter in meters]
    if truth is not None and instruments.i3d is not None:
        found.append(_feature_distance(restored, truth, instruments.i3d, count))
    measures = {measure.key: measure for measure in found} | {
        key: Measure(key, None, reason) for key, reason in absent.items()
    }
    return Report(
        frames=count,
        width=restored.width,
        height=restored.height,
        against_truth=truth is not None,
        measures=tuple(measures[key] for key in METRICS),
        faceless_restored=faceless[0] if instruments.sees_faces else None,
        faceless_truth=faceless[1] if instruments.sees_faces and truth is not None else None,
    )


def run_evaluate(
    restored: Path,
    truth: Path | None = None,
    *,
    mask: Path | None = None,
    instruments: InstrumentChoice | None = None,
    json_path: Path | None = None,
    profile: Path | None = None,
    tell: Callable[[Report], None] | None = None,
    callback: Callback | None = None,
) -> Report:
    """Evaluate files: videos, pictures or folders of pictures; see `evaluate` and `InstrumentChoice`.

    mask: white where the picture was missing. json_path: also write the report to this file. profile: also write a
    picture of the restored clip's middle column over time to this file. tell: gets the report before anything is
    written, which may fail. Raises InputError for files that cannot be read or written or do not fit together,
    WeightsError for weights that are there but broken.
    """
    from ..media import open_clip, read_mask
    from ..media.writer import PICTURE_OUT_SUFFIXES

    choice = instruments or InstrumentChoice()
    figures = [Output(json_path, "figures", (".json",))] if json_path is not None else []
    pictures = [Output(profile, "profile", PICTURE_OUT_SUFFIXES)] if profile is not None else []
    check_paths([path for path in (restored, truth, mask, choice.i3d) if path is not None], [*figures, *pictures])
    clip = open_clip(restored)
    true_clip = None if truth is None else open_clip(truth)
    masks = None if mask is None else read_mask(mask, len(clip), clip.width, clip.height)
    found = evaluate(clip, true_clip, load_instruments(choice), masks=masks, callback=callback)
    if tell is not None:
        tell(found)
    if json_path is not None:
        with staged(json_path) as path:
            path.write_text(found.to_json() + "\n", encoding="utf-8")
    if profile is not None:
        picture = temporal_profile(clip)
        with staged(profile) as path:
            write_picture(path, picture)
    return found


def _absent(instruments: Instruments, *, against_truth: bool, masked: bool) -> dict[str, str]:
    """The metrics that cannot be computed, and why, as far as is known before any frame is read."""
    why_not = instruments.why_not
    no_faces = "" if instruments.sees_faces else why_not("detector")
    reasons = dict.fromkeys(METRICS, "")
    reasons |= {"psnr_mask": "" if masked else NO_MASK, "lpips": why_not("lpips"), "i3d_distance": why_not("i3d")}
    reasons |= dict.fromkeys(("ids", "vidd", "face_cons"), why_not("encoder") or no_faces)
    reasons["akd"] = no_faces or ("" if instruments.landmarks is None else GIVEN_LANDMARKS)
    if not against_truth:
        reasons |= dict.fromkeys(COMPARING, NEEDS_TRUTH)
    return {key: reason for key, reason in reasons.items() if reason}


def _meters(instruments: Instruments) -> dict[str, Meter]:
    """A meter for each metric that is a mean over frames, by key."""
    meters: list[Meter] = [
        FrameMeter("psnr", _against_truth(psnr), NO_FRAME),
        FrameMeter("psnr_mask", _masked_psnr, "the mask is empty in every frame"),
        FrameMeter("ssim", _against_truth(ssim), NO_FRAME),
        FrameMeter("chroma", _against_truth(chroma_error), NO_FRAME),
        FrameMeter("ids", _identity_similarity, "in no frame was a face found in both clips"),
        ChainMeter("vidd", _embeddings, difference, "in no two neighbouring frames was a face found"),
        ChainMeter("face_cons", _embeddings, _cosine, "no face was found in frame 1 or in any later one", first=True),
        FrameMeter("akd", _landmark_error, "in no frame was a face found in both clips"),
        ChainMeter("flow", _flow_frames, flow_magnitude, NO_FRAME),
    ]
    if instruments.lpips is not None:
        meters.append(FrameMeter("lpips", _against_truth(instruments.lpips), NO_FRAME))
    return {meter.key: meter for meter in meters}


def _against_truth(score: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Pair], float | None]:
    """Score a restored frame against the true one."""
    return lambda pair: None if pair.truth is None else score(pair.restored, pair.truth)


def _masked_psnr(pair: Pair) -> float | None:
    if pair.truth is None or pair.mask is None or not pair.mask.any():
        return None
    return psnr(pair.restored, pair.truth, pair.mask)


def _cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(similarity(first, second))


def _identity_similarity(pair: Pair) -> float | None:
    first, second = _embeddings(pair)
    return None if first is None or second is None else _cosine(first, second)


def _embeddings(pair: Pair) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    first, second = pair.restored_person, pair.truth_person
    return None if first is None else first.embedding, None if second is None else second.embedding


def _landmark_error(pair: Pair) -> float | None:
    first, second = pair.restored_person, pair.truth_person
    if first is None or second is None or first.face is None or second.face is None:
        return None
    height, width = pair.restored.shape[:2]
    return landmark_distance(first.face.landmarks, second.face.landmarks, (width, height))


def _flow_frames(pair: Pair) -> tuple[np.ndarray, np.ndarray | None]:
    return flow_frame(pair.restored), None if pair.truth is None else flow_frame(pair.truth)


def _feature_distance(restored: Clip, truth: Clip, i3d: I3d, count: int) -> Measure:
    """The distance of both clips' I3D features. I3D needs its frames all at once, so the clips are read once more."""
    if count < LEAST_FRAMES:
        return Measure("i3d_distance", None, f"I3D needs at least {LEAST_FRAMES} frames, the clips have {count}")
    first, second = fvd_features(restored, i3d), fvd_features(truth, i3d)
    return Measure("i3d_distance", frechet_distance(first[None], second[None]), counted=1, expected=1)


def _check_fit(restored: Clip, truth: Clip | None) -> int:
    """The number of frames, 0 where it is not known. Raises InputError where sizes or known lengths differ."""
    length = len(restored) if isinstance(restored, Sized) else 0
    if truth is None:
        return length
    if (restored.width, restored.height) != (truth.width, truth.height):
        raise InputError(
            f"The restored clip has frames of {restored.width}x{restored.height} pixels, the true one of "
            f"{truth.width}x{truth.height}, and nothing is resized here. Bring both to one size first."
        )
    if isinstance(restored, Sized) and isinstance(truth, Sized):
        _check_counts({"restored clip": length, "true clip": len(truth)})
    return length


def _in_step(
    restored: Clip, truth: Clip | None, masks: Iterable[np.ndarray] | None
) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]]:
    """Restored frame, true frame and mask, one after the other, frames as uint8; InputError where one ends early."""
    sources: dict[str, Iterable[np.ndarray] | None] = {"restored clip": restored, "true clip": truth, "mask": masks}
    streams = {name: iter(source) for name, source in sources.items() if source is not None}
    count = 0
    while True:
        items = {name: item for name, stream in streams.items() if (item := next(stream, None)) is not None}
        if len(items) < len(streams):
            rest = {name: (name in items) + sum(1 for _ in stream) for name, stream in streams.items()}
            _check_counts({name: count + more for name, more in rest.items()})
            return
        true_frame = items.get("true clip")
        yield (
            as_uint8(items["restored clip"]),
            None if true_frame is None else as_uint8(true_frame),
            items.get("mask"),
        )
        count += 1


def _check_counts(counts: Mapping[str, int]) -> None:
    if len(set(counts.values())) == 1 and min(counts.values()) > 0:
        return
    described = ", ".join(f"{name}: {count} frames" for name, count in counts.items())
    raise InputError(
        f"Clips and masks must have the same number of frames, at least one ({described}). "
        "Cut the longer one, or restore the clip again from the same source."
    )
