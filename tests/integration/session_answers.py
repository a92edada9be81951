"""What the answers to calls about a session have in common: those that refuse, and those that take it away."""

from __future__ import annotations

from werkzeug.test import TestResponse

from tests.integration.login_world import ORIGIN, SESSION_COOKIE

CLEARED = (SESSION_COOKIE, "bff_csrf")


def assert_refused(answer: TestResponse, code: str, status: int) -> None:
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (status, code), answer.text


def get_path(url: str) -> str:
    assert url.startswith(ORIGIN), url
    return url.removeprefix(ORIGIN)


def clears_cookies(answer: TestResponse) -> bool:
    lines = answer.headers.getlist("Set-Cookie")
    return all(any(line.startswith(f"{name}=;") and "Max-Age=0" in line for line in lines) for name in CLEARED)
