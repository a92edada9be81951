"""Notices that a client has gone while its answer says nothing for a long time: a server-sent event stream, mostly.

Writing would tell, but there is nothing to write. So the socket is asked: it becomes readable when the client closes.
Only answers that may be silent for long are watched.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from app.services.green_sockets import is_green

STEP_SECONDS = 1.0
"""How long a thread outlives its answer at most."""
_READABLE = 1


class ClientWatch:
    """Calls `on_gone`, once, when the client closes before `stop` was called.

    A client that closes its sending half counts as gone. One that sends its next request already (pipelining) cannot
    be told from one that stays, and is not watched any longer.
    """

    __slots__ = ("_on_gone", "_socket", "_watch")

    def __init__(self, client_socket: socket.socket, on_gone: Callable[[], None]) -> None:
        """`on_gone` comes from the event loop or from another thread, and may not wait."""
        self._socket = client_socket
        self._on_gone = on_gone
        self._watch: _LoopWatch | _ThreadWatch | None = None

    def start(self) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            return  # what is readable there may be a part of a record, and cannot be looked at without taking it
        watch = _LoopWatch if is_green(self._socket) else _ThreadWatch
        self._watch = watch(self._socket, self._on_gone)

    def stop(self) -> None:
        if self._watch is not None:
            self._watch.stop()


class _LoopWatch:
    """Under gevent the event loop tells. A greenlet that waits would cost 13 KiB."""

    __slots__ = ("_on_gone", "_peek", "_watcher")

    def __init__(self, client_socket: Any, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone
        self._peek = client_socket._sock.recv  # gevent's own `recv` may wait, which nothing may in the loop
        self._watcher = client_socket.hub.loop.io(client_socket.fileno(), _READABLE)
        self._watcher.start(self._look)

    def stop(self) -> None:
        self._watcher.close()

    def _look(self) -> None:
        try:
            is_here = bool(self._peek(1, socket.MSG_PEEK))
        except BlockingIOError:
            return
        except OSError:  # reset by the client
            is_here = False
        self._watcher.stop()
        if not is_here:
            self._on_gone()


class _ThreadWatch:
    """Under any other server: a thread waits."""

    def __init__(self, client_socket: socket.socket, on_gone: Callable[[], None]) -> None:
        self._socket = client_socket
        self._on_gone = on_gone
        self._is_over = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="client-watch").start()

    def stop(self) -> None:
        self._is_over.set()

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                poller = select.poll()  # select() refuses descriptors from 1024 on: some five hundred calls
                poller.register(self._socket, select.POLLIN)
                readable = bool(poller.poll(STEP_SECONDS * 1000))
                if readable and self._is_over.is_set():
                    return
                if readable and self._socket.recv(1, socket.MSG_PEEK):
                    return
            except (OSError, ValueError):  # reset by the client, or closed by the server since
                readable = True
            if readable and not self._is_over.is_set():
                self._on_gone()
                return
