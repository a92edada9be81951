"""What a call to a backend consists of, free of sockets.

The gateway builds an `UpstreamRequest` and hands it to `UpstreamClient.open`. Bodies flow: nobody holds one as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class RequestBody(Protocol):
    """A body that is read once. The gateway's own body type fits by its shape."""

    @property
    def length(self) -> int | None:
        """Declared length in bytes; None when it comes chunked."""

    def read(self, max_bytes: int) -> bytes:
        """Returns 1 to `max_bytes` bytes as soon as some are there, b"" at the end."""


class UpstreamRequest:
    """One request to a backend.

    `target` is path and query exactly as they go on the request line, latin-1 decoded. `encoded_headers` and `headers`
    are complete but for Host, Content-Length, Transfer-Encoding and Connection, which belong to the connection and are
    written by the client. Target and headers may hold secrets, so neither is in the repr.
    """

    def __init__(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: RequestBody | None = None,
        *,
        build_url_headers: Callable[[str], list[tuple[str, str]]] | None = None,
        asks_for_websocket: bool = False,
        streaming: bool = False,
        encoded_headers: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.build_url_headers = build_url_headers
        """Makes further header lines for the URL that is really called. Asked anew for every attempt, as a proof that
        was seen once is of no more use (RFC 9449 §11.1)."""
        self.asks_for_websocket = asks_for_websocket
        """Asks the backend to switch to the WebSocket protocol, so that 101 is a final answer (RFC 9110 §15.2.2)."""
        self.streaming = streaming
        """True: the answer's body may be silent for as long as it likes, and may take longer than the total timeout."""
        self.encoded_headers = encoded_headers
        """Further lines, which were judged and encoded before (`encode_lines`); they stand before `headers`."""

    def with_url_headers(
        self, build_url_headers: Callable[[str], list[tuple[str, str]]], body: RequestBody | None
    ) -> UpstreamRequest:
        """Returns the same request with further lines for each attempt, and a body that more than one can read."""
        return UpstreamRequest(
            self.method,
            self.target,
            self.headers,
            body,
            build_url_headers=build_url_headers,
            asks_for_websocket=self.asks_for_websocket,
            streaming=self.streaming,
            encoded_headers=self.encoded_headers,
        )

    def __repr__(self) -> str:
        return f"<UpstreamRequest {self.method}>"


class UpstreamBrokenOffError(Exception):
    """The answer's body stopped before its end, after its head was passed on.

    No error answer is possible any more. A door that catches this must cut the client's connection, or else a truncated
    answer would look whole (RFC 9112 §8).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
