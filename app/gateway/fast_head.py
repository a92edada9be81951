"""The fast lane: reads the head of a plain request without a body from the first bytes of the socket.

It takes only what gunicorn's parser would take too, and reads it the same: the same C parser with the same limits, and
none of what gunicorn judges besides. It refuses nothing. Whatever has a body, expects or upgrades something, is
incomplete, odd or wrong is left, with all its bytes, to gunicorn's parser, which accepts it or says what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gunicorn_h1c import IncompleteError, ParseError, parse_request

from app.gateway.messages import HeaderLines

LARGEST_PLAIN_BYTES = 8192
"""Read at once. A longer head is nothing plain."""

_PLAIN_METHODS = {name.encode(): name for name in ("GET", "HEAD", "DELETE", "OPTIONS")}
_NOT_PLAIN = frozenset(
    {
        "content-length",
        "transfer-encoding",
        "expect",
        "upgrade",
        "http2-settings",
        "trailer",
        "te",
        "proxy-connection",
    }
)
_MOST_REMEMBERED_NAMES = 2048
_LONGEST_REMEMBERED_NAME = 64

_known_names: dict[bytes, str | None] = {}
"""Header names as they came; None for one that makes a request anything but plain."""


@dataclass(frozen=True)
class HeadLimits:
    """gunicorn's `limit_request_line`, `limit_request_fields` and `limit_request_field_size`."""

    line_bytes: int
    fields: int
    field_bytes: int


class PlainHead:
    """The head of an HTTP/1.1 request that has no body. Names are spelled as they came."""

    def __init__(self, method: str, raw_target: str, headers: HeaderLines, *, wants_close: bool, size: int) -> None:
        self.method = method
        self.raw_target = raw_target
        self.headers = headers
        self.wants_close = wants_close
        self.size = size
        """Bytes; what was received behind them belongs to the next request."""


def find_head_limits(config: Any) -> HeadLimits | None:
    """Returns the limits that a gunicorn configuration sets; None where it asks for anything that only gunicorn's
    parser does, so that there is no fast lane."""
    departures = (
        config.is_ssl,
        config.proxy_protocol != "off",
        config.secure_scheme_headers,
        "h2" in config.http_protocols,
        config.http_parser == "python",
        config.casefold_http_method,
        config.permit_unconventional_http_method,
        config.permit_unconventional_http_version,
        config.permit_obsolete_folding,
        config.strip_header_spaces,
        not 0 < config.limit_request_line <= 8190,
        not 0 < config.limit_request_fields <= 256,
        config.limit_request_field_size <= 0,
    )
    if any(departures):
        return None
    return HeadLimits(config.limit_request_line, config.limit_request_fields, config.limit_request_field_size)


def parse_plain_head(received: bytes, limits: HeadLimits) -> PlainHead | None:
    """Returns the head that `received` begins with; None unless it is all there, plain, and beyond doubt."""
    parsed = _parse(received, limits)
    if parsed is None:
        return None
    method, raw_target = parsed["method"], parsed["path"]
    headers = []
    connection = b""
    for raw_name, raw_value in parsed["headers"]:
        name = _known_names.get(raw_name) or _learn_name(raw_name)
        if name is None:
            return None
        if len(raw_name) == 10 and raw_name.lower() == b"connection":
            if connection:
                return None
            connection = raw_value.lower()
        headers.append((name, raw_value.decode("latin-1")))
    if connection not in (b"", b"keep-alive", b"close"):
        return None
    return PlainHead(
        _PLAIN_METHODS[method],
        raw_target.decode("ascii"),
        headers,
        wants_close=connection == b"close",
        size=parsed["consumed"],
    )


def parse_plain_request_line(line: bytes, limits: HeadLimits) -> tuple[str, str] | None:
    """Returns method and raw target of a request line, given without its end, as `parse_plain_head` reads them."""
    parsed = _parse(line + b"\r\n\r\n", limits)
    # Else what was given is more than one line, whatever the parser takes for the end of one.
    if parsed is None or parsed["headers"] or parsed["consumed"] != len(line) + 4:
        return None
    return _PLAIN_METHODS[parsed["method"]], parsed["path"].decode("ascii")


def _parse(received: bytes, limits: HeadLimits) -> dict[str, Any] | None:
    """Returns what the C parser found; None unless the request line is plain."""
    try:
        parsed: dict[str, Any] = parse_request(received, 0, limits.line_bytes, limits.fields, limits.field_bytes)
    except (IncompleteError, ParseError):
        return None
    raw_path: bytes = parsed["path"]
    # An empty line before the request is gunicorn's to measure, and so is any target but a path in plain ASCII.
    is_plain = (
        parsed["method"] in _PLAIN_METHODS
        and parsed["minor_version"] == 1
        and raw_path[:1] == b"/" != raw_path[1:2]
        and raw_path.isascii()
        and received[:1] != b"\r"
    )
    return parsed if is_plain else None


def _learn_name(raw_name: bytes) -> str | None:
    """A name with `_` is gunicorn's to drop, pass or refuse (`header_map`)."""
    name = raw_name.decode("latin-1")
    learnt = None if name.lower() in _NOT_PLAIN or "_" in name else name
    # Clients choose names, so what is remembered needs bounds.
    if len(_known_names) < _MOST_REMEMBERED_NAMES and len(raw_name) <= _LONGEST_REMEMBERED_NAME:
        _known_names[raw_name] = learnt
    return learnt
