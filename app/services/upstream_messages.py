"""What a call to a backend consists of, free of sockets.

The gateway builds an `UpstreamRequest` and hands it to `UpstreamClient.open`. Bodies flow: nobody holds one as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec


class RequestBody(Protocol):
    """A body that is read once. The gateway's own body type fits by its shape."""

    @property
    def length(self) -> int | None:
        """Declared length in bytes; None when it comes chunked."""

    def read(self, max_bytes: int) -> bytes:
        """Returns 1 to `max_bytes` bytes as soon as some are there, b"" at the end."""


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One request to a backend.

    `target` is path and query exactly as they go on the request line, latin-1 decoded. `encoded_headers` and `headers`
    are complete but for Host, Content-Length, Transfer-Encoding and Connection, which belong to the connection and are
    written by the client. Target and headers may hold secrets, so neither is in the repr.
    """

    method: str
    target: str
    headers: Sequence[tuple[str, str]] = ()
    body: RequestBody | None = None
    build_url_headers: Callable[[str], list[tuple[str, str]]] | None = None
    """Makes further header lines for the URL that is really called. Asked anew for every attempt, as a proof that was
    seen once is of no more use (RFC 9449 §11.1)."""
    asks_for_websocket: bool = False
    """Asks the backend to switch to the WebSocket protocol, so that 101 is a final answer (RFC 9110 §15.2.2)."""
    streaming: bool = False
    """True: the answer's body may be silent for as long as it likes, and may take longer than the total timeout."""

    encoded_headers: bytes = b""
    """Further lines, which were judged and encoded before (`encode_lines`); they stand before `headers`."""

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
