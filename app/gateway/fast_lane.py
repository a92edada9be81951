"""Answers the plain calls of a connection one after the other, before gunicorn's parser sees anything of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.gateway.fast_head import LARGEST_PLAIN_BYTES
from app.gateway.known_heads import KnownHeads
from app.gateway.worker_door import WorkerDoor
from app.services.green_sockets import GreenSocket


class Connection:
    """What is known about the connection that the current greenlet serves."""

    def __init__(self, sock: Any, peer_address: str, *, is_public: bool) -> None:
        self.sock = sock
        self.peer_address = peer_address
        self.is_public = is_public
        self.is_first = True
        self.request: Any = None
        """The one that gunicorn's parser has read last."""
        self.unreader: Any = None
        """Holds what was received and not parsed: a next request that came early (pipelining)."""


class FastLane:
    """One a worker."""

    def __init__(
        self,
        heads: KnownHeads,
        door: WorkerDoor,
        *,
        count_call: Callable[[], None],
        idle: set[Any],
        header_timeout_seconds: float,
        keepalive_seconds: float,
    ) -> None:
        """`count_call` is told of each call before it is answered. In `idle` are the sockets on which nothing is under
        way."""
        self._heads = heads
        self._door = door
        self._count_call = count_call
        self._idle = idle
        self._header_timeout_seconds = header_timeout_seconds
        self._keepalive_seconds = keepalive_seconds

    def answer_plain_calls(self, connection: Connection, green: GreenSocket) -> bytes:
        """Returns the first bytes of what is no plain call to a route, with nothing done about it; empty when the
        connection is over: the client has closed, nothing has come in time, or the last answer ended it.

        Raises `OSError` when the client is gone or does not take its answer in time.
        """
        while True:
            received: bytes = connection.unreader.take_buffered() or self._receive(connection, green)
            if not received:
                return b""
            connection.is_first = False
            head = self._heads.parse(received, connection.peer_address)
            if head is None:
                return received
            if head.size < len(received):
                connection.unreader.unread(received[head.size :])
            self._count_call()
            goes_on = self._door.carry_plain(head, connection.sock, connection.peer_address)
            self._heads.keep(head)
            if not goes_on:
                return b""

    def age(self) -> None:
        """To be called now and then, so that heads are forgotten also where no others come."""
        self._heads.age()

    def _receive(self, connection: Connection, green: GreenSocket) -> bytes:
        """Waits for the first bytes of a request; empty when the client has closed. Raises `OSError` when none come in
        time."""
        self._idle.add(connection.sock)
        try:
            return green.receive(
                LARGEST_PLAIN_BYTES,
                self._header_timeout_seconds if connection.is_first else self._keepalive_seconds,
            )
        finally:
            self._idle.discard(connection.sock)
