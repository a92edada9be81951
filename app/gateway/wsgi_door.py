"""What the WSGI door needs to speak with the pipeline: the request out of an environ, the body off the wire.

Works under any WSGI server; what gunicorn adds (`RAW_URI`, `gunicorn.socket`) is used where it is there. WSGI shows a
path percent-decoded once, so a server that does not hand over the wire text cannot be used: the path that is matched
must be the path that was sent.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from app.core.errors import BadRequestError, InternalError
from app.gateway.client_watch import ClientWatch
from app.gateway.messages import HeaderLines, ProxyRequest, ProxyResponse
from app.gateway.shutting import shut
from app.services.upstream_client import UpstreamBrokenOffError

Environ = Mapping[str, Any]

SLICE_BYTES = 128 * 1024


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class WsgiBody:
    """The body of a WSGI request, read in the pieces that arrive.

    A silent client is given up after `silence_seconds`, a body that ends before its declared length is refused:
    gunicorn reports neither.
    """

    def __init__(
        self, stream: _Readable, length: int | None, client_socket: socket.socket | None, silence_seconds: float
    ) -> None:
        self.length = length
        self._stream = stream
        self._received = 0
        self._socket = client_socket
        self._silence_seconds = silence_seconds

    def read(self, max_bytes: int) -> bytes:
        wanted = max_bytes if self.length is None else min(max_bytes, self.length - self._received)
        chunk = self._receive(wanted) if wanted else b""
        self._received += len(chunk)
        if not chunk and self.length is not None and self._received < self.length:
            raise BadRequestError("The request body ended before its declared length.")
        return chunk

    def _receive(self, wanted: int) -> bytes:
        if self._socket is not None:
            self._socket.settimeout(self._silence_seconds)
        try:
            return self._stream.read(wanted)
        except TimeoutError:
            raise BadRequestError("The request body did not arrive in time.") from None
        except OSError:
            raise BadRequestError("The connection broke while the request body was read.") from None
        except Exception as error:  # noqa: BLE001  a WSGI server raises classes of its own for broken framing
            raise BadRequestError("The request body is malformed.", internal_reason=type(error).__name__) from None
        finally:
            if self._socket is not None:
                self._socket.settimeout(None)


def build_proxy_request(environ: Environ, *, body_timeout_seconds: float) -> ProxyRequest:
    """Takes the call out of `environ`. Raises `InternalError` when the server does not hand over the wire text."""
    raw_target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if not isinstance(raw_target, str):
        raise InternalError(internal_reason="the WSGI server sets neither RAW_URI nor REQUEST_URI")
    return ProxyRequest(
        method=environ["REQUEST_METHOD"],
        raw_target=raw_target,
        headers=build_header_lines(environ),
        body=_open_body(environ, body_timeout_seconds),
        peer_address=environ.get("REMOTE_ADDR", ""),
        peer_scheme=environ.get("wsgi.url_scheme", "http"),
        can_tunnel="gunicorn.socket" in environ and environ.get("SERVER_PROTOCOL") == "HTTP/1.1",
    )


def build_header_lines(environ: Environ) -> HeaderLines:
    """Returns the request's header lines; WSGI has already joined repeated ones and forgotten their spelling."""
    lines = [
        (key[5:].replace("_", "-").title(), value)
        for key, value in environ.items()
        if key.startswith("HTTP_") and isinstance(value, str)
    ]
    for key, name in (("CONTENT_TYPE", "Content-Type"), ("CONTENT_LENGTH", "Content-Length")):
        if environ.get(key):
            lines.append((name, environ[key]))
    return lines


def _open_body(environ: Environ, silence_seconds: float) -> WsgiBody | None:
    declared = environ.get("CONTENT_LENGTH") or ""
    coding = environ.get("HTTP_TRANSFER_ENCODING", "").strip(" \t").lower()
    if coding == "chunked":
        length = None
    elif coding:
        # The server takes the chunks away and leaves what is in them as it is (RFC 9112 §6.1).
        raise BadRequestError("Only the transfer coding chunked is understood.")
    elif declared.isascii() and declared.isdigit():
        length = int(declared)
    elif declared:
        raise BadRequestError("Content-Length is not a number.")
    else:
        length = 0
    if length == 0:
        return None
    return WsgiBody(environ["wsgi.input"], length, environ.get("gunicorn.socket"), silence_seconds)


class WsgiAnswer:
    """The body iterable given to the WSGI server; its `close` is called once, also after HEAD and after a broken write.

    An answer that breaks off must not look whole (RFC 9112 §8): the client's connection is shut, so that neither a
    final chunk nor a next answer follows. A server that gives no access to the socket hears of it by the exception.
    """

    def __init__(
        self, response: ProxyResponse, client_socket: socket.socket | None, method: str, stall_seconds: float
    ) -> None:
        """`stall_seconds`: how long the client may take to accept `SLICE_BYTES`."""
        self._response = response
        self._socket = client_socket
        if client_socket is not None:
            response.cut_client = partial(shut, client_socket)
        self._stall_seconds = stall_seconds
        self._is_head = method == "HEAD"
        self._watch: ClientWatch | None = None

    def __iter__(self) -> Iterator[bytes]:
        if self._socket is not None and self._response.break_off is not None:
            self._watch = ClientWatch(self._socket, self._response.break_off)
            self._watch.start()
        try:
            for piece in self._response.body:
                if not self._is_head:
                    yield from self._hand_over(piece)
        except UpstreamBrokenOffError:
            if self._socket is None:
                raise
            shut(self._socket)

    def _hand_over(self, piece: bytes) -> Iterator[bytes]:
        """Gives the server a slice at a time, each to be written within the time limit: who never reads does not hold
        a connection to the backend for ever."""
        if self._socket is not None:
            self._socket.settimeout(self._stall_seconds)
        if len(piece) <= SLICE_BYTES:
            yield piece
        else:
            for start in range(0, len(piece), SLICE_BYTES):
                yield piece[start : start + SLICE_BYTES]

    def close(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.settimeout(None)
        self._response.close()


class WsgiTunnel:
    """Given to gunicorn in place of a body: it writes the head of the 101, asks for the first piece, and so gives the
    client's socket away until the tunnel is over. Whatever the client may have sent behind it is no request."""

    def __init__(self, response: ProxyResponse, client_socket: socket.socket) -> None:
        self._response = response
        self._socket = client_socket

    def __iter__(self) -> Iterator[bytes]:
        yield b""  # with this gunicorn writes the head
        tunnel = self._response.tunnel
        if tunnel is not None:
            tunnel(self._socket, b"")
        # The one way to have gunicorn end the connection without reading on; it takes it for a client who has gone.
        raise BrokenPipeError(errno.EPIPE, "the tunnel is over")

    def close(self) -> None:
        self._response.close()
