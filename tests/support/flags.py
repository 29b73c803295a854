"""Every flag of every command, as a user sees it: to compare with what the flags were before."""

from __future__ import annotations

import argparse
from typing import Any

Flags = dict[str, dict[str, dict[str, Any]]]
"""By command and by flag: what it takes, and what it has where it is not given."""


def all_flags(parser: argparse.ArgumentParser) -> Flags:
    """The flags and positional arguments of all commands, JSON-ready."""
    found: Flags = {}
    for words, command in _commands(parser):
        found[words] = {"/".join(action.option_strings) or action.dest: _taken(action) for action in _actions(command)}
    return found


def _commands(parser: argparse.ArgumentParser, words: str = "") -> list[tuple[str, argparse.ArgumentParser]]:
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        return [(words.strip(), parser)]
    children = [(f"{words} {name}", child) for action in nested for name, child in action.choices.items()]
    return [entry for named, child in children for entry in _commands(child, named)]


def _actions(command: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in command._actions if not isinstance(action, argparse._HelpAction)]


def _taken(action: argparse.Action) -> dict[str, Any]:
    if action.nargs == 0:
        return {"switch": True}
    return {
        "nargs": action.nargs,
        "default": action.default if action.default is None else str(action.default),
        "choices": None if action.choices is None else [str(choice) for choice in action.choices],
        "required": action.required,
        "repeatable": isinstance(action, argparse._AppendAction),
    }
