"""Every preset on one clip: restored, timed and measured against the truth."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange

from ..base.clip import ArrayClip
from ..base.pixels import from_network_range
from ..base.progress import Callback
from ..engine.level_log import LevelChange, LevelLog
from ..engine.options import RestoreOptions
from ..engine.presets import PresetName, with_preset
from ..engine.restore import Known, Networks, restore
from ..metrics.evaluate import evaluate
from ..metrics.instruments import Instruments
from ..metrics.pixels import psnr
from ..runs.portrait_scene import TASKS, Scene
from .peak import Peak

if TYPE_CHECKING:
    from ..networks.identity import IdentityEncoder

BASE: PresetName = "exact"
"""What the others are compared with."""
ANOTHER = "exact, another seed"
OTHER_SEED = 1000
"""Added to the seed for it: how far chance alone moves the picture."""
WARM_UP = RestoreOptions(levels="700", passes=1)
"""A first run that is not measured: networks are set up, and kernels chosen."""


@dataclass(frozen=True)
class Measured:
    """One run.

    name: of its row. preset: what was run. peak: in GiB, None where it is not known. quality: values of
    metrics.report.METRICS by key, and flicker. distance: PSNR against BASE, in dB. changes: of each noise level.
    """

    name: str
    preset: PresetName
    seconds: float
    peak: float | None
    quality: Mapping[str, float]
    distance: float | None
    changes: Sequence[LevelChange]


def measure_presets(
    networks: Networks,
    encoder: IdentityEncoder,
    scene: Scene,
    presets: Sequence[PresetName],
    *,
    seed: int,
    callback: Callback | None = None,
) -> list[Measured]:
    """BASE first, then BASE with another seed, then the other presets in their order."""
    others: list[tuple[str, PresetName]] = [(name, name) for name in presets if name != BASE]
    instruments = Instruments(encoder=encoder, landmarks=lambda number: scene.landmarks[number])
    restored(networks, scene, WARM_UP, callback)
    found: list[Measured] = []
    exact: np.ndarray | None = None
    for name, preset in ((BASE, BASE), (ANOTHER, BASE), *others):
        started = RestoreOptions(seed=seed + OTHER_SEED if name == ANOTHER else seed)
        options = with_preset(started, preset)
        log, peak, begun = LevelLog(options, callback), Peak(networks.backend.device), time.perf_counter()
        made = restored(networks, scene, options, log)
        seconds = time.perf_counter() - begun
        distance = None if exact is None else float(np.mean([psnr(a, b) for a, b in zip(made, exact, strict=True)]))
        exact = made if exact is None else exact
        quality = quality_of(made, scene, instruments)
        found.append(Measured(name, preset, seconds, peak.gibibytes(), quality, distance, log.changes))
    return found


def restored(networks: Networks, scene: Scene, options: RestoreOptions, callback: Callback | None) -> np.ndarray:
    """(N,S,S,3) uint8."""
    pixels = rearrange(torch.from_numpy(scene.degraded), "n h w c -> n c h w").contiguous()
    known = Known(landmarks=torch.from_numpy(scene.landmarks))
    sampled = restore(networks, pixels, TASKS, options, known=known, callback=callback)
    chunks = [from_network_range(chunk).cpu() for chunk in sampled.decode(networks.vae, options, callback)]
    return rearrange(torch.cat(chunks), "n c h w -> n h w c").contiguous().numpy()


def quality_of(made: np.ndarray, scene: Scene, instruments: Instruments) -> dict[str, float]:
    """Against the truth. flicker: mean difference of the changes from frame to frame, in grey levels."""
    found = dict(evaluate(ArrayClip(made), ArrayClip(scene.truth), instruments).values)
    if len(made) > 1:
        changes = [np.diff(frames.astype(np.float32), axis=0) for frames in (made, scene.truth)]
        found["flicker"] = float(np.abs(changes[0] - changes[1]).mean())
    return found
