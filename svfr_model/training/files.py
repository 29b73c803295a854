"""What a training keeps on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..files.staging import staged


def save_state(state: Any, target: Path) -> None:
    """torch.save, all of it or nothing. Raises InputError, naming target, where that cannot be written."""
    with staged(target) as path, path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's archive puts an error of its own over the disk's
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
