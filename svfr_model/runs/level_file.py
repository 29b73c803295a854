"""The file that `restore --log-levels` writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from ..engine.level_log import LevelChange
from ..files.paths import Output
from ..files.staging import staged


def level_output(path: Path) -> Output:
    """The file as an output to be checked."""
    return Output(path, "log of levels", (".json", ".csv"))


def write_levels(path: Path, changes: Sequence[LevelChange]) -> None:
    """One line for every pass and step, as JSON or CSV by the file's suffix. Raises InputError where it cannot be."""
    rows = [asdict(change) for change in changes]
    with staged(path) as place:
        if path.suffix.lower() == ".json":
            lines = ",\n ".join(json.dumps(row) for row in rows)
            place.write_text(f"[{lines}]\n", encoding="utf-8")
            return
        with place.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [entry.name for entry in fields(LevelChange)])
            writer.writeheader()
            writer.writerows(rows)
