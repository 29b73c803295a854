"""Which clips a batch is made of: the lines of a manifest, or what lies in a folder."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..base.errors import InputError
from ..files.paths import PICTURE_SUFFIXES, VIDEO_SUFFIXES

SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True)
class Row:
    """One clip that is asked for. where: by what, for messages. values: by lower-case key with underscores: input,
    output where it is given, command where it is given, and options, as words, numbers, truth values or lists.
    """

    where: str
    values: Mapping[str, Any] = field(default_factory=dict)


def read_rows(source: Path, results: Path) -> list[Row]:
    """The clips of a manifest (.csv, .jsonl) or of a folder, in their order; what lies in results is none of them.

    Raises InputError, which names the file and the line, for what cannot be read.
    """
    if source.is_dir():
        rows = [Row(str(path), {"input": path.name}) for path in _clips(source, results)]
        if not rows:
            raise InputError(
                f"{source}: there is no video in this folder, and no folder of pictures. For a single clip made of the "
                "pictures in it use `restore`; to restore each for itself, list them in a manifest."
            )
        return rows
    if not source.exists():
        raise InputError(f"{source}: there is no such file or folder. Check the path.")
    if source.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{source}: a batch takes a folder of clips, or a manifest: {' or '.join(SUFFIXES)}. For one clip use "
            "`restore` or `stc`."
        )
    text = _text(source)
    rows = list(_csv_rows(source, text) if source.suffix.lower() == ".csv" else _json_rows(source, text))
    if not rows:
        raise InputError(f"{source}: there is no clip in this manifest. Give one a line.")
    return rows


def _clips(folder: Path, results: Path) -> list[Path]:
    """The videos of a folder, and the folders in it that hold pictures, by name."""
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}). Check its permissions.") from error
    return [path for path in entries if path.resolve() != results.resolve() and _is_clip(path)]


def _is_clip(path: Path) -> bool:
    if path.is_dir():
        with os.scandir(path) as inside:
            return any(Path(entry.name).suffix.lower() in PICTURE_SUFFIXES for entry in inside)
    return path.suffix.lower() in VIDEO_SUFFIXES


def _text(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8-sig")  # Excel begins with a mark
    except FileNotFoundError as error:
        raise InputError(f"{source}: there is no such file or folder. Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not text in UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror}). Check its permissions.") from error


def _csv_rows(source: Path, text: str) -> Iterator[Row]:
    """Of a table whose first line names the keys; an empty cell is a key that is not given."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        keys = next(reader, [])
        _keyed(f"{source}, line 1", ((key, "") for key in keys))
        for cells in reader:
            where = f"{source}, line {reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(keys):
                raise InputError(
                    f"{where}: {len(cells)} cells, but the first line names {len(keys)} columns. Put a cell that holds "
                    "a comma in quotation marks."
                )
            given = ((key, cell) for key, cell in zip(keys, cells, strict=True) if cell.strip())
            yield Row(where, _keyed(where, given))
    except csv.Error as error:
        raise InputError(f"{source}, line {reader.line_num}: not a table that can be read ({error}).") from error


def _json_rows(source: Path, text: str) -> Iterator[Row]:
    """Of one object a line; null is a key that is not given."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where}: not JSON ({error}). Write one object a line.") from error
        if not isinstance(entry, dict):
            raise InputError(f'{where}: not an object. Write one a line, such as {{"input": "a.mp4", "steps": 12}}.')
        yield Row(where, _keyed(where, ((key, value) for key, value in entry.items() if value is not None)))


def _keyed(where: str, values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The values by keys as Python writes them; one that is given twice is refused."""
    found: dict[str, Any] = {}
    for key, value in values:
        name = key.strip().removeprefix("--").replace("-", "_").lower()
        if name in found:
            raise InputError(f"{where}: {key.strip()} is given twice. Leave one of them out.")
        found[name] = value
    return found
