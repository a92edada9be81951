"""Sends one request over a connection and reads the head of its answer.

While a body is sent, the other direction is watched: a backend may answer early, say 413, and stop reading (RFC 9112
§9.5). An early answer of 300 and above ends the upload. An early 2xx does not, for a backend may begin to answer
while it still reads.
"""

from __future__ import annotations

from app.core.errors import UpstreamBadResponseError, UpstreamTimeoutError
from app.services.upstream_connection import UpstreamConnection, WaitLimits
from app.services.upstream_response_head import ResponseHead, parse_response_head
from app.services.upstream_upload import Upload

PIECE_BYTES = 65536
LARGE_PIECE_BYTES = 1048576
LARGE_PIECES_AFTER_BYTES = 2097152
"""Large pieces halve the CPU time a byte, but only a body of some size is worth the memory."""

_MAX_INTERIM_ANSWERS = 16


class ConnectionLostError(Exception):
    """The backend closed before a single byte of an answer."""

    def __init__(self, cause: OSError | None = None, *, was_anything_sent: bool) -> None:
        reason = f": {cause}" if cause else ""
        super().__init__(f"the backend closed the connection without an answer{reason}")
        self.was_anything_sent = was_anything_sent


class Exchange:
    """One request and the head of its answer, on one connection. Used once."""

    __slots__ = (
        "_connection",
        "_head",
        "_interim_answers",
        "_may_switch",
        "_received",
        "_searched_bytes",
        "is_sent",
    )

    def __init__(self, connection: UpstreamConnection, *, may_switch: bool = False) -> None:
        """`may_switch`: the request asks for another protocol."""
        self._connection = connection
        self._may_switch = may_switch
        self._head: ResponseHead | None = None
        self._received = b""
        self._searched_bytes = 0
        self._interim_answers = 0
        self.is_sent = False
        """Whether the request went out whole; else the connection can carry no other."""

    def send(self, head: bytes, upload: Upload, limits: WaitLimits) -> None:
        """Sends the request, or as much of it as the backend takes; `read_head` tells why it took no more.

        Raises `UpstreamTimeoutError`, `UpstreamBadResponseError`, `ConnectionLostError`, and what reading the body
        raises.
        """
        message = head + upload.first_piece if upload.first_piece else head
        try:
            sent_bytes = self._connection.send(message)
        except OSError as error:
            raise ConnectionLostError(error, was_anything_sent=False) from error
        if sent_bytes < len(message) and not self._send_watching(memoryview(message)[sent_bytes:], limits):
            return
        self.is_sent = upload.is_whole or self._send_rest(upload, limits)

    def read_head(self, limits: WaitLimits) -> tuple[ResponseHead, bytes]:
        """Returns the final head and the bytes that came behind it; interim answers are dropped (RFC 9110 §15.2).

        Raises `UpstreamTimeoutError`, `UpstreamBadResponseError`, `ConnectionLostError`.
        """
        wait_limits = limits
        while (head := self._head) is None:
            interim_answers = self._interim_answers
            try:
                received = self._connection.receive_answer(PIECE_BYTES, wait_limits.get_seconds())
            except TimeoutError:
                raise UpstreamTimeoutError(internal_reason="the backend gave no answer in time") from None
            except OSError as error:
                raise self._judge_loss(error) from error
            self._take(received)
            is_new_answer = wait_limits is limits or interim_answers != self._interim_answers
            if self._head is None and is_new_answer:
                # A head that comes in drops must not reset the clock with each of them.
                wait_limits = limits.begin_last_wait()
        return head, self._received

    def _send_rest(self, upload: Upload, limits: WaitLimits) -> bool:
        """Returns whether the whole of it was sent."""
        piece_bytes, flowed_bytes = PIECE_BYTES, 0
        while piece := upload.read(piece_bytes):
            if self._is_refused_early() or not self._send_watching(memoryview(piece), limits):
                return False
            flowed_bytes += len(piece)
            if flowed_bytes >= LARGE_PIECES_AFTER_BYTES:
                piece_bytes = LARGE_PIECE_BYTES
        return True

    def _send_watching(self, unsent: memoryview, limits: WaitLimits) -> bool:
        """Returns False when the backend refused or closed before it took everything."""
        while unsent:
            try:
                sent_bytes = self._connection.send(unsent)
            except OSError:
                return False
            unsent = unsent[sent_bytes:]
            if not sent_bytes:
                self._wait_to_send(limits)
                if self._is_refused_early():
                    return False
        return True

    def _wait_to_send(self, limits: WaitLimits) -> None:
        try:
            self._connection.wait_to_send(limits.get_seconds(), or_receive=self._head is None)
        except TimeoutError:
            raise UpstreamTimeoutError(internal_reason="the backend stopped reading the request") from None

    def _is_refused_early(self) -> bool:
        if self._head is None:
            try:
                received = self._connection.receive_at_hand(PIECE_BYTES)
            except OSError as error:
                raise self._judge_loss(error) from error
            if received is not None:
                self._take(received)
        return self._head is not None and self._head.status >= 300

    def _take(self, received: bytes) -> None:
        if not received:
            raise self._judge_loss()
        self._received = self._received + received if self._received else received
        while self._received and self._head is None:
            head = parse_response_head(self._received, self._searched_bytes)
            if head is None:
                self._searched_bytes = len(self._received)
                return
            self._received = self._received[head.size :]
            self._searched_bytes = 0
            if head.status >= 200 or (head.status == 101 and self._may_switch):
                self._head = head
            else:
                self._skip_interim(head)

    def _skip_interim(self, head: ResponseHead) -> None:
        self._interim_answers += 1
        if head.status == 101:
            # RFC 9110 §15.2.2: nobody asked for it.
            raise UpstreamBadResponseError(internal_reason="the backend switched protocols")
        if self._interim_answers > _MAX_INTERIM_ANSWERS:
            raise UpstreamBadResponseError(internal_reason="the backend sent interim answers only")

    def _judge_loss(self, cause: OSError | None = None) -> Exception:
        if self._received or self._interim_answers:
            return UpstreamBadResponseError(internal_reason="the backend closed in the middle of its answer's head")
        return ConnectionLostError(cause, was_anything_sent=True)
