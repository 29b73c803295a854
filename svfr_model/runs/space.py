"""How much of a disk the work on a clip takes, so that a run which would fill it is refused before it restores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..engine.options import RestoreOptions

LATENT_BYTES = 4 * 4
"""Of one position of the latents: four channels in float32."""


@dataclass(frozen=True)
class Space:
    """Bytes that each frame of a track takes. crops: of what stays until the clip is written, also of the mask.

    latents: of what is there besides while the track is restored, one track after the other.
    """

    crops: int
    latents: int

    @classmethod
    def of(
        cls, size: tuple[int, int], options: RestoreOptions, factor: int, *, masked: bool, logged: bool = False
    ) -> Space:
        """For crops of this width and height. factor: pixels per latent along each side. logged: levels are logged."""
        width, height = size
        arrays = 5 + bool(options.augmentation) + (options.solver == "heun") + 2 * logged
        latents = -(-height // factor) * -(-width // factor) * LATENT_BYTES
        return cls(width * height * (3 + masked), latents * arrays)

    def needed(self, lengths: Iterable[int]) -> int:
        """For tracks of so many frames."""
        frames = list(lengths)
        return sum(frames) * self.crops + max(frames, default=0) * self.latents
