"""A procedural generator of face clips, so that training and evaluation need no data set and no licence.

Every clip shows an invented `Person`, who turns, blinks and talks under changing light. Shapes, 68 landmarks and masks
are computed from the same numbers, so they agree exactly. All of it is our own.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..base.errors import InputError
from .palette import Material, color_table

MIN_SIZE, MAX_SIZE = 64, 512
_DEPTH = 0.75
"""How far the centre of the head protrudes towards the viewer, in units of its half height."""

_COLORS = color_table()


@dataclass(frozen=True)
class Person:
    """What stays the same during a clip. Lengths are in units of the head's half height, luminances in [0,1]."""

    width: float
    jaw: float
    skin: float
    hair: float
    hair_style: int
    hair_height: float
    hair_length: float
    iris: float
    eye_gap: float
    eye_width: float
    eye_height: float
    eye_line: float
    brow_weight: float
    brow_lift: float
    brow_tilt: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_line: float
    lip_height: float
    lips: float
    beard: int
    glasses: int
    glasses_tone: float
    clothes: float
    stripes: int
    background: float
    blobs: int


@dataclass(frozen=True)
class SyntheticClip:
    """A drawn clip, about which everything is known.

    frames (N,S,S,3) uint8 RGB. landmarks (N,68,2) float32 in pixels (x, y), the usual order of 68 points: jaw 0-16,
    brows 17-26, nose 27-35, eyes 36-47, mouth 48-67. face (N,S,S) uint8, 1 where the face is visible.
    person: who is shown.
    """

    frames: np.ndarray
    landmarks: np.ndarray
    face: np.ndarray
    person: Person

    @property
    def five(self) -> np.ndarray:
        """(N,5,2): left eye, right eye, nose tip, left and right mouth corner, as face detectors give them."""
        return five_points(self.landmarks)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Five landmarks (...,5,2) from 68 (...,68,2): the centres of the eyes, the nose tip, the corners of the mouth."""
    left, right = landmarks[..., 36:42, :].mean(axis=-2), landmarks[..., 42:48, :].mean(axis=-2)
    return np.stack([left, right, landmarks[..., 30, :], landmarks[..., 48, :], landmarks[..., 54, :]], axis=-2)


def draw_person(seed: int) -> Person:
    """A person by number; a number stands for the same person in every clip."""
    rng = np.random.default_rng([seed, 1])
    u = rng.uniform
    skin = u(0.25, 0.85)
    return Person(
        width=u(0.66, 0.86), jaw=u(0.55, 0.95), skin=skin,
        hair=float(rng.choice([0.06, 0.2, 0.4, 0.72]) + u(-0.04, 0.08)),
        hair_style=int(rng.integers(0, 4)), hair_height=u(0.12, 0.4), hair_length=u(0.2, 1.2), iris=u(0.08, 0.5),
        eye_gap=u(0.3, 0.38), eye_width=u(0.13, 0.19), eye_height=u(0.055, 0.1), eye_line=u(-0.2, -0.08),
        brow_weight=u(0.025, 0.075), brow_lift=u(0.13, 0.22), brow_tilt=u(-0.06, 0.08), nose_width=u(0.09, 0.18),
        nose_length=u(0.3, 0.44), mouth_width=u(0.2, 0.34), mouth_line=u(0.44, 0.56), lip_height=u(0.035, 0.085),
        lips=max(skin - u(0.12, 0.25), 0.1), beard=int(rng.choice([0, 0, 0, 1, 2])),
        glasses=int(rng.choice([0, 0, 0, 1, 2])), glasses_tone=u(0.05, 0.5), clothes=u(0.08, 0.85),
        stripes=int(rng.integers(0, 3)), background=u(0.12, 0.85), blobs=int(rng.integers(0, 1 << 30)),
    )  # fmt: skip


def make_clip(
    seed: int, frames: int = 16, size: int = 64, *, person: int | None = None, view: float = 1.0
) -> SyntheticClip:
    """Draw one clip. The seed determines everything, the person too unless another one is given.

    frames: how many; size: side in pixels. person: a number, see `draw_person`. view: how much wider the camera's view
    is than a face crop. Raises InputError for a size outside 64 to 512 and for no frames.
    """
    if not MIN_SIZE <= size <= MAX_SIZE or frames < 1:
        raise InputError(
            f"Synthetic clips have at least 1 frame of {MIN_SIZE} to {MAX_SIZE} px, not {frames} of {size} px: "
            "draw the clip at a supported size and resize it."
        )
    who = draw_person(seed if person is None else person)
    motion = _Motion(np.random.default_rng([seed, 2]), frames)
    scale = 4 if size <= 96 else 3 if size <= 192 else 2
    drawn = [_Painter(who, motion.at(index), size, scale, view).paint() for index in range(frames)]
    pictures, points, faces = zip(*drawn, strict=True)
    return SyntheticClip(np.stack(pictures), np.stack(points), np.stack(faces), who)


@dataclass(frozen=True)
class _Moment:
    """What changes from frame to frame: angles in radians, offsets in units of the picture, amounts in [0,1]."""

    yaw: float
    pitch: float
    roll: float
    x: float
    y: float
    zoom: float
    blink: float
    speak: float
    smile: float
    raise_brows: float
    gaze: float
    light: float
    light_angle: float
    light_slope: float


class _Motion:
    """Smooth curves over the clip: per quantity a rest value and two sines."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None:
        self._time = np.arange(frames) / 25.0
        self._curves = {
            "yaw": self._curve(rng, 0.22, 0.16), "pitch": self._curve(rng, 0.1, 0.08),
            "roll": self._curve(rng, 0.12, 0.06), "x": self._curve(rng, 0.03, 0.02),
            "y": self._curve(rng, 0.02, 0.015), "zoom": 1 + self._curve(rng, 0.07, 0.03),
            "speak": self._curve(rng, 0.1, 0.35, 2.5).clip(0, 1), "smile": self._curve(rng, 0.5, 0.3),
            "raise_brows": self._curve(rng, 0.3, 0.4), "gaze": self._curve(rng, 0.3, 0.3, 1.5),
            "light": 1 + self._curve(rng, 0.12, 0.06), "light_slope": self._curve(rng, 0.2, 0.08),
        }  # fmt: skip
        self._curves["light_angle"] = rng.uniform(0, np.pi) + self._curve(rng, 0.1, 0.4)
        moment = rng.uniform(0, 3.0) + np.array([0.0, 2.7])[:, None]
        self._curves["blink"] = np.exp(-(((self._time - moment) / 0.07) ** 2)).max(axis=0)

    def _curve(self, rng: np.random.Generator, rest: float, swing: float, speed: float = 0.8) -> np.ndarray:
        value = np.full(len(self._time), rng.uniform(-rest, rest))
        for _ in range(2):
            rate, phase = rng.uniform(0.4, 1.6) * speed, rng.uniform(0, 2 * np.pi)
            value += swing * rng.uniform(0.3, 0.8) * np.sin(2 * np.pi * rate * self._time + phase)
        return value

    def at(self, index: int) -> _Moment:
        return _Moment(**{name: float(curve[index]) for name, curve in self._curves.items()})


class _Painter:
    """Draws one frame: maps of material and luminance at a larger size, then their colours, then scales it down."""

    def __init__(self, person: Person, moment: _Moment, size: int, scale: int, view: float) -> None:
        self.p, self.m, self.size, self.scale = person, moment, size, scale
        self.side = size * scale
        self.unit = 0.3 * self.side * moment.zoom / view
        self.center = np.array([0.5 + moment.x, 0.52 + moment.y]) * self.side
        c, s = np.cos(moment.roll), np.sin(moment.roll)
        self.roll = np.array([[c, -s], [s, c]])
        self.material = np.full((self.side, self.side), Material.BACKGROUND, np.uint8)
        self.light = np.zeros((self.side, self.side), np.float32)
        self.face = np.zeros((self.side, self.side), np.uint8)

    def paint(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The picture (S,S,3) uint8, landmarks (68,2) float32 and face mask (S,S) uint8."""
        landmarks = self._landmarks()
        self._background()
        self._hair_behind()
        self._body()
        self._head(landmarks)
        self._features(landmarks)
        self._hair_front()
        if self.p.glasses:
            self._glasses(landmarks)
        shaded = self.light * self._shading()
        picture = _COLORS[self.material, np.clip(shaded * 255, 0, 255).astype(np.uint8)]
        small = (self.size, self.size)
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        face = cv2.resize(self.face, small, interpolation=cv2.INTER_AREA)
        # coordinates are whole numbers at the centres of pixels, in the large picture as in the small one
        points = (landmarks + 0.5) / self.scale - 0.5
        return picture, points.astype(np.float32), (face >= 128).astype(np.uint8)

    # geometry ------------------------------------------------------------------------------------------------------

    def _place(self, points: np.ndarray, depth: float | None = None) -> np.ndarray:
        """Points (n,2) on the front of the head, in units of its half height, to pixels of the large picture.

        depth: distance in front of the head's axis; by default that of the ellipsoid's surface.
        """
        points = np.asarray(points, np.float64)
        x, y = points[:, 0], points[:, 1]
        if depth is None:
            z = _DEPTH * np.sqrt(np.clip(1 - (x / self.p.width) ** 2 - (y / 1.05) ** 2, 0, 1))
        else:
            z = np.full(len(points), depth)
        turned = x * np.cos(self.m.yaw) + z * np.sin(self.m.yaw)
        tilted = y * np.cos(self.m.pitch) - z * np.sin(self.m.pitch)
        placed: np.ndarray = (np.stack([turned, tilted], axis=1) @ self.roll.T) * self.unit + self.center
        return placed

    def _outline(self, grow: float = 1.0, top: float = 1.0) -> np.ndarray:
        """The head's contour (64,2) in units of its half height: an ellipse that narrows towards the chin."""
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        x, y = np.sin(angle), -np.cos(angle)
        narrow = np.where(y > 0, 1 - (1 - self.p.jaw) * 0.55 * y**2, 1.0)
        return np.stack([x * self.p.width * narrow * grow, np.where(y < 0, y * top, y) * grow], axis=1)

    def _landmarks(self) -> np.ndarray:
        p, m = self.p, self.m
        jaw_angle = np.linspace(np.pi * 1.42, np.pi * 0.58, 17)
        x, y = np.sin(jaw_angle), -np.cos(jaw_angle)
        jaw = np.stack(
            [x * p.width * np.where(y > 0, 1 - (1 - p.jaw) * 0.55 * y**2, 1.0), y + 0.12 * m.speak * (y > 0.5)], 1
        )
        brows = []
        t = np.linspace(-1, 1, 5)
        height = p.eye_line - p.brow_lift - 0.05 * m.raise_brows
        for side in (-1, 1):
            arch = height + p.brow_tilt * side * t - 0.03 * (1 - t**2)
            brows.append(np.stack([side * p.eye_gap + t * p.eye_width * 1.25, arch], axis=1))
        tip = p.eye_line + p.nose_length
        bridge = np.stack([np.zeros(4), np.linspace(p.eye_line, tip, 4)], axis=1)
        base = np.stack([np.linspace(-1, 1, 5) * p.nose_width, tip + 0.06 + 0.02 * np.array([0, 1, 1.5, 1, 0])], axis=1)
        opening = p.eye_height * (1 - 0.9 * m.blink)
        eye = np.array([[-1, 0], [-0.4, -1], [0.4, -1], [1, 0], [0.4, 1], [-0.4, 1]])
        eyes = [np.array([side * p.eye_gap, p.eye_line]) + eye * [p.eye_width, opening] for side in (-1, 1)]
        flat = np.concatenate([*brows, bridge, base, *eyes, self._mouth()])
        protruding = self._place(flat)
        nose = slice(10, 19)
        protruding[nose] = self._place_nose(flat[nose])
        return np.concatenate([self._place(jaw, 0.1), protruding])

    def _place_nose(self, points: np.ndarray) -> np.ndarray:
        """The nose protrudes from the face, most at its tip."""
        out = np.array([0.0, 0.08, 0.16, 0.24, 0.1, 0.12, 0.14, 0.12, 0.1])
        return np.stack([self._place(point[None], _DEPTH * 0.9 + z)[0] for point, z in zip(points, out, strict=True)])

    def _mouth(self) -> np.ndarray:
        """The mouth's 20 points: the outer contour (12), from the left corner over the top, then the inner one (8)."""
        p, m = self.p, self.m
        width = p.mouth_width * (1 + 0.15 * m.smile)
        opened, curve = 0.11 * m.speak, 0.05 * m.smile
        t = np.linspace(-1, 1, 7)
        top = np.stack(
            [t * width, p.mouth_line + curve * (1 - t**2) - p.lip_height * (1 - t**2) - opened * 0.3 * (1 - t**2)], 1
        )
        t = np.linspace(1, -1, 7)[1:-1]
        low = np.stack([t * width, p.mouth_line + curve * (1 - t**2) + (p.lip_height * 1.3 + opened) * (1 - t**2)], 1)
        t = np.linspace(-1, 1, 5)
        inner_top = np.stack([t * width * 0.85, p.mouth_line + curve * (1 - t**2) - opened * 0.3 * (1 - t**2)], 1)
        t = np.linspace(1, -1, 5)[1:-1]
        inner_low = np.stack([t * width * 0.85, p.mouth_line + curve * (1 - t**2) + opened * (1 - t**2)], 1)
        return np.concatenate([top, low, inner_top, inner_low])

    # painting ------------------------------------------------------------------------------------------------------

    def _fill(self, points: np.ndarray, material: Material, tone: float, *, in_face: bool = False) -> None:
        polygon = [np.rint(points).astype(np.int32)]
        cv2.fillPoly(self.material, polygon, int(material))
        cv2.fillPoly(self.light, polygon, float(tone))
        if in_face:
            cv2.fillPoly(self.face, polygon, 255)

    def _stroke(self, points: np.ndarray, width: float, material: Material, tone: float, closed: bool = False) -> None:
        line = [np.rint(points).astype(np.int32)]
        thick = max(round(width * self.unit), 1)
        cv2.polylines(self.material, line, closed, int(material), thick)
        cv2.polylines(self.light, line, closed, float(tone), thick)

    def _background(self) -> None:
        rng = np.random.default_rng(self.p.blobs)
        ramp = np.linspace(-1, 1, self.side, dtype=np.float32)
        slope, tilt = rng.uniform(-0.15, 0.15, 2)
        self.light[:] = self.p.background + slope * ramp[:, None] + tilt * ramp[None, :]
        for _ in range(int(rng.integers(0, 5))):
            corner, extent = rng.uniform(0, 1, 2) * self.side, rng.uniform(0.1, 0.4, 2) * self.side
            tone = float(np.clip(self.p.background + rng.uniform(-0.25, 0.25), 0.05, 0.95))
            first, last = np.rint(corner - extent / 2).astype(int), np.rint(corner + extent / 2).astype(int)
            cv2.rectangle(self.light, first.tolist(), last.tolist(), tone, -1)

    def _body(self) -> None:
        x, y = self.center[0], self.center[1]
        u = self.unit
        bottom = float(self.side)
        neck = np.array([[-0.36, 0.5], [0.36, 0.5], [0.42, 1.5], [-0.42, 1.5]]) * u + [x, y]
        shoulders = np.array(
            [[-0.35, 1.25], [0.35, 1.25], [1.35, 1.65], [1.6, 2.6], [-1.6, 2.6], [-1.35, 1.65]]
        ) * u + [x, y]
        shoulders[3:5, 1] = bottom + u
        self._fill(neck, Material.SKIN, self.p.skin * 0.82)
        self._fill(shoulders, Material.CLOTHES, self.p.clothes)
        for k in range(self.p.stripes * 2):
            across = np.array([[-1.7, 1.75 + 0.35 * k], [1.7, 1.75 + 0.35 * k]]) * u + [x, y]
            self._stroke(across, 0.09, Material.CLOTHES, float(np.clip(self.p.clothes + 0.22, 0, 0.95)))

    def _hair_behind(self) -> None:
        if self.p.hair_style == 3:
            return
        outline = self._outline(1.1, 1.0 + self.p.hair_height)
        long = self.p.hair_style in (1, 2)
        low = outline[:, 1] > 0
        outline[low, 1] *= self.p.hair_length if long else 0.25
        outline[low, 0] = np.sign(outline[low, 0]) * (self.p.width * 1.15 if long else self.p.width * 1.02)
        self._fill(self._place(outline, -0.1), Material.HAIR, self.p.hair * 0.85)

    def _head(self, landmarks: np.ndarray) -> None:
        p = self.p
        for side in (-1, 1):
            ear = np.array(
                [[side * p.width * 0.98 + 0.09 * np.cos(a), -0.02 + 0.17 * np.sin(a)] for a in np.linspace(0, 6.28, 20)]
            )
            self._fill(self._place(ear, 0.0), Material.SKIN, p.skin * 0.85)
        outline = self._outline()
        outline[:, 1] += 0.12 * self.m.speak * (outline[:, 1] > 0.5)
        self._fill(self._place(outline, 0.1), Material.SKIN, p.skin, in_face=True)
        if p.beard:
            lower = landmarks[3:14] if p.beard == 1 else landmarks[5:12]
            upper = self._place(
                np.array([[0.3, 0.3], [0.12, p.mouth_line - 0.14], [-0.12, p.mouth_line - 0.14], [-0.3, 0.3]])
                if p.beard == 1
                else np.array([[0.2, 0.72], [-0.2, 0.72]])
            )
            self._fill(np.concatenate([lower, upper]), Material.HAIR, p.hair)

    def _features(self, landmarks: np.ndarray) -> None:
        p = self.p
        shadow = p.skin * 0.72
        for eye in (landmarks[36:42], landmarks[42:48]):
            middle = eye.mean(axis=0)
            self._fill(middle + (eye - middle) * [1.35, 1.7], Material.SKIN, p.skin * 0.86)
            self._eye(eye)
        for brow in (landmarks[17:22], landmarks[22:27]):
            self._stroke(brow, p.brow_weight * 1.6, Material.HAIR, p.hair * 0.8)
        bridge, base = landmarks[27:31], landmarks[31:36]
        side = -1 if self.m.yaw > 0 else 1
        self._fill(np.concatenate([bridge, base[::-1][:3] if side > 0 else base[:3]]), Material.SKIN, p.skin * 0.88)
        half = np.array([0.025 * self.unit, 0.0])
        highlight = np.concatenate([bridge[1:] + half, bridge[:0:-1] - half])
        self._fill(highlight, Material.SKIN, min(p.skin * 1.12, 0.97))
        self._stroke(base, 0.045, Material.SKIN, shadow)
        for nostril in (base[1], base[3]):
            self._disc(nostril, 0.035, Material.DARK, 0.08)
        self._fill(landmarks[48:60], Material.LIPS, p.lips)
        inner = landmarks[60:68]
        if self.m.speak > 0.15:
            self._fill(inner, Material.DARK, 0.06)
            teeth = inner.copy()
            teeth[5:8] = teeth[5:8] * 0.35 + teeth[3:0:-1] * 0.65
            self._fill(teeth, Material.WHITE, 0.85)
        else:
            self._stroke(inner[:5], 0.03, Material.LIPS, p.lips * 0.6)

    def _eye(self, eye: np.ndarray) -> None:
        """White, iris and pupil, drawn only between the lids."""
        opening = np.zeros_like(self.face)
        cv2.fillPoly(opening, [np.rint(eye).astype(np.int32)], 255)
        kept = self.material.copy(), self.light.copy()
        self._fill(eye, Material.WHITE, 0.82)
        middle = eye.mean(axis=0) + np.array([self.m.gaze * 0.05 * self.unit, 0.0])
        self._disc(middle, 0.085, Material.IRIS, self.p.iris)
        self._disc(middle, 0.04, Material.DARK, 0.03)
        self._disc(middle + np.array([0.03, -0.03]) * self.unit, 0.018, Material.WHITE, 0.95)
        np.copyto(self.material, kept[0], where=opening == 0)
        np.copyto(self.light, kept[1], where=opening == 0)
        self._stroke(eye[:4], 0.035, Material.DARK, 0.1)

    def _disc(self, center: np.ndarray, radius: float, material: Material, tone: float) -> None:
        at, size = np.rint(center).astype(int).tolist(), max(round(radius * self.unit), 1)
        cv2.circle(self.material, at, size, int(material), -1)
        cv2.circle(self.light, at, size, float(tone), -1)

    def _hair_front(self) -> None:
        p = self.p
        if p.hair_style == 3 and p.hair_height < 0.25:
            return
        line = {0: -0.72, 1: -0.62, 2: -0.5, 3: -0.85}[p.hair_style]
        top = self._outline(1.06, 1.0 + p.hair_height * 0.7)
        top = top[top[:, 1] < line + 0.1]
        top = top[np.argsort(top[:, 0])]
        t = np.linspace(1, -1, 9)
        part = 0.12 * t if p.hair_style == 1 else 0.1 * (t**2)
        front = np.stack([t * p.width * 0.86, line + part], axis=1)
        if p.hair_style == 2:
            front[::2, 1] += 0.07
        self._fill(np.concatenate([self._place(top, 0.15), self._place(front)]), Material.HAIR, p.hair)
        for k in range(3):
            strand = np.stack(
                [np.linspace(-0.5, 0.5, 7) * p.width, line - 0.1 - 0.09 * k - 0.1 * (1 - np.linspace(-1, 1, 7) ** 2)], 1
            )
            self._stroke(self._place(strand), 0.025, Material.HAIR, min(p.hair * 1.2, 0.78))

    def _glasses(self, landmarks: np.ndarray) -> None:
        p = self.p
        centers = []
        for eye in (landmarks[36:42], landmarks[42:48]):
            middle = eye.mean(axis=0)
            centers.append(middle)
            if p.glasses == 1:
                a = np.linspace(0, 2 * np.pi, 24, endpoint=False)
                shape = np.stack([np.cos(a), np.sin(a)], axis=1) * 0.24
            else:
                shape = np.array([[-0.26, -0.17], [0.26, -0.17], [0.23, 0.17], [-0.23, 0.17]])
            self._stroke(middle + shape @ self.roll.T * self.unit, 0.05, Material.FRAME, p.glasses_tone, closed=True)
        across = centers[1] - centers[0]
        inner = 0.24 * self.unit * across / max(float(np.linalg.norm(across)), 1.0)
        self._stroke(np.stack([centers[0] + inner, centers[1] - inner]), 0.05, Material.FRAME, p.glasses_tone)

    def _shading(self) -> np.ndarray:
        """Light from one side, and a head that darkens towards its edge: factors (S,S) float32, around 1."""
        ramp = np.linspace(-1, 1, self.side, dtype=np.float32)
        slope = self.m.light_slope
        field = self.m.light * (
            1 + slope * np.cos(self.m.light_angle) * ramp[None, :] + slope * np.sin(self.m.light_angle) * ramp[:, None]
        )
        grid = np.arange(self.side, dtype=np.float32)
        dx, dy = (grid[None, :] - self.center[0]) / self.unit, (grid[:, None] - self.center[1]) / self.unit
        round_head = 1.06 - 0.22 * np.clip(dx**2 / self.p.width**2 + dy**2, 0, 1.2)
        shading: np.ndarray = field * np.where(self.face > 0, round_head, 1.0).astype(np.float32)
        return shading
