"""How every call to our own endpoints begins and ends: its ids, the checks all of them share, one access record.

Proxied calls are let through untouched: the pipeline does all of this itself, the same behind both front doors.
`/metrics` and `/admin` are hidden here, before anything could tell them from a path that does not exist.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request
from flask.globals import request_ctx

from app.core.client_address import get_client_address
from app.core.errors import RouteNotFoundError
from app.core.headers import choose_correlation_id, choose_traceparent
from app.core.hosts import OwnOrigin
from app.core.own_endpoints import FORWARD_AUTH_PATHS, is_own_path
from app.gateway.listener import build_internal_listener
from app.gateway.policy import GatewayPolicy
from app.hooks.request_checks import (
    PROXY_BLUEPRINT,
    check_method,
    check_target,
    get_raw_path,
    get_raw_target,
    guard_body,
    is_admin_path,
)
from app.observability import access, logs

if TYPE_CHECKING:
    from app.wiring import Services

_ANY_HOST_PATHS = FORWARD_AUTH_PATHS | frozenset(
    {"/health", "/health/live", "/health/ready", "/.well-known/jwks.json", "/auth/backchannel-logout"}
)
"""Probes, the identity provider and an edge address a container or a service name, not the public one."""


def register(app: Flask, services: Services) -> None:
    """Sets up the first and the last step of a call: `g.bff_call`, `g.bff_internal`, access record and metrics."""
    # OPTIONS is a call like any other; Flask would answer it by itself.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    calls = OwnCalls(services)
    app.extensions["bff_get_call"] = calls.get_current
    app.before_request(calls.begin)
    app.after_request(calls.finish)
    app.teardown_request(calls.leave)


@dataclass(slots=True)
class OwnCall:
    """One call that we answer ourselves; ends as one access record. Found at `flask.g.bff_call`."""

    request_id: str
    trace_id: str
    method: str
    path: str
    """As it came, without its query."""
    route_id: str
    """The endpoint's name; empty when nothing of ours answers."""
    client_address: str
    own_origin: OwnOrigin
    """The one that is addressed; the main one until that is known, and where the host says nothing."""
    received_at: float
    started_at: float
    """Seconds of the monotonic clock."""
    error_code: str = ""

    @property
    def user(self) -> tuple[str | None, str | None]:
        """User id and session reference if the call has looked at its session; does not look by itself."""
        # `flask.session` would count as looking: the answer would get `Vary: Cookie`.
        record = getattr(getattr(request_ctx, "_session", None), "loaded_record", None)
        return (record.user_id, record.reference) if record is not None else (None, None)


class OwnCalls:
    """The hooks."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._policy = GatewayPolicy.from_settings(services.configuration.settings)
        server = services.configuration.settings.server
        self._is_internal = build_internal_listener(server.internal_bind)
        self._body_timeout_seconds = server.body_timeout_seconds

    def begin(self) -> None:
        path = get_raw_path(request.environ)
        g.bff_internal = self._is_internal(request.environ.get("gunicorn.socket"))
        if request.blueprint == PROXY_BLUEPRINT and not is_own_path(path):
            return
        call = self.get_current()
        # In the pipeline's order, so that a hidden path is refused for the same reasons as one that is not there.
        if not (g.bff_internal or path in _ANY_HOST_PATHS):
            call.own_origin = self._policy.select_origin(
                request.headers.get("Host", ""),
                request.headers.getlist("X-Forwarded-Host"),
                request.environ.get("REMOTE_ADDR", ""),
            )
        check_target(get_raw_target(request.environ))
        if is_admin_path(path) and not g.bff_internal:
            raise RouteNotFoundError
        check_method(path)
        guard_body(self._body_timeout_seconds)

    def get_current(self) -> OwnCall:
        """Returns the call, begun now if need be: opening the session may fail before anything else has run."""
        if "bff_call" not in g:
            g.bff_call = self._build_call()
            logs.bind_request(g.bff_call.request_id, g.bff_call.trace_id)
            self._services.metrics.start_call()
        call: OwnCall = g.bff_call
        return call

    def finish(self, response: Response) -> Response:
        """Has the access record written once the answer is out."""
        if g.get("bff_proxied"):
            return response
        call = self.get_current()
        bytes_in = request.content_length or 0
        bytes_out = 0 if call.method == "HEAD" else response.calculate_content_length() or response.content_length or 0
        user_id, session = call.user

        def record() -> None:
            seconds = time.monotonic() - call.started_at
            self._services.metrics.observe_call(call.route_id, call.method, response.status_code, seconds)
            access.record(
                access.AccessRecord(
                    time=call.received_at,
                    request_id=call.request_id,
                    trace_id=call.trace_id,
                    method=call.method,
                    path=call.path,
                    route_id=call.route_id,
                    status=response.status_code,
                    code=call.error_code,
                    duration_ms=seconds * 1000,
                    bytes_in=bytes_in,
                    bytes_out=bytes_out,
                    user_id=user_id,
                    session=session,
                    client_address=call.client_address,
                )
            )

        response.call_on_close(record)
        return response

    def leave(self, _: BaseException | None) -> None:
        if "bff_call" in g:
            self._services.metrics.end_call()

    def _build_call(self) -> OwnCall:
        headers = request.headers
        traceparent = choose_traceparent(headers.get("traceparent"), lambda: "")
        return OwnCall(
            request_id=choose_correlation_id(headers.get("X-Correlation-ID"), lambda: secrets.token_hex(16)),
            trace_id=traceparent.split("-")[1] if traceparent else "",
            method=request.method,
            path=get_raw_path(request.environ),
            route_id="" if request.blueprint == PROXY_BLUEPRINT else request.endpoint or "",
            client_address=get_client_address(
                request.environ.get("REMOTE_ADDR", ""),
                headers.getlist("X-Forwarded-For"),
                self._policy.trusted_networks,
            ),
            own_origin=self._policy.origins.main,
            received_at=self._services.clock(),
            started_at=time.monotonic(),
        )
