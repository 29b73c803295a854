"""The widgets of a node, derived from the declarations of its options; see `svfr_model.base.options`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar, get_args

from comfy_api.latest import io

from ..svfr_model.base.options import Option, Widget, assemble, declared_in

Model = TypeVar("Model")
BY_NUMBER = "number"
"""The choice of a widget that lets a number be given in the widget beside it."""


def inputs_of(*models: type, without: Collection[str] = ()) -> list[io.Input]:
    """A node's inputs for every option of the models that nodes have, in the order that saved workflows know.

    without: names of options, or of inputs, that this node does not have.
    """
    entries = [entry for model in models for entry in declared_in(model) if entry.name not in without]
    with_widget = [(entry, entry.about.widget) for entry in entries if entry.about.widget is not None]
    with_widget.sort(key=lambda pair: pair[1].late)
    return [made_input for entry, widget in with_widget for made_input in _inputs(entry, widget, without)]


def made(model: type[Model], widgets: Mapping[str, Any], **given: Any) -> Model:
    """A model from the values of its widgets; what is not among them has its default. given: its other fields.

    Raises InputError, which names inputs.
    """
    values = {}
    for entry in declared_in(model):
        found = [widgets[name] for name in _names(entry) if name in widgets]
        if found:
            values[entry.path] = _value(entry, found)
    return assemble(model, values, _label, **given)


def input_values(model: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a model's fields by the inputs that show them; a field without a widget is left out."""
    found: dict[str, Any] = {}
    for entry in declared_in(model):
        widget = entry.about.widget
        if entry.name in fields and widget is not None:
            value: Any = widget.unset if fields[entry.name] is None else fields[entry.name]
            found |= zip(_names(entry), value if entry.members else (value,), strict=True)
    return found


def folded(inputs: Sequence[io.Input], *in_sight: str) -> list[io.Input]:
    """The inputs in their order; ComfyUI shows the widgets that are not in sight among the advanced ones only."""
    for entry in inputs:
        if isinstance(entry, io.WidgetInput):
            entry.advanced = entry.id not in in_sight
    return list(inputs)


def _names(entry: Option) -> list[str]:
    widget = entry.about.widget
    if widget is None:
        return []
    return list(widget.parts) or [widget.name or entry.name]


def _label(entry: Option) -> str:
    return " and ".join(_names(entry)) or entry.name


def _value(entry: Option, values: list[Any]) -> Any:
    """An option's value from those of its widgets."""
    if entry.members:
        return tuple(values)
    if len(values) == 2:
        return values[1] if values[0] == BY_NUMBER else values[0]
    unset = None if entry.about.widget is None else entry.about.widget.unset
    return None if unset is not None and values[0] == unset else values[0]


def _inputs(entry: Option, widget: Widget, without: Collection[str]) -> list[io.Input]:
    if not widget.parts:
        default = widget.unset if entry.default is None else entry.default
        return [_input(widget.name or entry.name, entry.kind, default, entry.about.help, entry)]
    kinds = (entry.members or get_args(entry.kind))[: len(widget.parts)]
    defaults = entry.default if entry.members else (entry.default, 0)
    parts = zip(widget.parts.items(), kinds, defaults, strict=True)
    kept = [(name, kind, default, words) for (name, words), kind, default in parts if name not in without]
    inputs = [_input(*part, entry) for part in kept]
    if len(inputs) == 2 and isinstance(inputs[0], io.Combo.Input):
        inputs[0].options.append(BY_NUMBER)
    return inputs


def _input(name: str, kind: Any, default: Any, words: str, entry: Option) -> io.Input:
    """One widget."""
    widget = entry.about.widget or Widget()
    unset = widget.unset is not None and default == widget.unset
    note = f"{shown(default)} means the default." if unset else f"Default: {shown(default)}."
    told: dict[str, Any] = {"default": default, "tooltip": f"{words} {note}"}
    if widget.late:
        told["optional"] = True
    if kind is bool:
        return io.Boolean.Input(name, **told)
    if kind in (int, float):
        least, most = widget.range or (entry.about.within.least, entry.about.within.most)
        if least is None or most is None:
            raise TypeError(f"The option {name} is declared without a range, and its widget needs two ends.")
        if isinstance(widget.unset, int | float):
            least = min(least, widget.unset)
        told |= {"min": kind(least), "max": kind(most)}
        told |= {} if widget.step is None else {"step": widget.step}
        told |= {} if widget.control is None else {"control_after_generate": widget.control}
        return (io.Int if kind is int else io.Float).Input(name, **told)
    if kind is str:
        return io.String.Input(name, **told)
    first = [widget.unset] if isinstance(widget.unset, str) else []
    return io.Combo.Input(name, options=[*first, *get_args(kind)], **told)


def shown(value: Any) -> str:
    """A widget's value in words."""
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
