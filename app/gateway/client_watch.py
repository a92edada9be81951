"""Notices that a client has gone while its answer says nothing for a long time: a server-sent event stream, mostly.

Writing would tell, but there is nothing to write. So the socket is asked: it becomes readable when the client closes.
One thread (a greenlet under gevent) per watched answer; only answers that may be silent for long are watched.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable

STEP_SECONDS = 1.0
"""How long a watch outlives its answer at most."""


class ClientWatch:
    """Calls `on_gone`, once, when the client closes before `stop` was called.

    A client that closes its sending half counts as gone. One that sends its next request already (pipelining) cannot
    be told from one that stays, and is not watched any longer.
    """

    def __init__(self, client_socket: socket.socket, on_gone: Callable[[], None]) -> None:
        self._socket = client_socket
        self._on_gone = on_gone
        self._is_over = threading.Event()

    def start(self) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            return  # what is readable there may be a part of a record, and cannot be looked at without taking it
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
