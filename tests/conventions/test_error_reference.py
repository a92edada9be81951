"""docs/reference/errors.md lists exactly the refusals that exist, each with its status."""

from __future__ import annotations

import re
from pathlib import Path

from app.core import errors

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
SDK_ERRORS = Path(__file__).parents[2] / "frontend" / "packages" / "bff-auth-react" / "src" / "core" / "errors.ts"
ROW = re.compile(r"^\| `(?P<code>[a-z_]+)` \| (?P<status>\d{3}) \|", re.MULTILINE)


def _all_errors() -> dict[str, int]:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.BffError)]
    return {c.code: c.status for c in classes if c is not errors.BffError}


def test_the_reference_lists_every_code_with_its_status() -> None:
    documented = {row["code"]: int(row["status"]) for row in ROW.finditer(REFERENCE.read_text())}
    assert documented == _all_errors()


def test_the_sdk_for_pages_knows_every_code() -> None:
    known = re.search(r"export type BffErrorCode =(.*?);", SDK_ERRORS.read_text(encoding="utf-8"), re.DOTALL)
    assert known is not None
    assert set(re.findall(r"'([a-z_]+)'", known[1])) == set(_all_errors())


def test_no_two_refusals_share_a_code() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.BffError)]
    assert len(_all_errors()) == len(classes) - 1
