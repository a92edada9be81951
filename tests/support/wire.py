"""One connection to a BFF, spoken over in raw bytes: for what no HTTP library would send, or would show."""

from __future__ import annotations

import socket

from tests.support.bff import Bff
from tests.support.gateway import Answer, parse_answer


class Wire:
    """One connection to the BFF."""

    def __init__(self, bff: Bff, *, timeout_seconds: float = 15) -> None:
        self._host = f"localhost:{bff.port}"
        self._socket = socket.create_connection(("127.0.0.1", bff.port), timeout=timeout_seconds)
        self._received = b""

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def ask(self, request_line: str, *lines: str) -> None:
        self.send("\r\n".join([request_line, f"Host: {self._host}", *lines, "", ""]).encode("latin-1"))

    def read_answer(self, method: str = "GET") -> Answer:
        """Reads one answer, and keeps what comes after it for the next; one without framing is taken for empty."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        parsed = parse_answer(head + b"\r\n\r\n", "HEAD")
        if parsed.status < 200 or parsed.status in (204, 304) or method == "HEAD":
            return parsed
        if parsed.get("Transfer-Encoding") is not None:
            return parse_answer(head + b"\r\n\r\n" + self._read_chunked())
        length = int(parsed.get("Content-Length") or 0)
        while len(self._received) < length:
            self._receive()
        body, self._received = self._received[:length], self._received[length:]
        return parse_answer(head + b"\r\n\r\n" + body)

    def read_to_end(self) -> bytes:
        while piece := self._socket.recv(65536):
            self._received += piece
        received, self._received = self._received, b""
        return received

    def set_timeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def wait_for(self, content: bytes) -> None:
        """Reads on until `content` has come; all of it stays to be read."""
        while content not in self._received:
            self._receive()

    def stop_sending(self) -> None:
        """Half-closes: nothing more comes, and the answer is still to be read."""
        self._socket.shutdown(socket.SHUT_WR)

    def detach(self) -> socket.socket:
        """Hands out the socket itself; its caller closes it."""
        return socket.socket(fileno=self._socket.detach())

    def _read_chunked(self) -> bytes:
        while b"0\r\n\r\n" not in self._received:  # no test sends a chunk that ends like that
            self._receive()
        chunks, end, self._received = self._received.partition(b"0\r\n\r\n")
        return chunks + end

    def _receive(self) -> None:
        piece = self._socket.recv(65536)
        assert piece, "the connection ended before its answer"
        self._received += piece

    def close(self) -> None:
        self._socket.close()
