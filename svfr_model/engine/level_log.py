"""How far each noise level moves the estimate: what shows which levels a model could do without."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from ..base.progress import Callback, report
from .options import RestoreOptions
from .restore import noise_levels

FIRST, MAIN = "first denoise", "denoise"


@dataclass(frozen=True)
class LevelChange:
    """One step of one pass.

    run: which clip of crops, counted from 1; there is one per track, or per shot of whole frames. step: from 1. sigma:
    the noise level. mean, most: absolute change of the denoised estimate against that of the step before, in scaled
    latents, whose deviation is about 1; None at the first step. frames: of the estimate.
    """

    run: int
    phase: Literal["first", "main"]
    step: int
    sigma: float
    mean: float | None
    most: float | None
    frames: int


@dataclass
class LevelLog:
    """A callback that notes the changes and passes everything on.

    options: of the run, for its noise levels; the solver must call the network once a step, as euler does, for the
    changes to be those of single levels. It holds one estimate of the clip, where the sampler has it.
    """

    options: RestoreOptions
    callback: Callback | None = None
    changes: list[LevelChange] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._levels = {FIRST: noise_levels(self.options.first_options()), MAIN: noise_levels(self.options)}
        self._before: Tensor | None = None
        self._run, self._seen = 0, {FIRST, MAIN}

    def __call__(self, stage: str, done: int, total: int, preview: Tensor | None = None) -> None:
        """Told by the library after each step."""
        if stage in self._levels and preview is not None:
            self._add(stage, done, preview)
        report(self.callback, stage, done, total, preview)

    def _add(self, stage: str, done: int, estimate: Tensor) -> None:
        if done == 1:
            self._begin(stage)
        moved = None if self._before is None else (estimate - self._before).abs()
        self.changes.append(
            LevelChange(
                run=self._run,
                phase="first" if stage == FIRST else "main",
                step=done,
                sigma=self._levels[stage][done - 1],
                mean=None if moved is None else float(moved.mean()),
                most=None if moved is None else float(moved.max()),
                frames=len(estimate),
            )
        )
        self._before = estimate.clone()  # the sampler may write the next one but one over it

    def _begin(self, stage: str) -> None:
        """A pass begins, and a run too, where the one before has had this pass or a later one."""
        self._before = None
        if stage in self._seen or MAIN in self._seen:
            self._run, self._seen = self._run + 1, set()
        self._seen.add(stage)
