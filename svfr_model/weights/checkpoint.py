"""Reading, checking and writing checkpoints. No code from a file is run, and no key is guessed or left over."""

from __future__ import annotations

import json
import os
import pickle
import re
import reprlib
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ..base.errors import InputError, WeightsError, cannot_write
from ..files.paths import Output, check_paths
from ..files.staging import staged
from .bounds import check_arguments
from .registry import weight_file

CONFIG_KEY = "svfr_config"
"""Metadata key of a safetensors file that holds a model of another size than the published one."""

MOST_METADATA = 1 << 16
"""Characters that the metadata may have; those of the published architecture have about a thousand."""

MOST_REPEATED = 4 << 30
"""Bytes that tensors may claim by repeating few numbers, as a pickle can make them."""

Module = TypeVar("Module", bound=nn.Module)

BROKEN_PICKLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
)
"""What torch's restricted unpickler raises on bytes that are no checkpoint: almost anything."""


def read_state_dict(path: Path | str, role: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a checkpoint, on the CPU in their stored dtypes, and its metadata (a .pth file has none).

    Files ending in .safetensors are read as such, .pth and .pt as restricted pickles (tensors only, mapped
    from the disk where their format allows it). Only a flat dictionary of tensors is accepted, in a pickle under the
    key that the registry names for the role: any other wrapping is refused, because it would be a guess which part is
    meant.

    Raises WeightsError, naming the file, what was expected of it and where to get it.
    """
    path = Path(path)
    if not path.is_file():
        raise _refusal(path, role, "it does not exist")
    if path.suffix == ".safetensors":
        return _read_safetensors(path, role)
    if path.suffix not in (".pth", ".pt"):
        raise _refusal(path, role, f"its suffix {path.suffix!r} is not one of .safetensors, .pth, .pt")
    return _read_pickle(path, role), {}


def model_config(metadata: Mapping[str, str], role: str, path: Path | str) -> dict[str, Any] | None:
    """The constructor arguments in a checkpoint's `svfr_config` metadata, or None for a published one.

    Every argument is known and within the bounds of `bounds.RULES`, so a network can be built from them. Raises
    WeightsError where it is not, and where the metadata is malformed or belongs to a network of another role.
    """
    try:
        return described(metadata, role)
    except InputError as error:
        raise _refusal(path, role, f"its {CONFIG_KEY} metadata {error}") from error


def described(metadata: Mapping[str, str], role: str) -> dict[str, Any] | None:
    """The same; what is wrong is an InputError that ends the sentence "its metadata"."""
    text = metadata.get(CONFIG_KEY)
    if text is None:
        return None
    if len(text) > MOST_METADATA:
        raise InputError(f"has {len(text)} characters; no network needs more than {MOST_METADATA}")
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({error})") from error
    if not isinstance(stored, dict) or not isinstance(stored.get("config"), dict) or "role" not in stored:
        raise InputError('is not of the form {"role": ..., "config": {...}}')
    if stored["role"] != role:
        raise InputError(f"says that it is a {reprlib.repr(stored['role'])}")
    try:
        check_arguments(role, stored["config"])
    except InputError as error:
        raise InputError(f"describes no usable network: {error}") from error
    config: dict[str, Any] = stored["config"]
    return config


def stored_config(path: Path | str, role: str) -> dict[str, Any] | None:
    """The same, read from the file's header alone; None for a file without such metadata."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return model_config(file.metadata() or {}, role, path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _refusal(path, role, f"it is truncated or corrupt ({error})") from error


def load_strict(module: nn.Module, state_dict: Mapping[str, torch.Tensor], path: Path | str, role: str) -> None:
    """Give module exactly these tensors: every key, every shape and every kind of number must agree.

    The tensors are assigned, not copied, so module may lie on the meta device and takes on their dtype and device.
    path and role are for the message.

    Raises WeightsError, naming the first missing, unexpected and mis-shaped keys and how many there are of each.
    """
    _refuse_faults(module, state_dict, path, role)
    module.load_state_dict(state_dict, strict=True, assign=True)


def load_network(
    path: Path | str,
    role: str,
    build: Callable[[Mapping[str, Any] | None], Module],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Module:
    """The network of a checkpoint: the one its `svfr_config` metadata describes, or else the published one.

    build makes the module from constructor arguments, or the published one from None; it runs on the meta
    device, so no memory is spent on weights that are about to be replaced. Floating-point tensors are cast
    to dtype; counters keep their integer type.

    Raises WeightsError for a file that is missing, damaged or of another architecture.
    """
    state_dict, metadata = read_state_dict(path, role)
    config = model_config(metadata, role, path)
    try:
        with torch.device("meta"):
            module = build(config)
    except InputError as error:
        reason = f"its {CONFIG_KEY} metadata describes no usable network: {error}"
        raise _refusal(path, role, reason) from error
    _refuse_faults(module, state_dict, path, role)
    for key, value in state_dict.items():  # one by one and in place: the file's tensors are let go on the way
        state_dict[key] = value.to(device=device, dtype=dtype if value.is_floating_point() else None)
    module.load_state_dict(state_dict, strict=True, assign=True)
    return module.eval()


def save(model: nn.Module | Mapping[str, torch.Tensor], path: Path | str, role: str, config: Mapping[str, Any]) -> None:
    """Write a network as a safetensors file that says what it is, so that the loaders can build it again.

    config holds the constructor arguments (JSON values). The file appears under its name only when it is
    whole.
    """
    weight_file(role)
    tensors = model.state_dict() if isinstance(model, nn.Module) else model
    _write_safetensors(tensors, Path(path), {CONFIG_KEY: json.dumps({"role": role, "config": dict(config)})})


def convert(source: Path | str, target: Path | str, role: str, dtype: torch.dtype | None = None) -> None:
    """Write a checkpoint as safetensors, metadata kept, floating-point tensors cast to dtype if given.

    The file appears under its name only when it is whole. Raises InputError for a target that does not end in
    .safetensors or cannot be written, WeightsError for a source that cannot be read or says that it is another network.
    """
    source, target = Path(source), Path(target)
    check_paths([source], [Output(target, "converted checkpoint", (".safetensors",))])
    tensors, metadata = read_state_dict(source, role)
    model_config(metadata, role, source)
    if dtype is not None:
        tensors = {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()}
    _write_safetensors(tensors, target, metadata)


def _read_safetensors(path: Path, role: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _refusal(path, role, f"it is truncated or corrupt ({error})") from error


def _read_pickle(path: Path, role: str) -> dict[str, torch.Tensor]:
    zipped = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        head = file.read(2)
    if not zipped and head == b"PK":
        raise _refusal(path, role, "its end is missing: it looks like a truncated download")
    if not zipped and head[:1] != b"\x80":
        raise _refusal(path, role, "it is not a PyTorch checkpoint")
    if zipped:
        _refuse_packed(path, role)
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu", mmap=zipped)
    except BROKEN_PICKLE as error:
        # torch's own message is not quoted: it advises to load such files with fewer checks
        reason = "it is damaged, or holds objects other than tensors, which are never unpickled"
        raise _refusal(path, role, reason) from error
    tensors = _unwrapped(stored, path, role)
    for key, value in tensors.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            reason = f"its entry {reprlib.repr(key)} is a {type(value).__name__}, where only tensors belong"
            raise _refusal(path, role, reason)
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise _refusal(path, role, f"its entry {reprlib.repr(key)} is not a plain tensor")
    claimed = sum(value.numel() * value.element_size() for value in tensors.values())
    if claimed > max(path.stat().st_size, MOST_REPEATED):
        raise _refusal(path, role, f"its tensors claim {claimed / 2**30:.0f} GiB, more than the file holds")
    return dict(tensors)


def _refuse_packed(path: Path, role: str) -> None:
    """WeightsError for an archive that torch did not write: it never compresses, so a small file stays small."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _refusal(path, role, f"its directory cannot be read ({error})") from error
    size = path.stat().st_size
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or sum(e.file_size for e in entries) > size:
        raise _refusal(path, role, "its entries are compressed; those of a checkpoint never are")


def _unwrapped(stored: Any, path: Path, role: str) -> dict[Any, Any]:
    """The dictionary that should hold the tensors."""
    if not isinstance(stored, dict):
        raise _refusal(path, role, f"it holds a {type(stored).__name__}, not a dictionary of tensors")
    inside = weight_file(role).inside
    if not inside:
        return stored
    if not isinstance(stored.get(inside), dict):
        names = ", ".join(repr(key) for key in list(stored)[:4])
        more = f" and {len(stored) - 4} more entries" if len(stored) > 4 else ""
        raise _refusal(
            path, role, f"it holds {f'{names}{more}' if names else 'nothing'}, but no weights under {inside!r}"
        )
    # training in several processes leaves the prefix
    return {k.removeprefix("module.") if isinstance(k, str) else k: value for k, value in stored[inside].items()}


def _write_safetensors(tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with staged(path) as partial:
        mode = partial.stat().st_mode
        try:
            save_file(stored, partial, metadata=dict(metadata))
        except SafetensorError as error:
            raise cannot_write(path, _disks_own(error)) from error
        partial.chmod(mode)  # safetensors 0.8 leaves its files readable by their owner only


def _disks_own(error: Exception) -> Exception:
    """The system's error that safetensors only quotes; the error itself where it quotes none."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else error


def _refuse_faults(module: nn.Module, state_dict: Mapping[str, torch.Tensor], path: Path | str, role: str) -> None:
    faults = list(_faults(module.state_dict(), state_dict))
    if faults:
        raise _refusal(path, role, "; ".join(faults))


def _faults(needed: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """One sentence part per kind of disagreement between two state dicts."""
    missing = [key for key in needed if key not in found]
    if missing:
        yield _listing("missing", missing)
    unexpected = [key for key in found if key not in needed]
    if unexpected:
        yield _listing("unexpected", unexpected)
    common = [key for key in needed if key in found]
    shapes = [
        f"{key} is {tuple(found[key].shape)} and should be {tuple(needed[key].shape)}"
        for key in common
        if found[key].shape != needed[key].shape
    ]
    if shapes:
        yield _listing("mis-shaped", shapes)
    kinds = [
        f"{key} holds {found[key].dtype}"
        for key in common
        if found[key].is_floating_point() != needed[key].is_floating_point()
    ]
    if kinds:
        yield _listing("of the wrong kind of number", kinds)
    if not shapes:
        broken = [key for key in common if not _is_finite(found[key])]
        if broken:
            yield _listing("spoiled by NaN or infinite values", broken)


def _is_finite(value: torch.Tensor) -> bool:
    """Whether all numbers of a tensor are finite. Extremes carry NaN along, and need no copy of the tensor."""
    if not value.is_floating_point() or not value.numel() or value.is_meta:  # shapes alone hold no numbers
        return True
    low, high = torch.aminmax(value if value.element_size() > 1 else value.half())
    return bool(low.isfinite() and high.isfinite())


def _listing(fault: str, items: Iterable[str], shown: int = 4) -> str:
    items = list(items)
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    verb = "entry is" if len(items) == 1 else "entries are"
    return f"{len(items)} {verb} {fault}: {', '.join(items[:shown])}{more}"


def _refusal(path: Path | str, role: str, reason: str) -> WeightsError:
    entry = weight_file(role)
    return WeightsError(f"{path} cannot be used as {entry.purpose}: {reason}. {entry.source}")
