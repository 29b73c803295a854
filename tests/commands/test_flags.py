"""The flags of the commands are derived from the options' declarations; what users type stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

from support.flags import all_flags

from svfr_model.commands import build_parser

BEFORE = json.loads((Path(__file__).parent / "data" / "flags.json").read_text())
"""Of version 0.1.0, when every flag was written by hand."""


def test_flags_defaults_and_choices_are_what_they_were():
    found = all_flags(build_parser())
    assert set(found) == set(BEFORE)
    for command, flags in BEFORE.items():
        assert found[command] == flags, command
