"""A table in a node: what the frontend draws from it is in web/js/tables.js."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Cell: TypeAlias = "str | Mapping[str, Any]"
"""Text; or {"text", and "address" of a page, or "bar" and "mark": parts of the cell's width, 0 to 1}."""


def table(titles: Sequence[str], rows: Sequence[Sequence[Cell]], *, head: str = "", notes: Sequence[str] = ()) -> Any:
    """The entry of a NodeOutput's `ui` that shows a table, with a line above it and some below.

    Raises ValueError for a row that has not one cell for each title.
    """
    if any(len(row) != len(titles) for row in rows):
        raise ValueError(f"Every row needs {len(titles)} cells.")
    return {
        "svfr_table": [{"head": head, "titles": list(titles), "rows": [list(row) for row in rows], "notes": [*notes]}]
    }
