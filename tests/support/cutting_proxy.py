"""Stands between a client and a server and breaks the connection at the worst moment, when told to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType

PIECE_BYTES = 65536


class CuttingProxy:
    """Listens on a free loopback port while entered and passes every connection on to `target_port`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._changing = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._replies_to_cut = 0
        self._requests_to_cut = 0
        self.connections = 0

    def cut_replies(self, count: int = 1) -> None:
        """The server gets the next requests, and what it answers is lost with the connection."""
        self._replies_to_cut = count

    def cut_requests(self, count: int = 1) -> None:
        """The next requests are lost with the connection, before the server has seen anything of them."""
        self._requests_to_cut = count

    def __enter__(self) -> CuttingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._listener.close()
        with self._changing:
            for open_socket in self._sockets:
                with suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self._target_port))
            with self._changing:
                self._sockets |= {client, server}
            threading.Thread(target=self._pass_on, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                if self._is_to_be_cut(is_request):
                    break
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._changing:
            self._sockets -= {source}
        source.close()

    def _is_to_be_cut(self, is_request: bool) -> bool:
        with self._changing:
            if is_request and self._requests_to_cut:
                self._requests_to_cut -= 1
                return True
            if not is_request and self._replies_to_cut:
                self._replies_to_cut -= 1
                return True
        return False
