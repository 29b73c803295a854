"""How well tracks, crops and pastes agree with a scene's ground truth; used by tests and benchmarks alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np

from svfr_model.faces import geometry
from svfr_model.faces.find import find_tracks
from svfr_model.faces.region import bounds, paste_region

from .clips import Actor, Person, Scene, Shot, still

NEAR = 0.5
"""A track is on an actor where their centres are at most this many sides of the face apart."""


@dataclass(frozen=True)
class Truth:
    """Where the tracker puts the centre and size of a person's face in the still portrait: the convention it keeps."""

    center: np.ndarray
    box: np.ndarray
    """Width and height."""

    @property
    def side(self) -> float:
        return float(np.sqrt(self.box.prod()))


def calibrate(person: Person, detector, options=None) -> Truth:
    """What "the centre" and "the size" of this person's face mean: read once, from a clip in which nothing moves."""
    scene = Scene((Shot(12, (Actor(person, still()),)),))
    actor = scene.shots[0].actors[0]
    (track,) = find_tracks(scene, detector, options).tracks
    back = geometry.invert(scene.matrix(0, actor))
    return Truth(geometry.apply(back, track.centers).mean(0), (track.boxes[:, 2:] - track.boxes[:, :2]).mean(0))


def expected(scene: Scene, frame: int, actor: Actor, truth: Truth) -> tuple[np.ndarray, np.ndarray] | None:
    """True centre (2,) and box size (2,) of an actor's face in a frame."""
    matrix = scene.matrix(frame, actor)
    if matrix is None:
        return None
    return geometry.apply(matrix, truth.center[None])[0], truth.box * float(np.hypot(*matrix[:, 0]))


def in_full_view(scene: Scene, frame: int, actor: Actor, truth: Truth) -> bool:
    """Whether the whole face is inside the frame and nobody stands before it."""
    center, size = expected(scene, frame, actor, truth)
    low, high = center - 0.55 * size, center + 0.55 * size
    if (low < 0).any() or (high > (scene.width - 1, scene.height - 1)).any():
        return False
    actors = scene.locate(frame)[0].actors
    for other in actors[actors.index(actor) + 1 :]:
        matrix = scene.matrix(frame, other)
        if matrix is None:
            continue
        alpha = cv2.warpAffine(other.person.alpha, matrix, (scene.width, scene.height))
        rows, columns = slice(int(low[1]), int(high[1]) + 1), slice(int(low[0]), int(high[0]) + 1)
        if alpha[rows, columns].max() > 0.02:
            return False
    return True


@dataclass(frozen=True)
class TrackReport:
    """Figures of all tracks of a clip; errors in sides of the face."""

    purity: float
    """Least part of a track's frames that are on its own person."""
    switches: int
    """How often a person's number changed during the clip."""
    coverage: float
    """Least part of a person's frames in full view that a track holds."""
    error: float
    """Largest error of the centre, frames in full view."""
    error_rms: float
    partial_error: float
    """Largest error in frames in which the face is partly hidden or beyond the edge; 0 where there is none."""
    tracks: int


def report_tracks(scene: Scene, tracks, truths: dict[str, Truth]) -> TrackReport:
    """Compare tracks with the scene they were found in; truths by the persons' names."""
    full, partial, purities = [], [], []
    labels: dict[tuple[int, str], dict[int, int]] = {}
    for track in tracks:
        names = []
        for frame in range(track.start, track.stop):
            shot, _ = scene.locate(frame)
            best = None
            for actor in shot.actors:
                place = expected(scene, frame, actor, truths[actor.person.name])
                if place is not None:
                    side = float(np.sqrt(place[1].prod()))
                    error = float(np.hypot(*(track.centers[frame - track.start] - place[0]))) / side
                    best = min(best or (np.inf, None), (error, actor), key=lambda pair: pair[0])
            name = best[1].person.name if best is not None and best[0] <= NEAR else None
            names.append(name)
            if name is not None:
                visible = in_full_view(scene, frame, best[1], truths[name])
                (full if visible else partial).append(best[0])
                labels.setdefault((track.shot, name), {})[frame] = track.person
        counts = Counter(name for name in names if name is not None)
        purities.append(max(counts.values(), default=0) / len(names))
    switches = sum(
        int((np.diff([person for _, person in sorted(held.items())]) != 0).sum()) for held in labels.values()
    )
    return TrackReport(
        min(purities, default=0.0),
        switches,
        _coverage(scene, tracks, truths, labels),
        max(full, default=0.0),
        float(np.sqrt(np.mean(np.square(full)))) if full else 0.0,
        max(partial, default=0.0),
        len(tracks),
    )


def _coverage(scene: Scene, tracks, truths, labels) -> float:
    shares, first = [], 0
    for number, shot in enumerate(scene.shots):
        for actor in shot.actors:
            truth = truths[actor.person.name]
            seen = [
                frame
                for frame in range(first, first + shot.length)
                if scene.matrix(frame, actor) is not None and in_full_view(scene, frame, actor, truth)
            ]
            held = labels.get((number, actor.person.name), {})
            if seen:
                shares.append(sum(frame in held for frame in seen) / len(seen))
        first += shot.length
    return min(shares, default=1.0)


def crop_centers(plan) -> np.ndarray:
    """Where the middle of each crop lies in the frame: (n,2)."""
    width, height = plan.size
    middle = np.array([[(width - 1) / 2, (height - 1) / 2]])
    return geometry.apply(geometry.invert(plan.matrices), middle)[:, 0]


def crop_error(scene: Scene, plan, actor: Actor, truth: Truth) -> float:
    """Largest distance of the crop's middle from the true centre, in sides of the face."""
    errors, track = [], plan.track
    for frame, center in zip(range(track.start, track.stop), crop_centers(plan), strict=True):
        true_center, size = expected(scene, frame, actor, truth)
        errors.append(float(np.hypot(*(center - true_center))) / float(np.sqrt(size.prod())))
    return max(errors)


def face_inside_crop(scene: Scene, plan, actor: Actor, truth: Truth) -> bool:
    """Whether the true face box lies wholly inside the crop in every frame."""
    width, height = plan.size
    for entry, frame in enumerate(range(plan.track.start, plan.track.stop)):
        center, size = expected(scene, frame, actor, truth)
        corners = center + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size / 2
        places = geometry.apply(plan.matrices[entry], corners)
        if (places < -0.5).any() or (places > (width - 0.5, height - 0.5)).any():
            return False
    return True


def jitter(matrices: np.ndarray) -> float:
    """Mean size of the second difference of affine matrices (n,2,3) over time."""
    return float(np.sqrt((np.diff(matrices, 2, axis=0) ** 2).sum(axis=(1, 2))).mean())


def per_frame_matrices(scene: Scene, detector, size: int = 512, margin: float = 0.4) -> np.ndarray:
    """The crops one gets by detecting on every full frame and cutting where the box is: (n,2,3)."""
    matrices = []
    for frame in scene:
        box = detector.detect([frame])[0][0].box
        scale = size / ((1 + 2 * margin) * (box[2:] - box[:2]).min())
        middle = (size - 1) / 2 - scale * (box[:2] + box[2:]) / 2
        matrices.append([[scale, 0.0, middle[0]], [0.0, scale, middle[1]]])
    return np.array(matrices)


def native_size(plan) -> int:
    """The crop side at which one pixel of the crop is one of the frame, for a square crop."""
    scales = np.hypot(plan.matrices[:, 0, 0], plan.matrices[:, 1, 0])
    return round(plan.size[0] / float(np.median(scales)))


def paste_mask(plan, entry: int, options) -> np.ndarray:
    """The region of paste-back in the whole frame: (H,W) float32."""
    window = bounds(plan, entry)
    mask = np.zeros(plan.track.frame_size[::-1], np.float32)
    mask[window[1] : window[3], window[0] : window[2]] = paste_region(
        plan, entry, window, options.region, options.feather
    )
    return mask


def edge_band(mask: np.ndarray, level: float = 0.0) -> np.ndarray:
    """Three pixels along the line where the mask exceeds level: one outside, two inside."""
    inside = (mask > level).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    return (cv2.dilate(inside, kernel) - cv2.erode(inside, kernel, iterations=2)) > 0


def gradient(frame: np.ndarray) -> np.ndarray:
    """Gradient magnitude, mean over the colour channels: (H,W) float32. A step of colour alone counts too."""
    values = frame.astype(np.float32)
    return np.hypot(cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1)).mean(axis=2)


def psnr(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over the pixels where (H,W) is True."""
    error = np.mean((first[where].astype(np.float64) - second[where].astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-12)))
