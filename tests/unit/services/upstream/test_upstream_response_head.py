"""A head is read as strictly as a gateway must, whatever the C parser lets through (H20)."""

from __future__ import annotations

import pytest

from app.core.errors import UpstreamBadResponseError
from app.services.upstream_response_head import MAX_HEAD_BYTES, MAX_HEADERS, ResponseHead, parse_response_head


def parse(received: bytes) -> ResponseHead:
    head = parse_response_head(received)
    assert head is not None
    return head


def test_a_head_keeps_its_lines_as_they_came() -> None:
    head = parse(b"HTTP/1.1 404 Not Found\r\nA: 1\r\na:\t2 \r\nX-Name: J\xfcrgen\r\nSet-Cookie: x=y\r\n\r\nrest")
    assert (head.status, head.reason) == (404, "Not Found")
    assert head.headers == [("A", "1"), ("a", "2"), ("X-Name", "J\xfcrgen"), ("Set-Cookie", "x=y")]
    assert head.size == len(b"HTTP/1.1 404 Not Found\r\nA: 1\r\na:\t2 \r\nX-Name: J\xfcrgen\r\nSet-Cookie: x=y\r\n\r\n")


def head_with(*lines: bytes, version: bytes = b"1.1", status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join([b"HTTP/" + version + b" " + status, *lines, b"", b""])


HOSTILE_HEADS = {
    "H20-obs-fold": b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
    "H20-obs-fold-tab": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\t0\r\n\r\n",
    "H20-fold-first": b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
    "H20-bare-lf": b"HTTP/1.1 200 OK\nA: b\n\n",
    "H20-one-bare-lf": b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
    "H20-bare-lf-in-status-line": b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
    "H20-bare-lf-at-end": b"HTTP/1.1 200 OK\r\nA: b\r\n\n",
    "H20-bare-cr": b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
    "H20-space-before-colon": b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
    "H20-nul-in-value": b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
    "H20-nul-in-name": b"HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n",
    "H20-control-in-value": b"HTTP/1.1 200 OK\r\nA: b\x01c\r\n\r\n",
    "H20-nul-in-reason": b"HTTP/1.1 200 O\0K\r\n\r\n",
    "H20-no-colon": b"HTTP/1.1 200 OK\r\nA\r\n\r\n",
    "H20-empty-name": b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
    "H20-name-not-token": b"HTTP/1.1 200 OK\r\nA(: x\r\n\r\n",
    "H20-name-latin-1": b"HTTP/1.1 200 OK\r\n\xc4: x\r\n\r\n",
    "H20-cl-plus": head_with(b"Content-Length: +1"),
    "H20-cl-minus": head_with(b"Content-Length: -1"),
    "H20-cl-hex": head_with(b"Content-Length: 0x1"),
    "H20-cl-empty": head_with(b"Content-Length:"),
    "H20-cl-space": head_with(b"Content-Length: 1 0"),
    "H20-cl-underscore": head_with(b"Content-Length: 1_0"),
    "H20-cl-list": head_with(b"Content-Length: 5, 5"),
    "H20-cl-not-ascii-digit": head_with(b"Content-Length: \xb2"),
    "H20-cl-huge": head_with(b"Content-Length: 1000000000000000000"),
    "H20-two-cl-differing": head_with(b"Content-Length: 5", b"Content-Length: 6"),
    "H20-two-cl-equal": head_with(b"Content-Length: 5", b"content-length: 5"),
    "H20-te-and-cl": head_with(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "H20-cl-and-te": head_with(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "H20-xchunked": head_with(b"Transfer-Encoding: xchunked"),
    "H20-te-identity": head_with(b"Transfer-Encoding: identity"),
    "H20-te-empty": head_with(b"Transfer-Encoding:"),
    "H20-te-gzip-chunked": head_with(b"Transfer-Encoding: gzip, chunked"),
    "H20-te-chunked-gzip": head_with(b"Transfer-Encoding: chunked, gzip"),
    "H20-te-chunked-chunked": head_with(b"Transfer-Encoding: chunked, chunked"),
    "H20-two-te": head_with(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "H20-te-quoted": head_with(b'Transfer-Encoding: "chunked"'),
    "H20-te-in-1.0": head_with(b"Transfer-Encoding: chunked", version=b"1.0"),
    "status-099": head_with(status=b"099 OK"),
    "status-600": head_with(status=b"600 OK"),
    "status-999": head_with(status=b"999 OK"),
    "status-two-digits": head_with(status=b"20 OK"),
    "status-four-digits": head_with(status=b"2000 OK"),
    "status-run-on": head_with(status=b"200OK"),
    "status-two-spaces": head_with(status=b" 200 OK"),
    "http-2": head_with(version=b"2.0"),
    "http-0.9": head_with(version=b"0.9"),
    "icy": b"ICY 200 OK\r\n\r\n",
    "leading-empty-line": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "lower-case": b"http/1.1 200 OK\r\n\r\n",
    "html": b"<html>",
    "tls-alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "short-garbage": b"X",
    "201-headers": head_with(*(b"A%d: b" % number for number in range(MAX_HEADERS + 1))),
    "1000-headers": head_with(*(b"A%d: b" % number for number in range(1000))),
    "64-KiB-complete": head_with(b"A: " + b"b" * MAX_HEAD_BYTES),
    "64-KiB-endless": b"HTTP/1.1 200 OK\r\nA: " + b"b" * MAX_HEAD_BYTES,
}


@pytest.mark.parametrize("received", HOSTILE_HEADS.values(), ids=HOSTILE_HEADS.keys())
def test_a_head_that_can_be_read_in_two_ways_is_refused(received: bytes) -> None:
    with pytest.raises(UpstreamBadResponseError) as refusal:
        parse_response_head(received)
    assert refusal.value.internal_reason


@pytest.mark.parametrize(
    ("received", "reason"),
    [(b"HTTP/1.1 200\r\n\r\n", ""), (b"HTTP/1.1 200 \r\n\r\n", ""), (b"HTTP/1.1 200 O\xe9 K\r\n\r\n", "O\xe9 K")],
    ids=["absent", "empty", "latin-1"],
)
def test_any_reason_is_a_reason(received: bytes, reason: str) -> None:
    assert parse(received).reason == reason


def test_as_many_headers_as_allowed_pass() -> None:
    assert len(parse(head_with(*(b"A%d: b" % number for number in range(MAX_HEADERS)))).headers) == MAX_HEADERS


@pytest.mark.parametrize("cut", range(len(head_with(b"Content-Length: 5"))))
def test_a_head_is_awaited_to_its_last_byte(cut: int) -> None:
    whole = head_with(b"Content-Length: 5")
    assert parse_response_head(whole[:cut]) is None
    head = parse_response_head(whole, cut)
    assert head is not None
    assert head.content_length == 5


@pytest.mark.parametrize(
    ("received", "is_persistent"),
    [
        (head_with(), True),
        (head_with(b"Connection: keep-alive"), True),
        (head_with(b"Connection: close"), False),
        (head_with(b"connection: Keep-Alive, CLOSE"), False),
        (head_with(b"Connection: x", b"Connection: close"), False),
        (head_with(b"Connection: close", b"Connection: keep-alive"), False),
        (head_with(b"Connection: not-close"), True),
        (head_with(version=b"1.0"), False),
        (head_with(b"Connection: keep-alive", version=b"1.0"), False),
        (head_with(version=b"1.9"), True),
        (head_with(status=b"204 No Content"), True),
        (head_with(b"Content-Length: 0", status=b"204 No Content"), True),
        (head_with(b"Content-Length: 5", status=b"204 No Content"), False),
        (head_with(b"Transfer-Encoding: chunked", status=b"204 No Content"), False),
    ],
)
def test_a_connection_is_kept_only_if_nothing_speaks_against_it(received: bytes, is_persistent: bool) -> None:
    assert parse(received).is_persistent is is_persistent


def test_a_204_has_no_length() -> None:
    assert parse(head_with(b"Content-Length: 5", status=b"204 No Content")).content_length is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"timeout=5", 5), (b"max=3, timeout=60", 60), (b"Timeout=7;x", 7), (b"xtimeout=5", None), (b"timeout=x", None)],
)
def test_the_backend_may_say_how_long_it_keeps_a_connection(value: bytes, seconds: int | None) -> None:
    assert parse(head_with(b"Keep-Alive: " + value)).keep_alive_seconds == seconds


def test_names_without_number_are_known_as_well_as_the_first() -> None:
    for number in range(3000):
        parse(head_with(b"X-%d: a" % number))
    assert parse(head_with(b"CONTENT-length: 7", b"X-Late: a")).content_length == 7
