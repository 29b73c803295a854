"""A training's configuration: one JSON or TOML file, checked before anything is loaded."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..base.errors import DependencyError, InputError
from ..synthesis.options import LowQuality
from .footage import FootageOptions
from .loop import LoopOptions
from .losses import WEIGHT_PRIOR, WEIGHT_ULR


@dataclass(frozen=True)
class TrainConfig:
    """What is trained, on what, and how.

    output: folder for checkpoint, losses, plot and the trained files. weights: folder with the networks to start
    from. videos: folder of your footage; None trains on synthetic clips. cache: folder for the prepared crops, by
    default in output. detector_threshold: None for the detector's own. landmark_model: insightface's 1k3d68.onnx, which
    facial prior learning needs on footage.

    fresh: start the UNet at random instead of from its file, whose architecture is kept. lora_rank: train low-rank
    additions to the attention's projections instead of all weights, merged when saved; 0 trains all. window: frames
    of a row; clips: clips in a step, each in two degradations.
    drop_both, drop_one: chances that a row sees neither reference nor identity, and only one of them.
    """

    output: str
    weights: str
    videos: str | None = None
    cache: str | None = None
    detector_threshold: float | None = None
    landmark_model: str | None = None
    fresh: bool = False
    lora_rank: int = 0
    gradient_checkpointing: bool = False
    window: int = 16
    clips: int = 1
    synthetic_clips: int = 1000
    synthetic_size: int = 64
    drop_both: float = 0.4
    drop_one: float = 0.2
    weight_ulr: float = WEIGHT_ULR
    weight_prior: float = WEIGHT_PRIOR
    loop: LoopOptions = field(default_factory=LoopOptions)
    footage: FootageOptions = field(default_factory=FootageOptions)
    low_quality: LowQuality = field(default_factory=LowQuality)

    def __post_init__(self) -> None:
        if not self.output.strip():
            raise InputError("output is empty: name the folder that the trained files shall go to.")
        if self.window < 4 or self.clips < 1 or self.lora_rank < 0 or self.synthetic_clips < 2:
            raise InputError(
                f"window ({self.window}) must be 4 or more, clips ({self.clips}) 1 or more, lora_rank "
                f"({self.lora_rank}) not negative, synthetic_clips ({self.synthetic_clips}) 2 or more."
            )
        if not (0 <= self.drop_both <= 1 and 0 <= self.drop_one <= 1):
            raise InputError(f"drop_both ({self.drop_both}) and drop_one ({self.drop_one}) are chances in [0,1].")
        if self.weight_ulr < 0 or self.weight_prior < 0:
            raise InputError("weight_ulr and weight_prior must not be negative.")
        if self.weight_ulr and self.clips < 2:
            raise InputError(
                "Unified latent regularization contrasts the clips of a step: set clips to 2 or more, or weight_ulr "
                "to 0."
            )
        if self.videos and self.weight_prior and not self.landmark_model:
            raise InputError(
                "Facial prior learning needs 68 landmarks of your footage: set landmark_model to insightface's "
                "1k3d68.onnx, or weight_prior to 0."
            )
        if self.fresh and self.lora_rank:
            raise InputError("LoRA adds to a trained network: set lora_rank to 0 with fresh, or fresh to false.")
        if self.videos and self.footage.frames < self.window:
            raise InputError(
                f"Footage of {self.footage.frames} frames cannot fill a window of {self.window}: raise footage.frames."
            )


_PARTS: dict[str, type] = {"loop": LoopOptions, "footage": FootageOptions, "low_quality": LowQuality}


def load_config(path: Path | str) -> TrainConfig:
    """Read a .json or .toml file. Raises InputError naming what is unknown, missing or of the wrong kind."""
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path} does not exist: give a training configuration (.json or .toml), see docs/training.md."
        )
    return parse_config(_read(path), str(path))


def parse_config(values: Mapping[str, Any], source: str = "the configuration") -> TrainConfig:
    """A configuration from nested mappings; source names it in messages."""
    if not isinstance(values, Mapping):
        raise InputError(f"{source} must be a table of settings, not {type(values).__name__}.")
    given = dict(values)
    for name, kind in _PARTS.items():
        if name in given:
            given[name] = _build(kind, given[name], f"{source}, {name}")
    return _build(TrainConfig, given, source)


def dump_config(config: TrainConfig) -> str:
    """The configuration as JSON that load_config reads."""
    return json.dumps(asdict(config), indent=2)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            if sys.version_info < (3, 11):
                raise DependencyError("TOML needs Python 3.11 or newer here: write the configuration as .json.")
            import tomllib

            return tomllib.loads(text)
        if path.suffix == ".json":
            return json.loads(text)
    except RecursionError as error:
        raise InputError(f"{path} cannot be read: its tables are nested too deeply.") from error
    except ValueError as error:  # both parsers' errors are ValueErrors
        raise InputError(f"{path} cannot be read: {error}.") from error
    raise InputError(f"A training configuration is a .json or .toml file, not {path.name!r}.")


def _build(kind: type, values: Any, source: str) -> Any:
    """A dataclass from a mapping, every key known and every value of the kind that the field's default has."""
    if not isinstance(values, Mapping):
        raise InputError(f"{source} must be a table of settings, not {values!r}.")
    known = {entry.name: entry for entry in fields(kind)}
    unknown = [name for name in values if name not in known]
    if unknown:
        raise InputError(f"{source} has unknown settings: {', '.join(unknown)}. Known: {', '.join(known)}.")
    for name, value in values.items():
        _check_kind(name, value, str(known[name].type), source)
    made = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return kind(**made)
    except TypeError as error:
        raise InputError(f"{source} is not complete: {error}.") from error


def _check_kind(name: str, value: Any, annotation: str, source: str) -> None:
    """InputError for a value that its annotation does not allow."""
    allowed: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
    parts = [part.strip() for part in annotation.split("|")]
    if value is None and "None" in parts:
        return
    if annotation.startswith("tuple["):
        inner = annotation[6:-1].split(",")[0].strip()
        fits = isinstance(value, list | tuple) and len(value) == 2 and all(_is(v, allowed[inner]) for v in value)
    elif parts[0] in allowed:
        fits = _is(value, allowed[parts[0]])
    else:  # a literal or a part, checked where it is made
        return
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"{source}: {name} is {value!r}; it must be {annotation}.")


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
