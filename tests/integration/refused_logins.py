"""What refused logins have in common, whatever the provider said wrong: no session, a code, a page from which the user
can try again, and a line in the audit trail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from werkzeug.test import TestResponse

from tests.integration.login_world import Browser
from tests.unit.observability.captured_lines import CapturedLines

_refused: list[tuple[str, str]] = []


def assert_refused(browser: Browser, answer: TestResponse, code: str, status: int = 400) -> None:
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (status, code), answer.text
    assert not browser.is_logged_in()
    assert browser.cookie() is None
    assert "Try again" in answer.text
    assert f"<dd>{code}</dd>" in answer.text
    _refused.append((answer.headers["X-Correlation-ID"], code))


@pytest.fixture(autouse=True)
def every_refusal_is_on_the_trail(captured: CapturedLines) -> Iterator[None]:
    """Looks, when a test of this module is over, for the audit event of everything that `assert_refused` saw."""
    _refused.clear()
    yield
    lines = [line for line in captured.of("audit") if line["event"] == "login.failed"]
    assert set(_refused) <= {(line["request_id"], line["code"]) for line in lines}
    assert all(line["reason"] for line in lines)
