"""Training and fine-tuning of SVFR's UNet and identity projection, as a configuration file says.

Self-referred training as in the SVFR paper: the network is given a reference frame of the same clip and the identity of
its face, but they are withheld at random, so that it also learns to work without them. The tasks of each row are drawn
from all seven combinations.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from ..base.errors import DependencyError, InputError
from ..base.pixels import to_network_range
from ..base.progress import Callback
from ..base.tasks import task_vector
from ..faces.detectors.load import load_detector
from ..faces.geometry import align_face
from ..faces.landmarks import LandmarkModel
from ..files.paths import Output, check_paths
from ..files.staging import staged
from ..networks.identity import (
    PROJECTION_ROLE,
    PUBLISHED_PROJECTION,
    PUBLISHED_RECOGNIZER,
    RECOGNIZER_ROLE,
    build_projection,
    build_recognizer,
)
from ..networks.unet import PUBLISHED_CONFIG, ROLE, build_unet
from ..networks.vae import DiffusersVAE, load_vae
from ..synthesis.clips import make_clip
from ..synthesis.degrade import degrade_clip
from ..synthesis.options import options_for
from ..weights import find, load_network, save, weight_file
from ..weights.checkpoint import model_config, read_state_dict
from .config import TrainConfig, dump_config, load_config
from .footage import INDEX, Footage, TrainingWindow, find_videos, load_arniqa, prepare_footage
from .latents import ALL_TASKS, draw_uses
from .loop import CHECKPOINT, LOSSES, PLOT, Loop, Losses
from .losses import SVFRObjective, draw_sigmas, zero_start

log = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

CONFIG_COPY = "config.json"
LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


class WindowSource(Protocol):
    """Clips to draw windows from."""

    def __len__(self) -> int: ...

    def draw(self, index: int, length: int, rng: np.random.Generator) -> TrainingWindow:
        """A random window of clip `index`."""
        ...


@dataclass(frozen=True)
class SyntheticClips:
    """Synthetic clips as a source: clip k is drawn from seed k."""

    count: int
    size: int
    frames: int = 24

    def __len__(self) -> int:
        return self.count

    def draw(self, index: int, length: int, rng: np.random.Generator) -> TrainingWindow:
        """A random window of a clip of `frames` frames, and another frame of it."""
        clip = make_clip(index, max(self.frames, length), self.size)
        first, other = int(rng.integers(len(clip.frames) - length + 1)), int(rng.integers(len(clip.frames)))
        part, five = slice(first, first + length), clip.five
        return TrainingWindow(clip.frames[part], five[part], clip.landmarks[part], clip.frames[other], five[other])


@dataclass(frozen=True)
class OnlineBatches:
    """Makes batches for SVFRObjective as they are needed: draws, degrades and encodes. The networks here are frozen."""

    source: WindowSource
    vae: DiffusersVAE
    recognizer: nn.Module
    config: TrainConfig

    @torch.no_grad()
    def draw(self, seed: int) -> dict[str, Tensor]:
        """2B rows: B clips in one degradation and the same in another, see `latents.draw_batch`."""
        config = self.config
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        count = min(config.clips, len(self.source))
        chosen = rng.choice(len(self.source), count, replace=False)
        windows = [self.source.draw(int(index), config.window, rng) for index in chosen]
        tasks = [ALL_TASKS[int(k)] for k in rng.integers(len(ALL_TASKS), size=2 * count)]
        shown = []
        for row, wanted in enumerate(tasks):
            options = options_for(wanted, config.low_quality)
            spoiled, _ = degrade_clip(windows[row % count].frames, options, int(rng.integers(1 << 31)))
            shown.append(self._encode(spoiled))
        clean = torch.stack([self._encode(w.frames) * self.vae.scaling_factor for w in windows]).repeat(2, 1, 1, 1, 1)
        use_reference, use_identity = draw_uses(2 * count, config.drop_both, config.drop_one, generator)
        reference = torch.stack([self._encode(w.other[None])[0] for w in windows]).repeat(2, 1, 1, 1)
        batch = {
            "clean": clean,
            "sigma": draw_sigmas(2 * count, generator),
            "noise": torch.randn(clean.shape, generator=generator),
            "degraded": torch.stack(shown),
            "reference": reference * use_reference.to(reference).view(-1, 1, 1, 1),
            "grid": torch.cat([self._grid(w) for w in windows]).repeat(2, 1, 1, 1),
            "use_identity": use_identity.float(),
            "task": torch.tensor([task_vector(wanted) for wanted in tasks], dtype=torch.float32),
            "landmarks": torch.stack([_relative(w) for w in windows]).repeat(2, 1, 1, 1),
        }
        return {name: value.to(self.vae.device) for name, value in batch.items()}

    def _encode(self, frames: np.ndarray) -> Tensor:
        pixels = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "n h w c -> n c h w")
        return self.vae.encode(to_network_range(pixels), full_precision=True)

    def _grid(self, window: TrainingWindow) -> Tensor:
        face = align_face(window.other, window.other_five, "arcface")[None]
        grid: Tensor = self.recognizer(face.to(self.vae.device))[0]
        return grid.float()


def _relative(window: TrainingWindow) -> Tensor:
    """Landmarks (F,68,2) in fractions of the picture; zeros if they are unknown, and weight_prior is 0."""
    height, width = window.frames.shape[1:3]
    if window.landmarks is None:
        return torch.zeros(len(window.frames), 68, 2)
    return torch.from_numpy(window.landmarks / np.array([width, height])).float()


def train(config: TrainConfig, callback: Callback | None = None, given: Path | None = None) -> Path:
    """Train as configured and write the UNet and the projection into config.output. Returns that folder.

    given: the file that the configuration was read from. If the folder has a checkpoint, training continues from it.
    Writes unet.safetensors and id_linear.safetensors (fp16, averaged weights), losses.jsonl, losses.png, checkpoint.pt
    and the configuration. Raises WeightsError for missing networks, InputError for a folder that cannot be written to
    or has the networks to start from in it, InputError and FaceNotFoundError for footage that cannot be used,
    DependencyError for missing packages.
    """
    folder = Path(config.output)
    copy = folder / CONFIG_COPY
    in_place = given is not None and copy.exists() and copy.samefile(given)
    check_paths(
        _inputs(config, None if in_place else given),
        [Output(folder, "trained files", form="folder", contents=_written(in_place))],
    )
    if config.videos is not None and not (_footage_folder(config) / INDEX).is_file():
        find_videos(config.videos)
    folder.mkdir(parents=True, exist_ok=True)
    if not in_place:
        with staged(copy) as path:
            path.write_text(dump_config(config), encoding="utf-8")
    source = open_source(config, callback)
    where = [config.weights]
    unet, unet_config = _network(where, ROLE, build_unet, PUBLISHED_CONFIG)
    projection, projection_config = _network(where, PROJECTION_ROLE, build_projection, PUBLISHED_PROJECTION)
    if config.fresh:
        torch.manual_seed(config.loop.seed)
        unet, projection = build_unet(unet_config), build_projection(projection_config)
        zero_start(unet)
    adapters = add_lora(unet, config.lora_rank) if config.lora_rank else None
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    torch.manual_seed(config.loop.seed)
    objective = SVFRObjective(unet.train(), projection.train(), config.weight_ulr, config.weight_prior)
    batches: list[OnlineBatches] = []

    def step(modules: Mapping[str, nn.Module], seed: int, number: int) -> Losses:  # noqa: ARG001
        losses: Losses = modules["objective"](batches[0].draw(seed))
        return losses

    loop = Loop({"objective": objective}, step, config.loop, folder)
    batches.append(_batches(config, source, loop.accelerator.device))
    loop.run(callback)
    loop.averaged()
    if adapters is not None:
        adapters.merge_and_unload()
    if loop.accelerator.is_main_process:
        save(unet.half(), folder / _file(ROLE), ROLE, unet_config)
        save(projection.half(), folder / _file(PROJECTION_ROLE), PROJECTION_ROLE, projection_config)
    return folder


def train_from_file(path: Path | str, callback: Callback | None = None) -> Path:
    """Train as a .json or .toml file says, like `python -m svfr_model train CONFIG`; see `train`."""
    return train(load_config(path), callback, Path(path))


def _inputs(config: TrainConfig, given: Path | None) -> list[Path]:
    """Every file and folder that training reads. Raises WeightsError if a network is missing."""
    roles = (ROLE, PROJECTION_ROLE, RECOGNIZER_ROLE, "vae")
    others = [Path(path) for path in (config.videos, config.landmark_model, given) if path is not None]
    return [*(find(role, [config.weights]) for role in roles), *others]


def _written(in_place: bool) -> tuple[str, ...]:
    """The files that are written to the output folder: the configuration too, unless it is there already."""
    files = (CHECKPOINT, LOSSES, PLOT, _file(ROLE), _file(PROJECTION_ROLE))
    return files if in_place else (CONFIG_COPY, *files)


def _footage_folder(config: TrainConfig) -> Path:
    """The folder for prepared footage."""
    return Path(config.cache or Path(config.output) / "footage")


def open_source(config: TrainConfig, callback: Callback | None = None) -> WindowSource:
    """The clips that a configuration names. Footage is prepared the first time only."""
    if config.videos is None:
        return SyntheticClips(config.synthetic_clips, config.synthetic_size)
    cache = _footage_folder(config)
    if not (cache / INDEX).is_file():
        detector = load_detector("yunet", find("yunet", [config.weights]), config.detector_threshold)
        counts = prepare_footage(
            config.videos,
            cache,
            detector,
            config.footage,
            landmarks=LandmarkModel(config.landmark_model) if config.landmark_model else None,
            quality=load_arniqa() if config.footage.least_quality is not None else None,
            callback=callback,
        )
        log.info("Faces in %s: %s.", config.videos, ", ".join(f"{n} {fate}" for fate, n in counts.items()))
    footage = Footage(cache)
    if config.weight_prior and not footage.has_landmarks:
        raise InputError(
            f"The prepared footage in {cache} has no landmarks: delete that folder, or set weight_prior to 0."
        )
    if len(footage) < config.clips:
        raise InputError(
            f"A step needs {config.clips} clips, but the footage in {cache} has {len(footage)}: add videos."
        )
    return footage


def add_lora(unet: nn.Module, rank: int) -> Any:
    """Add low-rank additions (Hu et al. 2021, arXiv 2106.09685) to the attention's projections, with peft, in place.

    Everything else is frozen. Returns peft's handle, whose merge_and_unload() merges the additions into the weights.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise DependencyError("LoRA needs the package peft: pip install -r requirements-train.txt.") from error
    return get_peft_model(unet, LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_TARGETS))


def _network(
    where: list[str], role: str, build: Callable[[Mapping[str, Any] | None], Network], published: Mapping[str, Any]
) -> tuple[Network, dict[str, Any]]:
    """A network in float32, and the constructor arguments to save with it."""
    path = find(role, where)
    _, metadata = read_state_dict(path, role)
    return load_network(path, role, build), model_config(metadata, role, path) or dict(published)


def _batches(config: TrainConfig, source: WindowSource, device: torch.device) -> OnlineBatches:
    vae = load_vae(find("vae", [config.weights]), device=device)
    recognizer, _ = _network([config.weights], RECOGNIZER_ROLE, build_recognizer, PUBLISHED_RECOGNIZER)
    return OnlineBatches(source, vae, recognizer.to(device), config)


def _file(role: str) -> str:
    return Path(weight_file(role).name).with_suffix(".safetensors").name
