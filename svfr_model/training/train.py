"""Training and fine-tuning of SVFR's UNet and identity projection, as a configuration file says.

Self-referred training as in the SVFR paper: the network is given a reference frame of the same clip and the identity of
its face, but they are withheld at random, so that it also learns to work without them. The tasks of each row are drawn
from all seven combinations.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from einops import rearrange
from torch import Tensor, nn

from ..base.errors import DependencyError, InputError
from ..base.pixels import to_network_range
from ..base.progress import Callback
from ..faces.detectors.load import load_detector
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
from ..weights import find, load_network, save, weight_file
from ..weights.checkpoint import model_config, read_state_dict
from .config import TrainConfig, dump_config, load_config
from .feed import Drawn, drawn_ahead, worker_count
from .footage import Tools, find_videos, load_arniqa
from .latent_cache import FOLDER as LATENTS
from .latent_cache import LatentCache
from .latents import draw_uses
from .loop import CHECKPOINT, LOSSES, PLOT, Loop, Losses, first_process_does, make_accelerator
from .losses import SVFRObjective, draw_sigmas, zero_start
from .prepare import prepare_footage
from .recompute import recompute_blocks
from .source import Footage, SyntheticClips, WindowSource

log = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

CONFIG_COPY = "config.json"
ENCODED_AT_ONCE = 4
"""Frames in a call of the VAE, whose activations at full resolution are large."""
LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


@dataclass(frozen=True)
class BatchEncoder:
    """Drawn batches to those of SVFRObjective. The networks are frozen, and compute in float32 whatever is trained in.

    cache: of the undamaged frames' latents, or None.
    """

    vae: DiffusersVAE
    recognizer: nn.Module
    config: TrainConfig
    cache: LatentCache | None = None

    @torch.no_grad()
    def encode(self, drawn: Drawn) -> dict[str, Tensor]:
        """2B rows: B clips in one degradation and the same in another, see `latents.draw_batch`.

        The rows of a clip share window and reference frame; each has its own noise, its level, and what is withheld.
        """
        config, device = self.config, self.vae.device
        generator = torch.Generator().manual_seed(int(drawn["seed"]))
        rows = len(drawn["task"])
        with torch.autocast(device.type, enabled=False):
            clean, other = zip(*(self._undamaged(drawn, row) for row in range(rows // 2)), strict=True)
            degraded = torch.stack([self._latents(frames) for frames in drawn["degraded"]])
            grid = self.recognizer(drawn["face"].to(device))[0].float()
        scaled = torch.stack(clean).repeat(2, 1, 1, 1, 1) * self.vae.scaling_factor
        use_reference, use_identity = draw_uses(rows, config.drop_both, config.drop_one, generator)
        batch = {
            "clip": drawn["clip"].repeat(2),
            "clean": scaled,
            "sigma": draw_sigmas(rows, generator),
            "noise": torch.randn(scaled.shape, generator=generator),
            "degraded": degraded,
            "reference": torch.stack(other).repeat(2, 1, 1, 1) * use_reference.to(scaled).view(-1, 1, 1, 1),
            "grid": grid.repeat(2, 1, 1, 1),
            "use_identity": use_identity.float(),
            "task": drawn["task"],
            "landmarks": drawn["landmarks"].repeat(2, 1, 1, 1),
        }
        return {name: value.to(device, non_blocking=True) for name, value in batch.items()}

    def _undamaged(self, drawn: Drawn, row: int) -> tuple[Tensor, Tensor]:
        """The latents (F,4,h,w) of a window and (4,h,w) of its reference frame, unscaled."""
        frames = torch.cat([drawn["frames"][row], drawn["other"][row][None]])
        if self.cache is None:
            latents = self._latents(frames)
        else:
            first, count = int(drawn["first"][row]), len(frames) - 1
            numbers = [*range(first, first + count), int(drawn["other_number"][row])]
            encode = partial(self._chosen, frames)
            latents = self.cache.encoded(int(drawn["clip"][row]), numbers, encode).to(self.vae.device)
        return latents[:-1], latents[-1]

    def _chosen(self, frames: Tensor, positions: list[int]) -> Tensor:
        return self._latents(frames[positions])

    def _latents(self, frames: Tensor) -> Tensor:
        """(n,S,S,3) uint8 to (n,4,h,w) float32, unscaled."""
        pixels = rearrange(frames.to(self.vae.device, non_blocking=True), "n h w c -> n c h w")
        parts = torch.split(to_network_range(pixels), ENCODED_AT_ONCE)
        return torch.cat([self.vae.encode(part, full_precision=True) for part in parts])


def train(config: TrainConfig, callback: Callback | None = None, given: Path | None = None) -> Path:
    """Train as configured and write the UNet and the projection into config.output. Returns that folder.

    given: the file that the configuration was read from. If the folder has a checkpoint, training continues from it.
    Under torchrun the first process prepares the footage while the others wait. Writes unet.safetensors and
    id_linear.safetensors (fp16, averaged weights), losses.jsonl, losses.png, checkpoint.pt and the configuration.
    Raises WeightsError for missing networks, InputError for a folder that cannot be written to or has the networks to
    start from in it, InputError and FaceNotFoundError for footage that cannot be used, DependencyError for missing
    packages.
    """
    accelerator = make_accelerator(config.loop)
    first_process_does(accelerator, lambda: _begin(config, given, callback))
    source = open_source(config)
    networks = _networks(config)
    loop = _trained(config, source, networks, callback)
    folder = Path(config.output)
    if loop.accelerator.is_main_process:
        save(networks.unet.half(), folder / _file(ROLE), ROLE, networks.unet_config)
        save(networks.projection.half(), folder / _file(PROJECTION_ROLE), PROJECTION_ROLE, networks.projection_config)
    return folder


@dataclass
class _Trained:
    """The networks that are trained, and the constructor arguments to save with them."""

    unet: Any
    unet_config: dict[str, Any]
    projection: nn.Module
    projection_config: dict[str, Any]


def _begin(config: TrainConfig, given: Path | None, callback: Callback | None) -> None:
    """Check everything that can be checked, write the configuration and prepare the footage."""
    folder = Path(config.output)
    copy = folder / CONFIG_COPY
    in_place = given is not None and copy.exists() and copy.samefile(given)
    check_paths(
        _inputs(config, None if in_place else given),
        [Output(folder, "trained files", form="folder", contents=_written(in_place))],
    )
    if config.videos is not None:
        find_videos(config.videos)
    folder.mkdir(parents=True, exist_ok=True)
    if not in_place:
        with staged(copy) as path:
            path.write_text(dump_config(config), encoding="utf-8")
    if config.videos is not None:
        _prepare(config, config.videos, callback)


def _networks(config: TrainConfig) -> _Trained:
    """The networks to start from, ready to be trained."""
    where = [config.weights]
    unet, unet_config = _network(where, ROLE, build_unet, PUBLISHED_CONFIG)
    projection, projection_config = _network(where, PROJECTION_ROLE, build_projection, PUBLISHED_PROJECTION)
    if config.fresh:
        torch.manual_seed(config.loop.seed)
        unet, projection = build_unet(unet_config), build_projection(projection_config)
        zero_start(unet)
    return _Trained(unet.train(), unet_config, projection.train(), projection_config)


def _trained(config: TrainConfig, source: WindowSource, networks: _Trained, callback: Callback | None) -> Loop:
    """Run the training; afterwards the networks have their averaged weights, with LoRA's additions merged."""
    adapters = add_lora(networks.unet, config.lora_rank) if config.lora_rank else None
    if config.gradient_checkpointing:
        recompute_blocks(networks.unet)
    torch.manual_seed(config.loop.seed)
    objective = SVFRObjective(networks.unet, networks.projection, config.weight_ulr, config.weight_prior)
    feed = ExitStack()
    encoder: BatchEncoder
    batches: Generator[Drawn, None, None]

    def draw(seed: int, number: int) -> dict[str, Tensor]:
        drawn = next(batches)
        if int(drawn["seed"]) != seed:
            raise RuntimeError(f"the batches are out of step at {number}")
        return encoder.encode(drawn)

    def step(modules: Mapping[str, nn.Module], batch: dict[str, Tensor], number: int) -> Losses:  # noqa: ARG001
        losses: Losses = modules["objective"](batch)
        return losses

    loop = Loop({"objective": objective}, step, config.loop, Path(config.output), draw)
    encoder = _encoder(config, source, loop.accelerator.device)
    with feed:
        batches = drawn_ahead(source, config, list(loop.seeds()))
        feed.callback(batches.close)
        loop.run(callback)
    loop.averaged()
    if adapters is not None:
        adapters.merge_and_unload()
    return loop


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


def open_source(config: TrainConfig) -> WindowSource:
    """The clips that a configuration names; footage must have been prepared. Raises InputError where it does not do."""
    if config.videos is None:
        return SyntheticClips(config.synthetic_clips, config.synthetic_size)
    cache = _footage_folder(config)
    footage = Footage(cache)
    if len(footage) < config.clips:
        raise InputError(
            f"A batch needs {config.clips} clips, but the footage in {cache} has {len(footage)}: add videos."
        )
    return footage


def _prepare(config: TrainConfig, videos: str, callback: Callback | None) -> None:
    """Prepare what is not prepared yet of the footage."""
    detector = partial(load_detector, "yunet", find("yunet", [config.weights]), config.detector_threshold)
    tools = Tools(
        detector,
        partial(LandmarkModel, config.landmark_model) if config.landmark_model else None,
        load_arniqa if config.footage.least_quality is not None else None,
    )
    processes = worker_count(config.workers)
    summary = prepare_footage(
        videos, _footage_folder(config), tools, config.footage, processes=processes, callback=callback
    )
    told = ", ".join(f"{count} {fate}" for fate, count in summary.fates.items())
    log.info("Faces in %s: %s; %d files cannot be read.", videos, told, len(summary.unreadable))


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


def _encoder(config: TrainConfig, source: WindowSource, device: torch.device) -> BatchEncoder:
    """The frozen networks on the device, and the cache if there is to be one."""
    vae = load_vae(find("vae", [config.weights]), device=device)
    recognizer, _ = _network([config.weights], RECOGNIZER_ROLE, build_recognizer, PUBLISHED_RECOGNIZER)
    cache = None
    if config.latent_cache and isinstance(source, Footage):
        cache = LatentCache(_footage_folder(config) / LATENTS, source.clips, source.size // vae.factor)
    return BatchEncoder(vae, recognizer.to(device), config, cache)


def _file(role: str) -> str:
    return Path(weight_file(role).name).with_suffix(".safetensors").name
