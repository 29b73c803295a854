"""The README's table of versions: which rows `make test-versions` replaces, and that it is what the script printed."""

from __future__ import annotations

import pytest
from support import versions
from support.versions import MARKS, NOT_MADE

HEADER, RULE = "| Python | torch |", "| --- | --- |"
OLD = ("| 3.9.1 | 2.0 |", "| 3.11.1 | 2.1 |", "| 3.11.1 | 2.2 |", "| 3.13.0 | 2.3 |")


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("\n".join(["before", MARKS[0], HEADER, RULE, *OLD, MARKS[1], "after", ""]), encoding="utf-8")
    return path


def table(readme):
    first, *lines, last = readme.read_text(encoding="utf-8").splitlines()
    assert (first, last, lines[0], lines[-1]) == ("before", "after", *MARKS)
    return lines[1:-1]


def test_a_python_tried_alone_replaces_its_own_rows(readme):
    versions._write(readme, [HEADER, RULE, "| 3.11.7 | 2.9 |"], ["3.11"])
    assert table(readme) == [HEADER, RULE, OLD[0], "| 3.11.7 | 2.9 |", OLD[3]]
    versions._write(readme, [HEADER, RULE, "| 3.10.2 | 2.8 |", "| 3.10.2 | 2.9 |"], ["3.10"])
    assert table(readme)[2:] == [OLD[0], "| 3.10.2 | 2.8 |", "| 3.10.2 | 2.9 |", "| 3.11.7 | 2.9 |", OLD[3]]


def test_what_could_not_be_made_is_no_row(readme):
    versions._write(readme, [HEADER, RULE, f"| 3.13 | {NOT_MADE}no torch |", "| 3.11.7 | 2.9 |"], ["3.11", "3.13"])
    assert table(readme) == [HEADER, RULE, OLD[0], "| 3.11.7 | 2.9 |"]


def test_other_columns_make_a_new_table(readme):
    versions._write(readme, ["| Python |", "| --- |", "| 3.11.7 |"], ["3.11"])
    assert table(readme) == ["| Python |", "| --- |", "| 3.11.7 |"]


def test_the_readme_shows_a_table_with_the_columns_of_the_script(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    header, rule, *rows = text[text.index(MARKS[0]) : text.index(MARKS[1])].splitlines()[1:]
    assert header == versions._header()
    assert rule.count("|") == header.count("|")
    assert rows
    assert all(row.count("|") == header.count("|") for row in rows)
