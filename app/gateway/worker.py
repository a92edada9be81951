"""The gunicorn worker class: gevent's, with the production door, and our own manners at the edge of a connection.

gunicorn's parser reads and frames every request. What the route table claims goes straight through the pipeline
(`worker_door`); everything else goes on, untouched, to the Flask application, on the same connection. And here is what
gunicorn leaves open: errors of its parser are answered as problem documents like every other refusal, a head that does
not come is given up after `header_timeout_seconds`, a body that nobody read is dropped within bounds, connections that
idle do not hold up a stop, and what is still under way at `graceful_timeout_seconds` ends then.
"""

from __future__ import annotations

import gc
import socket
import ssl
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol

import gevent
import gevent.local
import gunicorn.config
import gunicorn.http.wsgi
from gevent.socket import wait_read
from gunicorn.http.errors import NoMoreData
from gunicorn.http.parser import RequestParser
from gunicorn.util import close as close_socket
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from app.core.headers import HeaderView, check_unrepeated_headers, parse_connection_tokens
from app.gateway.event_streams import EventStreams
from app.gateway.fast_head import HeadLimits, find_head_limits
from app.gateway.fast_lane import Connection, FastLane
from app.gateway.http1 import SERVER_NAME
from app.gateway.known_heads import KnownHeads
from app.gateway.lingering import drop_unread_body
from app.gateway.listener import build_internal_listener
from app.gateway.messages import Claim
from app.gateway.paced_socket import PacedSocket
from app.gateway.parser_refusals import answer_refusal, check_head_size
from app.gateway.pipeline import Pipeline
from app.gateway.websocket import Tunnels
from app.gateway.worker_door import WorkerDoor
from app.observability.metrics import Metrics
from app.services.green_sockets import GreenSocket
from app.settings import Configuration

gunicorn.http.wsgi.SERVER = SERVER_NAME


class _Services(Protocol):
    """What the worker needs of `app.extensions["bff"]`."""

    @property
    def configuration(self) -> Configuration: ...

    @property
    def pipeline(self) -> Pipeline: ...

    @property
    def metrics(self) -> Metrics: ...

    @property
    def tunnels(self) -> Tunnels: ...

    @property
    def event_streams(self) -> EventStreams: ...


class BffWorker(GeventWorker):  # type: ignore[misc]
    """See the module's docstring for what differs from gunicorn's gevent worker."""

    alive: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._local = gevent.local.local()
        self._idle: set[Any] = set()

    def load_wsgi(self) -> None:
        """Called by gunicorn after the fork, once the application can be loaded."""
        super().load_wsgi()
        services: _Services = self.wsgi.extensions["bff"]
        server = services.configuration.settings.server
        self._metrics = services.metrics
        self._tunnels = services.tunnels
        self._event_streams = services.event_streams
        self._header_timeout_seconds: float = server.header_timeout_seconds
        self._keepalive_seconds: float = server.keepalive_seconds
        self._body_timeout_seconds: float = server.body_timeout_seconds
        self._is_internal = build_internal_listener(server.internal_bind)
        keeps_alive = bool(self.cfg.keepalive)
        self._door = WorkerDoor(
            services.pipeline,
            patience_seconds=server.body_timeout_seconds,
            is_alive=lambda: keeps_alive and self.alive,
        )
        hooks = (self.cfg.pre_request, self.cfg.post_request)
        self._has_hooks = hooks != (gunicorn.config.PreRequest.default, gunicorn.config.PostRequest.default)
        # The hooks want gunicorn's own request.
        limits = None if self._has_hooks else find_head_limits(self.cfg)
        self._lane = self._build_lane(services.pipeline, limits) if limits else None
        # What is loaded by now stays; a collection need not look through it again and again.
        gc.collect()
        gc.freeze()

    def _build_lane(self, pipeline: Pipeline, limits: HeadLimits) -> FastLane:
        return FastLane(
            KnownHeads(limits, pipeline.read_head, pipeline.claim, time.monotonic),
            self._door,
            count_call=self._count_call,
            idle=self._idle,
            header_timeout_seconds=self._header_timeout_seconds,
            keepalive_seconds=self._keepalive_seconds,
        )

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serves one connection from its first byte to its last."""
        connection = Connection(client, _get_peer_address(addr), is_public=not self._is_internal(client))
        self._local.connection = connection
        if self._lane is None or not connection.is_public or not self.cfg.keepalive:
            super().handle(listener, client, addr)
            return
        green: GreenSocket | None = None
        try:
            client.setblocking(1)
            green = GreenSocket(client)
            self._serve(connection, self._lane, green, listener, addr)
        except (StopIteration, NoMoreData, OSError):
            return  # the client has gone, or was told that the connection ends
        except BaseException as error:  # noqa: BLE001 - as gunicorn does, which judges it in handle_error
            self.handle_error(connection.request, client, addr, error)
        finally:
            if green is not None:
                green.close()  # before the socket
            close_socket(client)

    def _serve(self, connection: Connection, lane: FastLane, green: GreenSocket, listener: Any, addr: Any) -> None:
        """As gunicorn's own loop, with the fast lane before its parser."""
        parser = RequestParser(self.cfg, connection.sock, addr)
        connection.unreader = parser.unreader
        listener_name = listener.getsockname()
        while received := lane.answer_plain_calls(connection, green):
            connection.unreader.unread(received)
            connection.request = None
            with gevent.Timeout(self._header_timeout_seconds, False):
                connection.request = next(parser)
            if connection.request is None:
                return
            self.handle_request(listener_name, connection.request, connection.sock, addr)

    def timeout_ctx(self) -> _HeadWait:
        """Entered by gunicorn while it waits for the next request head and reads it."""
        return _HeadWait(self, self._local.connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        connection: Connection = self._local.connection
        connection.request, connection.unreader, connection.is_first = req, req.unreader, False
        check_head_size(req)
        # gunicorn knows `close` only where it stands alone and first.
        if "close" in parse_connection_tokens(value for name, value in req.headers if name == "CONNECTION"):
            req.force_close()
        claim = self.claim(req) if connection.is_public else None
        try:
            if claim is None:
                self._pass_on_to_flask(listener_name, req, sock, addr)
            elif not self._carry(claim, req, sock, connection.peer_address):
                raise StopIteration
        except (gevent.GreenletExit, SystemExit, TimeoutError):
            # TimeoutError: the client took nothing of its answer for too long.
            raise StopIteration from None

    def claim(self, req: Any) -> Claim | None:
        """Returns what is known of a call that goes straight through the pipeline; None for one that Flask answers."""
        return self._door.claim(req)

    def _carry(self, claim: Claim, req: Any, sock: Any, peer_address: str) -> bool:
        self._count_call()
        if self._has_hooks:
            self.cfg.pre_request(self, req)
        try:
            return self._door.carry(claim, req, sock, peer_address)
        except OSError:
            return False  # the client has gone
        finally:
            if self._has_hooks:
                # As gunicorn calls it; what went over the wire is not shown.
                with suppress(Exception):
                    self.cfg.post_request(self, req, {}, None)

    def _count_call(self) -> None:
        """`max_requests`: the worker ends after so many calls, and another takes its place."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False

    def _pass_on_to_flask(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        # WSGI joins repeated lines with commas; here they can still be told apart.
        check_unrepeated_headers(HeaderView(req.headers))
        req.unreader.sock = PacedSocket(sock, self._body_timeout_seconds, time.monotonic)
        try:
            # Not GeventWorker's: it swallows the kill at `graceful_timeout` and goes on to wait for a next request.
            AsyncWorker.handle_request(self, listener_name, req, sock, addr)
        except StopIteration:
            req.unreader.sock = sock
            drop_unread_body(req, sock)
            raise
        finally:
            req.unreader.sock = sock
        if not drop_unread_body(req, sock):
            raise StopIteration

    def wait_for_head(self, connection: Connection) -> None:
        """Waits for the first byte of a request; raises `StopIteration`, which ends the connection, when none comes."""
        if _has_more(connection):
            return
        self._idle.add(connection.sock)
        seconds = self._header_timeout_seconds if connection.is_first else self._keepalive_seconds
        try:
            wait_read(connection.sock.fileno(), timeout=seconds)
        except TimeoutError:
            raise StopIteration from None
        finally:
            self._idle.discard(connection.sock)

    def notify(self) -> None:
        """Called each second, also while stopping: idle connections end then, as nothing is in flight on them, and
        WebSockets and streams of events are told, for nothing else would end them."""
        super().notify()
        if self._lane is not None:
            self._lane.age()
        if not self.alive:
            self._tunnels.tell_going_away()
            self._event_streams.tell_going_away()
            for sock in tuple(self._idle):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RD)

    @property
    def header_timeout_seconds(self) -> float:
        return self._header_timeout_seconds

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answers what never reached the application; the caller ends the connection.

        Nobody is there to be answered after a TLS failure, and nothing is to be said when a stop kills the greenlet.
        """
        if not isinstance(exc, ssl.SSLError | gevent.GreenletExit | SystemExit):
            answer_refusal(exc, req, client, _get_peer_address(addr), self._metrics)


class _HeadWait:
    """A context that waits for a head's first byte and then bounds how long the rest of the head may take."""

    def __init__(self, worker: BffWorker, connection: Connection) -> None:
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


def _has_more(connection: Connection) -> bool:
    """Bytes of a next request are here already, or hidden in the TLS layer."""
    if isinstance(connection.sock, ssl.SSLSocket):
        return True
    return connection.unreader is not None and bool(connection.unreader.buf.getbuffer().nbytes)


def _get_peer_address(addr: Any) -> str:
    """The socket's other end, without its port; empty on a Unix socket."""
    return addr[0] if isinstance(addr, tuple) else ""
