"""The rows of the fault table that run as processes of their own."""

from __future__ import annotations

import sys

import pytest
from support.faults import check_outcome, parameters
from support.snapshot import snapshot

if sys.platform == "win32":
    pytest.skip("Windows has none of these signals, pipes and mounts", allow_module_level=True)

from faults import process
from support.processes import disks, run


def test_as_many_rows_are_processes_as_the_readme_says():
    names = [row.id for row in process.ROWS]
    assert len(names) == len(set(names))
    assert len(names) > 50


@pytest.mark.parametrize("row", parameters(process.ROWS))
def test_a_fault_is_named_and_harms_nothing(row, networks, tmp_path, tmp_path_factory):
    with disks(row, tmp_path):
        before = snapshot(tmp_path)
        code, said, printed = run(row, tmp_path, tmp_path_factory.mktemp("streams"), networks)
        check_outcome(row, code, said, printed, before, snapshot(tmp_path))
        if row.check is not None:
            row.check(tmp_path)
