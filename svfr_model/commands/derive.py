"""The flags of a command, derived from the declarations of its options; see `svfr_model.base.options`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection
from typing import Any, TypeVar

from ..base.options import Flag, Option, assemble, declared_in

Model = TypeVar("Model")
_GIVEN = "given_flags"


def add_options(group: argparse._ActionsContainer, *models: type, only: Collection[str] = ()) -> None:
    """Add a flag for every option of the models that the command line has; only: for the options of these names."""
    for model in models:
        for entry in declared_in(model):
            if entry.about.flag is not None and (not only or entry.name in only):
                group.add_argument(_flag(entry, entry.about.flag), **_arguments(entry, entry.about.flag))


def made(model: type[Model], namespace: argparse.Namespace, **given: Any) -> Model:
    """A model from the flags that were added for it. given: its other fields. Raises InputError, which names flags."""
    values = {}
    for entry in declared_in(model):
        if entry.about.flag is not None and _destination(entry, entry.about.flag) in namespace:
            value = getattr(namespace, _destination(entry, entry.about.flag))
            values[entry.path] = _whole_value(entry, entry.about.flag, value)
    return assemble(model, values, _label, **given)


def given(model: type, namespace: argparse.Namespace) -> set[str]:
    """The names of the options of a model whose flags the user gave; switches are not among them."""
    flags: frozenset[str] = getattr(namespace, _GIVEN, frozenset())
    with_flag = [(entry, entry.about.flag) for entry in declared_in(model) if entry.about.flag is not None]
    return {entry.name for entry, flag in with_flag if _destination(entry, flag) in flags}


class _Store(argparse.Action):
    """Keeps a flag's value, and that it was given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        setattr(namespace, self.dest, values)
        setattr(namespace, _GIVEN, getattr(namespace, _GIVEN, frozenset()) | {self.dest})


def _flag(entry: Option, flag: Flag) -> str:
    return "--" + (flag.name or entry.name.replace("_", "-"))


def _destination(entry: Option, flag: Flag) -> str:
    return _flag(entry, flag).lstrip("-").replace("-", "_")


def _label(entry: Option) -> str:
    return entry.name if entry.about.flag is None else _flag(entry, entry.about.flag)


def _arguments(entry: Option, flag: Flag) -> dict[str, Any]:
    """What argparse is told of an option."""
    words = entry.about.help.replace("%", "%%")
    if entry.kind is bool:
        if entry.default:
            return {"action": "store_false", "help": f"Switch this off: {words}"}
        return {"action": "store_true", "help": words}
    told: dict[str, Any] = {"action": _Store, "help": words, "default": entry.default, "type": _parser(entry)}
    if entry.choices:
        told["choices"] = entry.choices
    elif entry.about.unit:
        told["metavar"] = entry.about.unit.upper()
    if entry.members:
        same = len(set(entry.default)) == 1
        told["default"] = entry.default[0] if flag.once else list(entry.default[:1] if same else entry.default)
        told |= {} if flag.once else _several(entry, same)
    return told


def _several(entry: Option, same: bool) -> dict[str, Any]:
    """What argparse is told of a tuple: one number may stand for all where the default has them all the same."""
    if same or entry.about.widget is None:
        return {"nargs": "+", "metavar": entry.name[0].upper()}
    return {"nargs": len(entry.members), "metavar": tuple(_last_word(part) for part in entry.about.widget.parts)}


def _last_word(name: str) -> str:
    return name.rpartition("_")[2].upper()


def _parser(entry: Option) -> Any:
    """What turns a word into a value."""
    if entry.choices:
        return type(entry.choices[0])
    kind = entry.members[0] if entry.members else entry.kind
    return kind if kind in (int, float, str) else _word_or_number


def _word_or_number(text: str) -> str | int:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else text


def _whole_value(entry: Option, flag: Flag, value: Any) -> Any:
    """A flag's value as the model takes it: of a tuple, one number stands for all."""
    if not entry.members:
        return value
    numbers = [value] if flag.once else value
    return tuple(numbers) if len(numbers) > 1 else tuple(numbers * len(entry.members))
