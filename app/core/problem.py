"""The one form in which the BFF says no: problem+json (RFC 9457) with a stable code, in the body and in a header."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from app.core.errors import BffError

_HEADERS = (
    ("Content-Type", "application/problem+json"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
)


def build_problem(
    error: BffError, *, request_id: str, login_url: str | None
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Returns status, header lines and body of the answer to a refusal.

    `login_url` is told with every 401, and only there. Framing, CORS and the correlation id are the door's to add.
    The error's own members never replace the ones that every problem has.
    """
    members: dict[str, object] = {
        "type": f"urn:bff:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if error.status == 401 and login_url is not None:
        members["login_url"] = build_login_url(login_url, error.login_parameters)
    body = json.dumps({**error.members, **members}, separators=(",", ":")).encode("ascii")
    return error.status, [*_HEADERS, ("X-BFF-Error", error.code), *error.headers], body


def build_login_url(login_url: str, parameters: Sequence[tuple[str, str]]) -> str:
    """Returns the address that begins a login with `parameters`; clients may add a `return_to`."""
    return f"{login_url}?{urlencode(parameters, safe='', quote_via=quote)}" if parameters else login_url
