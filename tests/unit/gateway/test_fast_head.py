"""The fast lane takes nothing that gunicorn's parser would refuse, and reads what it takes as gunicorn does.

Both are fed the same bytes: those of a table, and those that hypothesis makes up.
"""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.body import LengthReader
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.fast_head import HeadLimits, find_head_limits, parse_plain_head

CONFIG = Config()
CONFIG.set("limit_request_line", 4094)
CONFIG.set("header_map", "drop")
CONFIG.set("forwarded_allow_ips", "")
CONFIG.set("secure_scheme_headers", {})
CONFIG.set("forwarder_headers", "")
LIMITS = HeadLimits(4094, 100, 8190)

PLAIN = [
    pytest.param(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", id="least"),
    pytest.param(b"GET /a?b=c&d HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\nCookie: x=1; y=2\r\n\r\n", id="usual"),
    pytest.param(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", id="head"),
    pytest.param(b"DELETE /a HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", id="close"),
    pytest.param(b"OPTIONS /a HTTP/1.1\r\nHost: a\r\nOrigin: https://b\r\n\r\n", id="options"),
    pytest.param(b"GET /a HTTP/1.1\r\nX: a\r\nX: b\r\n\r\n", id="repeated-line"),
    pytest.param(b"GET /a HTTP/1.1\r\nX:a\r\nY: \t b \t\r\nZ:\r\n\r\n", id="space-around-values"),
    pytest.param(b"GET /a HTTP/1.1\r\nX: \xe4\xff\r\n\r\n", id="latin-1-value"),
    pytest.param(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n", id="pipelined"),
    pytest.param(b"GET /a%2e;x/../b\\ HTTP/1.1\r\n\r\n", id="path-that-the-pipeline-judges"),
    pytest.param(b"GET   /a   HTTP/1.1\r\n\r\n", id="spaces-in-the-request-line"),
    pytest.param(b"GET /a HTTP/1.1\r\nX: " + b"a" * 8180 + b"\r\n\r\n", id="longest-line"),
    pytest.param(b"GET /a HTTP/1.1\r\n" + b"X: a\r\n" * 100 + b"\r\n", id="most-lines"),
]

NOT_PLAIN = [
    pytest.param(b"GET /a HTTP/1.1\r\nHost: a\r\n", id="incomplete"),
    pytest.param(b"", id="nothing"),
    pytest.param(b"POST /a HTTP/1.1\r\nHost: a\r\n\r\n", id="method-with-a-body"),
    pytest.param(b"TRACE /a HTTP/1.1\r\nHost: a\r\n\r\n", id="trace"),
    pytest.param(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", id="connect"),
    pytest.param(b"get /a HTTP/1.1\r\nHost: a\r\n\r\n", id="small-letters"),
    pytest.param(b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n", id="http-1-0"),
    pytest.param(b"GET /a HTTP/1.2\r\nHost: a\r\n\r\n", id="http-1-2"),
    pytest.param(b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", id="http-2"),
    pytest.param(b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", id="empty-line-first"),
    pytest.param(b"GET //a HTTP/1.1\r\nHost: a\r\n\r\n", id="two-slashes"),
    pytest.param(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", id="absolute-form"),
    pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", id="asterisk"),
    pytest.param(b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", id="raw-byte"),
    pytest.param(b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", id="nul"),
    pytest.param(b"GET /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", id="length-0"),
    pytest.param(b"GET /a HTTP/1.1\r\nCONTENT-LENGTH: 5\r\n\r\nhello", id="length"),
    pytest.param(b"GET /a HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", id="two-lengths"),
    pytest.param(b"GET /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="chunked"),
    pytest.param(b"GET /a HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", id="xchunked"),
    pytest.param(b"GET /a HTTP/1.1\r\nContent_Length: 5\r\n\r\n", id="length-with-underscore"),
    pytest.param(b"GET /a HTTP/1.1\r\nX_User_ID: a\r\n\r\n", id="underscore"),
    pytest.param(b"GET /a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", id="expect"),
    pytest.param(b"GET /a HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", id="upgrade"),
    pytest.param(b"GET /a HTTP/1.1\r\nConnection: keep-alive, X\r\n\r\n", id="connection-list"),
    pytest.param(b"GET /a HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", id="two-connections"),
    pytest.param(b"GET /a HTTP/1.1\r\nTE: trailers\r\n\r\n", id="te"),
    pytest.param(b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two-hosts"),
    pytest.param(b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n", id="space-before-colon"),
    pytest.param(b"GET /a HTTP/1.1\r\nX: a\r\n b\r\n\r\n", id="folded"),
    pytest.param(b"GET /a HTTP/1.1\nHost: a\n\n", id="bare-lf"),
    pytest.param(b"GET /a HTTP/1.1\r\nX: a\x01b\r\n\r\n", id="control"),
    pytest.param(b"GET /a HTTP/1.1\r\nX: a\rb\r\n\r\n", id="bare-cr"),
    pytest.param(b"GET /a HTTP/1.1\r\n: a\r\n\r\n", id="no-name"),
    pytest.param(b"GET /a HTTP/1.1\r\nX: " + b"a" * 8190 + b"\r\n\r\n", id="H24-long-line"),
    pytest.param(b"GET /a HTTP/1.1\r\n" + b"X: a\r\n" * 101 + b"\r\n", id="H24-many-lines"),
    pytest.param(b"GET /" + b"a" * 4094 + b" HTTP/1.1\r\n\r\n", id="H24-long-target"),
]


def parse_as_gunicorn(received: bytes) -> tuple[Any, bytes] | None:
    """The request and what is left behind it; None for whatever gunicorn does not take."""
    unreader = IterUnreader([received])
    try:
        return Request(CONFIG, unreader, ("127.0.0.1", 1)), unreader.take_buffered()
    except Exception:  # noqa: BLE001 - whichever it is, it is no acceptance
        return None


def check_agreement(received: bytes) -> bool:
    """Returns whether the fast lane takes it; what it takes gunicorn takes too, with the same meaning."""
    head = parse_plain_head(received, LIMITS)
    if head is None:
        return False
    parsed = parse_as_gunicorn(received)
    assert parsed is not None, "gunicorn refuses it"
    request, rest = parsed
    assert (head.method, head.raw_target) == (request.method, request.uri)
    assert [(name.upper(), value) for name, value in head.headers] == request.headers
    assert received[head.size :] == rest
    assert head.wants_close == request.should_close()
    assert isinstance(request.body.reader, LengthReader)
    assert request.body.reader.length == 0
    assert not request._expected_100_continue
    assert (request.version, request.scheme) == ((1, 1), "http")
    return True


@pytest.mark.parametrize("received", PLAIN)
def test_a_plain_head_is_taken_and_means_what_it_means_to_gunicorn(received: bytes) -> None:
    assert check_agreement(received)


@pytest.mark.parametrize("received", NOT_PLAIN)
def test_anything_else_is_left_to_gunicorn(received: bytes) -> None:
    assert parse_plain_head(received, LIMITS) is None


NAMES = ["Host", "host", "X", "Cookie", "Accept", "Content-Length", "Transfer-Encoding", "Connection", "connection"]
MORE_NAMES = ["Expect", "Upgrade", "TE", "X_Y", "Content-Type", "content-type", "Host ", " X", "", "Ü", "X\x00"]
VALUES = ["a", "", " ", "\ta ", "close", "keep-alive", "Keep-Alive", "close, x", "chunked", "5", "0", "100-continue"]
ODDITIES = st.sampled_from(
    ["\r\n", "\n", "\r", "\x00", "\x7f", "\xff", " ", "\t", ":", "\r\n\r\n", "_", "//", "?", "#"]
)

header_lines = st.tuples(
    st.sampled_from(NAMES + MORE_NAMES), st.sampled_from([":", ": ", " :", ""]), st.sampled_from(VALUES)
).map("".join)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Near to what is good: so many of them are taken, and the others only just not."""
    method = draw(st.sampled_from(["GET", "GET", "HEAD", "DELETE", "OPTIONS", "POST", "get", "G", "GET\t"]))
    target = draw(st.sampled_from(["/", "/a", "/a?b", "//a", "*", "http://a/", "/%2e", "/a#b", "/[", "", "/é"]))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.10", "http/1.1", ""]))
    lines = [f"{method} {target} {version}", *draw(st.lists(header_lines, max_size=5)), "", ""]
    text = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n"])).join(lines)
    for oddity in draw(st.lists(ODDITIES, max_size=2)):
        position = draw(st.integers(0, len(text)))
        text = text[:position] + oddity + text[position:]
    return text.encode("latin-1")


@settings(max_examples=600, deadline=None)
@given(requests())
def test_both_parsers_agree_on_whatever_the_fast_lane_takes(received: bytes) -> None:
    check_agreement(received)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_is_taken_by_nobody(received: bytes) -> None:
    check_agreement(b"GET /a HTTP/1.1\r\n" + received)


def test_the_limits_are_gunicorns() -> None:
    assert find_head_limits(CONFIG) == LIMITS


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("proxy_protocol", "auto"),
        ("secure_scheme_headers", {"X-FORWARDED-PROTO": "https"}),
        ("http_parser", "python"),
        ("casefold_http_method", True),
        ("permit_unconventional_http_method", True),
        ("permit_unconventional_http_version", True),
        ("permit_obsolete_folding", True),
        ("strip_header_spaces", True),
        ("limit_request_line", 0),
        ("limit_request_fields", 1000),
        ("certfile", "/x"),
    ],
)
def test_what_only_gunicorns_parser_does_closes_the_fast_lane(setting: str, value: object) -> None:
    config = Config()
    config.set("secure_scheme_headers", {})
    config.set(setting, value)
    assert find_head_limits(config) is None
