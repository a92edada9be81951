"""Answers what the parser refuses, and so never reached the application, like every other refusal."""

from __future__ import annotations

import secrets
import time
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors as parse_errors

from app.core.errors import BadRequestError, BffError, HeadersTooLargeError, InternalError, UriTooLongError
from app.core.problem import build_problem
from app.gateway.lingering import linger
from app.observability import access, logs
from app.observability.metrics import Metrics

MOST_HEAD_BYTES = 64 * 1024
_SEND_SECONDS = 2.0

log = logs.get_logger(__name__)


def check_head_size(req: Any) -> None:
    """gunicorn bounds each line and their number; together they could still be 800 KB, all of it work for us."""
    if sum(len(name) + len(value) for name, value in req.headers) > MOST_HEAD_BYTES:
        raise parse_errors.LimitRequestHeaders("limit request headers")


def answer_refusal(exc: BaseException, req: Any, client_socket: Any, client_address: str, metrics: Metrics) -> None:
    """Answers and records; the caller ends the connection. `req` is None when not even a head could be read."""
    error = build_refusal(exc)
    request_id = secrets.token_hex(16)
    logs.bind_request(request_id)
    if isinstance(error, InternalError):
        log.error("a request could not be handled", exc_info=exc)
    else:
        # The exception's text quotes the request; its class says enough.
        log.info("a request was refused by the parser", reason=type(exc).__name__)
    status, headers, body = build_problem(error, request_id=request_id, login_url=None)
    headers = [*headers, ("X-Correlation-ID", request_id), ("Content-Length", str(len(body)))]
    _record(error, request_id, req, client_address, metrics)
    _send_last_answer(client_socket, HTTPStatus(status), headers, body)


def build_refusal(exc: BaseException) -> BffError:
    """Chooses the error of ours for what gunicorn raised; never quotes the request."""
    if isinstance(exc, BffError):
        return exc
    if isinstance(exc, parse_errors.LimitRequestLine):
        return UriTooLongError()
    if isinstance(exc, parse_errors.LimitRequestHeaders):
        return HeadersTooLargeError()
    of_the_application = (
        parse_errors.InvalidResponseHeader,
        parse_errors.InvalidResponseHeaderName,
        parse_errors.ConfigurationProblem,
    )
    if isinstance(exc, parse_errors.ParseException) and not isinstance(exc, of_the_application):
        return BadRequestError("The request is not well-formed HTTP.")
    return InternalError()


def _record(error: BffError, request_id: str, req: Any, client_address: str, metrics: Metrics) -> None:
    method, path = (req.method, req.uri.partition("?")[0]) if req is not None else ("", "")
    metrics.count_refusal(error.code)
    metrics.observe_call("", method, error.status, 0.0)
    access.record(
        access.AccessRecord(
            time=time.time(),
            request_id=request_id,
            method=method,
            path=path,
            route_id="",
            status=error.status,
            code=error.code,
            duration_ms=0.0,
            client_address=client_address,
        )
    )


def _send_last_answer(sock: Any, status: HTTPStatus, headers: list[tuple[str, str]], body: bytes) -> None:
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    try:
        sock.settimeout(_SEND_SECONDS)
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    except OSError:
        return  # the client has gone; there is nobody to tell
    linger(sock)
