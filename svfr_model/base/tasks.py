"""The three tasks, and the binary vector that tells the network which of them to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TypeAlias

from .errors import InputError


class Task(str, Enum):
    """One kind of restoration; the order is that of the task vector (SVFR paper, task prompt)."""

    BFR = "bfr"
    COLORIZATION = "colorization"
    INPAINTING = "inpainting"

    def __str__(self) -> str:
        return self.value


Tasks: TypeAlias = "frozenset[Task]"


def parse_tasks(names: str | Iterable[str]) -> Tasks:
    """Task names, as an iterable or separated by commas, to a task set.

    Raises InputError for an unknown name and for no name at all.
    """
    parts = names.split(",") if isinstance(names, str) else list(names)
    words = [str(part).strip().lower() for part in parts if str(part).strip()]
    known = {task.value: task for task in Task}
    unknown = [word for word in words if word not in known]
    if unknown:
        raise InputError(f"Unknown task {', '.join(unknown)}. Known tasks: {', '.join(known)}.")
    return _not_empty(frozenset(known[word] for word in words))


def task_vector(tasks: Iterable[Task]) -> tuple[int, int, int]:
    """The binary vector [bfr, colorization, inpainting] of a task set. Raises InputError for an empty set."""
    chosen = _not_empty(frozenset(tasks))
    bfr, colorization, inpainting = (int(task in chosen) for task in Task)
    return bfr, colorization, inpainting


def tasks_from_vector(vector: Sequence[float]) -> Tasks:
    """The task set of a binary vector of three flags (0 or 1). Raises InputError for anything else."""
    flags = [float(flag) for flag in vector]
    if len(flags) != len(Task) or any(flag not in (0.0, 1.0) for flag in flags):
        raise InputError(
            f"A task vector has three flags of 0 or 1 (bfr, colorization, inpainting), not {list(vector)}."
        )
    return _not_empty(frozenset(task for task, flag in zip(Task, flags, strict=True) if flag))


def _not_empty(tasks: Tasks) -> Tasks:
    if not tasks:
        raise InputError(f"No task was chosen. Choose one or more of {', '.join(t.value for t in Task)}.")
    return tasks
