"""The search for secrets in logs finds them, also where they are percent-encoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.log_scan import find_leaks

SECRET = "s3cr3t/with+odd=chars"


@pytest.mark.parametrize(
    "line",
    [f"token={SECRET}", "GET /auth/callback?code=s3cr3t%2Fwith%2Bodd%3Dchars HTTP/1.1"],
    ids=["plain", "encoded"],
)
def test_a_secret_in_a_log_is_found_and_not_repeated(tmp_path: Path, line: str) -> None:
    log = tmp_path / "bff.log"
    log.write_text(f"harmless\n{line}\n", encoding="utf-8")
    assert find_leaks([log], [SECRET]) == ["bff.log:2 holds s3cr3t…"]


def test_a_clean_log_has_no_leaks(tmp_path: Path) -> None:
    log = tmp_path / "bff.log"
    log.write_text("GET /auth/callback 303\n", encoding="utf-8")
    assert find_leaks([log], [SECRET, "short"]) == []
