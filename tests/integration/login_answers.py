"""What the answer to a login that is refused looks like."""

from __future__ import annotations

from werkzeug.test import TestResponse

from tests.integration.login_world import SESSION_COOKIE


def assert_refused(answer: TestResponse, code: str, status: int = 400) -> None:
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (status, code), answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert not any(SESSION_COOKIE in line and "Max-Age=0" not in line for line in answer.headers.getlist("Set-Cookie"))
