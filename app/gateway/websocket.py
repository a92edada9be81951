"""Tunnels: what follows a 101. Bytes pass both ways as they come, one piece in memory each way, until one end closes.

The frames are not looked into, but followed, so that a tunnel that we end (its session is over, the worker stops, it
idles) can end with a close frame: 1008 `session_expired` or `token_invalid`, or 1001. A page can then tell the end of
its session from a network that failed. Where the backend is in the middle of a frame, or the client does not read, the
connection is cut.

Each direction has its own thread (a greenlet under gevent), which alone writes to its target. Who does not take what is
sent to him within the time limit is cut off, so that a reader who does not read holds 64 KiB and no more, for a while.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any

from app.core.websocket import GOING_AWAY, POLICY_VIOLATION, FrameTracker, build_close_frame
from app.gateway.call import Call
from app.gateway.shutting import shut

PIECE_BYTES = 65536
IDLE_SECONDS = 600.0
"""A tunnel through which nothing passes for so long is ended."""
CUT_AFTER_SECONDS = 2.0
"""How long an end that we want may take before it is made."""


class Tunnels:
    """All that are open in this worker."""

    def __init__(self, count: Callable[[int], None] = lambda _: None) -> None:
        """`count` is told of each one more and each one less."""
        self._open: set[Tunnel] = set()
        self._count = count

    def add(self, tunnel: Tunnel) -> None:
        self._open.add(tunnel)
        self._count(1)

    def remove(self, tunnel: Tunnel) -> None:
        self._open.remove(tunnel)
        self._count(-1)

    def tell_going_away(self) -> None:
        """The worker stops: clients connect anew, and to another one. Again and again is as good as once."""
        for tunnel in tuple(self._open):
            tunnel.end(GOING_AWAY, "going_away")


class Tunnel:
    """One. `run` is called by the door that holds the client's socket; `end` from anywhere."""

    def __init__(
        self,
        backend: socket.socket,
        at_hand: bytes,
        call: Call,
        *,
        stall_seconds: float,
        monotonic: Callable[[], float],
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """`at_hand` came from the backend behind its 101."""
        self._backend = backend
        self._at_hand = at_hand
        self._call = call
        self._stall_seconds = stall_seconds
        self._monotonic = monotonic
        self._idle_seconds = idle_seconds
        self._client: Any = None
        self._to_client, self._to_backend = FrameTracker(), FrameTracker()
        self._passed_at = monotonic()
        self._closing = threading.Lock()
        self._close_code: tuple[int, str] | None = None
        self._is_over = False
        self._cutter: threading.Timer | None = None

    def run(self, client: Any, at_hand: bytes = b"") -> None:
        """Passes bytes until the tunnel is over; both sockets can carry nothing else afterwards. `at_hand` came from
        the client already."""
        self._client = client
        for end in (client, self._backend):
            end.settimeout(self._stall_seconds)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        upward = threading.Thread(target=self._pass_upward, args=(at_hand,), daemon=True, name="tunnel")
        upward.start()
        try:
            self._pass_downward()
            self._say_goodbye_to_client()
            # A client who was told replies and closes; who closed first is through already.
            upward.join(CUT_AFTER_SECONDS if self._close_code else 0)
        finally:
            self._is_over = True
            if not self._to_client.has_closed and not self._to_backend.has_closed:
                self._call.is_cut_off = True
            self._cut()
            upward.join()
            if self._cutter is not None:
                self._cutter.cancel()

    def end(self, code: int, reason: str, *, error_code: str = "") -> None:
        """Ends the tunnel with a close frame, or without one after `CUT_AFTER_SECONDS`. Does not wait.

        Who comes first says why; `error_code` is what the access record says."""
        with self._closing:
            if self._close_code is not None or self._is_over:
                return
            self._close_code = (code, reason)
            self._call.error_code = error_code
        self._cutter = threading.Timer(CUT_AFTER_SECONDS, self._cut)
        self._cutter.daemon = True
        self._cutter.start()
        shut(self._backend, socket.SHUT_RD)  # wakes who waits for it, who then says goodbye

    def end_with_admission(self, code: str) -> None:
        """What let the call in is over; `code` tells a next call the same."""
        self.end(POLICY_VIOLATION, code, error_code=code)

    def _pass_downward(self) -> None:
        """Backend to client."""
        piece = self._at_hand
        with contextlib.suppress(OSError):
            while piece or (piece := self._receive(self._backend)):
                self._to_client.take(piece)
                self._client.sendall(piece)
                self._call.bytes_out += len(piece)
                piece = b""
                if self._close_code is not None and self._to_client.is_between_frames:
                    return

    def _pass_upward(self, piece: bytes) -> None:
        """Client to backend; what comes after a goodbye is dropped."""
        with contextlib.suppress(OSError):
            while piece or (piece := self._receive(self._client)):
                if self._close_code is None:
                    self._to_backend.take(piece)
                    self._backend.sendall(piece)
                    self._call.bytes_in += len(piece)
                piece = b""
        if self._close_code is not None and self._to_backend.is_between_frames and not self._to_backend.has_closed:
            with contextlib.suppress(OSError):
                self._backend.sendall(build_close_frame(GOING_AWAY, "", mask=secrets.token_bytes(4)))
        shut(self._backend)  # the other direction has nobody left to write to

    def _receive(self, source: Any) -> bytes:
        """Returns b"" at the end. A time limit is but a look at the clock: silence in one direction is no fault."""
        while True:
            try:
                received: bytes = source.recv(PIECE_BYTES)
            except TimeoutError:
                if self._monotonic() - self._passed_at >= self._idle_seconds:
                    self.end(GOING_AWAY, "idle")
                continue
            self._passed_at = self._monotonic()
            return received

    def _say_goodbye_to_client(self) -> None:
        if self._close_code is None or not self._to_client.is_between_frames or self._to_client.has_closed:
            return
        with contextlib.suppress(OSError):
            self._client.sendall(build_close_frame(*self._close_code))
        shut(self._client, socket.SHUT_WR)

    def _cut(self) -> None:
        shut(self._client)
        shut(self._backend)
