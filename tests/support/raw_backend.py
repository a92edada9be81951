"""A backend on a raw socket: it records every byte that it gets and plays back whatever bytes a test scripts.

It knows just enough HTTP to find the end of a request, so it can answer in ways that no real server would. A script
is a function that is called once per connection with a `Conversation`; `answering(...)` makes the common ones. Under
gevent the threads are greenlets.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Script = Callable[["Conversation"], None]

OK_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
WAIT_SECONDS = 30.0


class EndOfRequestsError(Exception):
    """The other end closed before another whole request came."""


@dataclass
class RecordedRequest:
    """One request as it came over the wire."""

    head: bytes
    body: bytes = b""
    """The body out of its framing."""

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def header_lines(self) -> list[bytes]:
        return self.head.split(b"\r\n")[1:-2]

    def get_all(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        pairs = (line.split(b":", 1) for line in self.header_lines)
        return [value.strip() for found, value in pairs if found.lower() == wanted]


class Conversation:
    """One accepted connection, from the backend's side."""

    def __init__(self, connected_socket: socket.socket, recorded: bytearray, backend: RawBackend) -> None:
        self.socket = connected_socket
        self.recorded = recorded
        self._backend = backend
        self._unread = b""

    def receive(self, max_bytes: int = 65536) -> bytes:
        """Returns what comes next, b"" when the other end has closed."""
        if self._unread:
            received, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
            return received
        try:
            received = self.socket.recv(max_bytes)
        except (ConnectionError, ssl.SSLError):
            return b""
        self.recorded.extend(received)
        return received

    def read_head(self) -> bytes:
        return self._read_until(b"\r\n\r\n")

    def read_request(self) -> RecordedRequest:
        """Reads one request to its end; raises `EndOfRequestsError` when none comes."""
        request = RecordedRequest(self.read_head())
        if request.get_all("Transfer-Encoding"):
            request.body = b"".join(self._read_chunks())
        else:
            request.body = self._read_exactly(int((request.get_all("Content-Length") or [b"0"])[0]))
        self._backend.requests.append(request)
        return request

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def reset(self) -> None:
        """Ends the connection with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_for_end(self) -> None:
        """Returns once the other end has closed, dropping what it still sends."""
        while self.receive():
            pass

    def receive_unread(self) -> bytes:
        """Returns what came behind the head that was read last; then the socket may be read directly."""
        unread, self._unread = self._unread, b""
        return unread

    def stop_reading(self) -> None:
        """Holds the connection open without reading from it until the backend is left."""
        self._backend.is_stopping.wait(WAIT_SECONDS)

    def _read_until(self, mark: bytes) -> bytes:
        received = b""
        while mark not in received:
            more = self.receive()
            if not more:
                raise EndOfRequestsError
            received += more
        end = received.index(mark) + len(mark)
        self._unread = received[end:] + self._unread
        return received[:end]

    def _read_exactly(self, length: int) -> bytes:
        pieces: list[bytes] = []
        while length:
            piece = self.receive(min(length, 1048576))
            if not piece:
                raise EndOfRequestsError
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def _read_chunks(self) -> Iterator[bytes]:
        while size := int(self._read_until(b"\r\n"), 16):
            yield self._read_exactly(size)
            self._read_exactly(2)
        self._read_until(b"\r\n")


@dataclass
class RawBackend:
    """Listens on a free loopback port, or one that was free just now, while entered. `recordings` holds the bytes of
    each connection, in order of arrival."""

    script: Script
    tls_context: ssl.SSLContext | None = None
    recordings: list[bytearray] = field(default_factory=list)
    requests: list[RecordedRequest] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    listen_port: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.listen_port), backlog=128)
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._connection_came = threading.Condition()
        self.is_stopping = threading.Event()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self.tls_context else 'http'}://127.0.0.1:{self.port}"

    @property
    def connection_count(self) -> int:
        return len(self.recordings)

    @property
    def recorded(self) -> bytes:
        """All bytes that came, over all connections."""
        return b"".join(bytes(recording) for recording in self.recordings)

    def __enter__(self) -> RawBackend:
        self._start_thread(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Cuts what is still open, and tells of a script that failed."""
        self.is_stopping.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECONDS).close()
        for connected_socket in list(self._sockets):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connected_socket, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
        self._listener.close()
        if self.failures:
            raise AssertionError("a script of the raw backend failed") from self.failures[0]

    def wait_for_connections(self, count: int) -> None:
        with self._connection_came:
            assert self._connection_came.wait_for(lambda: self.connection_count >= count, WAIT_SECONDS)

    def _start_thread(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            accepted, _ = self._listener.accept()
            if self.is_stopping.is_set():
                accepted.close()
                return
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start_thread(self._serve, accepted)

    def _serve(self, accepted: socket.socket) -> None:
        recorded = bytearray()
        with self._connection_came:
            self.recordings.append(recorded)
            self._connection_came.notify_all()
        try:
            connected = self.tls_context.wrap_socket(accepted, server_side=True) if self.tls_context else accepted
        except OSError:
            accepted.close()
            return
        self._sockets.append(connected)
        try:
            self.script(Conversation(connected, recorded, self))
        except (EndOfRequestsError, OSError):
            pass
        except BaseException as failure:  # noqa: BLE001 - told to the test by __exit__
            self.failures.append(failure)
        finally:
            self._sockets.remove(connected)
            connected.close()


def answering(*answers: bytes, keep_open: bool = False) -> Script:
    """Answers the requests of each connection with `answers` in turn, then closes; or, if `keep_open`, waits for the
    other end to."""

    def script(conversation: Conversation) -> None:
        for answer in answers:
            conversation.read_request()
            conversation.send(answer)
        if keep_open:
            conversation.wait_for_end()

    return script


def answering_always(answer: bytes) -> Script:
    """Answers every request of every connection the same."""

    def script(conversation: Conversation) -> None:
        while True:
            conversation.read_request()
            conversation.send(answer)

    return script


def find_closed_port() -> int:
    """Returns a loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
