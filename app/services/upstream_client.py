"""The one way to a backend: sends a request and returns its answer, body still to be streamed.

What the parts do: `upstream_pool` lends connections, `upstream_exchange` sends and reads the head,
`upstream_response` streams the body; `circuit_breaker` decides whether to try at all. This module puts them together
and decides what may be tried again.

Only what cannot have been processed is repeated, at most `retry` times: a connection that could not be had, when the
service has another `base_url` (`upstream_members` chooses); a kept connection that the backend had closed before
anything was sent; and, on a kept connection that was closed without an answer, an idempotent request without a body
(RFC 9110 §9.2.2, RFC 9112 §9.3.1).

The total timeout runs from when the backend has the request. For a streaming call it ends with the answer's head, as
the read timeout does: its body may take as long as it likes.

A connection that fails is `upstream_unreachable`, one that is not made in time is `upstream_timeout`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from app.core.errors import (
    BffError,
    UpstreamBadResponseError,
    UpstreamBusyError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from app.core.routes import Service
from app.observability import logs
from app.services.circuit_breaker import CircuitBreaker
from app.services.upstream_connection import Origin, UpstreamConnection, WaitLimits
from app.services.upstream_exchange import ConnectionLostError, Exchange
from app.services.upstream_members import UpstreamMember, UpstreamMembers
from app.services.upstream_messages import RequestBody, UpstreamBrokenOffError, UpstreamRequest
from app.services.upstream_pool import UpstreamPool
from app.services.upstream_request_head import WEBSOCKET_LINES, build_request_head
from app.services.upstream_response import UpstreamResponse
from app.services.upstream_upload import Upload, begin_upload

__all__ = [
    "RequestBody",
    "Upstream",
    "UpstreamBrokenOffError",
    "UpstreamClient",
    "UpstreamRequest",
    "UpstreamResponse",
]

_log = logs.get_logger(__name__)

_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_NO_ANSWER = (UpstreamUnreachableError, UpstreamTimeoutError, UpstreamBadResponseError)


class _UnprocessedError(Exception):
    """The backend cannot have acted on the request; `refusal` is what the caller hears if it is not tried again."""

    def __init__(self, refusal: BffError, *, was_connected: bool) -> None:
        super().__init__(refusal.internal_reason)
        self.refusal = refusal
        self.was_connected = was_connected

    @property
    def is_failure(self) -> bool:
        """Whether it speaks against the backend: a kept connection may be closed, and all may be in use."""
        return not self.was_connected and not isinstance(self.refusal, UpstreamBusyError)


class Upstream(Protocol):
    """The way to the backends."""

    def open(self, service: Service, request: UpstreamRequest) -> UpstreamResponse: ...


class UpstreamClient:
    """Built once per worker, shared by all its calls."""

    def __init__(self, services: Mapping[str, Service], monotonic: Callable[[], float] = time.monotonic) -> None:
        """Reads the services' certificate files; raises `OSError` (`ssl.SSLError` among it) where one is not good."""
        self._monotonic = monotonic
        self._upstreams = {name: _Upstream(service, monotonic) for name, service in services.items()}

    def open(self, service: Service, request: UpstreamRequest) -> UpstreamResponse:
        """Sends `request` and returns once the head of the answer has come. The caller closes what it gets.

        Raises `UpstreamUnreachableError`, `UpstreamTimeoutError`, `UpstreamBadResponseError`, `UpstreamBusyError`,
        `CircuitOpenError`, `BadRequestError` for what cannot be written as a request, and whatever reading the body
        raises.
        """
        upstream = self._upstreams[service.name]
        is_trial = upstream.breaker.admit()
        try:
            response = upstream.open(request)
        except _NO_ANSWER:
            upstream.note_failure(is_trial)
            raise
        except BaseException:
            upstream.breaker.abandon(is_trial)
            raise
        upstream.breaker.succeed(is_trial)
        if is_trial:
            _log.info("upstream.circuit_closed", service=service.name)
        return response

    def count_connections(self, service: Service) -> int:
        """Returns how many connections to the service are open, in use or idle."""
        return self._upstreams[service.name].count_connections()

    def close(self) -> None:
        """Closes idle connections; those in use are closed as their calls end. Calls can still be made."""
        for upstream in self._upstreams.values():
            upstream.close()


class _Upstream:
    """A service, its breaker, and its backends."""

    def __init__(self, service: Service, monotonic: Callable[[], float]) -> None:
        self._service = service
        self._monotonic = monotonic
        self.breaker = CircuitBreaker(service.breaker_failures, service.breaker_reset_seconds, monotonic)
        self._members = UpstreamMembers(service, monotonic)
        self._limits = WaitLimits(service.read_timeout_seconds or None, None, monotonic)

    def open(self, request: UpstreamRequest) -> UpstreamResponse:
        upload = begin_upload(request.method, request.body)
        turn = self._members.take_turn()
        tried: tuple[UpstreamMember, ...] = ()
        retries_left = self._service.retry
        must_be_fresh = False
        while True:
            member, is_trial = self._members.choose(turn, tried)
            try:
                return self._try_member(member, request, upload, is_trial=is_trial, must_be_fresh=must_be_fresh)
            except _UnprocessedError as failure:
                if failure.was_connected:
                    must_be_fresh = True
                else:
                    tried = (*tried, member)
                if not retries_left or not self._members.has_untried(tried):
                    raise failure.refusal from failure.__cause__
            retries_left -= 1

    def note_failure(self, is_trial: bool) -> None:
        """A call got no answer. That of one backend among several is no reason to leave the whole service alone."""
        if self._members.has_well_one():
            self.breaker.abandon(is_trial)
            return
        was_open = self.breaker.is_open
        self.breaker.fail(is_trial)
        if self.breaker.is_open and not was_open:
            _log.warning("upstream.circuit_opened", service=self._service.name)

    def count_connections(self) -> int:
        return sum(member.pool.open_connections for member in self._members)

    def close(self) -> None:
        for member in self._members:
            member.pool.close()

    def _try_member(
        self,
        member: UpstreamMember,
        request: UpstreamRequest,
        upload: Upload,
        *,
        is_trial: bool,
        must_be_fresh: bool,
    ) -> UpstreamResponse:
        """One attempt, its outcome noted at the member."""
        try:
            response = self._attempt(member, request, upload, must_be_fresh=must_be_fresh)
        except _UnprocessedError as failure:
            if failure.is_failure:
                member.note_failure(is_trial, took_no_connection=True)
            else:
                member.note_nothing(is_trial)
            raise
        except _NO_ANSWER:
            member.note_failure(is_trial, took_no_connection=False)
            raise
        except BaseException:
            member.note_nothing(is_trial)
            raise
        member.note_answer(is_trial)
        return response

    def _attempt(
        self, member: UpstreamMember, request: UpstreamRequest, upload: Upload, *, must_be_fresh: bool
    ) -> UpstreamResponse:
        head = build_attempt_head(member.origin, request, upload.framing)
        try:
            connection = member.pool.take(must_be_fresh=must_be_fresh)
        except (UpstreamUnreachableError, UpstreamTimeoutError, UpstreamBusyError) as refusal:
            raise _UnprocessedError(refusal, was_connected=False) from refusal
        try:
            return self._exchange(connection, member.pool, head, request, upload)
        except ConnectionLostError as loss:
            member.pool.discard(connection)
            raise _judge_loss(loss, connection, request, upload) from loss
        except BaseException:
            member.pool.discard(connection)
            raise

    def _exchange(
        self,
        connection: UpstreamConnection,
        pool: UpstreamPool,
        head: bytes,
        request: UpstreamRequest,
        upload: Upload,
    ) -> UpstreamResponse:
        limits = self._limits
        exchange = Exchange(connection, may_switch=request.asks_for_websocket)
        exchange.send(head, upload, limits)
        if self._service.total_timeout_seconds:
            # Not earlier: a client who takes long to send its body must not look like a backend that takes long.
            limits = limits.until(self._monotonic() + self._service.total_timeout_seconds)
        answer, received = exchange.read_head(limits)
        return UpstreamResponse(
            answer,
            request.method,
            received,
            connection,
            pool,
            limits.without_end() if request.streaming else limits,
            is_request_sent=exchange.is_sent,
        )


def build_attempt_head(origin: Origin, request: UpstreamRequest, framing: str) -> bytes:
    """Returns the head of one attempt at `origin`; raises `BadRequestError`. See `build_request_head`."""
    headers = request.headers
    if request.build_url_headers is not None:
        headers = [*headers, *request.build_url_headers(f"{origin.scheme}://{origin.host_header}{request.target}")]
    connection_lines = WEBSOCKET_LINES if request.asks_for_websocket else ()
    return build_request_head(
        request.method,
        request.target,
        origin.host_header,
        headers,
        framing,
        connection_lines,
        request.encoded_headers,
    )


def _judge_loss(
    loss: ConnectionLostError, connection: UpstreamConnection, request: UpstreamRequest, upload: Upload
) -> Exception:
    refusal = UpstreamBadResponseError(internal_reason=str(loss))
    is_repeatable = request.method in _IDEMPOTENT_METHODS and not upload.has_body
    if connection.is_reused and (is_repeatable or not loss.was_anything_sent):
        return _UnprocessedError(refusal, was_connected=True)
    return refusal
