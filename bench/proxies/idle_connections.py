"""Connections that are kept open after one call, as browsers and edges keep them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.proxies.contestant import JSON_PATH, Contestant


@contextmanager
def held_connections(contestant: Contestant, count: int) -> Iterator[None]:
    cookie = contestant.callers_file.read_text(encoding="ascii").partition("\t")[0]
    request = f"GET {JSON_PATH} HTTP/1.1\r\nHost: {contestant.address}\r\nCookie: {cookie}\r\n\r\n".encode()
    with ExitStack() as held:
        for _ in range(count):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", contestant.port), timeout=10))
            connection.sendall(request)
            if not connection.recv(65536).startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"{contestant.name} refused a connection that it should keep")
        yield
