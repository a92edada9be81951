"""What the documentation says of faults is shown by tests: each row of these tables leads to one that exists.

A table with the column "shown by" has links there such as `[test][disk-full]`, and the page ends with where they lead:
`[disk-full]: ../../tests/long/test_provider_drills.py "test_a_disk_that_is_full"`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
COLUMN = "shown by"
TABLES_WANTED = {
    "docs/explanation/sessions-and-tokens.md": ["what the caller gets", "what the caller gets"],
    "docs/how-to/use-redis.md": ["callers get"],
    "docs/reference/conformance.md": ["what the BFF does"] * 9,
}
"""Pages, and the second column of each table that has to be there."""
SEPARATOR = re.compile(r"\|(-+\|)+")
REFERENCE = re.compile(r"\[[^\]]+\]\[([a-z0-9-]+)\]")
DEFINITION = re.compile(r'^\[([a-z0-9-]+)\]: (\S+) "(\w+)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    references: list[str]


@dataclass(frozen=True, slots=True)
class Table:
    header: list[str]
    rows: list[Row]


def parse_tables(text: str) -> Iterator[Table]:
    """Those that have the column as their last one."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if SEPARATOR.fullmatch(line) and split(lines[number - 1])[-1] == COLUMN:
            rows = []
            for below in lines[number + 1 :]:
                if not below.startswith("|"):
                    break
                cells = split(below)
                rows.append(Row(cells[0], REFERENCE.findall(cells[-1])))
            yield Table(split(lines[number - 1]), rows)


def split(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


@cache
def list_tests(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def find_fault(page: Path, definitions: dict[str, tuple[str, str]], row: Row) -> str:
    if not row.references:
        return "names no test"
    for reference in row.references:
        if reference not in definitions:
            return f"[{reference}] leads nowhere"
        path, test = definitions[reference]
        file = page.parent / path
        if not test.startswith("test_") or not file.is_file() or test not in list_tests(file):
            return f"{path} has no {test}"
    return ""


def read_page(name: str) -> tuple[Path, list[Table], dict[str, tuple[str, str]]]:
    page = PROJECT / name
    text = page.read_text(encoding="utf-8")
    return page, list(parse_tables(text)), {name: (path, test) for name, path, test in DEFINITION.findall(text)}


@pytest.mark.parametrize("name", TABLES_WANTED)
def test_each_row_is_shown_by_a_test(name: str) -> None:
    page, tables, definitions = read_page(name)
    assert [table.header[1] for table in tables] == TABLES_WANTED[name]
    rows = [row for table in tables for row in table.rows]
    assert len(rows) >= 2 * len(tables)
    faults = {row.title: fault for row in rows if (fault := find_fault(page, definitions, row))}
    assert faults == {}


@pytest.mark.parametrize("name", TABLES_WANTED)
def test_no_definition_is_left_over(name: str) -> None:
    _, tables, definitions = read_page(name)
    used = {reference for table in tables for row in table.rows for reference in row.references}
    assert sorted(definitions.keys() - used) == []


def test_a_row_without_a_test_and_a_test_that_is_not_there_are_found() -> None:
    page = PROJECT / "docs" / "page.md"
    here = f"../{Path(__file__).relative_to(PROJECT)}"
    text = """
| | gets | shown by |
|---|---|---|
| good | 200 | [test][good] |
| none | 200 | |
| unknown | 200 | [test][unknown] |
| gone | 200 | [a][good] [b][gone] |
"""
    definitions = {"good": (here, "test_no_definition_is_left_over"), "gone": (here, "test_that_is_not_there")}
    [table] = parse_tables(text)
    assert {row.title: find_fault(page, definitions, row) for row in table.rows} == {
        "good": "",
        "none": "names no test",
        "unknown": "[unknown] leads nowhere",
        "gone": f"{here} has no test_that_is_not_there",
    }
