"""The table of mistakes fits the code; `tests/mutations/run.py` makes them and says which no test sees."""

from __future__ import annotations

import pytest
from mutations.table import MUTATIONS, SURVIVORS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_a_mutation_fits_the_code_at_one_place(mutation, root):
    source = (root / mutation.path).read_text(encoding="utf-8")
    assert source.count(mutation.old) == 1, "write the same mistake into the line that has taken its place"
    compile(source.replace(mutation.old, mutation.new), mutation.path, "exec")
    for test in mutation.tests:
        assert (root / test).is_file()


def test_the_table_is_large_enough_and_names_few_survivors():
    assert len(set(MUTATIONS)) == len(MUTATIONS) >= 100
    assert sum(mutation.path.startswith("nodes/") for mutation in MUTATIONS) >= 25
    assert set(SURVIVORS) <= {(mutation.path, mutation.old) for mutation in MUTATIONS}
    assert len(SURVIVORS) <= 5
