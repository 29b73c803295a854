"""Peak memory of a piece of work: of the GPU, or of the process where the system can tell."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import torch

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Peak:
    """Begins when it is made."""

    def __init__(self, device: torch.device) -> None:
        """device: where the networks run."""
        self._device = device
        self._known = device.type == "cuda"
        if self._known:
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError):  # Linux alone has it
                _RESET.write_text("5", encoding="ascii")
                self._known = device.type == "cpu"

    def gibibytes(self) -> float | None:
        """The most since then: allocated by torch on a GPU, resident of the process on a CPU; None: not known."""
        if not self._known:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**30
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
        return None if found is None else int(found[1]) / 2**20
