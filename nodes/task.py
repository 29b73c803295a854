"""What is to be done with a clip."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_api.latest import io

from ..svfr_model.base.tasks import Task, Tasks, parse_tasks
from .notice import notice
from .search import aliases
from .types import TaskType

PRESETS: dict[str, tuple[Task, ...]] = {
    "restore": (Task.BFR,),
    "colorize": (Task.COLORIZATION,),
    "inpaint": (Task.INPAINTING,),
    "restore + colorize": (Task.BFR, Task.COLORIZATION),
    "restore + inpaint": (Task.BFR, Task.INPAINTING),
    "restore + colorize + inpaint": tuple(Task),
}
SWITCHES = "switches below"
NAMES = {Task.BFR: "restore", Task.COLORIZATION: "colorize", Task.INPAINTING: "inpaint"}
DEFAULTS = (True, False, False)
"""Of the switches, in the order of the tasks."""


class TaskVector(io.ComfyNode):
    """Chooses among SVFR's tasks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Three switches, or a preset that overrules them."""
        return io.Schema(
            node_id="SVFRTaskVector",
            display_name="SVFR Task Vector",
            category="SVFR",
            **aliases(
                "face restore, colorize, colourise, colourize, colorise, inpaint, scratch, old film, black and white"
            ),
            description="Tells the network which of its three tasks to do. Tasks can be combined.",
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=[SWITCHES, *PRESETS],
                    default=SWITCHES,
                    tooltip=f'A ready combination, or "{SWITCHES}" (default) to combine them yourself.',
                ),
                io.Boolean.Input(
                    "restore",
                    default=True,
                    tooltip="Blind face restoration: undo blur, noise, compression and low resolution. Default: on. "
                    "Ignored with a preset.",
                ),
                io.Boolean.Input(
                    "colorize",
                    default=False,
                    tooltip="Colour a grey clip; a coloured one is turned grey first. Default: off. Ignored with a "
                    "preset.",
                ),
                io.Boolean.Input(
                    "inpaint",
                    default=False,
                    tooltip="Fill in what a mask marks as missing; it is painted white first. Needs a mask. Default: "
                    "off. Ignored with a preset.",
                ),
            ],
            outputs=[TaskType.Output("task", tooltip="The chosen tasks, for SVFR Sampler, Restore and Paste Back.")],
        )

    @classmethod
    def execute(cls, preset: str, restore: bool, colorize: bool, inpaint: bool) -> io.NodeOutput:
        """The tasks as a set."""
        tasks = chosen_tasks(preset, restore, colorize, inpaint)
        return io.NodeOutput(tasks, ui=notice(*_overruled(preset, restore, colorize, inpaint)))


def chosen_tasks(preset: str, restore: bool, colorize: bool, inpaint: bool) -> Tasks:
    """The preset's tasks, or those that are switched on; InputError for none."""
    return parse_tasks(PRESETS.get(preset, _switched((restore, colorize, inpaint))))


def _overruled(preset: str, *switches: bool) -> list[str]:
    """What is to be told where a preset is chosen and somebody has set the switches to something else."""
    if preset not in PRESETS or switches == DEFAULTS or set(_switched(switches)) == set(PRESETS[preset]):
        return []
    chosen = " + ".join(NAMES[task] for task in _switched(switches)) or "none"
    return [
        f'The preset decides: "{preset}". The switches below it ({chosen}) are ignored; to use them, choose the preset '
        f'"{SWITCHES}".'
    ]


def _switched(switches: Sequence[bool]) -> list[Task]:
    return [task for task, on in zip(Task, switches, strict=True) if on]
