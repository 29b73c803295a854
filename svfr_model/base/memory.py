"""Where the long arrays of a run lie, and how far the work on them has come.

What is as long as the clip is asked of a `Memory` by its name. This one is plain memory; `files.mapped` keeps the same
arrays in files, so that they take no memory of the process and a later run can go on with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self


ASIDE = "aside-"
"""How the names of parts begin that are no part of what `Memory.require` asks for: little, and not known before."""


class Memory:
    """Plain memory: an array is gone when nobody holds it, and all work begins at its beginning."""

    def array(self, name: str, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """An array on the CPU, to be filled; it holds what was in the one of this name when a stage was last saved.

        Whoever asks for a name again may get the same array. Raises InputError where there is no room for it.
        """
        del name
        return torch.empty(tuple(shape), dtype=dtype)

    def like(self, name: str, tensor: Tensor) -> Tensor:
        """An array of another's shape and type, where that one is: on the CPU that of this name, elsewhere a new one.

        With the same strides too, whatever those of the other are.
        """
        if tensor.device.type != "cpu":
            return torch.empty_like(tensor, memory_format=torch.contiguous_format)
        return self.array(name, tensor.shape, tensor.dtype)

    def kept(self, name: str) -> Tensor:
        """An array that was there when a stage was saved. Raises KeyError where there is none."""
        raise KeyError(name)

    def done(self, stage: str) -> int:
        """How much of a stage was saved; 0 for nothing."""
        del stage
        return 0

    def save(
        self, stage: str, done: int, arrays: Mapping[str, Tensor] | None = None, *, seldom: bool = False
    ) -> None:
        """From now on so much of a stage is done, whatever ends the process.

        arrays: what it goes on from, by name, which is copied where it is not the array of that name itself. seldom:
        the stage is saved many times a second, and it does no harm to leave this one out.
        """

    def is_due(self, *, seldom: bool = False) -> bool:
        """Whether such a save would be made now; else nothing need be gathered for it."""
        del seldom
        return False

    def part(self, name: str) -> Self:
        """A memory in this one, with names and stages of its own."""
        del name
        return self

    def drop(self) -> None:
        """Forget all arrays and stages; nobody uses them any more."""

    def require(self, size: int) -> None:
        """Raise InputError where there is no room for so many bytes, those that are taken already among them."""

    def has_room(self, size: int) -> bool:
        """Whether there is."""
        del size
        return True


PLAIN = Memory()
