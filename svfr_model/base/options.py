"""How an option is declared: once, with its type, default, range, unit and a line of help.

The command line, the inputs of the nodes and the tables of the help pages are derived from these declarations by
`svfr_model.commands.derive` and `nodes.widgets`. A group of options is a frozen dataclass made by `options`; pydantic
checks every value when one is made, by `dataclasses.replace` too, and converts none: a string is no number, True is
no 1, and nothing comes from the environment. What cannot be used raises InputError with the option, the value and the
range in words. Nothing heavy is imported here or by the modules that declare options, so that `--help` stays quick.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pathlib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from typing_extensions import dataclass_transform

from .errors import InputError

Model = TypeVar("Model")
Default = TypeVar("Default")
Path = tuple[str, ...]
"""The names that lead to an option: its own, after those of the groups it lies in."""

_CONFIG = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid", arbitrary_types_allowed=True)
MOST_SEED = 2**63 - 1
"""What torch takes."""

_KEY = "option"
_UNIONS = (Union, types.UnionType)
_LONGEST_VALUE = 60


@dataclasses.dataclass(frozen=True)
class Range:
    """The values of a number, or of each number of a tuple. above: the least value is itself excluded; below: the most.

    None leaves an end open.
    """

    least: float | None = None
    most: float | None = None
    above: bool = False
    below: bool = False

    def limits(self) -> Any:
        """As pydantic takes them."""
        least, most = ("gt", "ge")[not self.above], ("lt", "le")[not self.below]
        return Field(**{least: self.least, most: self.most})  # type: ignore[call-overload]  # all four are alike

    def words(self, unit: str) -> str:
        """What follows "a number". unit: such as "frames", or ""."""
        after = f" {unit}" if unit else ""
        if self.least is not None and self.most is not None and not (self.above or self.below):
            return f" between {_plain(self.least)} and {_plain(self.most)}{after}"
        low = "" if self.least is None else f"{'above' if self.above else 'at least'} {_plain(self.least)}"
        high = "" if self.most is None else f"{'below' if self.below else 'at most'} {_plain(self.most)}"
        ends = " and ".join(end for end in (low, high) if end)
        return f", {ends}{after}" if ends else ""


@dataclasses.dataclass(frozen=True)
class Flag:
    """An option on the command line.

    name: the flag, where it is not the field's name with hyphens; of a switch that is on by default it names what
    switches it off. once: a tuple takes one value, which counts for all of its members.
    """

    name: str = ""
    once: bool = False


@dataclasses.dataclass(frozen=True)
class Widget:
    """An option as a node's input.

    name: of the input, where it is not the field's. range, step: what the widget offers, where that is less than the
    option takes. parts: the inputs of a tuple's members, and the help of each. unset: the number, or
    the first choice, that stands for None.
    late: the input came after the node was published: it goes to the end of the node, because saved workflows know
    widgets by their position, and is optional. control: whether a seed changes from run to run; None for all else.
    """

    name: str = ""
    range: tuple[float, float] | None = None
    step: float | None = None
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unset: float | str | None = None
    late: bool = False
    control: bool | None = None


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What `option` was given: help (effect and trade-off), range, unit, and where users meet the option (or None)."""

    help: str
    within: Range
    unit: str
    flag: Flag | None
    widget: Widget | None


ANY, BY_NAME, PLAIN = Range(), Flag(), Widget()


def option(
    *,
    default: Default,
    help: str,
    within: Range = ANY,
    unit: str = "",
    flag: Flag | None = BY_NAME,
    widget: Widget | None = PLAIN,
) -> Default:
    """Declare a field of an `options` class. See Declaration; flag or widget None: only for programs."""
    declaration = Declaration(help, within, unit, flag, widget)
    made: Default = dataclasses.field(default=default, metadata={_KEY: declaration})
    return made


def required(*, help: str) -> Any:
    """Declare a field of an `options` class that has no default."""
    return dataclasses.field(metadata={_KEY: Declaration(help, ANY, "", BY_NAME, PLAIN)})


@dataclass_transform(frozen_default=True, field_specifiers=(option, required, dataclasses.field))
def options(group: type[Model]) -> type[Model]:
    """Make a class of annotated fields a group of options: a frozen dataclass whose values are checked when it is made.

    Its __post_init__ may check what concerns several options. Raises InputError wherever one is made or replaced.
    """
    hints = get_type_hints(group, include_extras=True)
    own = inspect.get_annotations(group)
    declared = {name: value.metadata.get(_KEY) for name, value in vars(group).items() if _is_field(value)}
    group.__annotations__ = {name: _limited(hints[name], declared.get(name)) for name in own}
    made = checked_dataclass(group, frozen=True, config=_CONFIG)
    check = made.__init__

    @functools.wraps(check)
    def create(self: Any, *values: Any, **named: Any) -> None:
        try:
            check(self, *values, **named)
        except ValidationError as error:
            raise _refusal(type(self), error, lambda entry: entry.name) from error

    made.__init__ = create  # type: ignore[method-assign]  # so that every way to make one raises our error
    return cast("type[Model]", made)


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a group, or of a group within it."""

    path: Path
    kind: Any
    """Its type without None."""
    optional: bool
    """Whether it may be None."""
    default: Any
    about: Declaration

    @property
    def name(self) -> str:
        """Of its field."""
        return self.path[-1]

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a Literal; () for any other type."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def members(self) -> tuple[Any, ...]:
        """The types of a tuple's members; () for any other type."""
        return get_args(self.kind) if get_origin(self.kind) is tuple else ()

    @property
    def words(self) -> str:
        """What it takes besides None, for a message."""
        return _words(self.kind, self.about)


def declared_in(group: type) -> Iterator[Option]:
    """The options of a group in the order of their declaration, those of groups within it in their place."""
    hints = get_type_hints(group)
    for entry in dataclasses.fields(group):
        kind, optional = _without_none(hints[entry.name])
        about = entry.metadata.get(_KEY)
        if about is not None:
            yield Option((entry.name,), kind, optional, entry.default, about)
        elif is_group(kind):
            for inner in declared_in(kind):
                yield dataclasses.replace(inner, path=(entry.name, *inner.path))


def is_group(kind: Any) -> bool:
    """Whether a type was made by `options`."""
    return dataclasses.is_dataclass(kind) and hasattr(kind, "__pydantic_validator__")


def assemble(
    group: type[Model],
    values: Mapping[Path, Any],
    label: Callable[[Option], str] = lambda entry: entry.name,
    **given: Any,
) -> Model:
    """A group from the values of options by their paths; what is missing has its default.

    label: what a message calls an option. given: fields by name, as they are. Raises InputError.
    """
    arguments = dict(given)
    hints = get_type_hints(group)
    for entry in dataclasses.fields(group):  # type: ignore[arg-type]
        inner = {path[1:]: value for path, value in values.items() if path[0] == entry.name}
        if entry.name in given or not inner:
            continue
        arguments[entry.name] = inner[()] if () in inner else assemble(hints[entry.name], inner, label)
    try:
        return group(**arguments)
    except InputError as error:
        if isinstance(error.__cause__, ValidationError):
            raise _refusal(group, error.__cause__, label) from error.__cause__
        raise


def _is_field(value: Any) -> bool:
    return isinstance(value, dataclasses.Field)


def _limited(kind: Any, about: Declaration | None) -> Any:
    """A type with the range of its declaration, which holds for the numbers of a tuple or a union too."""
    members = get_args(kind)
    if get_origin(kind) is Literal:
        return Annotated[kind, BeforeValidator(_no_truth_value)]
    if get_origin(kind) is tuple and Ellipsis not in members:
        return tuple[tuple(_limited(member, about) for member in members)]  # type: ignore[misc]
    if get_origin(kind) in _UNIONS:
        return Union[tuple(_limited(member, about) for member in members)]  # noqa: UP007 - of as many as there are
    if about is None or kind not in (int, float):
        return kind
    return Annotated[kind, about.within.limits()]


def _no_truth_value(value: Any) -> Any:
    """True equals 1, but was not meant as it."""
    if isinstance(value, bool):
        raise ValueError
    return value


def _without_none(kind: Any) -> tuple[Any, bool]:
    if get_origin(kind) not in _UNIONS or type(None) not in get_args(kind):
        return kind, False
    rest = [member for member in get_args(kind) if member is not type(None)]
    return Union[tuple(rest)], True  # noqa: UP007 - of as many as there are


def _refusal(group: type, error: ValidationError, label: Callable[[Option], str]) -> InputError:
    """What is wrong with each option, in a sentence."""
    known = {entry.path: entry for entry in declared_in(group)}
    names = [entry.name for entry in dataclasses.fields(group)]
    sentences: dict[Any, str] = {}
    for fault in error.errors():
        first = fault["loc"][0]
        name = names[first] if isinstance(first, int) and first < len(names) else str(first)
        sentences.setdefault(name, _sentence(name, known.get((name,)), fault, label))
    return InputError(" ".join(sentences.values()))


def _sentence(name: str, entry: Option | None, fault: Any, label: Callable[[Option], str]) -> str:
    if fault["type"] in ("missing", "missing_argument"):
        return f"{name} is missing."
    if fault["type"].startswith("unexpected"):
        return f"There is no option {name}."
    shown = repr(fault["input"])
    shown = shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}..."
    if entry is None:
        return f"{name} cannot be {shown}: {fault['msg']}."
    return f"{label(entry)} must be {entry.words}, not {shown}."


def _words(kind: Any, about: Declaration) -> str:
    """A type and its range as a noun."""
    members = get_args(kind)
    if get_origin(kind) is Literal:
        return _listed([str(member) for member in members])
    if get_origin(kind) in _UNIONS:
        choices = [str(choice) for member in members if get_origin(member) is Literal for choice in get_args(member)]
        return _listed([*choices, *(_words(member, about) for member in members if get_origin(member) is not Literal)])
    if get_origin(kind) is tuple:
        return f"{len(members)} values, each {_words(members[0], about)}"
    if kind in (int, float):
        return f"{'a whole number' if kind is int else 'a number'}{about.within.words(about.unit)}"
    return {bool: "true or false", str: "text", pathlib.Path: "a file"}.get(kind, getattr(kind, "__name__", str(kind)))


def _listed(words: list[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} or {last}" if rest else last


def _plain(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)
