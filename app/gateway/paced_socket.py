"""A client's socket while a request body is read from it: whoever sends too slowly is given up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

LEAST_BYTES_A_SECOND = 1024


class PacedSocket:
    """Reading from it ends in `TimeoutError` when a body comes too slowly.

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
            restore_blocking(self._sock)
        self._received_bytes += len(received)
        return received

    def sendall(self, content: bytes) -> None:
        self._sock.settimeout(self._patience_seconds)
        try:
            self._sock.sendall(content)
        finally:
            restore_blocking(self._sock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def restore_blocking(sock: Any) -> None:
    """Takes the time limit off a socket, which may be closed by now."""
    with suppress(OSError):
        sock.settimeout(None)
