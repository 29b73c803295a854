"""Fetching weight files, on consent only."""

from __future__ import annotations


def download() -> None:
    """Not written yet."""
    raise NotImplementedError
