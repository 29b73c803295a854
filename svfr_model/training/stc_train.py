"""Training of BFVR-STC, as a configuration file says: stage "codebooks" on undamaged clips, stage "codes" on pairs.

The paper's 3.2 and 3.3; docs/reference/stc-training.md. The loop, its checkpoints and its resuming are those of SVFR's
training.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from ..base.errors import InputError, WeightsError
from ..base.options import Range, option, options, required
from ..base.progress import Callback
from ..files.paths import Output, check_paths
from ..files.staging import staged
from ..stc.load import ROLES
from ..stc.network import ResidualName, Sizes, TaskName, VQAutoEncoder3D, build_network, build_stage1
from ..synthesis.degrade import degrade_clip
from ..synthesis.options import DegradeOptions, LowQuality
from ..weights import CONFIG_KEY, save
from .config import parse_group, read_settings
from .dino import Discriminator, load_dino
from .loop import CHECKPOINT, LOSSES, PLOT, Loop, LoopOptions, Losses, placed
from .source import Footage, SyntheticClips, WindowSource
from .stc_losses import CodebooksObjective, CodesObjective, Mode, Perceptual, scale_distance
from .stc_start import start_books, start_frame_by_frame, start_from, start_heads

log = logging.getLogger(__name__)

Stage: TypeAlias = Literal["codebooks", "codes"]
CROSS_ENTROPY: Mapping[TaskName, float] = {"bfr": 1.0, "deflicker": 0.5, "deflicker_sd": 0.5}
"""The code's weights of eq. 8's cross entropies."""
FLICKER = 0.3
"""Chance of a frame to be brightened or darkened (docs/reference/stc-training.md#stage-2)."""
START_BATCHES = 8
"""Of clips, from whose latents the codebooks' entries and the heads start. Ours."""


@options
class SizeOptions:
    """The size of the network. The defaults are the published one."""

    nf: int = option(default=32, within=Range(1), help="Channels of the first level.")
    ch_mult: tuple[int, ...] = option(
        default=(1, 2, 4, 8), within=Range(1), help="Channels of each level, in multiples of the first's."
    )
    res_blocks: int = option(default=2, within=Range(1), help="Residual blocks of a level.")
    attn_resolutions: tuple[int, ...] = option(
        default=(32,), within=Range(1), help="Nominal sides, of 256 at the first level, of the levels with attention."
    )
    emb_dim: int = option(default=256, within=Range(16), help="Channels of the latents, codes and transformers.")
    codebook_size: int = option(default=1024, within=Range(2), help="Entries of each codebook.")
    groups: int = option(default=32, within=Range(1), help="Groups of the normalisations.")


@options
class TransformerOptions:
    """The size of the restorer's transformers."""

    n_head: int = option(default=2, within=Range(1), help="Heads of a layer.")
    n_layers: int = option(default=9, within=Range(1), help="Layers of each transformer.")


@options
class STCTrainConfig:
    """What of BFVR-STC is trained, on what, and how."""

    stage: Stage = required(help="codebooks (stage I), or codes (stage II), which starts from it.")
    output: str = required(help="Folder for checkpoint, losses, plot and the trained file.")
    start: str | None = option(
        default=None,
        help="The file that stage codebooks wrote: stage codes needs it, stage codebooks may go on from it, say with "
        "longer clips.",
    )
    task: TaskName = option(default="bfr", help="Stage codes: what the network learns to undo.")
    mode: Mode = option(
        default="paper",
        help="Where paper and published code differ: which to follow. ours: the paper, but either codebook has its own "
        "loss and gradient, and residual branches start at zero.",
    )
    plain_steps: int = option(
        default=0,
        within=Range(0),
        unit="steps",
        help="Stage codebooks, mode ours: first steps without codes, on single frames of many clips, after which the "
        "entries start from latents.",
    )
    residual: ResidualName = option(
        default="frames", help="Stage codes: the motion residual as the paper has it, or as the published networks do."
    )
    videos: str | None = option(default=None, help="Folder of prepared footage; by default synthetic clips are made.")
    synthetic_clips: int = option(default=1000, within=Range(2), help="Synthetic clips to draw from.")
    size: int = option(default=64, within=Range(64, 512), unit="pixels", help="Side of the clips.")
    frames: int = option(default=24, within=Range(1), unit="frames", help="Frames of a clip that is trained on.")
    clips: int = option(default=1, within=Range(1), help="Clips in a step.")
    recompute: bool = option(
        default=False, help="Recompute activations in the backward pass: slower, with less memory."
    )
    perceptual: bool = option(
        default=False, help="Stage codebooks: LPIPS with VGG-16 (must be installed); else frames at several scales."
    )
    dino: str | None = option(
        default=None, help="Stage codebooks: DINOv2's file for the discriminator; by default there is none."
    )
    adversarial_from: int = option(
        default=2000, within=Range(0), unit="steps", help="Stage codebooks: steps before the discriminator counts."
    )
    weight_prior: float | None = option(
        default=None, within=Range(0.0), help="Stage codebooks: weight of the marginal prior; by default the mode's."
    )
    noiseless: int = option(
        default=2000,
        within=Range(0),
        unit="steps",
        help="Stage codes, task bfr: first steps, in which clips get no noise (incremental training).",
    )
    texture: tuple[float, float] = option(
        default=(4.0, 16.0),
        within=Range(0.0, 255.0),
        unit="grey levels",
        help="Stage codes, task deflicker_sd: range of the flicker's strength, drawn for each clip.",
    )
    sizes: SizeOptions = field(default_factory=SizeOptions)
    transformers: TransformerOptions = field(default_factory=TransformerOptions)
    loop: LoopOptions = field(default_factory=LoopOptions)
    low_quality: LowQuality = field(default_factory=LowQuality)

    def __post_init__(self) -> None:
        """Refuse combinations without a meaning."""
        if not self.output.strip():
            raise InputError("output is empty: name the folder for the trained files.")
        if self.plain_steps and self.mode != "ours":
            raise InputError(f"plain_steps belongs to mode ours: set it to 0 for mode {self.mode}.")
        if self.stage == "codes" and not self.start:
            raise InputError("Stage codes starts from stage codebooks: set start to the file that it wrote.")


CODEBOOKS = "codebooks.safetensors"
CODES: Mapping[TaskName, str] = {task: f"stc-{task}.safetensors" for task in ROLES}


def load_stc_config(path: Path | str) -> STCTrainConfig:
    """Read a .json or .toml file. Raises InputError naming what is unknown, missing or of the wrong kind."""
    return parse_group(STCTrainConfig, read_settings(Path(path)), str(path))


def train_stc(
    config: STCTrainConfig,
    callback: Callback | None = None,
    *,
    perceptual: Perceptual = scale_distance,
    source: WindowSource | None = None,
) -> Path:
    """Train a stage as configured. Returns the file that was written into config.output.

    Stage codebooks writes `CODEBOOKS`, stage codes a file that Load STC Model and `stc` take, in half precision, both
    of averaged weights; beside it losses.jsonl, losses.png and checkpoint.pt, from which the same call goes on.
    perceptual: the distance for stage codebooks; config.perceptual says that the caller is to give LPIPS. source: clips
    to train on, None those of the configuration. Raises
    InputError for a folder that cannot be written to, WeightsError for a start that is no such file, DependencyError
    for missing packages.
    """
    folder = Path(config.output)
    target = folder / (CODEBOOKS if config.stage == "codebooks" else CODES[config.task])
    inputs = [Path(path) for path in (config.start, config.dino) if path is not None]
    contents = (CHECKPOINT, LOSSES, PLOT, target.name)
    check_paths(inputs, [Output(folder, "trained files", form="folder", contents=contents)])
    torch.manual_seed(config.loop.seed)
    if config.stage == "codebooks":
        _train_codebooks(config, folder, target, perceptual, source, callback)
    else:
        _train_codes(config, folder, target, source, callback)
    return target


def _train_codebooks(
    config: STCTrainConfig,
    folder: Path,
    target: Path,
    perceptual: Perceptual,
    source: WindowSource | None,
    callback: Callback | None,
) -> None:
    network, sizes = _books_to_train(config)
    discriminator = Discriminator(load_dino(config.dino)) if config.dino else None
    objective = CodebooksObjective(
        network, config.mode, config.weight_prior, perceptual, discriminator, recompute=config.recompute
    )
    clips = PairSource(source or _source(config, network.sizes), config)
    single = replace(clips, config=replace(config, clips=config.clips * config.frames, frames=network.temporal_stride))

    def step(modules: Mapping[str, nn.Module], seed: int, number: int) -> Losses:
        if config.plain_steps and number == config.plain_steps:
            start_books(network, placed(modules["objective"], _first_clips(clips)))
        shown = placed(modules["objective"], (clips if number >= config.plain_steps else single).clean(seed))
        adversarial, coded = number >= config.adversarial_from, number >= config.plain_steps
        losses: Losses = modules["objective"](shown, adversarial=adversarial, coded=coded)
        return losses

    loop = Loop({"objective": objective}, step, config.loop, folder)
    loop.run(callback)
    loop.averaged()
    if loop.accelerator.is_main_process:
        save_codebooks(network, target, sizes)


def _books_to_train(config: STCTrainConfig) -> tuple[VQAutoEncoder3D, dict[str, Any]]:
    """Stage I's networks, and their sizes: those to go on from, or new ones."""
    if config.start:
        network, sizes = load_codebooks(config.start)
        return network.train(), sizes
    sizes = asdict(config.sizes)
    network = build_stage1(sizes).train()
    if config.mode == "ours":
        start_frame_by_frame(network)
    return network, sizes


def _train_codes(
    config: STCTrainConfig, folder: Path, target: Path, source: WindowSource | None, callback: Callback | None
) -> None:
    books, sizes = load_codebooks(config.start or "")
    clips = PairSource(source or _source(config, books.sizes), config)
    shape = {**sizes, **asdict(config.transformers), "img_size": config.size, "connect_list": []}
    network = build_network(config.task, {**shape, "residual": config.residual}).train()
    start_from(network, books)
    if config.mode == "ours":
        start_heads(network, _first_clips(clips))
    teacher = copy.deepcopy(network.encoder)
    objective = CodesObjective(network, teacher, CROSS_ENTROPY[config.task], recompute=config.recompute)

    def step(modules: Mapping[str, nn.Module], seed: int, number: int) -> Losses:
        clean, damaged = placed(modules["objective"], clips.pair(seed, number))
        losses: Losses = modules["objective"](clean, damaged)
        return losses

    loop = Loop({"objective": objective}, step, config.loop, folder)
    loop.run(callback)
    loop.averaged()
    if loop.accelerator.is_main_process:
        described = {**shape, "residual": config.residual}
        save(network.half(), target, ROLES[config.task], described)


def save_codebooks(network: VQAutoEncoder3D, target: Path, sizes: Mapping[str, Any]) -> None:
    """Stage I's networks in single precision, with their sizes."""
    from safetensors.torch import save_file

    described = {CONFIG_KEY: json.dumps({"role": "stc_codebooks", "config": dict(sizes)})}
    with staged(target) as path:
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path, described)


def load_codebooks(path: Path | str) -> tuple[VQAutoEncoder3D, dict[str, Any]]:
    """What `save_codebooks` wrote, and its sizes. Raises WeightsError for any other file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            stored = json.loads((file.metadata() or {}).get(CONFIG_KEY, "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
        if stored.get("role") != "stc_codebooks":
            raise ValueError("it holds no codebooks of a training")
        network = build_stage1(stored["config"])
        network.load_state_dict(tensors, strict=True)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, InputError) as error:
        raise WeightsError(
            f"{path} cannot be used as the codebooks to start from ({error}). Give the file {CODEBOOKS} that stage "
            "codebooks wrote."
        ) from error
    return network, stored["config"]


@dataclass(frozen=True)
class PairSource:
    """Clips to train on, each with a damaged twin, as a seed says."""

    source: WindowSource
    config: STCTrainConfig

    def clean(self, seed: int) -> Tensor:
        """Undamaged clips (B,3,T,S,S) in 0..1."""
        return torch.stack([_clip(frames) for frames in self._drawn(seed)])

    def pair(self, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Undamaged and damaged clips (B,3,T,S,S) in 0..1 each, of the same moments."""
        rng = np.random.default_rng([seed, 1])
        clean, damaged = [], []
        for frames in self._drawn(seed):
            spoiled, _ = degrade_clip(frames, self._damage(rng, step), int(rng.integers(1 << 31)))
            clean.append(_clip(frames))
            damaged.append(_clip(spoiled))
        return torch.stack(clean), torch.stack(damaged)

    def _drawn(self, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(self.source), min(self.config.clips, len(self.source)), replace=False)
        return [self.source.draw(int(index), self.config.frames, rng).frames for index in chosen]

    def _damage(self, rng: np.random.Generator, step: int) -> DegradeOptions:
        """What the task has to undo. Blind restoration begins without noise (incremental training, 7.2)."""
        if self.config.task == "deflicker":
            return DegradeOptions(brightness_flicker=FLICKER)
        if self.config.task == "deflicker_sd":
            return DegradeOptions(pixel_flicker=float(rng.uniform(*self.config.texture)))
        quality = self.config.low_quality
        if step < self.config.noiseless:
            quality = replace(quality, noise=(0.0, 0.0))
        return DegradeOptions(low_quality=quality)


def _first_clips(clips: PairSource) -> Tensor:
    """Undamaged clips from which a network starts."""
    return torch.cat([clips.clean(number) for number in range(START_BATCHES)])


def _clip(frames: np.ndarray) -> Tensor:
    """(T,S,S,3) uint8 to (3,T,S,S) float32 in 0..1."""
    return rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "t h w c -> c t h w").float() / 255


def _source(config: STCTrainConfig, sizes: Sizes) -> WindowSource:
    """The clips. Raises InputError where they do not fit the network."""
    if config.size % sizes.factor or config.frames % sizes.temporal_stride:
        raise InputError(
            f"Clips of {config.frames} frames of {config.size}x{config.size} do not fit this network: size must be a "
            f"multiple of {sizes.factor}, frames of {sizes.temporal_stride}."
        )
    if config.videos is not None:
        footage = Footage(config.videos)
        if footage.size != config.size:
            raise InputError(
                f"The footage in {config.videos} is {footage.size} pixels wide: set size to that, not {config.size}."
            )
        return footage
    return SyntheticClips(config.synthetic_clips, config.size, config.frames)
