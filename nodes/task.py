"""What is to be done with a clip."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_api.latest import io

from ..svfr_model.base.tasks import Task, parse_tasks
from ..svfr_model.base.tasks import Tasks as TaskSet
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
NOTHING = "No task is chosen: switch on restore, colorize or inpaint."


class Tasks(io.ComfyNode):
    """Chooses among SVFR's tasks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Three switches."""
        return io.Schema(
            node_id="SVFRTasks",
            display_name="SVFR Tasks",
            category="SVFR",
            **aliases(
                "face restore, colorize, colourise, colourize, colorise, inpaint, scratch, old film, black and white, "
                "task vector"
            ),
            description="Tells the network which of its three tasks to do. Tasks can be combined.",
            inputs=_switches(),
            outputs=[TaskType.Output("task", tooltip="The chosen tasks, for SVFR Sampler, Restore and Paste Back.")],
        )

    @classmethod
    def validate_inputs(cls, restore: bool, colorize: bool, inpaint: bool) -> bool | str:
        """That nothing is chosen is told before the graph runs. A switch that is wired is None until then."""
        return True if any(switch is not False for switch in (restore, colorize, inpaint)) else NOTHING

    @classmethod
    def execute(cls, restore: bool, colorize: bool, inpaint: bool) -> io.NodeOutput:
        """The tasks as a set."""
        return io.NodeOutput(parse_tasks(_switched((restore, colorize, inpaint))))


class TaskVector(io.ComfyNode):
    """The same with a preset that overrules the switches: what workflows before SVFR Tasks have."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Three switches, or a preset that overrules them."""
        return io.Schema(
            node_id="SVFRTaskVector",
            display_name="SVFR Task Vector (old)",
            category="SVFR",
            description="Tells the network which of its three tasks to do. SVFR Tasks has taken its place, because "
            "here a preset overrules the switches; saved workflows go on as before.",
            is_deprecated=True,
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=[SWITCHES, *PRESETS],
                    default=SWITCHES,
                    tooltip=f'A ready combination, or "{SWITCHES}" (default) to combine them yourself.',
                ),
                *_switches(" Ignored with a preset."),
            ],
            outputs=[TaskType.Output("task", tooltip="The chosen tasks, for SVFR Sampler, Restore and Paste Back.")],
        )

    @classmethod
    def execute(cls, preset: str, restore: bool, colorize: bool, inpaint: bool) -> io.NodeOutput:
        """The tasks as a set."""
        tasks = chosen_tasks(preset, restore, colorize, inpaint)
        return io.NodeOutput(tasks, ui=notice(*_overruled(preset, restore, colorize, inpaint)))


def chosen_tasks(preset: str, restore: bool, colorize: bool, inpaint: bool) -> TaskSet:
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


def _switches(more: str = "") -> list[io.Input]:
    """One for each task. more: what their tooltips add."""
    words = (
        "Blind face restoration: undo blur, noise, compression and low resolution. Default: on.",
        "Colour a grey clip; a coloured one is turned grey first. Default: off.",
        "Fill in what a mask marks as missing; it is painted white first. Needs a mask. Default: off.",
    )
    entries = zip(Task, DEFAULTS, words, strict=True)
    return [io.Boolean.Input(NAMES[task], default=on, tooltip=f"{tip}{more}") for task, on, tip in entries]
