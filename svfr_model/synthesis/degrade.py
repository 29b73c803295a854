"""The papers' degradations, alone or combined, drawn from a seed.

BFVR-STC (docs/reference/training.md#degradation): y = up_r( codec( down_r( x * k_sigma ) + n_delta ) ) with sigma
2..5, r 2..4 and delta 0..5, one draw per clip. Its training code differs (docs/reference/stc.md#degradation): it
compresses after upsampling, draws all three from one number, repeats one noise field in every frame, and its codec
ignores the crf it is given. Here the draws are independent, noise is fresh in each frame, and the codec does what it is
told.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from einops import rearrange

from ..base.errors import InputError
from ..base.pixels import degrade_for_tasks
from ..base.progress import Callback, report
from ..base.tasks import Task
from .masks import mask_frames, paint_white
from .options import Codec, DegradeOptions, LowQuality

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

DESIGN_SIZE = 512
"""The picture size that the papers' ranges are for. At other sizes blur, a length, is scaled; r and delta are not."""

_KERNEL_REACH = 3.0


def degrade_clip(
    frames: np.ndarray, options: DegradeOptions, seed: int, callback: Callback | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Degrade a whole clip; see `degraded_frames`.

    frames (N,H,W,3) uint8 RGB. Returns the degraded clip, of the same shape, and the masks of what is missing, (N,H,W)
    uint8. Raises InputError for frames of another shape or type.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise InputError(f"Frames must be (N,H,W,3) uint8 with N >= 1, not {frames.shape} {frames.dtype}.")
    degraded, masks = np.empty_like(frames), np.zeros(frames.shape[:3], np.uint8)
    made = degraded_frames(frames, len(frames), frames.shape[1:3], options, seed, callback)
    for index, (frame, mask) in enumerate(made):
        degraded[index], masks[index] = frame, mask
    return degraded, masks


def degraded_frames(
    frames: Iterable[np.ndarray],
    count: int,
    size: tuple[int, int],
    options: DegradeOptions,
    seed: int,
    callback: Callback | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Degraded frames (H,W,3) uint8, one by one, each with the mask (H,W) uint8 of what was painted white (1), else 0.

    frames: (H,W,3) uint8 RGB, read once; count: how many; size: (H,W). Each degradation has its own random generator,
    so leaving one out does not change the others. Only the few frames inside the codec are in memory. Reports the stage
    "degrade".
    """
    quality, light, texture, missing = (np.random.default_rng([seed, part]) for part in range(4))
    gains = np.ones(count)
    if options.brightness_flicker:
        gains = _gains(count, light, options.brightness_flicker, options.gain)
    masks: Iterable[np.ndarray] = itertools.repeat(np.zeros(size, np.uint8))
    if options.mask is not None:
        masks = mask_frames(missing, count, size, options.mask, options.moving)
    if options.low_quality is not None:
        frames = lower_quality(frames, count, size, options.low_quality, quality)
    for index, (picture, mask) in enumerate(zip(frames, masks, strict=False)):
        if options.pixel_flicker:
            picture = _retexture(picture, texture, options.pixel_flicker)
        picture = _brighten(picture, gains[index])[None]
        if options.grey:
            picture = to_grey(picture)
        yield paint_white(picture, mask[None])[0], mask
        report(callback, "degrade", index + 1, count)


def lower_quality(
    frames: Iterable[np.ndarray], count: int, size: tuple[int, int], options: LowQuality, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Blur, shrink, add noise, compress and enlarge frames (H,W,3) uint8, one by one, back to their own size.

    count: how many; size: (H,W).
    """
    height, width = size
    scale = max(height, width) / DESIGN_SIZE
    draws = [_draw(options, rng, scale) for _ in range(count if options.per_frame else 1)]
    crf = int(rng.integers(options.crf[0], options.crf[1] + 1))
    small = _shrunk(frames, draws, rng)
    if options.per_frame or options.order == "code":  # a codec needs frames of one size
        yield from recode((_enlarge(picture, width, height) for picture in small), options.codec, crf)
        return
    for picture in recode(small, options.codec, crf):
        yield _enlarge(picture, width, height)


def _shrunk(
    frames: Iterable[np.ndarray], draws: list[tuple[float, float, float]], rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Each frame blurred, shrunk and noisy, as drawn for the clip or for this frame."""
    for index, frame in enumerate(frames):
        height, width = frame.shape[:2]
        sigma, shrink, noise = draws[index % len(draws)]
        picture = cv2.resize(blur(frame, sigma), _small(width, height, shrink), interpolation=cv2.INTER_LINEAR)
        yield add_noise(picture, noise, rng)


def blur(frame: np.ndarray, sigma: float) -> np.ndarray:
    """Isotropic Gaussian blur of a frame (H,W,3); sigma in pixels, 0 for none."""
    reach = max(int(np.ceil(_KERNEL_REACH * sigma)), 1)
    return cv2.GaussianBlur(frame, (2 * reach + 1, 2 * reach + 1), sigma) if sigma > 0 else frame


def add_noise(frame: np.ndarray, delta: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of standard deviation delta in grey levels on a uint8 frame, clipped and rounded."""
    noisy = frame + rng.normal(0.0, 1.0, frame.shape) * delta
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)


def recode(pictures: Iterable[np.ndarray], codec: Codec, crf: int) -> Iterator[np.ndarray]:
    """Pass pictures (H,W,3) uint8 of one size through a real encoder and decoder, padding odd sides on the way.

    h264 (libx264) takes crf as it is. mpeg4 has no crf and gets the fixed quantiser of `mpeg4_quantiser`. Pictures
    come back as the codec releases them, a few frames late; no others are in memory.
    """
    if codec == "none":
        yield from pictures
        return
    import av

    encoder, decoder = _encoder(codec, crf), av.CodecContext.create(codec, "r")
    count = decoded = height = width = 0
    for picture in itertools.chain(pictures, [None]):
        if picture is not None:
            count, (height, width) = count + 1, picture.shape[:2]
        for frame in _passed(encoder, decoder, picture):
            decoded += 1
            yield frame.to_ndarray(format="rgb24")[:height, :width]
    if decoded != count:
        raise InputError(f'The {codec} encoder returned only {decoded} of {count} frames: use the codec "none".')


def _passed(encoder: VideoCodecContext, decoder: VideoCodecContext, picture: np.ndarray | None) -> Iterator[VideoFrame]:
    """The frames that come out when a picture goes in; None flushes the codec."""
    import av

    frame = None
    if picture is not None:
        height, width = picture.shape[:2]
        padded = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if not encoder.is_open:
            encoder.height, encoder.width = padded.shape[:2]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24")
    for packet in encoder.encode(frame):
        yield from decoder.decode(packet)
    if picture is None:
        yield from decoder.decode(None)


def mpeg4_quantiser(crf: int) -> int:
    """The MPEG-4 quantiser (1 to 31) for a crf: as in H.264 it doubles every six levels, and crf 18 is 2."""
    return int(np.clip(round(2.0 * 2 ** ((crf - 18) / 6)), 1, 31))


def _gains(count: int, rng: np.random.Generator, chance: float, gain: tuple[float, float]) -> np.ndarray:
    """The gain of each frame, 1 for those that stay as they are."""
    hit, gains = rng.random(count) < chance, rng.uniform(*gain, count)
    return np.where(hit, gains, 1.0)


def _brighten(frame: np.ndarray, gain: float) -> np.ndarray:
    return frame if gain == 1 else np.clip(np.rint(frame * gain), 0, 255).astype(np.uint8)


def _retexture(frame: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Add a fine random texture to a frame (H,W,3) uint8, strongest where the frame has detail.

    strength: standard deviation of the change, in grey levels, where the detail is strongest. Our own choice: BFVR-STC
    renders each frame anew with a diffusion upscaler, which likewise keeps shapes and invents textures.
    """
    fine = cv2.GaussianBlur(rng.normal(0.0, 1.0, frame.shape[:2]).astype(np.float32), (0, 0), 0.8)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = cv2.GaussianBlur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (0, 0), 1.5)
    weight = 0.3 + 0.7 * detail / max(float(detail.max()), 1e-6)
    change = strength * weight * fine / max(float(fine.std()), 1e-6)
    textured: np.ndarray = np.rint(np.clip(frame + change[..., None], 0, 255)).astype(np.uint8)
    return textured


def to_grey(frames: np.ndarray) -> np.ndarray:
    """frames (N,H,W,3) uint8 without colour, exactly as the restoration prepares its input."""
    pixels = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "n h w c -> n c h w")
    grey = degrade_for_tasks(pixels, frozenset({Task.COLORIZATION}))
    made: np.ndarray = rearrange(grey, "n c h w -> n h w c").contiguous().numpy()
    return made


def _draw(options: LowQuality, rng: np.random.Generator, scale: float) -> tuple[float, float, float]:
    """Sigma in pixels of the clip, shrinking factor and noise level."""
    return rng.uniform(*options.sigma) * scale, rng.uniform(*options.shrink), rng.uniform(*options.noise)


def _small(width: int, height: int, shrink: float) -> tuple[int, int]:
    """Width and height of the small picture: even, for the codec, and no smaller than its block size, 16."""
    columns, rows = (min(max(2 * round(side / shrink / 2), 16), side) for side in (width, height))
    return columns, rows


def _enlarge(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)


def _encoder(codec: Codec, crf: int) -> VideoCodecContext:
    import av

    encoder = av.CodecContext.create("libx264" if codec == "h264" else "mpeg4", "w")
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    encoder.pix_fmt = "yuv420p"
    encoder.bit_rate, encoder.bit_rate_tolerance = 0, 128000  # the quality is fixed, not the size
    encoder.thread_count = 1  # so that the result does not depend on the machine
    if codec == "h264":
        # with a lookahead, small pictures do not always get the same result
        encoder.options = {"crf": str(crf), "preset": "veryfast", "rc-lookahead": "0"}
    else:
        encoder.qmin = encoder.qmax = mpeg4_quantiser(crf)
    return encoder
