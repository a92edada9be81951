"""Stands on the wire between a browser and the BFF and keeps every byte of both directions.

What a browser's own tools tell is what the browser thought worth telling; this is what was sent. It changes nothing.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from tests.support.processes import free_port

PIECE_BYTES = 65536


class RecordingProxy:
    """Listens on a free loopback port while entered and passes every connection on to `target_port`."""

    def __init__(self, target_port: int = 0) -> None:
        self.port = free_port()
        self.target_port = target_port
        self._lock = threading.Lock()
        self._to_server: list[bytearray] = []
        self._to_browser: list[bytearray] = []
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)

    def __enter__(self) -> RecordingProxy:
        self._start_thread(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._listener.close()
        with self._lock:
            for open_socket in self._sockets:
                with suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def forget(self) -> None:
        """Start the recording anew; connections that are open go on."""
        with self._lock:
            for record in (*self._to_server, *self._to_browser):
                record.clear()

    def sent_by_browser(self) -> bytes:
        """Everything that went to the BFF, connection after connection."""
        with self._lock:
            return b"\n".join(self._to_server)

    def sent_to_browser(self) -> bytes:
        """Everything that came from the BFF, connection after connection."""
        with self._lock:
            return b"\n".join(self._to_browser)

    def lines_to_browser(self, header: str) -> list[str]:
        """The values of every header line of this name that the BFF sent."""
        wanted = f"{header.lower()}:".encode()
        lines = self.sent_to_browser().split(b"\r\n")
        return [line[len(wanted) :].strip().decode("latin-1") for line in lines if line.lower().startswith(wanted)]

    def _accept(self) -> None:
        while True:
            try:
                browser, _ = self._listener.accept()
            except OSError:
                return
            self._start_thread(self._carry, browser)

    def _carry(self, browser: socket.socket) -> None:
        """One connection, until both ends have had enough of it."""
        with browser, socket.create_connection(("127.0.0.1", self.target_port)) as server:
            to_server, to_browser = bytearray(), bytearray()
            with self._lock:
                self._sockets |= {browser, server}
                self._to_server.append(to_server)
                self._to_browser.append(to_browser)
            upwards = threading.Thread(target=self._pass_on, args=(browser, server, to_server))
            upwards.start()
            self._pass_on(server, browser, to_browser)
            upwards.join()
            with self._lock:
                self._sockets -= {browser, server}

    def _pass_on(self, source: socket.socket, target: socket.socket, record: bytearray) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                with self._lock:
                    record += piece
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _start_thread(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()
