"""Weight files that are broken, of another kind, or made to harm."""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from svfr_model.stc.load import ROLES
from svfr_model.stc.network import build_network
from svfr_model.weights import CONFIG_KEY, save, weight_file

from .random_networks import RANDOM_STC, write_random_weights

Maker = Callable[[Path], None]
Tensors = dict[str, torch.Tensor]


@cache
def folder() -> Path:
    """A complete set of tiny networks, made once; `remove` removes it."""
    made = Path(tempfile.mkdtemp(prefix="tiny-networks-"))
    write_random_weights(made)
    with torch.random.fork_rng(devices=[]):
        stc = build_network("bfr", RANDOM_STC)
    for role in ROLES.values():  # one network for three tasks: the building is what takes long
        save(stc, tiny(role, made), role, RANDOM_STC)
    return made


def remove() -> None:
    """Remove the networks that were made."""
    shutil.rmtree(folder())
    folder.cache_clear()


def tiny(role: str, place: Path | None = None) -> Path:
    """The tiny network of a role."""
    return (place or folder()) / Path(weight_file(role).name).with_suffix(".safetensors")


def networks(role: str, make: Maker | None) -> Maker:
    """A folder with every tiny network, of which the one of a role is made otherwise or left out."""

    def build(path: Path) -> None:
        path.mkdir()
        left_out = tiny(role)
        for source in folder().iterdir():
            if source != left_out:
                (path / source.name).symlink_to(source)
        if make is not None:
            known = weight_file(role)
            make(path / (left_out.name if known.kind == "state_dict" else known.name))

    return build


def as_pth(make: Maker) -> Maker:
    """The same file under a pickle's suffix."""
    return lambda path: make(path.with_suffix(".pth"))


def cut(role: str) -> Maker:
    """The first half of a network's file."""

    def make(path: Path) -> None:
        content = tiny(role).read_bytes()
        path.write_bytes(content[: len(content) // 2])

    return make


def other(role: str) -> Maker:
    """The network of another role."""
    return lambda path: shutil.copy(tiny(role), path)


def tensors(values: Tensors, metadata: dict[str, str] | None = None) -> Maker:
    """A safetensors file."""
    return lambda path: save_file(values, path, metadata=metadata)


def _read(role: str) -> tuple[Tensors, dict[str, str]]:
    with safe_open(tiny(role), framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def changed(role: str, change: Callable[[Tensors], Tensors]) -> Maker:
    """A network with other tensors and its own description."""

    def make(path: Path) -> None:
        values, metadata = _read(role)
        save_file(change(values), path, metadata=metadata)

    return make


def drop_one(values: Tensors) -> Tensors:
    """Without the first entry."""
    return dict(list(values.items())[1:])


def add_one(values: Tensors) -> Tensors:
    """With an entry that no network has."""
    return {**values, "surplus": torch.zeros(3)}


def reshape_one(values: Tensors) -> Tensors:
    """The first entry in another shape."""
    first = next(iter(values))
    return {**values, first: torch.zeros(2, 3, 5)}


def integers(values: Tensors) -> Tensors:
    """Whole numbers throughout."""
    return {key: value.to(torch.int32) for key, value in values.items()}


def not_numbers(values: Tensors) -> Tensors:
    """NaN throughout."""
    return {
        key: torch.full_like(value, torch.nan) if value.is_floating_point() else value for key, value in values.items()
    }


def config(role: str, change: dict) -> Maker:
    """A network whose description differs from what is in it."""

    def make(path: Path) -> None:
        values, metadata = _read(role)
        stored = json.loads(metadata[CONFIG_KEY])
        stored["config"].update(change)
        save_file(values, path, metadata={CONFIG_KEY: json.dumps(stored)})

    return make


def metadata(text: str) -> Maker:
    """A UNet with this text as its description."""
    return lambda path: save_file(_read("unet")[0], path, metadata={CONFIG_KEY: text})


class _Touch:
    """Unpickled without care, it makes a file."""

    def __reduce__(self) -> tuple:
        return (open, ("written-by-a-checkpoint", "w"))


def exploit(path: Path) -> None:
    """A checkpoint that runs code where pickles are trusted."""
    torch.save({"weight": _Touch()}, path)


def old_exploit(path: Path) -> None:
    """The same as a bare pickle, as before torch 1.6."""
    path.write_bytes(pickle.dumps({"weight": _Touch()}))


def pickled(value: object) -> Maker:
    """A checkpoint of anything."""
    return lambda path: torch.save(value, path)


def half_pth(path: Path) -> None:
    """A download of a .pth that broke off."""
    torch.save({"weight": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


class _Writer(torch.nn.Module):
    """Writes a file of its maker's choice when it runs."""

    def forward(self, picture: torch.Tensor, grids: list[torch.Tensor]) -> torch.Tensor:
        written = torch.from_file("written-by-a-network", shared=True, size=4, dtype=torch.uint8)
        written.fill_(65)
        return torch.zeros(1, 1, 16)


@cache
def _torchscript() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "net.pt"
        torch.jit.script(_Writer()).save(str(path))
        return path.read_bytes()


def torchscript(path: Path) -> None:
    """A TorchScript module that writes a file when it runs."""
    path.write_bytes(_torchscript())


def onnx() -> Maker:
    """A network of one sum, which is no detector: y = x + x with x (1,3)."""

    def tensor(name: str) -> bytes:
        shape = _field(1, _number(1, 1)) + _field(1, _number(1, 3))
        return _field(1, name.encode()) + _field(2, _field(1, _number(1, 1) + _field(2, shape)))

    node = _field(1, b"x") + _field(1, b"x") + _field(2, b"y") + _field(4, b"Add")
    graph = _field(1, node) + _field(2, b"g") + _field(11, tensor("x")) + _field(12, tensor("y"))
    content = _number(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 13))
    return lambda path: path.write_bytes(content)


def _number(field: int, value: int) -> bytes:
    """A protobuf field of a small whole number."""
    return bytes([field << 3, value])


def _field(field: int, content: bytes) -> bytes:
    """A protobuf field of bytes or of a message, shorter than 16 KiB."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([field << 3 | 2]) + length + content
