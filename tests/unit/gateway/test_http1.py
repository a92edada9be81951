"""How an answer looks on the wire, and what becomes of one that goes wrong."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterable, Iterator

import pytest

from app.core.errors import InternalError
from app.gateway.http1 import SLICE_BYTES, AnswerWriter, ClientWriter
from app.gateway.messages import HeaderLines, ProxyResponse
from app.services.upstream_client import UpstreamBrokenOffError


class RecordingSocket:
    """Takes what it is sent, at most `takes` bytes at a time, and counts how often."""

    def __init__(self, takes: int = 1 << 30) -> None:
        self.sent: list[bytes] = []
        self.timeout: float | None = None
        self._takes = takes

    def settimeout(self, seconds: float | None) -> None:
        self.timeout = seconds

    def send(self, content: bytes) -> int:
        self.sent.append(bytes(content[: self._takes]))
        return len(self.sent[-1])


def write(
    body: Iterable[bytes] = (),
    headers: HeaderLines | None = None,
    *,
    status: int = 200,
    method: str = "GET",
    minor_version: int = 1,
    at_hand: bool = False,
    whole: bool = False,
    may_go_on: bool = True,
) -> tuple[list[bytes], AnswerWriter]:
    response = ProxyResponse(status, "Reason", headers or [], body, has_piece_at_hand=at_hand, is_whole_at_hand=whole)
    writer = AnswerWriter(response, method, minor_version, may_go_on=may_go_on)
    sock = RecordingSocket()
    client = ClientWriter(sock, 5, lambda: 0)
    writer.write(client)
    assert sock.timeout is None
    return sock.sent, writer


def split(sent: list[bytes]) -> tuple[list[bytes], bytes]:
    head, _, body = b"".join(sent).partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body


def test_a_whole_answer_leaves_in_one_piece() -> None:
    sent, writer = write([b"ab"], [("Content-Length", "2"), ("X", "y")], at_hand=True, whole=True)
    lines, body = split(sent)
    assert len(sent) == 1
    assert lines[0] == b"HTTP/1.1 200 Reason"
    assert [line.split(b":")[0] for line in lines[1:]] == [b"Server", b"Date", b"Connection", b"Content-Length", b"X"]
    assert lines[2].endswith(b" GMT")
    assert (body, writer.goes_on) == (b"ab", True)


def test_a_head_leaves_before_a_body_that_is_not_there_yet() -> None:
    sock = RecordingSocket()
    seen: list[int] = []

    def body() -> Iterator[bytes]:
        seen.append(len(sock.sent))
        yield b"late"

    writer = AnswerWriter(ProxyResponse(200, "OK", [], body()), "GET", 1, may_go_on=True)
    writer.write(ClientWriter(sock, 5, lambda: 0))
    assert seen == [1]
    assert sock.sent[1:] == [b"4\r\nlate\r\n", b"0\r\n\r\n"]


def test_a_body_of_unknown_length_comes_in_chunks_and_no_chunk_is_empty() -> None:
    sent, writer = write([b"a" * 11, b"", b"bc"])
    lines, body = split(sent)
    assert b"Transfer-Encoding: chunked" in lines
    assert body == b"b\r\naaaaaaaaaaa\r\n2\r\nbc\r\n0\r\n\r\n"
    assert writer.goes_on


def test_a_large_piece_is_not_copied_into_its_chunk() -> None:
    piece = b"x" * 100_000
    sent, _ = write([piece])
    assert sent[1:] == [b"186a0\r\n", piece, b"\r\n", b"0\r\n\r\n"]


def test_http_1_0_knows_no_chunks_and_ends_with_the_connection() -> None:
    sent, writer = write([b"ab"], minor_version=0)
    lines, body = split(sent)
    assert lines[0].startswith(b"HTTP/1.0 200 ")
    assert b"Connection: close" in lines
    assert (body, writer.goes_on) == (b"ab", False)


@pytest.mark.parametrize(
    ("method", "status", "keeps_length"), [("HEAD", 200, True), ("GET", 204, False), ("GET", 304, True)]
)
def test_an_answer_without_a_body_has_none_whatever_comes(method: str, status: int, keeps_length: bool) -> None:
    sent, writer = write([b"never"], [("Content-Length", "5")], method=method, status=status)
    lines, body = split(sent)
    assert body == b""
    assert (b"Content-Length: 5" in lines) == keeps_length
    assert b"Transfer-Encoding: chunked" not in lines
    assert writer.goes_on


def test_a_connection_that_ends_says_so() -> None:
    sent, writer = write([b""], [("Content-Length", "0")], may_go_on=False)
    assert b"Connection: close" in split(sent)[0]
    assert not writer.goes_on


@pytest.mark.parametrize("body", [[b"abc"], [b"ab", b"c"]], ids=["at once", "in the end"])
def test_a_body_longer_than_declared_is_not_sent(body: list[bytes]) -> None:
    with pytest.raises(InternalError):
        write(body, [("Content-Length", "2")])


def test_a_body_shorter_than_declared_is_noticed() -> None:
    with pytest.raises(InternalError):
        write([b"a"], [("Content-Length", "2")])


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=y", "a\nb", "a\rb"])
def test_no_header_line_can_begin_another(value: str) -> None:
    with pytest.raises(InternalError):
        write([b""], [("X", value)])


def test_an_answer_that_breaks_off_has_no_last_chunk() -> None:
    def body() -> Iterator[bytes]:
        yield b"ab"
        raise UpstreamBrokenOffError("gone")

    sock = RecordingSocket()
    writer = AnswerWriter(ProxyResponse(200, "OK", [], body()), "GET", 1, may_go_on=True)
    with pytest.raises(UpstreamBrokenOffError):
        writer.write(ClientWriter(sock, 5, lambda: 0))
    assert b"".join(sock.sent).endswith(b"2\r\nab\r\n")


def test_a_client_that_takes_a_little_at_a_time_gets_all_of_it() -> None:
    sock = RecordingSocket(takes=1000)
    content = bytes(range(256)) * 100
    ClientWriter(sock, 5, lambda: 0).send(content)
    assert b"".join(sock.sent) == content


def test_a_client_that_drips_is_given_up_and_one_that_keeps_up_is_not() -> None:
    """Each wait is short; it is the time for a whole slice that is bounded."""
    now = 0.0

    def tick() -> float:
        nonlocal now
        now += 1
        return now

    drip = RecordingSocket(takes=SLICE_BYTES // 100)
    with pytest.raises(TimeoutError):
        ClientWriter(drip, 10, tick).send(b"x" * SLICE_BYTES)
    steady = RecordingSocket(takes=SLICE_BYTES // 4)
    ClientWriter(steady, 10, tick).send(b"x" * SLICE_BYTES * 10)
    assert sum(map(len, steady.sent)) == SLICE_BYTES * 10


def test_a_client_that_never_reads_is_given_up() -> None:
    served, client = socket.socketpair()
    with served, client, pytest.raises(TimeoutError):
        ClientWriter(served, 0.05, lambda: 0.0).send(b"x" * 10_000_000)


def test_an_answer_whose_only_end_is_the_connections_is_reset_when_it_breaks_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    with client:
        writer = AnswerWriter(ProxyResponse(200, "OK", [], [b"ab"]), "GET", 0, may_go_on=True)
        writer.write(ClientWriter(served, 5, lambda: 0))
        writer.break_off(served)
        served.close()
        while select.select([client], [], [], 5)[0]:
            if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET:
                return
        pytest.fail("the client saw no reset")
