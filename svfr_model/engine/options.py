"""How a clip of face crops is restored: the options of the engine."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Literal, TypeAlias

from ..base.errors import InputError
from ..base.options import MOST_SEED, Range, Widget, option, options
from .levels import MOST_LEVEL, NAMED_LEVELS, parse_levels
from .windows import MOST_FRAMES, WindowPlan

SolverName: TypeAlias = Literal["euler", "heun", "dpmpp_2m"]
ScheduleName: TypeAlias = Literal["karras", "exponential", "simple"]
Alignment: TypeAlias = Literal["arcface", "reference"]

MOST_STEPS, MOST_GUIDANCE, MOST_NOISE = 1000, 100.0, 10.0
"""Values beyond these have no known use."""
EVERY_LEVEL = (0.0, MOST_LEVEL)
"""A guidance interval that leaves nothing out."""


@options
class RestoreOptions:
    """How a clip is restored. The defaults are the reference's, apart from the steps of the first pass (50 there)."""

    seed: int = option(
        default=77,
        within=Range(0, MOST_SEED),
        help="The noise to start from: the same seed, input and number of threads give the same output. The second "
        "pass uses the next one.",
        widget=Widget(control=True),
    )
    steps: int = option(
        default=30,
        within=Range(1, MOST_STEPS),
        help="Denoising steps of the main pass. More take longer and follow the noise schedule more finely.",
    )
    guidance: tuple[float, float] = option(
        default=(2.0, 2.0),
        within=Range(0.0, MOST_GUIDANCE),
        help="Guidance scale, or its first and last: how strongly reference and identity are followed. Higher values "
        "can look harsh; 1 halves the work.",
        widget=Widget(
            range=(0.0, 20.0),
            step=0.1,
            parts={
                "guidance_from": "How strongly reference and identity are followed at the first step. Higher values "
                "can look harsh; 1 halves the work. Without reference and identity it has no effect.",
                "guidance_to": "The same at the last step; in between it rises or falls evenly.",
            },
        ),
    )
    plan: WindowPlan = field(default_factory=WindowPlan)
    strength: float = option(
        default=1.0,
        within=Range(0.0, 1.0, above=True),
        help="Part of the noise schedule that is run. Less stays nearer to the degraded clip and is quicker.",
        widget=Widget(range=(0.01, 1.0), step=0.01),
    )
    decode_chunk: int = option(
        default=16,
        within=Range(1, MOST_FRAMES),
        unit="frames",
        help="Frames decoded together. The decoder smooths over the frames it sees, so this changes the result; fewer "
        "take less memory.",
    )
    decode_overlap: int = option(
        default=4,
        within=Range(0, MOST_FRAMES - 1),
        unit="frames",
        help="Frames over which one decoded chunk is faded into the next, so that joins do not show; fewer than the "
        "chunk. The published code uses 0.",
    )
    batch: int = option(
        default=2,
        within=Range(1, MOST_FRAMES),
        help="Windows per network call; the guided and the unguided half of a window are run in turn. More may "
        "be faster and takes more memory; 1 takes the least. In ComfyUI it is halved when memory runs out.",
        widget=Widget(range=(1, 64)),
    )
    first_steps: int | None = option(
        default=None,
        within=Range(1, MOST_STEPS),
        help="Steps of the first pass; by default as many as in the main pass. The reference takes 50.",
        widget=Widget(unset=0),
    )
    passes: Literal[1, 2] = option(
        default=2,
        help="With 2, a first pass over the first window finds the reference frame and the identity.",
        widget=None,
    )
    solver: SolverName = option(
        default="euler",
        help="How the noise is removed from step to step. heun calls the network twice a step.",
        widget=None,
    )
    schedule: ScheduleName = option(
        default="karras", help="How the noise levels of the steps are spaced.", widget=None
    )
    augmentation: float = option(
        default=0.0,
        within=Range(0.0, MOST_NOISE),
        help="Noise added to the frames that the network is shown, in units of the pixel range [-1,1].",
        widget=None,
    )
    levels: str = option(
        default="",
        help=f"Noise levels of the main pass instead of steps and schedule: {', '.join(NAMED_LEVELS)}, or numbers "
        "that descend, separated by commas, such as 700,15,3,0.5. Empty: those of the schedule. Fewer are quicker.",
        widget=Widget(late=True),
    )
    first_levels: str = option(
        default="",
        help="The same for the first pass. Empty: as many steps as first steps says, or else the levels of the main "
        "pass.",
        widget=Widget(late=True),
    )
    guidance_sigmas: tuple[float, float] = option(
        default=EVERY_LEVEL,
        within=Range(0.0, MOST_LEVEL),
        help="Lowest and highest noise level at which the guidance scale counts; beyond them it is 1, which halves the "
        "work of a step.",
        widget=Widget(
            late=True,
            step=0.01,
            parts={
                "guidance_sigma_low": "The lowest noise level at which the guidance scale counts; below it the scale "
                "is 1, which halves the work of a step.",
                "guidance_sigma_high": "The highest noise level at which the guidance scale counts; above it the scale "
                "is 1.",
            },
        ),
    )

    def __post_init__(self) -> None:
        """Refuse combinations without a meaning."""
        for count in (self.level_count, self.first_options().level_count):
            steps_left(count, self.strength)
        low, high = self.guidance_sigmas
        if low > high:
            raise InputError(f"The guidance interval goes from noise level {low:g} up to {high:g}: swap the two.")
        if self.decode_overlap >= self.decode_chunk:
            raise InputError(
                f"A decode chunk of {self.decode_chunk} frames cannot overlap by {self.decode_overlap}: "
                "the overlap must be smaller than the chunk."
            )

    @property
    def level_count(self) -> int:
        """Noise levels of the main pass without the final 0, before strength takes its part."""
        return len(parse_levels(self.levels)[:-1]) or self.steps

    def first_options(self) -> RestoreOptions:
        """These options with the first pass's noise levels as the main pass's."""
        if self.first_levels:
            return replace(self, levels=self.first_levels, first_levels="")
        if self.first_steps is not None:
            return replace(self, levels="", steps=self.first_steps, first_steps=None)
        return self


def steps_left(steps: int, strength: float) -> int:
    """How many of the steps a strength runs. Raises InputError where it is none."""
    left = min(int(steps * strength), steps)
    if left < 1:
        raise InputError(f"A strength of {strength} leaves none of {steps} steps: raise one of them.")
    return left


@options
class ReferrerOptions:
    """What the second pass takes over from the first."""

    reference_frame: Literal["best", "last"] | int = option(
        default="best",
        within=Range(0),
        help="Frame of the first pass to refer to: best is sharp, seen from the front and clearly a face; last is the "
        "published rule; or its number.",
        widget=Widget(
            range=(0, 9999),
            parts={
                "choice": "Which frame of the first pass to refer to: best is sharp, seen from the front and surely a "
                "face; last is the published rule; number takes the one below.",
                "index": "The frame to take if the choice is number.",
            },
        ),
    )
    alignment: Alignment = option(
        default="arcface",
        help="How the face is cut out for the recognition network. arcface places eyes, nose and mouth where that "
        "network was trained to see them; reference repeats the published code, which at 512 pixels cuts out a piece "
        "of the upper left: only for comparing with it.",
    )
