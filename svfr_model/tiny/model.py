"""svfr-tiny: all networks of a small SVFR, trained on synthetic clips in stages that each leave a file.

It is for tests and the demonstration. It is not the published model, and restores only what the generator draws.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..base.errors import InputError
from ..base.progress import Callback, report
from ..base.tasks import Task, Tasks
from ..engine.options import RestoreOptions
from ..engine.solvers import SIGMA_MAX
from ..files.staging import staged
from ..networks.identity import PROJECTION_ROLE, RECOGNIZER_ROLE, build_projection, build_recognizer
from ..networks.unet import ROLE as UNET_ROLE
from ..networks.unet import build_unet
from ..networks.vae import ROLE as VAE_ROLE
from ..networks.vae import DiffusersVAE, build_vae
from ..synthesis.clips import make_clip
from ..training.files import save_state
from ..training.latents import DrawOptions, LatentClips, Views, encode_clips
from ..training.loop import LoopOptions, make_accelerator
from ..weights import load_network, save, weight_file
from .identity import TINY_RECOGNIZER, aligned_faces, train_recognizer
from .unet import TINY_PROJECTION, TINY_UNET, estimate_clips, train_unet
from .vae import TINY_VAE, polish_decoder, take_out, train_steadiness, train_vae

if TYPE_CHECKING:
    from diffusers import UNetSpatioTemporalConditionModel

log = logging.getLogger(__name__)

STAGES = ("clips", "vae", "decoder", "identity", "latents", "unet", "refine", "polish")
BLIND: tuple[Tasks, ...] = (frozenset({Task.BFR}),)
MODEL_FOLDER = Path(__file__).resolve().parent.parent / "models" / "svfr-tiny"
"""Where the trained networks lie in this package."""
EVALUATION = RestoreOptions(steps=1, guidance=(1.0, 1.0))
"""How they are measured: the best of the options tried, on clips other than the measured ones."""


def bundled() -> Path:
    """MODEL_FOLDER; InputError if the package came without it."""
    if not MODEL_FOLDER.is_dir():
        raise InputError(
            f"{MODEL_FOLDER} is missing: svfr-tiny comes with this package. Install the package again, or train the "
            "networks again: python -m svfr_model train --tiny DIR."
        )
    return MODEL_FOLDER


@dataclass(frozen=True)
class TinyPlan:
    """The recipe of the networks in MODEL_FOLDER.

    persons: each appears in two clips of `frames` frames of `size` pixels; clip k shows person k // 2. The UNet sees
    every clip in `views` degradations, and at the end in `blind_views` more for blind restoration alone. parts: how
    many processes encode; the result depends on it, since each part has its own seed.
    """

    persons: int = 800
    frames: int = 16
    size: int = 64
    views: int = 3
    blind_views: int = 2
    parts: int = 3
    vae: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            steps=1400,
            rate=2e-3,
            warmup=50,
            ema=0.995,
            weight_decay=0.0,
            mixed_precision="bf16",
            seed=1,
            save_every=100,
        )
    )
    decoder: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            steps=900, rate=1e-3, warmup=30, ema=0.99, weight_decay=0.0, mixed_precision="bf16", seed=4, save_every=50
        )
    )
    identity: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            steps=700, rate=2e-3, warmup=30, ema=0.99, weight_decay=1e-3, seed=2, save_every=100
        )
    )
    unet: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            steps=7500, rate=1e-3, warmup=100, ema=0.998, mixed_precision="bf16", seed=3, save_every=100
        )
    )
    draw: DrawOptions = field(default_factory=DrawOptions)
    refine: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            steps=8000, rate=5e-4, warmup=100, ema=0.998, mixed_precision="bf16", seed=5, save_every=100
        )
    )
    refine_draw: DrawOptions = field(default_factory=lambda: DrawOptions(noise_wide=0.7, noise_span=(8.0, SIGMA_MAX)))
    polish: LoopOptions = field(
        default_factory=lambda: LoopOptions(
            steps=3500, rate=6e-4, warmup=50, ema=0.99, weight_decay=0.0, mixed_precision="bf16", seed=6, save_every=50
        )
    )
    vae_batch: int = 6


def train_tiny(
    work: Path | str,
    target: Path | str,
    stages: Sequence[str] = STAGES,
    plan: TinyPlan | None = None,
    callback: Callback | None = None,
) -> None:
    """Run the stages in order; each reads what those before it left in `work` and writes its networks to `target`.

    Under torchrun, "clips" and "latents" run in the first process only; the other stages train in all of them. A stage
    that was stopped continues from its checkpoint. Raises InputError for an unknown stage or one whose input is
    missing.
    """
    plan = plan or TinyPlan()
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        raise InputError(f"Unknown stage {', '.join(unknown)}. Stages, in order: {', '.join(STAGES)}.")
    work, target = Path(work), Path(target)
    work.mkdir(parents=True, exist_ok=True)
    run = {
        "clips": _clips,
        "vae": _vae,
        "decoder": _decoder,
        "identity": _identity,
        "latents": _latents,
        "unet": _unet,
        "refine": _refine,
        "polish": _polish,
    }
    accelerator = make_accelerator(LoopOptions())
    for stage in stages:
        log.info("svfr-tiny: %s", stage)
        if stage not in ("clips", "latents") or accelerator.is_main_process:
            run[stage](work, target, plan, accelerator.is_main_process, callback)
        accelerator.wait_for_everyone()


def _clips(work: Path, target: Path, plan: TinyPlan, main: bool, callback: Callback | None) -> None:  # noqa: ARG001
    """frames.npy (K,N,S,S,3) uint8, landmarks.npy (K,N,68,2) float32 and the aligned faces of every fourth frame."""
    count = 2 * plan.persons
    shape = (count, plan.frames, plan.size, plan.size, 3)
    frames = np.lib.format.open_memmap(work / "frames.npy", "w+", np.uint8, shape)
    landmarks = np.empty((*shape[:2], 68, 2), np.float32)
    with get_context("spawn").Pool(plan.parts) as pool:
        made = pool.imap(partial(_one_clip, plan.frames, plan.size), range(count), chunksize=8)
        for number, (pictures, points) in enumerate(made):
            frames[number], landmarks[number] = pictures, points
            report(callback, "clips", number + 1, count)
    frames.flush()
    with staged(work / "landmarks.npy") as path:
        np.save(path, landmarks)
    save_state(aligned_faces(frames, landmarks, callback=callback), work / "faces.pt")


def _one_clip(frames: int, size: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    clip = make_clip(number, frames, size, person=number // 2)
    return clip.frames, clip.landmarks


def _vae(work: Path, target: Path, plan: TinyPlan, main: bool, callback: Callback | None) -> None:
    network = train_vae(_frames(work), plan.vae, work / "vae", callback, batch=plan.vae_batch)
    if main:
        _save(network, target, VAE_ROLE, TINY_VAE)


def _decoder(work: Path, target: Path, plan: TinyPlan, main: bool, callback: Callback | None) -> None:
    network = load_network(_there(target / _name(VAE_ROLE), "vae"), VAE_ROLE, build_vae)
    train_steadiness(network, _frames(work), plan.decoder, work / "decoder", callback)
    if main:
        _save(network, target, VAE_ROLE, TINY_VAE)


def _identity(work: Path, target: Path, plan: TinyPlan, main: bool, callback: Callback | None) -> None:
    faces = torch.load(_there(work / "faces.pt", "clips"), weights_only=True)
    persons = torch.arange(2 * plan.persons) // 2
    network = train_recognizer(faces, persons, plan.identity, work / "identity", callback)
    if main:
        _save(network, target, RECOGNIZER_ROLE, TINY_RECOGNIZER)


def _latents(work: Path, target: Path, plan: TinyPlan, main: bool, callback: Callback | None) -> None:  # noqa: ARG001
    with get_context("spawn").Pool(plan.parts) as pool:
        jobs = pool.imap(partial(_encode_part, work, target, plan), range(plan.parts))
        for done, _ in enumerate(jobs):
            report(callback, "encode", done + 1, plan.parts)


def _encode_part(work: Path, target: Path, plan: TinyPlan, part: int) -> None:
    """One process's share of the encoding: every `parts`-th clip."""
    torch.set_num_threads(1)
    chosen = _share(plan, part)
    frames, landmarks = _frames(work), np.load(_there(work / "landmarks.npy", "clips"))
    faces = torch.load(_there(work / "faces.pt", "clips"), weights_only=True)
    vae = DiffusersVAE(load_network(_there(target / _name(VAE_ROLE), "vae"), VAE_ROLE, build_vae))
    take_out(vae.network)
    path = _there(target / _name(RECOGNIZER_ROLE), "identity")
    recognizer = load_network(path, RECOGNIZER_ROLE, build_recognizer)
    with torch.autocast("cpu", torch.bfloat16):
        kinds = {"latents": Views(plan.views, 100 + part), "blind": Views(plan.blind_views, 200 + part, BLIND)}
        for kind, views in kinds.items():
            clips = encode_clips(vae, recognizer, frames[chosen], landmarks[chosen], faces[chosen], views)
            clips.save(work / f"{kind}_{part}.pt")


def _share(plan: TinyPlan, part: int) -> np.ndarray:
    return np.arange(2 * plan.persons)[part :: plan.parts]


def joined_order(plan: TinyPlan) -> np.ndarray:
    """The numbers of the clips in the order in which `load_latents` returns them."""
    return np.concatenate([_share(plan, part) for part in range(plan.parts)])


def _unet(work: Path, target: Path, plan: TinyPlan, main: bool, callback: Callback | None) -> None:
    data = load_latents(work, plan)
    unet, projection = train_unet(data, plan.unet, work / "unet", callback, draw=plan.draw)
    if main:
        save_unet(unet, projection, target)


def _refine(work: Path, target: Path, plan: TinyPlan, main: bool, callback: Callback | None) -> None:
    """More of blind restoration, and of the noise levels that a few steps use."""
    networks = _load_unet(target)
    data = load_latents(work, plan, ("latents", "blind"))
    unet, projection = train_unet(
        data, plan.refine, work / "refine", callback, draw=plan.refine_draw, networks=networks
    )
    if main:
        save_unet(unet, projection, target)


def _polish(work: Path, target: Path, plan: TinyPlan, main: bool, callback: Callback | None) -> None:
    made = work / "estimates.pt"
    if main and not made.is_file():
        data = load_latents(work, plan, ("latents", "blind"))
        estimates = estimate_clips(*_load_unet(target), data, plan.polish.seed, callback)
        save_state(estimates[torch.from_numpy(joined_order(plan)).argsort()], made)  # in the order of the frames
    make_accelerator(LoopOptions()).wait_for_everyone()
    estimates = torch.load(made, weights_only=True)
    vae = load_network(_there(target / _name(VAE_ROLE), "vae"), VAE_ROLE, build_vae)
    polish_decoder(vae, _frames(work), estimates, plan.polish, work / "polish", callback)
    if main:
        _save(vae, target, VAE_ROLE, TINY_VAE)


def _load_unet(target: Path) -> tuple[UNetSpatioTemporalConditionModel, nn.Module]:
    unet = load_network(_there(target / _name(UNET_ROLE), "unet"), UNET_ROLE, build_unet)
    return unet, load_network(_there(target / _name(PROJECTION_ROLE), "unet"), PROJECTION_ROLE, build_projection)


def load_latents(work: Path, plan: TinyPlan, kinds: Sequence[str] = ("latents",)) -> LatentClips:
    """What the stage "latents" wrote, in joined_order. kinds: "latents", degraded in all ways, and "blind", for bfr."""
    kept = [
        _joined([LatentClips.load(_there(work / f"{kind}_{part}.pt", "latents")) for part in range(plan.parts)])
        for kind in kinds
    ]
    degraded, tasks = (torch.cat([getattr(data, name) for data in kept], dim=1) for name in ("degraded", "tasks"))
    return replace(kept[0], degraded=degraded, tasks=tasks)


def _joined(parts: Sequence[LatentClips]) -> LatentClips:
    names = [entry.name for entry in fields(LatentClips) if entry.name != "scaling"]
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return LatentClips(**joined, scaling=parts[0].scaling)


def save_unet(unet: nn.Module, projection: nn.Module, target: Path) -> None:
    """The two networks of the last stage, in half precision."""
    _save(unet, target, UNET_ROLE, TINY_UNET)
    _save(projection, target, PROJECTION_ROLE, TINY_PROJECTION)


def _frames(work: Path) -> np.ndarray:
    frames: np.ndarray = np.load(_there(work / "frames.npy", "clips"), mmap_mode="r")
    return frames


def _there(path: Path, stage: str) -> Path:
    if not path.is_file():
        raise InputError(f"{path} is missing: run the stage {stage!r} first.")
    return path


def _name(role: str) -> str:
    return Path(weight_file(role).name).with_suffix(".safetensors").name


def _save(network: nn.Module, target: Path, role: str, config: Mapping[str, Any]) -> None:
    """In half precision, which is what the package ships."""
    save(network.half(), target / _name(role), role, config)
