"""What a call to our own endpoints has to pass: a target with one reading, our host, a method, a bounded body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from flask import request

from app.core.errors import (
    AmbiguousPathError,
    BodyTooLargeError,
    MethodNotAllowedError,
    RouteNotFoundError,
)
from app.core.own_endpoints import OWN_ENDPOINTS
from app.core.request_target import parse_request_target
from app.gateway.wsgi_door import WsgiBody

PROXY_BLUEPRINT = "proxy"
MAX_BODY_BYTES = 1024 * 1024
"""Forms and JSON of a page; nothing of ours takes an upload."""


def get_raw_target(environ: Mapping[str, Any]) -> str:
    """Returns the target as it stood in the request line, as far as the server tells (gunicorn does)."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if isinstance(raw, str) and raw:
        return raw
    query = environ.get("QUERY_STRING", "")
    path = quote(environ.get("PATH_INFO", "").encode("latin-1"), safe="/~!$&'()*+,=:@;")
    return f"{path}?{query}" if query else path


def get_raw_path(environ: Mapping[str, Any]) -> str:
    """Returns the target without its query."""
    return get_raw_target(environ).partition("?")[0]


def is_admin_path(path: str) -> bool:
    """Tells whether a path is for operators only."""
    return path in ("/metrics", "/admin") or path.startswith("/admin/")


def find_own_methods(path: str) -> frozenset[str]:
    """Returns the methods of an endpoint of ours; empty for a path that names none."""
    if path.startswith("/api/me/sessions/"):
        return OWN_ENDPOINTS["/api/me/sessions/{id}"]
    return OWN_ENDPOINTS.get(path, frozenset())


def check_target(raw_target: str) -> None:
    """Raises `AmbiguousPathError` for a second spelling of a path of ours; none of them has a use for one."""
    if parse_request_target(raw_target).oddities:
        raise AmbiguousPathError("The path holds an encoding that is not allowed here.")


def check_method(path: str) -> None:
    """Refuses what no endpoint of ours answers. Flask does not: the proxy's rule takes every method of every path."""
    methods = find_own_methods(path)
    if request.method == "OPTIONS":
        return  # judged with the preflights
    if methods and request.method not in methods:
        raise MethodNotAllowedError(sorted(methods))
    if request.blueprint == PROXY_BLUEPRINT:
        raise RouteNotFoundError


class BoundedBody:
    """A body that views can read: errors of ours when it is slow, cut short, malformed or too large."""

    def __init__(self, body: WsgiBody) -> None:
        self._body = body
        self._left = MAX_BODY_BYTES

    def read(self, size: int = -1) -> bytes:
        """Returns at most `size` bytes as they come, or all there are."""
        if size >= 0:
            return self._read_piece(size)
        pieces = []
        while piece := self._read_piece(64 * 1024):
            pieces.append(piece)
        return b"".join(pieces)

    def _read_piece(self, size: int) -> bytes:
        # One byte more than is allowed tells a body of just that size from a larger one.
        piece = self._body.read(min(size, self._left + 1))
        self._left -= len(piece)
        if self._left < 0:
            raise BodyTooLargeError
        return piece


def guard_body(timeout_seconds: float) -> None:
    """Puts a `BoundedBody` in place of what the server gave; werkzeug would cut a chunked body in silence."""
    environ, length = request.environ, request.content_length
    if length is not None and length > MAX_BODY_BYTES:
        raise BodyTooLargeError
    if length or "HTTP_TRANSFER_ENCODING" in environ:
        body = WsgiBody(environ["wsgi.input"], length, environ.get("gunicorn.socket"), timeout_seconds)
        environ["wsgi.input"] = BoundedBody(body)
