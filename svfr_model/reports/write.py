"""From weights and a picture to the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base.devices import choose_device, choose_dtype
from ..base.progress import Callback
from ..engine.presets import PRESETS, PresetName
from ..faces.select import largest_face
from ..files.paths import Output, check_paths
from ..files.staging import staged
from ..media.pictures import read_picture
from ..metrics.instruments import Instruments
from ..runs.loader import Loader
from ..runs.portrait_scene import PORTRAIT, make_scene
from ..weights import find
from .options import ReportOptions
from .page import machine_facts, page
from .trial import measure_presets, quality_of


@dataclass(frozen=True)
class ReportJob:
    """target: the page, .md. picture: of a person, instead of the one that ships. presets: those to measure."""

    target: Path
    clip: ReportOptions
    seed: int
    picture: Path | None = None
    presets: Sequence[PresetName] = tuple(PRESETS)


def write_report(job: ReportJob, loader: Loader, callback: Callback | None = None) -> None:
    """Measure the presets and write the page. Raises the library's errors, before any work where that can be."""
    check_paths([job.picture] if job.picture is not None else [], [Output(job.target, "report", (".md",))])
    loader.require(detector=True, encoder=True)
    loader.check_size(job.clip.size, job.clip.size)
    source = job.picture or PORTRAIT
    picture = read_picture(source)
    face = largest_face(picture, loader.face_detector, source.name)
    scene = make_scene(picture, face, job.clip.frames, job.clip.size)
    networks = loader.networks(self_referred=True)
    runs = measure_presets(networks, loader.encoder, scene, job.presets, seed=job.seed, callback=callback)
    instruments = Instruments(encoder=loader.encoder, landmarks=lambda number: scene.landmarks[number])
    device = choose_device(loader.device)
    dtype = str(choose_dtype(loader.dtype, device)).removeprefix("torch.")
    facts = machine_facts(device, dtype, {role: find(role, loader.folders) for role in ("unet", "vae")})
    clip = (
        f"{job.clip.frames} frames of {job.clip.size}x{job.clip.size} pixels, made from {source.name} by a moving "
        f"camera and degraded; blind restoration, seed {job.seed}."
    )
    text = page(clip, facts, quality_of(scene.degraded, scene, instruments), runs)
    with staged(job.target) as place:
        place.write_text(text, encoding="utf-8")
