"""What a run's result depends on, in one number: the files it reads, its options, its weights and our version.

Two runs with the same fingerprint give the same frames on one machine. Where a file lies and what it is called does
not count, nor where the result goes; its suffix does, since a container may change what is kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ..base.options import declared_in
from ..base.version import VERSION
from ..files.digests import Digests
from ..files.paths import Output
from ..files.work import WorkFolder
from .loader import Loader

APART = ("source", "work")
"""Fields of a job that are no options: what is restored, and where the work lies meanwhile."""


class Described(Protocol):
    """A job from file to file: a dataclass whose fields are its options. command: the one that does it."""

    command: ClassVar[str]

    @property
    def source(self) -> Path:
        """What is restored."""
        ...

    @property
    def target(self) -> Path:
        """What is written first of all."""
        ...

    @property
    def work(self) -> Path | None:
        """The folder for the work, None beside the target."""
        ...

    def outputs(self) -> list[Output]:
        """All that is written."""
        ...

    def weights(self, loader: Loader) -> dict[str, Path]:
        """The weight files that the job needs, by role."""
        ...


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """The parts, each ready for JSON, so that two can be compared and the difference named.

    source: SHA-256 of what is restored, "" if it cannot be read. options: all of them by the names of their fields,
    defaults too; files among them by their SHA-256. weights: SHA-256 by role. version: of this package.
    """

    source: str
    options: Mapping[str, Any]
    weights: Mapping[str, str]
    version: str = VERSION

    @property
    def parts(self) -> dict[str, Any]:
        """All parts by name."""
        return dataclasses.asdict(self)

    @property
    def digest(self) -> str:
        """The SHA-256 of all parts."""
        text = json.dumps(self.parts, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(job: Described, loader: Loader, digests: Digests) -> Fingerprint:
    """The fingerprint of a job. Every file it names is read, unless digests knows it. Raises WeightsError."""
    written = {output.path for output in job.outputs()}
    described = _Description(digests, written)
    options = {
        field.name: described.of(getattr(job, field.name))
        for field in dataclasses.fields(job)  # type: ignore[arg-type]  # a dataclass, which no protocol can say
        if field.name not in APART
    }
    loading = {entry.name: described.of(getattr(loader, entry.name)) for entry in declared_in(Loader)}
    weights = {role: digests.of(path) for role, path in job.weights(loader).items()}
    return Fingerprint(digests.of(job.source), {"command": job.command, **options, "loader": loading}, weights)


def work_folder(job: Described, loader: Loader) -> WorkFolder:
    """The folder for the work on a job, from which a killed one goes on."""
    digests = Digests() if loader.shelf is None else loader.shelf.digests
    return WorkFolder(job.target, fingerprint(job, loader, digests).parts, job.work)


class _Description:
    """Values of options as JSON has them: sets in order, files by their digests, what is written by its suffix."""

    def __init__(self, digests: Digests, written: set[Path]) -> None:
        self._digests, self._written = digests, written

    def of(self, value: Any) -> Any:
        if isinstance(value, Path):
            return value.suffix if value in self._written else self._digests.of(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: self.of(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, Enum):
            return value.name
        if isinstance(value, set | frozenset):
            return sorted(self.of(member) for member in value)
        if isinstance(value, list | tuple):
            return [self.of(member) for member in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"a fingerprint cannot hold {value!r}")
