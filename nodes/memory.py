"""What ComfyUI's memory manager does not do by itself: small networks as its guests, and an answer to running out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.model_management
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ..svfr_model.base.errors import InputError
from ..svfr_model.networks.memory import ALLOWANCE

__all__ = ["ALLOWANCE", "HalvingBatch", "Resident", "is_out_of_memory"]

logger = logging.getLogger(__name__)


class Resident:
    """Small networks that lie on the compute device while they are used and off it otherwise.

    They are loaded whole: their layers are not ComfyUI's, so it could neither cast nor stream them, and would silently
    leave them behind where they do not fit.
    """

    def __init__(self, *networks: nn.Module) -> None:
        """Networks that are used together. They stay where they are until `loaded`."""
        self.patcher = comfy.model_patcher.ModelPatcher(
            nn.ModuleList(networks),  # a module of ours, because ModelPatcher writes attributes on it
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )

    @property
    def device(self) -> torch.device:
        """Where the networks compute; their inputs belong there."""
        device: torch.device = self.patcher.load_device
        return device

    @contextmanager
    def loaded(self, memory: float = 0.0) -> Iterator[None]:
        """Within this the networks lie on `device`. memory: bytes of activations they need there."""
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory, force_full_load=True)
        try:
            yield
        finally:
            self.patcher.detach()


class HalvingBatch:
    """Runs the rows of a batch together, or after running out of memory in ever smaller parts.

    What fitted last is remembered, so that a long run does not fail at every step.
    """

    def __init__(self) -> None:
        self._size: int | None = None

    def run(self, call: Callable[[slice], Tensor], count: int, advice: str, at_once: int | None = None) -> Tensor:
        """call(rows) for all of count rows, joined along the first dimension; at_once: no more rows than that together.

        Raises InputError, ending with advice, where not even one row fits.
        """
        while True:
            size = max(1, min(count, self._size or count, count if at_once is None else at_once))
            try:
                parts = [call(slice(first, first + size)) for first in range(0, count, size)]
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            else:
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            # Only here: within the except clause the error would still hold the tensors of the failed call.
            comfy.model_management.soft_empty_cache()
            if size == 1:
                raise InputError(f"There is not enough memory on {comfy.model_management.get_torch_device()}. {advice}")
            self._size = (size + 1) // 2
            logger.warning("Out of memory with %d at once, trying %d.", size, self._size)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device ran out of memory."""
    check = getattr(comfy.model_management, "is_oom", None)  # since ComfyUI 0.13; it also knows the driver's own error
    return check(error) if check else isinstance(error, comfy.model_management.OOM_EXCEPTION)
