"""What broke others has a test here: each row of these classes stands in the name or the id of one.

L is login, callback, logout and sessions, D the decision point, T tokens and keys, H the headers of ForwardAuth, O
operations, B which page may call; what a row says is with its tests.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROWS = (
    *("L1", "L2", "L3", "L4", "L6", "L7", "L8", "L9", "L10", "L11", "L13", "L15", "L16", "L17", "L19", "L23", "L24"),
    *("D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "P17", "L27"),
    *("T1", "T6", "T7", "T8", "T9", "T11", "T12", "T13", "T15", "T16", "T17", "T19", "T22", "T24", "H3", "H14"),
    *("O1", "O2", "O3", "O7", "O8", "B1", "B2", "B3"),
)


@pytest.fixture(scope="module")
def named() -> str:
    """Every test's name and every quoted text, where ids are."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    names = (f"_{name}_" for name in re.findall(r"def test_(\w+)", sources))
    return "\n".join([*names, *re.findall(r'"[A-Z]+[0-9]+-[^"\n]+"', sources)])


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_a_test(row: str, named: str) -> None:
    assert f"_{row.lower()}_" in named or f'"{row}-' in named
