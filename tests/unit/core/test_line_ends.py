"""What would end a header line before its time."""

from __future__ import annotations

import pytest

from app.core.line_ends import could_end_line


@pytest.mark.parametrize("text", ["\r", "\n", "\0", "a\rb", "a\nb", "a\0b", "a\r\nX-User-ID: admin", "\xe9\n", "☃\r"])
def test_it_is_found_wherever_it_stands(text: str) -> None:
    assert could_end_line(text)


@pytest.mark.parametrize("text", ["", "a\tb", "caf\xe9", "\x0b\x0c\x1c\x85", "\u2028", "r n 0"])
def test_nothing_else_ends_a_line(text: str) -> None:
    assert not could_end_line(text)
