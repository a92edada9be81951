"""A backend's answer whose head has come and whose body is still under way.

The connection goes back to its pool at the moment the body is complete, provided that request and answer came to
their ends, nothing came behind the answer, and the backend keeps the connection. In every other case it is closed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from app.core.errors import UpstreamBadResponseError
from app.services.upstream_body import (
    BodyFraming,
    ChunkedBody,
    LengthBody,
    MalformedBodyError,
    NoBody,
    UntilCloseBody,
)
from app.services.upstream_connection import IDLE_LIMIT_SECONDS, UpstreamConnection, WaitLimits
from app.services.upstream_exchange import LARGE_PIECE_BYTES, LARGE_PIECES_AFTER_BYTES, PIECE_BYTES
from app.services.upstream_messages import UpstreamBrokenOffError
from app.services.upstream_pool import UpstreamPool
from app.services.upstream_response_head import ResponseHead


class UpstreamResponse:
    """Whoever gets one calls `close`, whatever happened. The body can be read once."""

    __slots__ = (
        "_can_be_reused",
        "_connection",
        "_framing",
        "_held",
        "_is_closed",
        "_is_reading",
        "_limits",
        "_piece_at_hand",
        "_pool",
        "content_length",
        "headers",
        "reason",
        "status",
    )

    def __init__(
        self,
        head: ResponseHead,
        method: str,
        received: bytes,
        connection: UpstreamConnection,
        pool: UpstreamPool,
        body_limits: WaitLimits,
        *,
        is_request_sent: bool,
    ) -> None:
        """`received` came behind the head. Raises `UpstreamBadResponseError` when it breaks the framing; `connection`
        is then still the caller's."""
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        """The lines as they came, hop-by-hop ones included."""
        self.content_length = head.content_length
        """As declared, None where nothing is; to HEAD and in a 304 it describes a body that does not come."""
        self._framing = _choose_framing(head, method)
        self._connection = connection
        self._held = [connection]
        """Emptied by whoever settles what becomes of the connection: `pop` lets exactly one succeed."""
        self._pool = pool
        self._limits = body_limits
        self._can_be_reused = head.is_persistent and is_request_sent
        self._is_reading = False
        self._is_closed = False
        try:
            self._piece_at_hand = self._framing.take(received)
        except MalformedBodyError as error:
            raise UpstreamBadResponseError(internal_reason=str(error)) from None
        if head.keep_alive_seconds is not None:
            # A second early, so as not to send when the backend is closing.
            connection.idle_limit_seconds = min(IDLE_LIMIT_SECONDS, max(0, head.keep_alive_seconds - 1))
        if self._framing.is_complete:
            self._let_go()

    @property
    def has_piece_at_hand(self) -> bool:
        """Whether the first piece came with the head."""
        return bool(self._piece_at_hand)

    @property
    def is_whole_at_hand(self) -> bool:
        """Whether the whole body, which may be empty, came with the head."""
        return self._framing.is_complete

    def take_tunnel(self) -> tuple[socket.socket, bytes]:
        """After a 101: the socket, for the caller to speak the other protocol over, and what came behind the head.

        `close` is still the caller's to call, when nobody uses the socket any more.
        """
        return self._connection.tunnel_socket, self.take_piece_at_hand()

    def take_piece_at_hand(self) -> bytes:
        """Returns what came with the head, which `iter_body` yields no more."""
        piece, self._piece_at_hand = self._piece_at_hand, b""
        return piece

    def iter_body(self) -> Iterator[bytes]:
        """Yields the body's bytes as they arrive, in pieces of at most 1 MiB.

        Raises `UpstreamBrokenOffError` when the body does not come to its end, is silent for too long, or `close` was
        called.
        """
        if self._piece_at_hand:
            yield self.take_piece_at_hand()
        piece_bytes, flowed_bytes = PIECE_BYTES, 0
        while not self._framing.is_complete:
            received = self._receive(piece_bytes)
            piece = self._unframe(received)
            flowed_bytes += len(received)
            if flowed_bytes >= LARGE_PIECES_AFTER_BYTES:
                piece_bytes = LARGE_PIECE_BYTES
            if piece:
                yield piece

    def close(self) -> None:
        """Ends the exchange. Idempotent; called while another greenlet or thread reads the body, it ends that read."""
        if not self._held:
            return  # the usual case: the answer came to its end
        try:
            connection = self._held.pop()
        except IndexError:
            return
        self._is_closed = True
        if self._is_reading:
            connection.break_off()  # the reader wakes up and discards it: a socket must not be closed under a read
        else:
            self._pool.discard(connection)

    def _receive(self, max_bytes: int) -> bytes:
        """The order of the two flags matters: either the reader sees `_is_closed` or the closer sees `_is_reading`."""
        self._is_reading = True
        try:
            if self._is_closed:
                raise UpstreamBrokenOffError("the call was closed")
            return self._connection.receive(max_bytes, self._limits.get_seconds())
        except TimeoutError:
            raise self._break_off("the backend was silent for too long") from None
        except OSError as error:
            raise self._break_off(f"the connection to the backend failed: {error}") from error
        finally:
            self._is_reading = False
            if self._is_closed:
                self._pool.discard(self._connection)

    def _unframe(self, received: bytes) -> bytes:
        if self._is_closed:
            raise UpstreamBrokenOffError("the call was closed")
        try:
            if received:
                piece = self._framing.take(received)
            else:
                self._can_be_reused = False
                self._framing.end()
                piece = b""
        except MalformedBodyError as error:
            raise self._break_off(str(error)) from None
        if self._framing.is_complete:
            self._let_go()
        return piece

    def _let_go(self) -> None:
        """The answer is complete: the connection is free before the last bytes are passed on."""
        try:
            connection = self._held.pop()
        except IndexError:
            return
        if self._can_be_reused and not self._framing.has_surplus:
            self._pool.give_back(connection)
        else:
            self._pool.discard(connection)

    def _break_off(self, reason: str) -> UpstreamBrokenOffError:
        self.close()
        return UpstreamBrokenOffError(reason)


def _choose_framing(head: ResponseHead, method: str) -> BodyFraming:
    """RFC 9112 §6.3, in its order. After a 101 no message follows; what comes belongs to another protocol."""
    if head.status == 101:
        return UntilCloseBody()
    if not head.has_body(method) or head.content_length == 0:
        return NoBody()
    if head.is_chunked:
        return ChunkedBody()
    if head.content_length is not None:
        return LengthBody(head.content_length)
    return UntilCloseBody()
