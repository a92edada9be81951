"""A request's body at the worker door: in the pieces that arrive, never short, and honest about what is left."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser

from app.core.errors import BadRequestError
from app.gateway.paced_socket import PacedSocket
from app.gateway.worker_body import LARGEST_DROPPED_BYTES, WorkerBody, has_body, is_plainly_framed

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    client, served = socket.socketpair()
    with client, served:
        client.settimeout(5)
        yield client, served


def parse(pair: Pair, *lines: str, version: str = "1.1") -> tuple[Any, WorkerBody]:
    client, served = pair
    client.sendall("\r\n".join([f"POST / HTTP/{version}", "Host: a", *lines, "", ""]).encode())
    req = next(RequestParser(Config(), served, ("127.0.0.1", 1)))
    return req, WorkerBody(req, PacedSocket(served, 0.2, lambda: 0.0))


def read_all(body: WorkerBody) -> None:
    while body.read(100):
        pass


def test_a_declared_body_comes_as_it_arrives_and_ends_where_it_says(pair: Pair) -> None:
    req, body = parse(pair, "Content-Length: 10")
    pair[0].sendall(b"hello")
    assert (body.length, body.read(100), body.is_read) == (10, b"hello", False)
    pair[0].sendall(b"worldGET / HTTP/1.1\r\n")
    assert (body.read(2), body.read(100), body.read(100)) == (b"wo", b"rld", b"")
    assert body.is_read
    assert body.can_be_dropped
    assert req.unreader.take_buffered() == b"GET / HTTP/1.1\r\n"


def test_a_chunked_body_comes_as_it_arrives_without_its_framing(pair: Pair) -> None:
    req, body = parse(pair, "Transfer-Encoding: chunked")
    pair[0].sendall(b"5\r\nhello\r\n")
    pieces = (body.read(3), body.read(100))
    assert (body.length, pieces, body.can_be_dropped) == (None, (b"hel", b"lo"), False)
    pair[0].sendall(b"1;a=b\r\n!\r\n0\r\nX: y\r\n\r\nGET /")
    assert (body.read(100), body.read(100)) == (b"!", b"")
    assert body.is_read
    assert body.can_be_dropped
    assert req.unreader.take_buffered() == b"GET /"


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        ("Content-Length: 10", b"short"),
        ("Transfer-Encoding: chunked", b"5\r\nhe"),
        ("Transfer-Encoding: chunked", b"5"),
    ],
)
def test_a_body_that_ends_early_is_an_error_and_the_connection_useless(pair: Pair, framing: str, sent: bytes) -> None:
    req, body = parse(pair, framing)
    pair[0].sendall(sent)
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(BadRequestError):
        read_all(body)
    assert req.body.failed
    assert not body.can_be_dropped


@pytest.mark.parametrize("sent", [b"zz\r\n", b"5\r\nhelloXY", b"-1\r\n\r\n", b"1\n1\n0\n\n" + b"x" * 9000])
def test_broken_chunks_are_an_error(pair: Pair, sent: bytes) -> None:
    req, body = parse(pair, "Transfer-Encoding: chunked")
    pair[0].sendall(sent)
    with pytest.raises(BadRequestError, match="malformed"):
        read_all(body)
    assert req.body.failed


def test_a_body_that_does_not_come_is_given_up(pair: Pair) -> None:
    _, body = parse(pair, "Content-Length: 10")
    with pytest.raises(BadRequestError, match="in time"):
        body.read(100)
    assert pair[1].gettimeout() is None


def test_a_client_that_goes_away_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    with served:
        _, body = parse((client, served), "Content-Length: 10")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with pytest.raises(BadRequestError, match="broke"):
            body.read(100)


def test_a_client_is_invited_when_its_body_is_wanted_and_only_once(pair: Pair) -> None:
    _, body = parse(pair, "Content-Length: 2", "Expect: 100-continue")
    assert not body.can_be_dropped, "what it would send next is not known"
    with pytest.raises(BadRequestError):
        body.read(100)
    assert pair[0].recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    pair[0].sendall(b"ab")
    assert body.read(100) == b"ab"
    pair[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        pair[0].recv(100)


def test_http_1_0_knows_no_invitation(pair: Pair) -> None:
    _, body = parse(pair, "Content-Length: 2", "Expect: 100-continue", version="1.0")
    pair[0].sendall(b"ab")
    assert body.read(100) == b"ab"
    pair[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        pair[0].recv(100)


@pytest.mark.parametrize(("length", "expected"), [(LARGEST_DROPPED_BYTES, True), (LARGEST_DROPPED_BYTES + 1, False)])
def test_only_a_small_rest_is_worth_reading_away(pair: Pair, length: int, expected: bool) -> None:
    assert parse(pair, f"Content-Length: {length}")[1].can_be_dropped is expected


@pytest.mark.parametrize(
    ("lines", "is_there"),
    [
        ([], False),
        (["Content-Length: 0"], False),
        (["Content-Length: 1"], True),
        (["Transfer-Encoding: chunked"], True),
    ],
)
def test_a_body_of_no_length_is_none(pair: Pair, lines: list[str], is_there: bool) -> None:
    assert has_body(parse(pair, *lines)[0]) is is_there


@pytest.mark.parametrize(
    ("coding", "expected"),
    [("chunked", True), ("Chunked", True), ("gzip, chunked", False), ("identity, chunked", False)],
)
def test_a_further_transfer_coding_is_not_taken_for_plain_framing(pair: Pair, coding: str, expected: bool) -> None:
    assert is_plainly_framed(parse(pair, f"Transfer-Encoding: {coding}")[0]) is expected
