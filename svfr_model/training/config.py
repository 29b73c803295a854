"""A training's configuration: one JSON or TOML file, checked before anything is loaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from ..base.errors import DependencyError, InputError
from ..base.options import Range, is_group, option, options, required
from ..synthesis.options import LowQuality
from .footage import FootageOptions
from .loop import LoopOptions
from .losses import WEIGHT_PRIOR, WEIGHT_ULR

Group = TypeVar("Group")


@options
class TrainConfig:
    """What is trained, on what, and how."""

    output: str = required(help="Folder for checkpoint, losses, plot and the trained files.")
    weights: str = required(help="Folder with the networks to start from.")
    videos: str | None = option(default=None, help="Folder of your footage; by default synthetic clips are made.")
    cache: str | None = option(default=None, help="Folder for the prepared crops; by default in the output.")
    detector_threshold: float | None = option(
        default=None,
        within=Range(0.0, 1.0, above=True, below=True),
        help="How sure the detector must be; by default its own threshold.",
    )
    landmark_model: str | None = option(
        default=None, help="insightface's 1k3d68.onnx, which facial prior learning needs on footage."
    )
    fresh: bool = option(
        default=False, help="Start the UNet at random instead of from its file, whose architecture is kept."
    )
    lora_rank: int = option(
        default=0,
        within=Range(0),
        help="Rank of low-rank additions to the attention's projections, trained instead of all weights and merged "
        "when saved; 0 trains all.",
    )
    gradient_checkpointing: bool = option(
        default=False, help="Recompute activations in the backward pass: slower, with less memory."
    )
    window: int = option(default=16, within=Range(4), unit="frames", help="Frames in a row of the batch.")
    clips: int = option(default=1, within=Range(1), help="Clips in a batch, each in two degradations.")
    synthetic_clips: int = option(default=1000, within=Range(2), help="Synthetic clips to draw from.")
    synthetic_size: int = option(default=64, within=Range(1), unit="pixels", help="Side of a synthetic clip.")
    workers: int | None = option(
        default=None,
        within=Range(0),
        help="Processes that prepare footage, and then read and degrade clips ahead of the training, for each process "
        "of it; by default as many as the machine's cores allow, at most 12. With 0 the training does that itself.",
    )
    latent_cache: bool = option(
        default=False,
        help="Keep the latents of undamaged frames beside the prepared footage, so that each is encoded only once.",
    )
    brightness_flicker: float = option(
        default=0.0,
        within=Range(0.0, 1.0),
        help="In rows of blind restoration, chance that a frame is made darker or brighter.",
    )
    pixel_flicker: float = option(
        default=0.0,
        within=Range(0.0, 255.0),
        help="In rows of blind restoration, strength in grey levels of a texture that changes with every frame.",
    )
    drop_both: float = option(
        default=0.4, within=Range(0.0, 1.0), help="Chance that a row sees neither reference nor identity."
    )
    drop_one: float = option(default=0.2, within=Range(0.0, 1.0), help="Chance that a row sees only one of them.")
    weight_ulr: float = option(
        default=WEIGHT_ULR, within=Range(0.0), help="Weight of unified latent regularization; 0 leaves it out."
    )
    weight_prior: float = option(
        default=WEIGHT_PRIOR, within=Range(0.0), help="Weight of facial prior learning; 0 leaves it out."
    )
    loop: LoopOptions = field(default_factory=LoopOptions)
    footage: FootageOptions = field(default_factory=FootageOptions)
    low_quality: LowQuality = field(default_factory=LowQuality)

    def __post_init__(self) -> None:
        """Refuse combinations without a meaning."""
        if not self.output.strip():
            raise InputError("output is empty: name the folder for the trained files.")
        if self.videos and self.weight_prior and not self.landmark_model:
            raise InputError(
                "Facial prior learning needs 68 landmarks of your footage: set landmark_model to insightface's "
                "1k3d68.onnx, or weight_prior to 0."
            )
        if self.latent_cache and not self.videos:
            raise InputError("Synthetic clips have no place for a latent_cache: set it to false, or name videos.")
        if self.fresh and self.lora_rank:
            raise InputError("LoRA adds to a trained network: set lora_rank to 0 with fresh, or fresh to false.")
        if self.videos and self.footage.frames < self.window:
            raise InputError(
                f"Footage of {self.footage.frames} frames cannot fill a window of {self.window}: raise footage.frames."
            )


def load_config(path: Path | str) -> TrainConfig:
    """Read a .json or .toml file. Raises InputError naming what is unknown, missing or of the wrong kind."""
    return parse_config(read_settings(Path(path)), str(path))


def parse_config(values: Mapping[str, Any], source: str = "the configuration") -> TrainConfig:
    """A configuration from nested mappings; source names it in messages."""
    return parse_group(TrainConfig, values, source)


def dump_config(config: TrainConfig) -> str:
    """The configuration as JSON that load_config reads."""
    return json.dumps(asdict(config), indent=2)


def read_settings(path: Path) -> Mapping[str, Any]:
    """The settings of a .json or .toml file, not checked yet. Raises InputError for a file that cannot be read."""
    if not path.is_file():
        raise InputError(
            f"{path} does not exist: give a training configuration (.json or .toml), see docs/training.md."
        )
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            if sys.version_info < (3, 11):
                raise DependencyError("TOML needs Python 3.11 or newer here: write the configuration as .json.")
            import tomllib

            return tomllib.loads(text)
        if path.suffix == ".json":
            values: Mapping[str, Any] = json.loads(text)
            return values
    except RecursionError as error:
        raise InputError(f"{path} cannot be read: its tables are nested too deeply.") from error
    except ValueError as error:  # both parsers' errors are ValueErrors
        raise InputError(f"{path} cannot be read: {error}.") from error
    raise InputError(f"A training configuration is a .json or .toml file, not {path.name!r}.")


def parse_group(group: type[Group], values: Any, source: str) -> Group:
    """A group of options from a mapping, and the groups within it from mappings in that; lists become tuples."""
    if not isinstance(values, Mapping):
        raise InputError(f"{source} must be a table of settings, not {values!r}.")
    kinds = get_type_hints(group)
    unknown = [str(name) for name in values if name not in kinds]
    if unknown:
        raise InputError(f"{source} has unknown settings: {', '.join(unknown)}. Known: {', '.join(kinds)}.")
    given = {
        name: parse_group(kinds[name], value, f"{source}, {name}") if is_group(kinds[name]) else _value(value)
        for name, value in values.items()
    }
    try:
        return group(**given)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
