"""Training svfr-tiny's recogniser: a reduced iresnet that tells synthetic people apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.pixels import from_network_range, to_network_range
from ..base.progress import Callback, report
from ..faces.geometry import align_face
from ..networks.identity import FACE_SIZE, build_recognizer
from ..synthesis.clips import five_points
from ..training.loop import Loop, LoopOptions, Losses, placed

TINY_RECOGNIZER: dict[str, Any] = {"layers": [1, 1, 1, 1], "widths": [8, 16, 32, 64], "embedding_width": 512}

MARGIN, SCALE = 0.2, 24.0
"""CosFace (Wang et al. 2018, arXiv 1801.09414): the margin off the right cosine, and the scale of the logits."""


class MarginClassifier(nn.Module):
    """Cosines to one direction per person, the right one lowered by a margin; this shapes the embedding."""

    def __init__(self, width: int, persons: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(persons, width) * 0.05)

    def forward(self, embeddings: Tensor, persons: Tensor) -> Tensor:
        """(B,width) and (B,) class numbers to the cross entropy, a scalar."""
        cosines = F.linear(F.normalize(embeddings.float()), F.normalize(self.directions.float()))
        right = F.one_hot(persons, cosines.shape[1]) * MARGIN
        return F.cross_entropy((cosines - right) * SCALE, persons)


def aligned_faces(
    frames: np.ndarray, landmarks: np.ndarray, every: int = 4, callback: Callback | None = None
) -> Tensor:
    """Faces (K,n,3,112,112) uint8 from every `every`-th frame of K clips, cut out as self-reference does.

    frames (K,N,H,W,3) uint8, landmarks (K,N,68,2) in their pixels.
    """
    clips = []
    for number, (clip, points) in enumerate(zip(frames, landmarks, strict=True)):
        five = five_points(points[::every])
        faces = [align_face(frame, at, "arcface") for frame, at in zip(clip[::every], five, strict=True)]
        clips.append(from_network_range(torch.stack(faces)))
        report(callback, "align", number + 1, len(frames))
    return torch.stack(clips)


def train_recognizer(
    faces: Tensor,
    persons: Tensor,
    options: LoopOptions,
    folder: Path | str,
    callback: Callback | None = None,
    *,
    config: Mapping[str, Any] = TINY_RECOGNIZER,
    batch: int = 48,
) -> nn.Module:
    """A recogniser of persons. faces (K,n,3,112,112) uint8 of K clips, persons (K,) class numbers from 0.

    Pictures are mirrored, shifted by a few pixels, made brighter or darker and blurred at random, so that flaws of a
    restored picture do not change who it shows. Returns the averaged network.
    """
    torch.manual_seed(options.seed)
    network = build_recognizer(config).train()
    head = MarginClassifier(config["embedding_width"], int(persons.max()) + 1)

    def step(modules: Mapping[str, nn.Module], seed: int, number: int) -> Losses:  # noqa: ARG001
        generator = torch.Generator().manual_seed(seed)
        clip = torch.randint(len(faces), (batch,), generator=generator)
        frame = torch.randint(faces.shape[1], (batch,), generator=generator)
        shown = _varied(to_network_range(faces[clip, frame]), generator)
        shown, who = placed(modules["recognizer"], (shown, persons[clip]))
        _, embeddings = modules["recognizer"](shown)
        loss = modules["head"](embeddings, who)
        return {"loss": loss}

    loop = Loop({"recognizer": network, "head": head}, step, options, folder)
    loop.run(callback)
    loop.averaged()
    return loop.plain("recognizer").eval()


def _varied(faces: Tensor, generator: torch.Generator) -> Tensor:
    """Random mirroring, shift and zoom, gain, and blur by shrinking; (B,3,112,112) in [-1,1]."""
    count = len(faces)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    zoom, mirror = uniform(0.93, 1.07), torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom * mirror, zoom
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-0.05, 0.05), uniform(-0.05, 0.05)
    grid = F.affine_grid(theta, list(faces.shape), align_corners=False)
    moved = F.grid_sample(faces, grid, padding_mode="border", align_corners=False)
    if torch.rand(1, generator=generator) < 0.5:
        side = int(torch.randint(28, 80, (1,), generator=generator))
        moved = F.interpolate(F.interpolate(moved, size=side, mode="area"), size=FACE_SIZE, mode="bilinear")
    bright = (moved + 1) * uniform(0.85, 1.15).view(-1, 1, 1, 1) - 1
    return bright.clamp(-1, 1)
