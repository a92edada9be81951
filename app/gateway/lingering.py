"""Ends what a client still sends when nobody wants it: within bounds, and so that the client sees its answer.

Closing a connection with unread bytes resets it, which takes the answer away from whoever is still sending (RFC 9112
§9.6). So what comes is read and dropped for a moment, and a bounded number of bytes.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.http import errors as parse_errors

from app.gateway.paced_socket import restore_blocking

LINGER_SECONDS = 2.0
LINGER_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024


def drop_unread_body(req: Any, sock: Any) -> bool:
    """Reads what is left of a request's body. False: not all of it came, and the connection must end."""
    deadline = time.monotonic() + LINGER_SECONDS
    dropped = 0
    try:
        while time.monotonic() < deadline and dropped < LINGER_BYTES:
            sock.settimeout(LINGER_SECONDS)
            piece = req.body.read(_PIECE_BYTES)
            if not piece:
                return not req.body.failed
            dropped += len(piece)
    except (OSError, parse_errors.ParseException):
        return False
    finally:
        restore_blocking(sock)
    return False


def linger(sock: Any) -> None:
    """Says that nothing more is coming, and reads on until the client has closed, too."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        _drain(sock)


def _drain(sock: Any) -> None:
    deadline = time.monotonic() + LINGER_SECONDS
    dropped = 0
    while dropped < LINGER_BYTES and (left_seconds := deadline - time.monotonic()) > 0:
        sock.settimeout(left_seconds)
        piece = sock.recv(_PIECE_BYTES)
        if not piece:
            return
        dropped += len(piece)
