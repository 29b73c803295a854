"""How far each noise level moves the estimate: what shows which levels a model could do without."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from ..base.memory import PLAIN, Memory
from ..base.packed import pack, unpack
from ..base.progress import Callback, report
from .options import RestoreOptions
from .restore import noise_levels

FIRST, MAIN = "first denoise", "denoise"
LOGGED = "logged"
"""The stage that a memory knows the saves of a log by."""
Phase: TypeAlias = Literal["first", "main"]


def _phase(stage: str) -> Phase:
    return "first" if stage == FIRST else "main"


@dataclass(frozen=True)
class LevelChange:
    """One step of one pass.

    run: which clip of crops, counted from 1; there is one per track, or per shot of whole frames. step: from 1. sigma:
    the noise level. mean, most: absolute change of the denoised estimate against that of the step before, in scaled
    latents, whose deviation is about 1; None at the first step. frames: of the estimate.
    """

    run: int
    phase: Phase
    step: int
    sigma: float
    mean: float | None
    most: float | None
    frames: int


@dataclass
class LevelLog:
    """A callback that notes the changes and passes everything on.

    options: of the run, for its noise levels; the solver must call the network once a step, as euler does, for the
    changes to be those of single levels. It holds one estimate of the clip, where the sampler has it. memory: one of
    its own, in which an earlier run has left what it had noted.
    """

    options: RestoreOptions
    callback: Callback | None = None
    memory: Memory = PLAIN
    changes: list[LevelChange] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._levels = {FIRST: noise_levels(self.options.first_options()), MAIN: noise_levels(self.options)}
        self._before: Tensor | None = None
        self._run, self._seen = 0, {FIRST, MAIN}
        self._take_up(self.memory.done(LOGGED))

    def _take_up(self, saves: int) -> None:
        """Know what an earlier run has noted."""
        state = unpack(self.memory.kept(f"log-{saves % 2}")) if saves else None
        self._taken_up = bool(state)
        if state:
            self.changes += [LevelChange(**change) for change in state["changes"]]
            self._run, self._seen = state["run"], set(state["seen"])
            self._before = self.memory.kept(f"before-{saves % 2}").clone()

    def _save(self) -> None:
        if self._before is None or not self.memory.is_due():
            return
        saves = self.memory.done(LOGGED) + 1
        state = {"changes": [asdict(change) for change in self.changes], "run": self._run, "seen": sorted(self._seen)}
        arrays = {f"log-{saves % 2}": pack(state), f"before-{saves % 2}": self._before.cpu()}
        self.memory.save(LOGGED, saves, arrays)

    def _is_known(self, stage: str, done: int, estimate: Tensor) -> bool:
        """Whether this is a step that an earlier run had noted, but not saved: it is the first, and the same."""
        first, self._taken_up = self._taken_up, False
        if not first or self._before is None or self._before.shape != estimate.shape:
            return False
        last = self.changes[-1]
        return (last.phase, last.step) == (_phase(stage), done) and torch.equal(self._before.to(estimate), estimate)

    def __call__(self, stage: str, done: int, total: int, preview: Tensor | None = None) -> None:
        """Told by the library after each step."""
        if stage in self._levels and preview is not None:
            self._add(stage, done, preview)
        report(self.callback, stage, done, total, preview)

    def _add(self, stage: str, done: int, estimate: Tensor) -> None:
        if self._is_known(stage, done, estimate):
            return
        if done == 1:
            self._begin(stage)
        moved = None if self._before is None else (estimate - self._before.to(estimate)).abs()
        self.changes.append(
            LevelChange(
                run=self._run,
                phase=_phase(stage),
                step=done,
                sigma=self._levels[stage][done - 1],
                mean=None if moved is None else float(moved.mean()),
                most=None if moved is None else float(moved.max()),
                frames=len(estimate),
            )
        )
        self._before = estimate.clone()  # the sampler may write the next one but one over it
        self._save()

    def _begin(self, stage: str) -> None:
        """A pass begins, and a run too, where the one before has had this pass or a later one."""
        self._before = None
        if stage in self._seen or MAIN in self._seen:
            self._run, self._seen = self._run + 1, set()
        self._seen.add(stage)
