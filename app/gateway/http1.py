"""Writes an answer to a client's socket in HTTP/1.1 or 1.0 (RFC 9112).

The head leaves together with as much of the body as is at hand, and at once where none is. What follows is framed by
its declared length, else in chunks, else (HTTP/1.0) by the end of the connection. An answer that does not come to its
end must not look whole: no final chunk follows, and where only the end of the connection would tell, it is reset.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from app.core.errors import InternalError
from app.gateway.messages import HeaderLines, ProxyResponse
from app.gateway.paced_socket import restore_blocking
from app.services.green_sockets import is_green

SERVER_NAME = "bff"
"""The answer's `Server` line need not tell anybody what to look up."""
SLICE_BYTES = 128 * 1024
LARGEST_JOINED_BYTES = 64 * 1024
"""Up to here copying a piece behind its chunk line is cheaper than another system call."""

_SERVER_LINE = f"Server: {SERVER_NAME}"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CONTENT_LENGTH_CHARS = len("Content-Length")
_NO_CONTENT = HTTPStatus.NO_CONTENT.value
_BODILESS_STATUSES = frozenset({_NO_CONTENT, HTTPStatus.NOT_MODIFIED.value})


class ClientWriter:
    """Sends to one client, who has to accept `SLICE_BYTES` in each `stall_seconds`.

    Who never reads would else hold a connection to the backend for ever. Raises `TimeoutError` and other `OSError`s.
    Between two calls the socket has no time limit.
    """

    __slots__ = ("_accepted_bytes", "_deadline", "_monotonic", "_raw", "_socket", "_stall_seconds")

    def __init__(self, client_socket: Any, stall_seconds: float, monotonic: Callable[[], float]) -> None:
        self._socket = client_socket
        self._raw: Any = client_socket._sock if is_green(client_socket) else None
        """Takes what can be taken at once."""
        self._stall_seconds = stall_seconds
        self._monotonic = monotonic
        self._accepted_bytes = 0
        self._deadline = 0.0

    def send(self, content: bytes) -> None:
        try:
            sent: int = self._raw.send(content) if self._raw is not None else 0
        except BlockingIOError:
            sent = 0
        if sent < len(content):
            self._send_rest(memoryview(content)[sent:])

    def _send_rest(self, rest: memoryview) -> None:
        """A time limit of each wait alone would let a reader drip along for ever."""
        self._begin_slice()
        try:
            while rest:
                left_seconds = self._deadline - self._monotonic()
                if left_seconds <= 0:
                    raise TimeoutError
                self._socket.settimeout(left_seconds)
                sent = self._socket.send(rest)
                rest = rest[sent:]
                self._accepted_bytes += sent
                if self._accepted_bytes >= SLICE_BYTES:
                    self._begin_slice()
        finally:
            restore_blocking(self._socket)

    def _begin_slice(self) -> None:
        self._accepted_bytes = 0
        self._deadline = self._monotonic() + self._stall_seconds


class AnswerWriter:
    """One answer. `goes_on` is settled before the head is written: whether the connection is to carry another call."""

    __slots__ = ("_body_bytes_left", "_framing", "_minor_version", "_response", "goes_on")

    def __init__(self, response: ProxyResponse, method: str, minor_version: int, *, may_go_on: bool) -> None:
        self._response = response
        self._minor_version = minor_version
        self._body_bytes_left = 0
        self._framing = self._choose_framing(method)
        self.goes_on = may_go_on and self._framing != "close"

    def write(self, client: ClientWriter) -> None:
        """Writes all of it. Raises what the body raises, and `OSError` of the client's socket; either way what was sent
        does not look whole, provided the connection is ended with `break_off`."""
        response = self._response
        unsent = self._build_head()
        pieces = iter(response.body)
        if self._framing == "none":
            client.send(unsent)
            for _ in pieces:
                pass
            return
        if response.has_piece_at_hand:
            unsent += self._frame(next(pieces, b""))
        if response.is_whole_at_hand:
            client.send(unsent + self._end())
            # Only now, for it is with this step that the body learns of its end.
            for _ in pieces:
                raise InternalError(internal_reason="the body of an answer is longer than was said")
            return
        client.send(unsent)
        self._write_pieces(client, pieces)

    def break_off(self, client_socket: Any) -> None:
        """Makes sure that the answer, cut off as it is, does not pass for a whole one."""
        if self._framing == "close":
            client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _write_pieces(self, client: ClientWriter, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            if len(piece) <= LARGEST_JOINED_BYTES or self._framing != "chunked":
                client.send(self._frame(piece))
            else:
                client.send(b"%x\r\n" % len(piece))
                client.send(piece)
                client.send(b"\r\n")
        end = self._end()
        if end:
            client.send(end)

    def _frame(self, piece: bytes) -> bytes:
        if self._framing == "chunked":
            # An empty chunk would be the last one.
            return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
        if self._framing == "length":
            self._body_bytes_left -= len(piece)
            if self._body_bytes_left < 0:
                raise InternalError(internal_reason="the body of an answer is longer than declared")
        return piece

    def _end(self) -> bytes:
        if self._framing == "length" and self._body_bytes_left:
            raise InternalError(internal_reason="the body of an answer is shorter than declared")
        return b"0\r\n\r\n" if self._framing == "chunked" else b""

    def _choose_framing(self, method: str) -> str:
        """RFC 9112 §6.3. Sets how long the body has to be where that is declared."""
        if method == "HEAD" or self._response.status in _BODILESS_STATUSES:
            return "none"
        for name, value in self._response.headers:
            if len(name) == _CONTENT_LENGTH_CHARS and name.lower() == "content-length":
                self._body_bytes_left = int(value)
                return "length"
        return "chunked" if self._minor_version else "close"

    def _build_head(self) -> bytes:
        response = self._response
        lines = [
            f"HTTP/1.{self._minor_version} {response.status:d} {response.reason}",
            _SERVER_LINE,
            _get_date_line(),
            "Connection: keep-alive" if self.goes_on else "Connection: close",
        ]
        if self._framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        headers = response.headers
        if response.status == _NO_CONTENT:
            headers = _drop_length(headers)
        lines += map(": ".join, headers)
        return _encode_head(lines)


def build_switch_head(response: ProxyResponse) -> bytes:
    """Returns the head of a 101, behind which another protocol is spoken (RFC 9110 §15.2.2)."""
    return _encode_head(
        [
            f"HTTP/1.1 {response.status:d} {response.reason}",
            _SERVER_LINE,
            _get_date_line(),
            *map(": ".join, response.headers),
        ]
    )


def _encode_head(lines: list[str]) -> bytes:
    text = "".join(lines)
    # To look for each alone is much cheaper than to count them between the lines.
    if "\r" in text or "\n" in text:
        raise InternalError(internal_reason="a header line of an answer holds a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _drop_length(headers: HeaderLines) -> HeaderLines:
    """RFC 9110 §8.6: a 204 says nothing of its length."""
    return [(name, value) for name, value in headers if name.lower() != "content-length"]


_date_now = (0, "")


def _get_date_line() -> str:
    """The present second as RFC 9110 §5.6.7 wants it; made once a second."""
    global _date_now
    now = int(time.time())
    if _date_now[0] != now:
        _date_now = (now, f"Date: {formatdate(now, usegmt=True)}")
    return _date_now[1]
