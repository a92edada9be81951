"""WebSocket messages and their echoes: how long one takes there and back, and what it and its connection cost.

    python -m bench.proxies.echo serve PORT                        the backend: sends each text message back
    python -m bench.proxies.echo talk PORT COUNT SECONDS CALLERS   COUNT browsers; prints one line of JSON

A browser sends a message, waits for its echo and sends the next. Frames are written and read by hand (RFC 6455 §5.2):
no library is as cheap, and both ends share the core that the proxy does not have.
"""

from __future__ import annotations

import base64
import json
import secrets
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.core.websocket import build_accept
from bench.proxies.contestant import Contestant, read_cookies
from bench.proxies.load import run_held
from bench.proxies.machine import Cores

ECHO_PATH = "/api/crud/echo"
MESSAGE_BYTES = 100
PIECE_BYTES = 65536
_TEXT, _MASKED = 0x81, 0x80
_BACKEND_HEAD_BYTES, _BROWSER_HEAD_BYTES = 2, 6
"""Of a frame with fewer than 126 bytes; a browser's has the mask in it."""
_SWITCH = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n"
)


class Echoing:
    """One connection of the backend."""

    __slots__ = ("_received", "connection")

    def __init__(self, connection: socket.socket) -> None:
        self._received = b""
        self.connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def open(self) -> bool:
        """Returns False when nothing was asked for: somebody looked whether we listen."""
        key = find_header(read_head(self.connection), "Sec-WebSocket-Key")
        if key:
            self.connection.sendall(_SWITCH.format(build_accept(key)).encode())
        return bool(key)

    def answer(self) -> bool:
        """Returns whether there may be more."""
        try:
            piece = self.connection.recv(PIECE_BYTES)
            self._received += piece
            while frame := find_frame(self._received):
                self.connection.sendall(build_echo(frame))
                self._received = self._received[len(frame) :]
        except OSError:
            return False
        return bool(piece)


def find_frame(received: bytes) -> bytes:
    """Returns a browser's first frame, nothing while it is not whole."""
    if len(received) < _BROWSER_HEAD_BYTES:
        return b""
    end = _BROWSER_HEAD_BYTES + received[1] % _MASKED
    return received[:end] if len(received) >= end else b""


def build_echo(frame: bytes) -> bytes:
    """The frame without its mask."""
    payload = frame[_BROWSER_HEAD_BYTES:]
    return bytes((frame[0], len(payload))) + mask(payload, frame[2:_BROWSER_HEAD_BYTES])


def build_frame(payload: bytes, key: bytes) -> bytes:
    return bytes((_TEXT, _MASKED | len(payload))) + key + mask(payload, key)


def mask(payload: bytes, key: bytes) -> bytes:
    """Takes a mask off, too. Both as one long number: byte by byte is ten times as dear."""
    whole = int.from_bytes((key * len(payload))[: len(payload)], "big")
    return (int.from_bytes(payload, "big") ^ whole).to_bytes(len(payload), "big")


def read_head(connection: socket.socket) -> str:
    received = b""
    while b"\r\n\r\n" not in received and (piece := connection.recv(PIECE_BYTES)):
        received += piece
    return received.decode("latin-1")


def find_header(head: str, wanted: str) -> str:
    pairs = (line.partition(":") for line in head.splitlines())
    return next((value.strip() for name, _, value in pairs if name.lower() == wanted.lower()), "")


def serve(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    talking: dict[int, Echoing] = {}
    while True:
        for number, _ in poller.poll():
            if number != listener.fileno():
                if not talking[number].answer():
                    talking.pop(number).connection.close()  # which takes it off the poller, too
                continue
            accepted = Echoing(listener.accept()[0])
            if accepted.open():
                talking[accepted.connection.fileno()] = accepted
                poller.register(accepted.connection, select.EPOLLIN)


class Browser:
    """One browser: a message of its own, and how long each of its echoes took."""

    __slots__ = ("_frame", "_received", "_sent_at", "_wanted", "connection")

    def __init__(self, port: int, cookie: str, number: int) -> None:
        text = f"{number:0{MESSAGE_BYTES}}".encode()
        self._frame = build_frame(text, secrets.token_bytes(4))
        self._wanted = bytes((_TEXT, MESSAGE_BYTES)) + text
        self._received = b""
        self._sent_at = 0
        self.connection = open_websocket(port, cookie)

    def send(self) -> None:
        self._sent_at = time.monotonic_ns()
        self.connection.sendall(self._frame)

    def receive(self, times: list[int]) -> bool:
        """Sends the next message once the echo is whole. Returns False when it is not what was sent."""
        try:
            piece = self.connection.recv(PIECE_BYTES)
            self._received += piece
            if self._received == self._wanted:
                times.append(time.monotonic_ns() - self._sent_at)
                self._received = b""
                self.send()
        except OSError:
            return False
        return bool(piece) and self._wanted.startswith(self._received)


def open_websocket(port: int, cookie: str) -> socket.socket:
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    lines = [
        f"GET {ECHO_PATH} HTTP/1.1",
        f"Host: localhost:{port}",
        f"Origin: http://localhost:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *([f"Cookie: {cookie}"] if cookie else []),
    ]
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = read_head(connection)
    if find_header(head, "Sec-WebSocket-Accept") != build_accept(key):
        raise SystemExit(f"no WebSocket: {head.partition(chr(13))[0]}")
    return connection


def talk(port: int, count: int, seconds: float, cookie: str) -> None:
    print("READY", flush=True)
    sys.stdin.readline()
    browsers = [Browser(port, cookie, number) for number in range(count)]
    poller = select.epoll()
    by_number = {browser.connection.fileno(): browser for browser in browsers}
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    print("OPEN", flush=True)
    sys.stdin.readline()
    times: list[int] = []
    cut = 0
    begun = time.monotonic()
    for browser in browsers:
        browser.send()
    while time.monotonic() < begun + seconds:
        for number, _ in poller.poll(0.1):
            if not by_number[number].receive(times):
                poller.unregister(number)
                cut += 1
    elapsed = time.monotonic() - begun
    times.sort()
    found = {
        "messages": len(times),
        "cut": cut,
        "messages_per_second": len(times) / elapsed,
        **{name: times[int(len(times) * part)] / 1e6 if times else 0.0 for name, part in _PARTS},
    }
    print(json.dumps(found), flush=True)
    sys.stdin.readline()  # until killed


_PARTS = (("p50_ms", 0.5), ("p99_ms", 0.99))


@dataclass(frozen=True, slots=True)
class Talk:
    """What so many connections gave at one proxy. A message is one there and its echo back."""

    connections: int
    messages: int
    cut: int
    """Connections that ended, or gave back something else than was sent."""
    messages_per_second: float
    p50_ms: float
    p99_ms: float
    bytes_per_connection: float
    cpu_us_per_message: float

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def measure_talk(contestant: Contestant, connections: int, seconds: float, cores: Cores) -> Talk:
    held = run_held(contestant, [__spec__.name, "talk"], connections, seconds, cores)
    return Talk(
        connections=connections,
        bytes_per_connection=held.memory_bytes / connections,
        cpu_us_per_message=held.cpu_seconds / max(held.found["messages"], 1) * 1e6,
        **held.found,
    )


def main(words: Sequence[str]) -> None:
    if words[0] == "serve":
        serve(int(words[1]))
    else:
        talk(int(words[1]), int(words[2]), float(words[3]), read_cookies(Path(words[4]))[0])


if __name__ == "__main__":
    main(sys.argv[1:])
