"""What becomes of a backend's answer, good, odd or hostile: as a table, over real sockets."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass

import pytest

from app.core.errors import UpstreamBadResponseError
from app.services.upstream_client import UpstreamBrokenOffError, UpstreamRequest
from tests.support.raw_backend import WAIT_SECONDS, Conversation, RawBackend, answering
from tests.unit.services.upstream.calls import answering_first, calling
from tests.unit.services.upstream.test_upstream_response_head import HOSTILE_HEADS


@dataclass(frozen=True)
class Answer:
    wire: bytes
    status: int = 200
    body: bytes = b""
    is_kept: bool = True
    """Whether the connection can carry the next call."""
    content_length: int | None = None
    method: str = "GET"


def build_answer(*lines: bytes, status: bytes = b"200 OK", body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", body])


CHUNKED = b"Transfer-Encoding: chunked"

ANSWERS = {
    "length": Answer(build_answer(b"Content-Length: 5", body=b"hello"), body=b"hello", content_length=5),
    "length-zero": Answer(build_answer(b"Content-Length: 0"), content_length=0),
    "length-leading-zeros": Answer(
        build_answer(b"Content-Length: 005", body=b"hello"), body=b"hello", content_length=5
    ),
    "chunked": Answer(build_answer(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), body=b"hello"),
    "chunked-capitals": Answer(build_answer(b"transfer-encoding: Chunked", body=b"1\r\na\r\n0\r\n\r\n"), body=b"a"),
    "chunked-empty": Answer(build_answer(CHUNKED, body=b"0\r\n\r\n")),
    "chunked-extension-and-trailer": Answer(
        build_answer(CHUNKED, body=b"2;a=b\r\nhe\r\n3\r\nllo\r\n0;x\r\nX-Checksum: 1\r\n\r\n"), body=b"hello"
    ),
    "gzip-untouched": Answer(
        build_answer(b"Content-Encoding: gzip", b"Content-Length: 3", body=b"\x1f\x8b\x08"),
        body=b"\x1f\x8b\x08",
        content_length=3,
    ),
    "range-untouched": Answer(
        build_answer(b"Content-Range: bytes 1-2/9", b"Content-Length: 2", status=b"206 Partial Content", body=b"el"),
        status=206,
        body=b"el",
        content_length=2,
    ),
    "head-with-length": Answer(build_answer(b"Content-Length: 5"), content_length=5, method="HEAD"),
    "head-chunked": Answer(build_answer(CHUNKED), method="HEAD"),
    "head-without-framing": Answer(build_answer(), method="HEAD"),
    "head-with-body": Answer(
        build_answer(b"Content-Length: 5", body=b"hello"), is_kept=False, content_length=5, method="HEAD"
    ),
    "204": Answer(build_answer(status=b"204 No Content"), status=204),
    "204-with-length-and-body": Answer(
        build_answer(b"Content-Length: 5", status=b"204 No Content", body=b"hello"), status=204, is_kept=False
    ),
    "304-with-length": Answer(
        build_answer(b"Content-Length: 5", status=b"304 Not Modified"), status=304, content_length=5
    ),
    "304-with-body": Answer(build_answer(status=b"304 Not Modified", body=b"hello"), status=304, is_kept=False),
    "205-with-length": Answer(
        build_answer(b"Content-Length: 0", status=b"205 Reset Content"), status=205, content_length=0
    ),
    "500-is-an-answer": Answer(
        build_answer(b"Content-Length: 2", status=b"500 Oops", body=b"no"), status=500, body=b"no", content_length=2
    ),
    "redirect-not-followed-H16": Answer(
        build_answer(b"Location: http://evil.example/", b"Content-Length: 0", status=b"302 Found"),
        status=302,
        content_length=0,
    ),
    "connection-close": Answer(
        build_answer(b"Connection: close", b"Content-Length: 5", body=b"hello"),
        body=b"hello",
        is_kept=False,
        content_length=5,
    ),
    "surplus-behind-length": Answer(
        build_answer(b"Content-Length: 5", body=b"helloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        body=b"hello",
        is_kept=False,
        content_length=5,
    ),
    "surplus-behind-chunked": Answer(
        build_answer(CHUNKED, body=b"1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), body=b"a", is_kept=False
    ),
    "interim-100": Answer(
        b"HTTP/1.1 100 Continue\r\n\r\n" + build_answer(b"Content-Length: 2", body=b"ok"), body=b"ok", content_length=2
    ),
    "interim-103-with-headers": Answer(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
        + build_answer(b"Content-Length: 0"),
        content_length=0,
    ),
    "100-headers": Answer(build_answer(*(b"A%d: b" % n for n in range(100)), b"Content-Length: 0"), content_length=0),
    "60-KiB-head": Answer(build_answer(b"A: " + b"b" * 60000, b"Content-Length: 0"), content_length=0),
    "large": Answer(
        build_answer(b"Content-Length: 5000000", body=b"x" * 5000000), body=b"x" * 5000000, content_length=5000000
    ),
    "large-chunks": Answer(
        build_answer(CHUNKED, body=(b"186a0\r\n" + b"y" * 100000 + b"\r\n") * 50 + b"0\r\n\r\n"), body=b"y" * 5000000
    ),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_is_passed_on_and_the_connection_kept_if_it_can_be(answer: Answer) -> None:
    with RawBackend(answering_first(answer.wire)) as backend, calling(backend) as caller:
        response = caller.open(UpstreamRequest(answer.method, "/", []))
        assert response.status == answer.status
        assert response.content_length == answer.content_length
        assert b"".join(response.iter_body()) == answer.body
        response.close()
        caller.fetch(UpstreamRequest(answer.method, "/", []))
        assert backend.connection_count == (1 if answer.is_kept else 2)


@pytest.mark.parametrize(
    "wire",
    [
        build_answer(body=b"all of it"),
        build_answer(b"Connection: keep-alive", body=b"all of it"),
        b"HTTP/1.0 200 OK\r\n\r\nall of it",
        b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nall of it",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 9\r\n\r\nall of it",
    ],
    ids=["no-framing", "no-framing-keep-alive", "http-1.0", "http-1.0-length", "http-1.0-keep-alive"],
)
def test_an_answer_that_ends_with_the_connection_is_read_to_its_end(wire: bytes) -> None:
    with RawBackend(answering(wire)) as backend, calling(backend) as caller:
        for _ in range(2):
            assert caller.fetch() == (200, b"all of it")
            assert caller.client.count_connections(caller.service) == 0
        assert backend.connection_count == 2


MALFORMED_AT_ONCE = build_answer(CHUNKED, body=b"x\r\n")
BAD_ANSWERS = HOSTILE_HEADS | {
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "interim-without-end": b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    "H20-bad-head-behind-interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nA: b\n\n",
}


@pytest.mark.parametrize(
    ("method", "wire"),
    [*itertools.product(["GET", "HEAD"], BAD_ANSWERS.values()), ("GET", MALFORMED_AT_ONCE)],
    ids=[*map("-".join, itertools.product(["get", "head"], BAD_ANSWERS)), "H20-chunk-malformed-at-once"],
)
def test_a_hostile_answer_is_refused_and_its_connection_closed(method: str, wire: bytes) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(wire)
        conversation.wait_for_end()

    with RawBackend(script) as backend, calling(backend) as caller:
        for _ in range(2):
            with pytest.raises(UpstreamBadResponseError):
                caller.fetch(UpstreamRequest(method, "/", []))
        assert backend.connection_count == 2


@pytest.mark.parametrize("rest", [b"x\r\n", b"5\nhello\r\n", b"5\r\nhelloX\r\n"], ids=["size", "bare-lf", "too-long"])
def test_a_body_that_turns_malformed_later_breaks_off(rest: bytes) -> None:
    has_begun = threading.Event()

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(build_answer(CHUNKED, body=b"3\r\nabc\r\n"))
        has_begun.wait(WAIT_SECONDS)
        conversation.send(rest)
        conversation.wait_for_end()

    with RawBackend(script) as backend, calling(backend) as caller:
        response = caller.open()
        pieces = response.iter_body()
        assert next(pieces) == b"abc"
        has_begun.set()
        with pytest.raises(UpstreamBrokenOffError):
            next(pieces)
        response.close()


def test_header_lines_come_as_they_were_sent() -> None:
    wire = build_answer(b"Set-Cookie: a=1", b"set-cookie: b=2", b"X-Name: J\xfcrgen", b"Content-Length: 0")
    with RawBackend(answering(wire)) as backend, calling(backend) as caller:
        response = caller.open()
        assert response.reason == "OK"
        assert response.headers == [
            ("Set-Cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("X-Name", "J\xfcrgen"),
            ("Content-Length", "0"),
        ]
        response.close()
