"""Ends a connection under whoever is reading from it or writing to it, from another greenlet or thread."""

from __future__ import annotations

import contextlib
import socket
from typing import Any


def shut(sock: Any, direction: int = socket.SHUT_RDWR) -> None:
    """Wakes who waits on the socket; its owner still closes it. That it is gone already is what was wanted.

    Not `SSLSocket.shutdown`: that drops the TLS state, and who was writing would go on in plain text.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, direction)
