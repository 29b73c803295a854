"""What is to be done with a clip."""

from __future__ import annotations

from comfy_api.latest import io

from ..svfr_model.tasks import Task, Tasks, parse_tasks
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


class TaskVector(io.ComfyNode):
    """Chooses among SVFR's tasks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Three switches, or a preset that overrules them."""
        return io.Schema(
            node_id="SVFRTaskVector",
            display_name="SVFR Task Vector",
            category="SVFR",
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
                    tooltip="Blind face restoration: blur, noise, compression, low resolution. Default on. "
                    "Ignored under a preset.",
                ),
                io.Boolean.Input(
                    "colorize",
                    default=False,
                    tooltip="Give colours to a grey clip; a coloured one is turned grey first. Default off. "
                    "Ignored under a preset.",
                ),
                io.Boolean.Input(
                    "inpaint",
                    default=False,
                    tooltip="Fill what a mask marks as missing; it is painted white first. Needs a mask to have an "
                    "effect. Default off. Ignored under a preset.",
                ),
            ],
            outputs=[TaskType.Output("task", tooltip="The chosen tasks, for SVFR Sampler, Restore and Paste Back.")],
        )

    @classmethod
    def execute(cls, preset: str, restore: bool, colorize: bool, inpaint: bool) -> io.NodeOutput:
        """The tasks as a set."""
        return io.NodeOutput(chosen_tasks(preset, restore, colorize, inpaint))


def chosen_tasks(preset: str, restore: bool, colorize: bool, inpaint: bool) -> Tasks:
    """The preset's tasks, or those that are switched on; InputError for none."""
    switched = zip(Task, (restore, colorize, inpaint), strict=True)
    return parse_tasks(PRESETS.get(preset, [task for task, on in switched if on]))
