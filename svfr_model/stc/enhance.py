"""BFVR-STC over clips of any length and frame size: windows, cross-fades, shots, and the way back to the frames.

The published scripts process the first 24 frames only. Here a shot is divided into overlapping windows of 24 frames,
the length that the networks were trained on. The network's temporal tokens depend on that length, so a shorter shot is
filled up by repeating its last frame. In memory at any time: about one window of uint8 frames, and one window inside
the network.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..base.errors import InputError
from ..base.progress import Callback, report
from ..engine.windows import triangle_weights
from .frames import Framing, smooth, stretch, to_network, to_pixels
from .motion import MotionMeter
from .network import TaskName
from .options import EnhanceOptions

log = logging.getLogger(__name__)

FACE_MARGIN = 0.15
"""Margin on each side, as a fraction of the face box, of the crops that the restorer was trained on: 1.3 times the box.

For training, the union of a clip's boxes was cut out, without roll; the boxes came from another detector than ours.
"""

MOST_GAIN = 2.0
"""By which factor a window's brightness is brought to that of the one before at most."""

CARRIED = 0.7
"""How much of the way, in the logarithm: all of it would add up the networks' errors without end, and no window would
keep to the clip's brightness. So a change from window to window fades over some windows, and an error d at every join
comes to at most 2.3 d. Measured in the README."""

Spans = Sequence[tuple[int, int]]
"""(first, last + 1) of every shot, in order and without gaps; the first starts at frame 0."""


class Network(Protocol):
    """What is needed of a network; see `svfr_model.stc.network.CodeFormer3D`."""

    @property
    def task(self) -> TaskName:
        """What the network was trained for."""
        ...

    @property
    def img_size(self) -> int:
        """Side of the pictures that it takes."""
        ...

    @property
    def temporal_stride(self) -> int:
        """Windows start and end at multiples of this number of frames."""
        ...

    @property
    def device(self) -> torch.device:
        """The device that its input must be on."""
        ...

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """(1,3,T,S,S) in 0..1 to a tuple whose first member is the result, of the same shape."""
        ...


@dataclass(frozen=True)
class ShotWindow:
    """The frames of a shot that one run of the network sees: the first one, and the share of each in the blend."""

    first: int
    shares: tuple[float, ...]

    @property
    def last(self) -> int:
        """One after the last frame of the window; a window that is too short is filled up by repetition."""
        return self.first + len(self.shares)


def plan_windows(count: int, length: int, overlap: int, stride: int) -> list[ShotWindow]:
    """The windows of a shot of `count` frames; the shares of each frame add up to 1.

    Windows start at multiples of the temporal stride, length - overlap frames apart. The last window is moved back so
    that, in a shot longer than one window, it needs fewer than `stride` repeated frames. Where one window fewer is
    enough if neighbours share half of the overlap or more, there is one fewer, and they are spread evenly.

    Raises InputError for a length or overlap that is not a multiple of the stride, or an overlap that is not smaller
    than the length.
    """
    if length < stride or length % stride or overlap % stride or not 0 <= overlap < length:
        raise InputError(
            f"A window of {length} frames with an overlap of {overlap} does not fit this network: both must be "
            f"multiples of {stride}, and the overlap smaller than the window."
        )
    starts = _starts(count, length, overlap, stride)
    weights = triangle_weights(length)
    totals = [0.0] * count
    for start in starts:
        for frame, weight in zip(range(start, count), weights, strict=False):
            totals[frame] += weight
    return [
        ShotWindow(
            start,
            tuple(weight / totals[frame] for frame, weight in zip(range(start, count), weights, strict=False)),
        )
        for start in starts
    ]


def _starts(count: int, length: int, overlap: int, stride: int) -> list[int]:
    """The first frame of every window."""
    final = max(0, -(-(count - length) // stride) * stride)
    usual = [*range(0, final, length - overlap), final]
    least = -(-overlap // 2 // stride) * stride
    gaps = -(-final // (length - least))
    if gaps + 1 >= len(usual):
        return usual
    return [round(final * number / gaps / stride) * stride for number in range(gaps + 1)]


def run_windows(
    network: Network,
    pictures: Iterator[Tensor],
    spans: Spans,
    options: EnhanceOptions,
    *,
    stage: str = "enhance",
    callback: Callback | None = None,
) -> Iterator[Tensor]:
    """The network's result for each picture, (3,S,S) float32 in 0..1 on the CPU, blended where windows overlap.

    pictures: (3,S,S) uint8, as many as the spans have frames. No window extends across two spans. stage: the name
    under which progress is reported, one unit for each window.

    Raises InputError where spans and pictures do not agree.
    """
    _check_spans(spans)
    sizes = [last - first for first, last in spans]
    plans = {size: plan_windows(size, options.window, options.overlap, network.temporal_stride) for size in set(sizes)}
    total, done = sum(len(plans[size]) for size in sizes), 0
    for size, (first, _) in zip(sizes, spans, strict=True):
        held: deque[Tensor] = deque()  # the window's pictures
        sums: deque[Tensor] = deque()  # its results, blended so far
        level = LevelCarry() if network.task == "deflicker" else None
        for window, following in itertools.zip_longest(plans[size], plans[size][1:]):
            held.extend(itertools.islice(pictures, len(window.shares) - len(held)))
            if len(held) < len(window.shares):
                end = first + window.first + len(held)
                raise InputError(
                    f"The clip ended after {end} frames, but its shots reach to {spans[-1][1]}: give its own spans."
                )
            results = _run(network, held, options.window)
            if level is not None:
                results = level.carried(results, window.first)
            for index, result in enumerate(results):
                part = result * window.shares[index]
                if index < len(sums):
                    sums[index] += part
                else:
                    sums.append(part)
            done += 1
            report(callback, stage, done, total)
            for _ in range(following.first - window.first if following else len(sums)):
                held.popleft()
                yield sums.popleft()
    if next(pictures, None) is not None:
        raise InputError(f"The clip has more frames than the {spans[-1][1]} of its shots: give the spans of all of it.")


class LevelCarry:
    """Brings each window of a shot towards the brightness of the one before, by the frames that both show.

    A network that removes brightness flicker decides on a level for each window by itself, and blending alone would
    fade from one level to the next within a few frames. Ours.
    """

    def __init__(self) -> None:
        self._levels: dict[int, float] = {}
        """Mean grey level of the last window's frames, by their number in the shot."""

    def carried(self, results: Tensor, first: int) -> Tensor:
        """A window's results (n,3,S,S), of which the first is frame `first` of the shot, with the gain they need."""
        own = results.mean((1, 2, 3)).tolist()
        levels = dict(enumerate(own, first))
        shared = [number for number in levels if number in self._levels]
        before, after = (sum(known[number] for number in shared) for known in (self._levels, levels))
        gain = min(max((before / after) ** CARRIED, 1 / MOST_GAIN), MOST_GAIN) if after > 0 else 1.0
        self._levels = {number: gain * level for number, level in levels.items()}
        return results * gain


def _check_spans(spans: Spans) -> None:
    edges = [0, *(last for _, last in spans)]
    if len(edges) == 1 or edges[-1] == 0:
        raise InputError("The clip has no frames: BFVR-STC needs at least one.")
    if [first for first, _ in spans] != edges[:-1] or any(first >= last for first, last in spans):
        raise InputError(
            f"Shots must start at frame 0, follow each other without gaps and have a frame or more each, not {spans}."
        )


def _run(network: Network, pictures: Iterable[Tensor], length: int) -> Tensor:
    """The result (n,3,S,S) for n pictures (3,S,S) uint8, filled up to the window's length by repeating the last."""
    given = torch.stack(list(pictures))
    count = len(given)
    window = torch.cat([given, given[-1:].expand(length - count, -1, -1, -1)])
    result = network(to_network(window, network.device))[0]
    return rearrange(result[:, :, :count], "1 c t h w -> t c h w").float().cpu()


def motion_meter(network: Network) -> MotionMeter:
    """A new meter for what the network is given. Brightness flicker that is to be removed does not count as motion."""
    return MotionMeter(level=network.task == "deflicker")


def enhance_crops(
    network: Network,
    crops: Tensor,
    options: EnhanceOptions | None = None,
    *,
    result: Tensor | None = None,
    motion: MotionMeter | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Enhance the crops of one track through one shot, in place or into another tensor.

    crops: (n,3,S,S) uint8, where S is the network's img_size (512), cut with FACE_MARGIN and without roll. result: a
    tensor of the same kind to be filled and returned; without it, that is crops. motion: a meter to use, for callers
    that want its result; the intensity is logged in any case, as a warning if it is high. If callback raises, some of
    the crops are done and some are not.

    Raises InputError for crops of another shape or type, and for no crops.
    """
    options = options or EnhanceOptions()
    if crops.ndim != 4 or crops.shape[1:] != (3, network.img_size, network.img_size) or crops.dtype != torch.uint8:
        raise InputError(
            f"Crops must be a (n,3,{network.img_size},{network.img_size}) uint8 tensor, "
            f"not {tuple(crops.shape)} {crops.dtype}: crop the faces at that size."
        )
    result = crops if result is None else result
    spans = [(0, len(crops))]
    meter = motion or motion_meter(network)
    bounds = None
    if options.stretch:
        passed = run_windows(network, iter(crops), spans, options, stage="measure", callback=callback)
        bounds = _bounds(passed)
    for index, values in enumerate(run_windows(network, iter(crops), spans, options, callback=callback)):
        meter.add(rearrange(crops[index], "c h w -> h w c").contiguous().numpy())
        result[index] = to_pixels(_stretched(values, bounds))
    meter.tell()
    return result


def enhance_whole(
    frames: Iterable[np.ndarray],
    network: Network,
    spans: Spans,
    options: EnhanceOptions | None = None,
    *,
    motion: MotionMeter | None = None,
    callback: Callback | None = None,
) -> Iterator[np.ndarray]:
    """Enhance whole frames: yields (H,W,3) uint8 frames of the same size.

    frames: (H,W,3) uint8 RGB, all of one size, at least 64 pixels on each side. spans: of every shot. motion and
    callback: as in `enhance_crops`. Each frame is resized to the network's img_size (512), so finer detail is lost,
    unless only a de-flickering network's change is added to the frame (`EnhanceOptions.low_frequency`).

    Raises InputError for frames of another type or size, for spans that do not fit the clip, and where frames can be
    read only once but are to be stretched.
    """
    options = options or EnhanceOptions()
    meter = motion or motion_meter(network)
    bounds = None
    if options.stretch:
        if iter(frames) is frames:
            raise InputError(
                "Stretching a clip needs its frames twice, but these can be read once only: "
                "give a clip or a list, or switch stretching off."
            )
        bounds = _bounds(
            torch.from_numpy(framing.cut(picture))
            for framing, _, picture in _walk(frames, network, spans, options, stage="measure", callback=callback)
        )
    for framing, frame, picture in _walk(frames, network, spans, options, meter=meter, callback=callback):
        result = _stretched(torch.from_numpy(framing.cut(picture)), bounds).numpy()
        if options.low_frequency and network.task != "bfr":
            change = result - framing.fit(frame).astype(np.float32) / 255
            # Brightness changes smoothly over the frame; the flicker of textures is as fine as the network's picture.
            change = smooth(change) if network.task == "deflicker" else change
            result = frame.astype(np.float32) / 255 + framing.unfit(change)
        else:
            result = framing.unfit(result)
        yield to_pixels(torch.from_numpy(result)).numpy()
    meter.tell()


def _walk(
    frames: Iterable[np.ndarray],
    network: Network,
    spans: Spans,
    options: EnhanceOptions,
    *,
    meter: MotionMeter | None = None,
    stage: str = "enhance",
    callback: Callback | None = None,
) -> Iterator[tuple[Framing, np.ndarray, np.ndarray]]:
    """For every frame: where it lies in the network's picture, the frame, and the resulting picture (S,S,3) float32."""
    waiting: deque[tuple[Framing, np.ndarray]] = deque()
    starts = {first for first, _ in spans}

    def pictures() -> Iterator[Tensor]:
        framing = None
        for index, frame in enumerate(frames):
            height, width = frame.shape[:2]
            framing = framing or Framing(height, width, network.img_size)
            fitted = framing.fit(frame)
            if meter is not None:
                if index in starts:
                    meter.cut()
                meter.add(fitted)
            waiting.append((framing, frame))
            yield rearrange(torch.from_numpy(framing.pad(fitted)), "h w c -> c h w")

    for values in run_windows(network, pictures(), spans, options, stage=stage, callback=callback):
        yield *waiting.popleft(), rearrange(values, "c h w -> h w c").numpy()


def _bounds(results: Iterable[Tensor]) -> tuple[Tensor, Tensor] | None:
    """The smallest and the largest value in all results, or None if they are equal."""
    low, high = torch.tensor(torch.inf), torch.tensor(-torch.inf)
    for result in results:
        smallest, largest = result.aminmax()
        low, high = torch.minimum(low, smallest), torch.maximum(high, largest)
    if low == high:
        log.warning("All values in the clip are equal: it is not stretched.")
        return None
    return low, high


def _stretched(values: Tensor, bounds: tuple[Tensor, Tensor] | None) -> Tensor:
    return values if bounds is None else stretch(values, *bounds)
