"""A request out of a WSGI environ: what is not whole or not clear is refused before the pipeline sees it."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest

from app.core.errors import BadRequestError, InternalError
from app.gateway.messages import ProxyResponse
from app.gateway.wsgi_door import SLICE_BYTES, WsgiAnswer, WsgiBody, build_header_lines, build_proxy_request
from app.services.upstream_client import UpstreamBrokenOffError


def build_environ(**more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": "POST", "RAW_URI": "/x", "REMOTE_ADDR": "192.0.2.1", "wsgi.input": io.BytesIO(), **more}


def build_body(content: bytes, length: int | None) -> WsgiBody:
    return WsgiBody(io.BytesIO(content), length, None, 1)


def test_a_server_that_hides_the_wire_text_cannot_be_used() -> None:
    environ = build_environ(PATH_INFO="/x")
    del environ["RAW_URI"]
    with pytest.raises(InternalError):
        build_proxy_request(environ, body_timeout_seconds=1)


@pytest.mark.parametrize("length", ["abc", "+1", "-1", "1 2", "1,1", "\u0661"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(BadRequestError):
        build_proxy_request(build_environ(CONTENT_LENGTH=length), body_timeout_seconds=1)


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, chunked", "identity", "xchunked"])
def test_only_the_coding_chunked_is_taken(coding: str) -> None:
    with pytest.raises(BadRequestError):
        build_proxy_request(build_environ(HTTP_TRANSFER_ENCODING=coding), body_timeout_seconds=1)


@pytest.mark.parametrize(
    ("headers", "length"),
    [({"CONTENT_LENGTH": "3"}, 3), ({"HTTP_TRANSFER_ENCODING": "Chunked"}, None)],
)
def test_a_body_is_declared_or_chunked(headers: dict[str, str], length: int | None) -> None:
    body = build_proxy_request(build_environ(**headers), body_timeout_seconds=1).body
    assert body is not None
    assert body.length == length


@pytest.mark.parametrize("headers", [{}, {"CONTENT_LENGTH": ""}, {"CONTENT_LENGTH": "0"}])
def test_without_a_body_there_is_none(headers: dict[str, str]) -> None:
    assert build_proxy_request(build_environ(**headers), body_timeout_seconds=1).body is None


def test_a_body_that_ends_early_is_refused_and_not_taken_for_whole() -> None:
    body = build_body(b"abc", 5)
    assert body.read(100) == b"abc"
    with pytest.raises(BadRequestError):
        body.read(100)


def test_a_whole_body_is_read_to_its_end_and_no_further() -> None:
    body = build_body(b"abcdef", 5)
    assert (body.read(3), body.read(100), body.read(100)) == (b"abc", b"de", b"")


def test_a_client_that_falls_silent_is_refused_in_time() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb", buffering=0) as stream, pytest.raises(BadRequestError, match="in time"):
        WsgiBody(stream, 5, ours, 0.05).read(5)


@pytest.mark.parametrize("error", [ConnectionResetError(), ValueError("broken chunk: secret-in-the-body")])
def test_a_broken_body_is_refused_without_repeating_it(error: Exception) -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise error

    with pytest.raises(BadRequestError) as caught:
        WsgiBody(Broken(), 5, None, 1).read(5)
    assert "secret" not in caught.value.detail + caught.value.internal_reason


def test_header_lines_have_their_names_back() -> None:
    environ = build_environ(HTTP_X_ONE="1", CONTENT_TYPE="text/plain", CONTENT_LENGTH="2", SERVER_NAME="x")
    assert sorted(build_header_lines(environ)) == [
        ("Content-Length", "2"),
        ("Content-Type", "text/plain"),
        ("X-One", "1"),
    ]


def answer_with(body: Any, client: socket.socket | None, method: str = "GET") -> WsgiAnswer:
    return WsgiAnswer(ProxyResponse(200, "OK", [], body), client, method, 5)


def test_a_large_piece_is_handed_over_in_slices() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        content = bytes(2 * SLICE_BYTES + 1)
        pieces = list(answer_with([content], ours))
    assert [len(piece) for piece in pieces] == [SLICE_BYTES, SLICE_BYTES, 1]


def test_the_answer_to_head_is_read_to_its_end_and_not_given() -> None:
    pieces = iter([b"a", b"b"])
    assert list(answer_with(pieces, None, "HEAD")) == []
    assert next(pieces, None) is None


def breaking_off() -> Any:
    yield b"half"
    raise UpstreamBrokenOffError("gone")


def test_an_answer_that_breaks_off_cuts_the_client_off() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert list(answer_with(breaking_off(), ours)) == [b"half"]
        assert theirs.recv(1) == b"", "the connection is shut: a truncated answer must not look whole"


def test_without_a_socket_the_server_is_told() -> None:
    with pytest.raises(UpstreamBrokenOffError):
        list(answer_with(breaking_off(), None))
