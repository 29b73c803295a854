"""What the network is conditioned on, and how it is made from degraded pixels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor

from ..base.errors import InputError
from ..base.memory import PLAIN, Memory
from ..base.pixels import degrade_for_tasks, to_network_range
from ..base.progress import Callback, report
from ..base.tasks import Tasks

ENCODE_PIXELS = 2 * 512 * 512
"""Pixels encoded at once, in whole frames and at least one. Encoding is per-frame 2-D work, so this changes memory
only; the published VAE takes about 2.5 KiB of float32 activations a pixel. The reference encodes 20 frames at once."""

ENCODED = "encoded"
"""The stage that a memory knows encoded frames by."""


class FrameSource(Protocol):
    """Frames (N,3,H,W) that are read once, in slices from the first frame to the last. A tensor is one, too."""

    @property
    def shape(self) -> Sequence[int]:
        """(N,3,H,W)."""
        ...

    def __getitem__(self, rows: slice, /) -> Tensor:
        """The next frames, (n,3,H,W). Each slice begins where the last one ended; start and stop are given."""
        ...


class VAE(Protocol):
    """The latent autoencoder, whoever provides it. Latents here are unscaled; pixels are RGB in [-1,1]."""

    @property
    def factor(self) -> int:
        """Pixels per latent along each side."""
        ...

    @property
    def scaling_factor(self) -> float:
        """What the sampler multiplies the encoder's latents by."""
        ...

    def encode(self, pixels: Tensor, *, full_precision: bool = False) -> Tensor:
        """(B,3,H,W) to the posterior mode (B,4,H/factor,W/factor), float32."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """(F,4,h,w), seen as one clip, to (F,3,H,W) float32, not clamped."""
        ...


@dataclass(frozen=True)
class Conditioning:
    """Everything that the network sees besides the noisy latents.

    degraded: latents of the degraded clip, (N,4,h,w), unscaled posterior mode. task: the task vector, (3,) of 0 or 1.
    reference: latents of the reference frame, (4,h,w), unscaled, or None. tokens: identity tokens, (T,c), or None;
    T is 49 for the published network.
    """

    degraded: Tensor
    task: tuple[int, int, int]
    reference: Tensor | None = None
    tokens: Tensor | None = None

    @property
    def guides(self) -> bool:
        """Whether guidance has an effect: without reference and identity its two halves are equal."""
        return self.reference is not None or (self.tokens is not None and bool(self.tokens.any()))


@dataclass(frozen=True)
class EncodedClip:
    """Latents of a degraded clip, both (N,4,h,w) float32, unscaled, on the CPU.

    start: where sampling begins. degraded: what the network is conditioned on. Without noise augmentation they are one
    tensor.
    """

    start: Tensor
    degraded: Tensor


def encode_clip(
    vae: VAE,
    pixels: FrameSource,
    tasks: Tasks,
    mask: Tensor | None = None,
    *,
    augmentation: float = 0.0,
    noise: Iterator[Tensor] | None = None,
    memory: Memory = PLAIN,
    callback: Callback | None = None,
) -> EncodedClip:
    """Bring a clip into the state of its tasks and encode it, chunk by chunk, in full precision.

    pixels (N,3,H,W): uint8 with a mask as for degrade_for_tasks, or already prepared, float in [-1,1].
    augmentation is the reference's noise_aug_strength, in units of the [-1,1] range; noise yields a Gaussian (3,H,W)
    frame for each frame of the clip. Without augmentation each frame is encoded once
    (docs/reference/svfr.md#encoding). memory: where the latents lie, and how many frames are encoded already.
    """
    count, height, width = pixels.shape[0], *pixels.shape[-2:]
    # One tensor filled in turn: a list and its concatenation would hold all latents twice.
    shape = count, 4, height // vae.factor, width // vae.factor
    start = memory.array("start", shape)
    degraded = memory.array("degraded", shape) if augmentation else start
    chunk = max(1, ENCODE_PIXELS // (height * width))
    begun = memory.done(ENCODED)
    if augmentation and noise is not None:
        noise = itertools.islice(noise, begun, None)
    for first in range(begun, count, chunk):
        rows = slice(first, min(first + chunk, count))
        part = pixels[rows.start : rows.stop]
        if part.dtype == torch.uint8:
            part = to_network_range(degrade_for_tasks(part, tasks, _rows(mask, first, chunk)))
        start[rows] = vae.encode(part, full_precision=True).cpu()
        if augmentation:
            if noise is None:
                raise InputError("Noise augmentation needs a source of noise, and none was given.")
            added = torch.stack([next(noise) for _ in range(part.shape[0])]).to(part)
            degraded[rows] = vae.encode(part + augmentation * added, full_precision=True).cpu()
        memory.save(ENCODED, rows.stop, seldom=rows.stop < count)
        report(callback, "encode", rows.stop, count)
    return EncodedClip(start, degraded)


def _rows(mask: Tensor | None, first: int, count: int) -> Tensor | None:
    """The mask's frames of a chunk; a mask of one frame serves all chunks."""
    return mask if mask is None or mask.shape[0] == 1 else mask[first : first + count]


def decode_clip(
    vae: VAE,
    latents: Tensor,
    *,
    chunk: int = 16,
    overlap: int = 0,
    done: int = 0,
    callback: Callback | None = None,
) -> Iterator[Tensor]:
    """Decode sampled latents (N,4,h,w), scaled, into successive chunks (n,3,H,W), float32 in [-1,1], unclamped.

    The temporal decoder sees only its chunk, so the size of the chunk changes the result. overlap 0 is what the
    reference does. With an overlap, each chunk but the first decodes that many frames again and cross-fades them
    linearly, so that the joins do not show. done: of the chunks, which are left out; see `resumable`. Yields every
    frame once, in order.
    """
    if chunk < 1 or not 0 <= overlap < chunk:
        raise InputError(f"A decode chunk of {chunk} frames cannot overlap by {overlap}: 0 <= overlap < chunk.")
    count, step = latents.shape[0], chunk - overlap
    held: Tensor | None = None
    for number, first in enumerate(range(0, max(1, count - overlap), step)):
        if number + 1 < done or (number < done and not overlap):
            continue
        last = min(first + chunk, count)
        frames = vae.decode(latents[first:last] / vae.scaling_factor)
        if held is not None:
            frames[: len(held)] = _fade(held, frames[: len(held)])
        kept = len(frames) if last == count else step
        held = frames[kept:]
        if number >= done:
            report(callback, "decode", last, count)
            yield frames[:kept]


def resumable(done: int, chunk: int, overlap: int) -> int:
    """How many of the chunks that are done need not be decoded again.

    One more is decoded for the frames that the next fades into; where these were faded themselves, all are.
    """
    return done if 2 * overlap <= chunk else 0


def _fade(before: Tensor, after: Tensor) -> Tensor:
    """Linear cross-fade from one to the other over their common frames, ends excluded."""
    count = len(before)
    weight = torch.arange(1, count + 1, device=before.device, dtype=before.dtype) / (count + 1)
    return torch.lerp(before, after, rearrange(weight, "n -> n 1 1 1"))
