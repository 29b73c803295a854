"""Restoring one clip: a single pass, or the two passes of a self-referred run (SVFR paper, self-referred refinement).

Everything here works on crops; finding faces and pasting them back is the business of `faces`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..base.errors import InputError, NotFiniteError
from ..base.memory import PLAIN, Memory
from ..base.progress import Callback, report
from ..base.tasks import Tasks, task_vector
from .conditioning import VAE, Conditioning, EncodedClip, FrameSource, decode_clip, encode_clip, resumable
from .denoiser import ClipDenoiser, DenoiserBackend, guidance_schedule
from .levels import parse_levels
from .options import RestoreOptions, steps_left
from .self_reference import REFERRED, SelfReference, keep, recall
from .solvers import SCHEDULES, SOLVERS, STEPS, Solver, latents_after
from .windows import Padding, WindowPlan, pad_shots, shots

if TYPE_CHECKING:
    from ..networks.identity import Identity
    from .self_reference import Referrer

AUGMENTATION_SEED = 1 << 20
"""Added to the seed for the augmentation noise, so that it is not the noise of a pass."""
FIRST = "first"
"""The part of a memory that belongs to the first pass."""
DECODED = "decoded"
"""The stage that a memory knows decoded chunks by."""


@dataclass(frozen=True)
class Networks:
    """The networks of a run, loaded and placed by the caller. referrer is only needed for two passes."""

    backend: DenoiserBackend
    vae: VAE
    referrer: Referrer | None = None

    @property
    def size_multiple(self) -> int:
        """Width and height must be multiples of this: the VAE's factor times the UNet's."""
        return self.vae.factor * self.backend.size_multiple_factor


@dataclass(frozen=True)
class Known:
    """What is known of a clip besides its pixels; each part may be left out.

    mask: (1 or N,1,H,W), 1 where the picture is missing. reference: a picture of the person, (3,H,W) in [-1,1]; with it
    there is no first pass. identity: of the person; without it the first pass provides it. landmarks: (N,5,2) in crop
    pixels, for the reference frame if the detector finds no face in the whole first pass.
    """

    mask: Tensor | None = None
    reference: Tensor | None = None
    identity: Identity | None = None
    landmarks: Tensor | None = None

    @property
    def tokens(self) -> Tensor | None:
        """The identity as the network is given it, (T,c)."""
        return self.identity.tokens if self.identity is not None else None

    def padded(self, padding: Padding) -> Known:
        """The same for the padded clip. A mask of one frame serves all frames as it is."""
        mask = self.mask if self.mask is None or self.mask.shape[0] == 1 else _padded(self.mask, padding)
        return replace(self, mask=mask, landmarks=None if self.landmarks is None else _padded(self.landmarks, padding))


@dataclass(frozen=True)
class Sampling:
    """What a caller brings along for sampling instead of what the options say; each part may be left out.

    noise: (N,4,h,w), standard normal, instead of what the seed gives. solver, sigmas: such as ComfyUI's SAMPLER and
    SIGMAS, instead of the options' solver and of their schedule, steps and strength.
    """

    noise: Tensor | None = None
    solver: Solver | None = None
    sigmas: Sequence[float] | None = None


@dataclass(frozen=True)
class SampledClip:
    """The sampled clip: latents (M,4,h,w), scaled, still with the padding of short shots.

    kept: the position in latents of each frame of the clip. cuts: first positions of later shots. reference: what the
    first pass gave to the second, or None.
    """

    latents: Tensor
    kept: tuple[int, ...]
    cuts: tuple[int, ...] = ()
    reference: SelfReference | None = None

    def decoded(self, options: RestoreOptions, memory: Memory) -> int:
        """How many of the clip's frames `decode` leaves out, since an earlier run has decoded them."""
        first = self._done(options, memory) * (options.decode_chunk - options.decode_overlap)
        return sum(position < first for position in self.kept)

    def _done(self, options: RestoreOptions, memory: Memory) -> int:
        """The chunks that need not be decoded; only a clip of one shot goes on where it was."""
        done = 0 if self.cuts else memory.done(DECODED)
        return resumable(done, options.decode_chunk, options.decode_overlap)

    @torch.inference_mode()
    def decode(
        self, vae: VAE, options: RestoreOptions, callback: Callback | None = None, memory: Memory = PLAIN
    ) -> Iterator[Tensor]:
        """The clip's frames in chunks (n,3,H,W), float32 in [-1,1], unclamped; no chunk crosses a cut.

        The padding is dropped only here, so that the frames of a short shot are decoded together with their neighbours.
        memory: knows how many chunks are done; one is when the next is asked for.
        """
        kept = frozenset(self.kept)
        total = self.latents.shape[0]
        chunk, overlap = options.decode_chunk, options.decode_overlap
        done = self._done(options, memory)
        position = done * (chunk - overlap)
        for first, last in shots(total, self.cuts):
            for frames in decode_clip(vae, self.latents[first:last], chunk=chunk, overlap=overlap, done=done):
                if not frames.isfinite().all():
                    raise NotFiniteError(
                        f"The result has values that are not finite from frame {position} on, though the "
                        "weights are finite. fp16 may have overflowed: use fp32 or bf16. If it was not used, lower the "
                        "guidance scale."
                    )
                rows = [row for row in range(len(frames)) if position + row in kept]
                position += len(frames)
                report(callback, "decode", position, total)
                if rows:
                    yield frames[rows] if len(rows) < len(frames) else frames
                done += 1
                memory.save(DECODED, done, seldom=position < total)
            done = 0


def noise_frames(count: int, shape: tuple[int, ...], seed: int) -> Iterator[Tensor]:
    """Gaussian noise (*shape) float32, frame by frame, from a CPU generator: a seed means the same on every device.

    A frame's noise does not depend on how many follow.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    for _ in range(count):
        yield torch.randn(shape, generator=generator)


@torch.inference_mode()
def sample_pass(
    networks: Networks,
    start: Tensor,
    conditioning: Conditioning,
    options: RestoreOptions,
    *,
    sampling: Sampling | None = None,
    memory: Memory = PLAIN,
    callback: Callback | None = None,
) -> Tensor:
    """One pass over a clip of latents (docs/reference/svfr.md#sampler).

    start: the clip's latents (N,4,h,w), unscaled; sampling begins from these plus sigma times noise. memory: where the
    latents lie, and how many steps are done. Returns scaled latents (N,4,h,w) float32. Raises InputError for noise of
    another shape and for sigmas that make no step.
    """
    sampling = sampling or Sampling()
    sigmas = noise_levels(options) if sampling.sigmas is None else [float(sigma) for sigma in sampling.sigmas]
    if len(sigmas) < 2 or sigmas[0] <= 0:
        raise InputError(f"Sigmas must begin above 0 and make at least one step, not {sigmas}.")
    noise = sampling.noise
    if noise is not None and noise.shape != start.shape:
        raise InputError(f"The noise is {tuple(noise.shape)}, but the clip's latents are {tuple(start.shape)}.")
    done = memory.done(STEPS)
    if done:
        noisy = memory.kept(latents_after(done))
    else:
        noisy = memory.array(latents_after(0), start.shape, start.dtype)
        _start(noisy, start, noise, sigmas[0], networks.vae.scaling_factor, options.seed)
    device = networks.backend.device
    denoiser = ClipDenoiser(
        networks.backend,
        replace(conditioning, degraded=conditioning.degraded.to(device)),
        options.plan,
        guidance_scales(options, sigmas),
        sigmas,
        options.batch,
        callback,
        memory,
    )
    if sampling.solver is not None:
        return sampling.solver(denoiser, noisy.to(device), sigmas, callback)
    return SOLVERS[options.solver](denoiser, noisy.to(device), sigmas, callback, memory)


def _start(start: Tensor, latents: Tensor, noise: Tensor | None, sigma: float, scale: float, seed: int) -> None:
    """Set start to scale * latents + sigma * noise, on the CPU; the noise is drawn from the seed if it is not given.

    This goes frame by frame, so that noise and sum are never held side by side.
    """
    torch.mul(latents, scale, out=start)
    frames = noise if noise is not None else noise_frames(len(latents), tuple(latents.shape[1:]), seed)
    for row, frame in zip(start, frames, strict=True):
        row += sigma * frame.to(row)


def noise_levels(options: RestoreOptions) -> list[float]:
    """The part of the options' schedule that their strength leaves, with the final 0."""
    levels = parse_levels(options.levels) or SCHEDULES[options.schedule](options.steps)
    count = len(levels) - 1
    return levels[count - steps_left(count, options.strength) :]


def guidance_scales(options: RestoreOptions, sigmas: Sequence[float]) -> list[float]:
    """One guidance scale per step: the options' schedule at noise levels inside their interval, 1 outside of it.

    sigmas: one more than the steps. Source: Kynkäänniemi et al. 2024, arXiv 2404.07724.
    """
    low, high = options.guidance_sigmas
    scales = guidance_schedule(*options.guidance, len(sigmas) - 1)
    return [scale if low <= sigma <= high else 1.0 for scale, sigma in zip(scales, sigmas, strict=False)]


@torch.inference_mode()
def restore(
    networks: Networks,
    pixels: FrameSource,
    tasks: Tasks,
    options: RestoreOptions | None = None,
    *,
    known: Known | None = None,
    sampling: Sampling | None = None,
    memory: Memory = PLAIN,
    callback: Callback | None = None,
) -> SampledClip:
    """Restore one clip of crops.

    pixels (N,3,H,W) uint8, H and W multiples of networks.size_multiple. known: what else is known of the clip; with a
    reference, or with one pass, there is no first pass. sampling: of the main pass; its noise is (M,4,h,w), M counting
    the padding of shots below 4 frames. memory: where the latents lie, and how far an earlier run has come that had the
    same pixels and all the same options. Besides pixels nothing longer than the latents is held, except that all frames
    are read at once if a shot is so short that it is padded.

    Clips shorter than a window run as one window of their own length under either plan. Raises InputError, and
    FaceNotFoundError from the self-reference.
    """
    options = options or RestoreOptions()
    task = task_vector(tasks)
    _check_pixels(networks, pixels)
    padding = pad_shots(pixels.shape[0], options.plan.cuts)
    pixels, known = _padded_source(pixels, padding), (known or Known()).padded(padding)
    options = replace(options, plan=_plan_for(pixels.shape[0], replace(options.plan, cuts=padding.cuts)))
    clip = encode_clip(
        networks.vae,
        pixels,
        tasks,
        known.mask,
        augmentation=options.augmentation,
        noise=noise_frames(pixels.shape[0], tuple(pixels.shape[1:]), options.seed + AUGMENTATION_SEED),
        memory=memory,
        callback=callback,
    )
    reference, tokens = known.reference, known.tokens
    referred: SelfReference | None = None
    if options.passes == 2 and reference is None:
        referred = first_pass(networks, clip, task, options, known, memory.part(FIRST), callback)
        reference = referred.picture
        tokens = tokens if tokens is not None else referred.identity.tokens
        options = replace(options, seed=options.seed + 1)
    conditioning = Conditioning(clip.degraded, task, encode_reference(networks.vae, reference), tokens)
    latents = sample_pass(
        networks, clip.start, conditioning, options, sampling=sampling, memory=memory, callback=callback
    )
    return SampledClip(latents, padding.kept, padding.cuts, referred)


def first_pass(
    networks: Networks,
    clip: EncodedClip,
    task: tuple[int, int, int],
    options: RestoreOptions,
    known: Known | None = None,
    memory: Memory = PLAIN,
    callback: Callback | None = None,
) -> SelfReference:
    """Restore the clip's first window without a reference, and let the referrer choose from it.

    Of what is known the identity and the landmarks are used, see SelfReferrer. memory: one of its own, see `restore`.
    Stages reported to the callback carry the prefix "first ". Source: docs/reference/svfr.md#two-passes.
    """
    if networks.referrer is None:
        raise InputError("Two passes need a face detector and an identity encoder: provide them, or use one pass.")
    if memory.done(REFERRED):
        return recall(memory)

    def prefixed(stage: str, done: int, total: int, preview: Tensor | None) -> None:
        report(callback, f"first {stage}", done, total, preview)

    known = known or Known()
    first, last = shots(clip.start.shape[0], options.plan.cuts)[0]
    count = min(options.plan.length, last - first)
    options = replace(options.first_options(), plan=_plan_for(count, replace(options.plan, cuts=())))
    conditioning = Conditioning(clip.degraded[:count], task, tokens=known.tokens)
    latents = sample_pass(networks, clip.start[:count], conditioning, options, memory=memory, callback=prefixed)
    sampled = SampledClip(latents, tuple(range(count)))
    frames = torch.cat(list(sampled.decode(networks.vae, options, prefixed)))
    referred = networks.referrer(frames, known.landmarks[:count] if known.landmarks is not None else None)
    keep(referred, memory)
    return referred


def encode_reference(vae: VAE, picture: Tensor | None) -> Tensor | None:
    """A reference picture (3,H,W) in [-1,1] as unscaled latents (4,h,w), in the VAE's own precision."""
    return None if picture is None else vae.encode(picture[None])[0]


def _plan_for(count: int, plan: WindowPlan) -> WindowPlan:
    """The plan itself, or for a clip shorter than its window one window of the clip's own length.

    The reference would wrap such a clip around and show frames several times in one window.
    """
    return plan if count >= plan.length else replace(plan, name="linear")


def _padded_source(pixels: FrameSource, padding: Padding) -> FrameSource:
    """The frames of the padded clip; the source itself if there is no padding."""
    if len(padding.frames) == len(padding.kept):
        return pixels
    return _padded(pixels[0 : len(padding.kept)], padding)


def _padded(frames: Tensor, padding: Padding) -> Tensor:
    """Frames (N,...) with the padding's repetitions; no copy if there are none."""
    return frames if len(padding.frames) == len(padding.kept) else frames[list(padding.frames)]


def _check_pixels(networks: Networks, pixels: FrameSource) -> None:
    if len(pixels.shape) != 4 or pixels.shape[0] < 1 or pixels.shape[1] != 3:
        raise InputError(f"A clip of crops is (N,3,H,W) with N >= 1, not {tuple(pixels.shape)}.")
    multiple = networks.size_multiple
    height, width = pixels.shape[-2:]
    if height % multiple or width % multiple or not height or not width:
        raise InputError(
            f"Crops of {width}x{height} do not fit the network: width and height must be multiples of {multiple}."
        )
