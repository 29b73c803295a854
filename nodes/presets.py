"""The widget `preset` of the sampling nodes: one choice that takes the place of several widgets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from comfy_api.latest import io

from ..svfr_model.engine.options import RestoreOptions
from ..svfr_model.engine.presets import PRESETS, PresetOptions, preset_values, with_preset
from .widgets import input_values, inputs_of, made, shown


def preset_input(without: Collection[str] = ()) -> io.Input:
    """The choice. without: fields of RestoreOptions that the node has no widgets for."""
    (choice,) = inputs_of(PresetOptions)
    touched = {name: None for preset in PRESETS for name in _replaced(preset, without)}
    *some, last = touched
    choice.tooltip = (
        f"custom leaves all other inputs in force; any other choice takes the place of {', '.join(some)} and {last}. "
        f"{choice.tooltip}"
    )
    return choice


def chosen(
    widgets: Mapping[str, Any], without: Collection[str] = (), **given: Any
) -> tuple[RestoreOptions, tuple[str, ...]]:
    """The options that widgets and preset mean, and what to tell of the preset.

    without: fields that the preset leaves as they are. given: fields that have no widget.
    """
    preset = made(PresetOptions, widgets).preset
    options = made(RestoreOptions, widgets, **given)
    if preset is None:
        return options, ()
    replaced = ", ".join(f"{name} {value}" for name, value in _replaced(preset, without).items())
    told = f"The preset {preset} takes the place of these inputs: {replaced or 'none'}."
    return with_preset(options, preset, without), (told,)


def _replaced(preset: Any, without: Collection[str]) -> dict[str, str]:
    """The inputs that a preset takes the place of, and what it has instead, in words."""
    values = input_values(RestoreOptions, preset_values(preset, without))
    return {name: shown(value) for name, value in values.items()}
