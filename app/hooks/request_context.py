"""What every call to our own endpoints begins with: its ids, a target that can be read in one way, a host that is ours.

Proxied calls are let through untouched: the pipeline does all of this itself, the same behind both front doors.
`/metrics` and `/admin` are hidden here, before anything could tell them from a path that does not exist.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Flask, Response, g, request
from flask.globals import request_ctx

from app.core.client_address import get_client_address
from app.core.errors import (
    AmbiguousPathError,
    BodyTooLargeError,
    MethodNotAllowedError,
    RouteNotFoundError,
    UnknownHostError,
)
from app.core.headers import choose_correlation_id, choose_traceparent
from app.core.own_endpoints import OWN_ENDPOINTS, is_own_path
from app.core.request_target import parse_request_target
from app.gateway.policy import GatewayPolicy
from app.gateway.wsgi_door import WsgiBody
from app.hooks.listener import build_internal_listener
from app.observability import access, logs

if TYPE_CHECKING:
    from app.wiring import Services

_PROXY_BLUEPRINT = "proxy"
_ANY_HOST_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/.well-known/jwks.json"})
# Probes and the identity provider address a container or a service name, not the public one.
MAX_BODY_BYTES = 1024 * 1024
# Forms and JSON of a page; nothing of ours takes an upload.


@dataclass(slots=True)
class OwnCall:
    """One call that we answer ourselves; ends as one access record. Found at `flask.g.bff_call`."""

    request_id: str
    trace_id: str
    path: str
    """As it came, without its query."""
    client_address: str
    started_at: float
    started: float
    """Seconds of the monotonic clock."""
    code: str = ""
    """The `code` of the error it was answered with."""


def register(app: Flask, services: Services) -> None:
    """Sets up the first and the last step of a call: `g.bff_call`, `g.bff_internal`, access record and metrics."""
    # OPTIONS is a call like any other; Flask would answer it by itself.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    server = services.configuration.settings.server
    policy = GatewayPolicy.from_settings(services.configuration.settings)
    is_internal = build_internal_listener(server.internal_bind)

    def begin() -> None:
        raw_target = get_raw_target(request.environ)
        path = get_path(raw_target)
        g.bff_internal = is_internal(request.environ)
        is_hidden = is_admin_path(path) and not g.bff_internal
        if request.blueprint == _PROXY_BLUEPRINT and not is_own_path(path):
            return
        begin_call(path)
        if not (g.bff_internal or path in _ANY_HOST_PATHS):
            check_host(request.headers.get("Host", ""), policy.own_hosts)
        check_target(raw_target)
        if is_hidden:
            raise RouteNotFoundError
        check_method(path)
        guard_body(server.body_timeout_seconds)

    def begin_call(path: str) -> OwnCall:
        traceparent = choose_traceparent(request.headers.get("traceparent"), lambda: "")
        call = OwnCall(
            request_id=choose_correlation_id(request.headers.get("X-Correlation-ID"), make_request_id),
            trace_id=traceparent.split("-")[1] if traceparent else "",
            path=path,
            client_address=get_client_address(
                request.environ.get("REMOTE_ADDR", ""),
                request.headers.getlist("X-Forwarded-For"),
                policy.trusted_networks,
            ),
            started_at=services.clock(),
            started=time.monotonic(),
        )
        g.bff_call = call
        logs.bind_request(call.request_id, call.trace_id)
        services.metrics.start_call()
        return call

    def get_call() -> OwnCall:
        """The call's own, or one made late: opening the session may fail before anything else has run."""
        call: OwnCall = g.get("bff_call") or begin_call(get_path(get_raw_target(request.environ)))
        return call

    def finish(response: Response) -> Response:
        if g.get("bff_proxied"):
            return response
        call, method = get_call(), request.method
        route_id = "" if request.blueprint == _PROXY_BLUEPRINT else request.endpoint or ""
        bytes_in, bytes_out = request.content_length or 0, response.calculate_content_length() or 0
        user = find_user()

        def record() -> None:
            seconds = time.monotonic() - call.started
            services.metrics.observe_call(route_id, method, response.status_code, seconds)
            access.record(
                access.AccessRecord(
                    time=call.started_at,
                    request_id=call.request_id,
                    trace_id=call.trace_id,
                    method=method,
                    path=call.path,
                    route_id=route_id,
                    status=response.status_code,
                    code=call.code,
                    duration_ms=seconds * 1000,
                    bytes_in=bytes_in,
                    bytes_out=0 if method == "HEAD" else bytes_out,
                    user_id=user[0],
                    session=user[1],
                    client_address=call.client_address,
                )
            )

        response.call_on_close(record)
        return response

    def end_call(_error: BaseException | None) -> None:
        if g.get("bff_call"):
            services.metrics.end_call()

    app.extensions["bff_get_call"] = get_call
    app.before_request(begin)
    app.after_request(finish)
    app.teardown_request(end_call)


def get_raw_target(environ: Mapping[str, Any]) -> str:
    """Returns the target as it stood in the request line, as far as the server tells (gunicorn does)."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if isinstance(raw, str) and raw:
        return raw
    query = environ.get("QUERY_STRING", "")
    path = quote(environ.get("PATH_INFO", "").encode("latin-1"), safe="/~!$&'()*+,=:@;")
    return f"{path}?{query}" if query else path


def get_path(raw_target: str) -> str:
    return raw_target.partition("?")[0]


def make_request_id() -> str:
    return secrets.token_hex(16)


def is_admin_path(path: str) -> bool:
    """Tells whether a path is for operators only."""
    return path in ("/metrics", "/admin") or path.startswith("/admin/")


def check_target(raw_target: str) -> None:
    """Raises `AmbiguousPathError` for a second spelling of a path of ours; none of them has a use for one."""
    if parse_request_target(raw_target).oddities:
        raise AmbiguousPathError("The path holds an encoding that is not allowed here.")


def check_host(host: str, own_hosts: frozenset[str]) -> None:
    """Raises `UnknownHostError` unless the call is addressed to `public_url`: pages of another name are not ours."""
    if host.lower() not in own_hosts:
        raise UnknownHostError


def find_own_methods(path: str) -> frozenset[str]:
    """Returns the methods of an endpoint of ours; empty for a path that names none."""
    if path.startswith("/api/me/sessions/"):
        return OWN_ENDPOINTS["/api/me/sessions/{id}"]
    return OWN_ENDPOINTS.get(path, frozenset())


def check_method(path: str) -> None:
    """Refuses what no endpoint of ours answers. Flask does not: the proxy's rule takes every method of every path."""
    methods = find_own_methods(path)
    if methods and request.method not in methods and request.method != "OPTIONS":
        raise MethodNotAllowedError(sorted(methods))
    if request.blueprint == _PROXY_BLUEPRINT and request.method != "OPTIONS":
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


def find_user() -> tuple[str | None, str | None]:
    """Returns user id and session reference if the call has looked at its session; does not look by itself."""
    # `flask.session` would count as looking: the answer would get `Vary: Cookie`.
    record = getattr(getattr(request_ctx, "_session", None), "loaded_record", None)
    return (record.user_id, record.reference) if record is not None else (None, None)
