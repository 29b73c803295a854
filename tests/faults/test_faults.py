"""Bad and odd input, one row each: what the command must answer, and what it must leave as it was."""

from __future__ import annotations

import pytest
from faults import batches, inputs, masks, measure, numbers, outputs, weights
from support.faults import Fault, check_outcome, parameters, read_only, run_here
from support.snapshot import snapshot

TABLES = (inputs, masks, outputs, numbers, measure, weights, batches)
ROWS: list[Fault] = [row for table in TABLES for row in table.ROWS]


@pytest.mark.parametrize("row", parameters(ROWS))
def test_a_fault_is_named_and_harms_nothing(row, networks, tmp_path, monkeypatch, capfd):
    if reason := row.not_here():
        pytest.skip(reason)
    row.prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    with read_only(tmp_path, row.readonly):
        code = run_here(row.arguments(networks))
    said = capfd.readouterr()
    check_outcome(row, code, said.err, said.out, before, snapshot(tmp_path))
    if row.check is not None:
        row.check(tmp_path)


def test_the_table_is_as_large_as_the_readme_says():
    names = [row.id for row in ROWS]
    assert len(names) == len(set(names))
    assert len(ROWS) > 550
