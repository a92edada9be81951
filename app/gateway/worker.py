"""The gunicorn worker class: gevent's, with our own answers, time limits and manners at the edge of a connection.

gunicorn's parser reads and frames every request. Here is what gunicorn leaves open: errors of its parser are answered
as problem documents like every other refusal, a head that does not come is given up after `header_timeout_seconds`,
a body that nobody read is dropped within bounds, and connections that idle do not hold up a stop.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Protocol

import gevent
import gevent.local
import gunicorn.http.wsgi
from gevent.socket import wait_read
from gunicorn.http import errors as parse_errors
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from app.core.errors import BadRequestError, BffError, HeadersTooLargeError, InternalError, UriTooLongError
from app.core.headers import HeaderView, check_unrepeated_headers
from app.core.problem import build_problem
from app.observability import access, logs
from app.observability.metrics import Metrics
from app.settings import Configuration

# The answer's `Server` line need not tell anybody what to look up.
gunicorn.http.wsgi.SERVER = "bff"

LINGER_SECONDS = 2.0
LINGER_BYTES = 16 * 1024 * 1024
MOST_HEAD_BYTES = 64 * 1024
LEAST_BYTES_A_SECOND = 1024
_SEND_SECONDS = 2.0

log = logs.get_logger(__name__)


class _Services(Protocol):
    """What the worker needs of `app.extensions["bff"]`."""

    @property
    def configuration(self) -> Configuration: ...

    @property
    def metrics(self) -> Metrics: ...


class _Connection:
    """What is known about the connection that the current greenlet serves."""

    __slots__ = ("request", "sock")

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.request: Any = None

    @property
    def is_first(self) -> bool:
        return self.request is None

    @property
    def has_more(self) -> bool:
        """Bytes of a next request are here already (pipelining), or hidden in the TLS layer."""
        if isinstance(self.sock, ssl.SSLSocket):
            return True
        return self.request is not None and bool(self.request.unreader.buf.getbuffer().nbytes)


class BffWorker(GeventWorker):  # type: ignore[misc]
    """Serves the Flask application; see the module's docstring for what differs from gunicorn's gevent worker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._local = gevent.local.local()
        self._idle: set[Any] = set()

    @property
    def services(self) -> _Services:
        services: _Services = self.wsgi.extensions["bff"]
        return services

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        self._local.connection = _Connection(client)
        super().handle(listener, client, addr)

    def timeout_ctx(self) -> _HeadWait:
        """Entered by gunicorn while it waits for the next request head and reads it."""
        return _HeadWait(self, self._local.connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        self._local.connection.request = req
        # WSGI joins repeated lines with commas; here they can still be told apart.
        check_unrepeated_headers(HeaderView(req.headers))
        check_head_size(req)
        body_timeout_seconds = self.services.configuration.settings.server.body_timeout_seconds
        req.unreader.sock = PacedSocket(sock, body_timeout_seconds, time.monotonic)
        try:
            self._carry(listener_name, req, sock, addr)
        except (gevent.GreenletExit, SystemExit, TimeoutError):
            # TimeoutError: the client took nothing of its answer for too long (`WsgiAnswer`).
            raise StopIteration from None
        except StopIteration:
            _drop_unread_body(req, sock)
            raise
        if not _drop_unread_body(req, sock):
            raise StopIteration

    def _carry(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        try:
            # Not GeventWorker's: it swallows the kill at `graceful_timeout` and goes on to wait for a next request.
            AsyncWorker.handle_request(self, listener_name, req, sock, addr)
        finally:
            req.unreader.sock = sock

    def wait_for_head(self, connection: _Connection) -> None:
        """Waits for the first byte of a request; raises `StopIteration`, which ends the connection, when none comes."""
        if connection.has_more:
            return
        self._idle.add(connection.sock)
        try:
            wait_read(connection.sock.fileno(), timeout=self._get_patience(connection))
        except TimeoutError:
            raise StopIteration from None
        finally:
            self._idle.discard(connection.sock)

    def notify(self) -> None:
        """Called each second, also while stopping: idle connections end then, as nothing is in flight on them."""
        super().notify()
        if not self.alive:
            for sock in tuple(self._idle):
                _shut(sock, socket.SHUT_RD)

    @property
    def header_timeout_seconds(self) -> float:
        seconds: float = self.services.configuration.settings.server.header_timeout_seconds
        return seconds

    def _get_patience(self, connection: _Connection) -> float:
        if connection.is_first:
            return self.header_timeout_seconds
        seconds: float = self.services.configuration.settings.server.keepalive_seconds
        return seconds

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answers what never reached the application; the caller ends the connection.

        Nobody is there to be answered after a TLS failure, and nothing is to be said when a stop kills the greenlet.
        """
        if isinstance(exc, ssl.SSLError | gevent.GreenletExit | SystemExit):
            return
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
        self._record(error, request_id, req, addr)
        _send_last_answer(client, HTTPStatus(status), headers, body)

    def _record(self, error: BffError, request_id: str, req: Any, addr: Any) -> None:
        """One access line and its counts; `req` is None when not even a head could be read."""
        method, path = (req.method, req.uri.partition("?")[0]) if req is not None else ("", "")
        self.services.metrics.count_refusal(error.code)
        self.services.metrics.observe_call("", method, error.status, 0.0)
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
                client_address=addr[0] if isinstance(addr, tuple) else "",
            )
        )


class PacedSocket:
    """The client's socket while a request body is read: a body that comes too slowly ends in `TimeoutError`.

    Silence is bounded, and so is the whole time spent waiting for the client: `patience_seconds`, and a second more for
    each KiB that came. Time in which nobody wanted to read (a slow backend) does not count.
    """

    def __init__(self, sock: Any, patience_seconds: float, monotonic: Callable[[], float]) -> None:
        self._sock = sock
        self._patience_seconds = patience_seconds
        self._monotonic = monotonic
        self._waited_seconds = 0.0
        self._received_bytes = 0

    def recv(self, max_bytes: int) -> bytes:
        allowed_seconds = self._patience_seconds + self._received_bytes / LEAST_BYTES_A_SECOND
        left_seconds = allowed_seconds - self._waited_seconds
        if left_seconds <= 0:
            raise TimeoutError
        self._sock.settimeout(min(left_seconds, self._patience_seconds))
        began_at = self._monotonic()
        try:
            received: bytes = self._sock.recv(max_bytes)
        finally:
            self._waited_seconds += self._monotonic() - began_at
            _restore_blocking(self._sock)
        self._received_bytes += len(received)
        return received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _HeadWait:
    """A context that waits for a head's first byte and then bounds how long the rest of the head may take."""

    def __init__(self, worker: BffWorker, connection: _Connection) -> None:
        self._worker = worker
        self._connection = connection
        # `False`: on time-out the block is left in silence, gunicorn sees no request and closes.
        self._timeout = gevent.Timeout(worker.header_timeout_seconds, False)

    def __enter__(self) -> None:
        self._worker.wait_for_head(self._connection)
        self._timeout.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timeout.close()
        return error is self._timeout


def check_head_size(req: Any) -> None:
    """gunicorn bounds each line and their number; together they could still be 800 KB, all of it work for us."""
    if sum(len(name) + len(value) for name, value in req.headers) > MOST_HEAD_BYTES:
        raise parse_errors.LimitRequestHeaders("limit request headers")


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


def _drop_unread_body(req: Any, sock: Any) -> bool:
    """Reads what is left of a request's body, within bounds, so that the client sees the answer and not a reset
    (RFC 9112 §9.6). False: not all of it came, and the connection must end."""
    deadline = time.monotonic() + LINGER_SECONDS
    dropped = 0
    try:
        while time.monotonic() < deadline and dropped < LINGER_BYTES:
            sock.settimeout(LINGER_SECONDS)
            piece = req.body.read(64 * 1024)
            if not piece:
                return not req.body.failed
            dropped += len(piece)
    except (OSError, parse_errors.ParseException):
        return False
    finally:
        _restore_blocking(sock)
    return False


def _send_last_answer(sock: Any, status: HTTPStatus, headers: list[tuple[str, str]], body: bytes) -> None:
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    try:
        sock.settimeout(_SEND_SECONDS)
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        sock.shutdown(socket.SHUT_WR)
        _drain(sock)
    except OSError:
        return  # the client has gone; there is nobody to tell


def _drain(sock: Any) -> None:
    """Reads on for a moment: closing with unread bytes would reset the connection before the answer is read."""
    deadline = time.monotonic() + LINGER_SECONDS
    dropped = 0
    while dropped < LINGER_BYTES and (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        piece = sock.recv(64 * 1024)
        if not piece:
            return
        dropped += len(piece)


def _restore_blocking(sock: Any) -> None:
    try:
        sock.settimeout(None)
    except OSError:
        return


def _shut(sock: Any, direction: int) -> None:
    try:
        sock.shutdown(direction)
    except OSError:
        return
