"""Writes the head of a request to a backend, and lets nothing into it that could end a line.

The lines that frame a message and those that belong to one connection (RFC 9110 §7.6.1, RFC 9112 §6) are written here
and nowhere else. A caller's line of such a name is left out, also in the spellings `content_length` and
`content.length` that CGI-like backends read as the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from app.core.errors import BadRequestError
from app.core.line_ends import could_end_line

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ORIGIN_FORM = re.compile(r"/[!-~\x80-\xff]*")
_USUAL_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NEVER_PASSED_ON = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_MAX_REMEMBERED_NAMES = 2048
_MAX_REMEMBERED_LENGTH = 64
"""Clients choose names, so the memory of judged names needs bounds."""

_judged_names: dict[str, bool] = {}

WEBSOCKET_LINES = ("Connection: Upgrade", "Upgrade: websocket")


def encode_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Returns the lines as they go on the wire; those that are not a caller's are left out.

    Raises `BadRequestError` where a name or a value would not stay within its place.
    """
    lines = []
    for name, value in headers:
        is_passed_on = _judged_names.get(name)
        if is_passed_on is None:
            is_passed_on = _judge_name(name)
        if is_passed_on:
            lines.append(f"{name}: {value}")
    if could_end_line("".join(lines)):
        raise BadRequestError(internal_reason="a header value for the backend holds CR, LF or NUL")
    try:
        return "".join([f"{line}\r\n" for line in lines]).encode("latin-1")
    except UnicodeEncodeError:
        raise BadRequestError(internal_reason="a header value for the backend is not latin-1") from None


def build_request_head(
    method: str,
    target: str,
    host: str,
    headers: Sequence[tuple[str, str]],
    framing: str,
    connection_lines: Sequence[str] = (),
    shared_lines: bytes = b"",
) -> bytes:
    """Returns the head with its empty line. `framing` is `Name: value` of the line that frames the body, or empty;
    `connection_lines` are for this hop alone; `shared_lines` come from `encode_lines` and stand before `headers`.

    Raises `BadRequestError` where method, target, a name or a value would not stay within its place.
    """
    _check_request_line(method, target)
    first = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n"
    for line in (*connection_lines, framing) if framing else connection_lines:
        first += f"{line}\r\n"
    own_lines = encode_lines(headers) if headers else b""
    return b"".join((first.encode("latin-1"), shared_lines, own_lines, b"\r\n"))


def _check_request_line(method: str, target: str) -> None:
    """CONNECT is refused because its answer has no framing of its own (RFC 9112 §6.3)."""
    if method not in _USUAL_METHODS and (not _TOKEN.fullmatch(method) or method == "CONNECT"):
        raise BadRequestError(internal_reason="the method for the backend is no token, or is CONNECT")
    if not _ORIGIN_FORM.fullmatch(target):
        raise BadRequestError(internal_reason="the target for the backend is not in origin-form")


def _judge_name(name: str) -> bool:
    if not _TOKEN.fullmatch(name):
        raise BadRequestError(internal_reason="a header name for the backend is no token")
    is_passed_on = name.lower().replace("_", "-").replace(".", "-") not in _NEVER_PASSED_ON
    if len(_judged_names) < _MAX_REMEMBERED_NAMES and len(name) <= _MAX_REMEMBERED_LENGTH:
        _judged_names[name] = is_passed_on
    return is_passed_on
