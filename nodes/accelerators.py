"""What other nodes attach to a MODEL to make it faster, and how it goes with windows that shift at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..svfr_model.base.errors import InputError


def refuse_step_caches(model_options: Mapping[str, Any]) -> None:
    """Raise InputError for a MODEL with ComfyUI's EasyCache or LazyCache.

    They take the network's answer to the frames of a step for its answer to the same frames at the next one.
    """
    cache = model_options.get("transformer_options", {}).get("easycache")
    if cache is not None:
        raise InputError(
            f"{getattr(cache, 'name', 'EasyCache')} is attached to this MODEL. It reuses what the network found at the "
            "step before, but SVFR's windows hold other frames at every step: wire the MODEL past that node. To save "
            "time, take fewer steps."
        )


def is_compiled(model_options: Mapping[str, Any]) -> bool:
    """Whether TorchCompileModel, or another node by ComfyUI's own means, compiles this MODEL."""
    return "torch_compile_kwargs" in model_options
