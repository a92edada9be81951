"""Nothing that a caller passes can end a line, frame a message or reach another host."""

from __future__ import annotations

import pytest

from app.core.errors import BadRequestError
from app.services.upstream_request_head import build_request_head


def build(
    method: str = "GET",
    target: str = "/a?b=c",
    headers: list[tuple[str, str]] | None = None,
    framing: str = "",
) -> bytes:
    return build_request_head(method, target, "backend:8080", headers or [], framing)


def test_a_head_is_written_as_given() -> None:
    head = build(
        "POST", "/a%20b?x=\xff", [("Accept", "*/*"), ("accept", ""), ("X-Name", "J\xfcrgen")], "Content-Length: 3"
    )
    assert head == (
        b"POST /a%20b?x=\xff HTTP/1.1\r\nHost: backend:8080\r\nContent-Length: 3\r\n"
        b"Accept: */*\r\naccept: \r\nX-Name: J\xfcrgen\r\n\r\n"
    )


@pytest.mark.parametrize("name", ["X-Evil", "X Evil"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\0"], ids=["P25-crlf", "P25-lf", "P25-cr", "P13-nul"])
def test_a_value_cannot_end_its_line(name: str, end: str) -> None:
    with pytest.raises(BadRequestError):
        build(headers=[(name, f"a{end}Transfer-Encoding: chunked")])


@pytest.mark.parametrize("name", ["", " ", "A B", "A:", "A\r\nB", "A\0", "Ä", "A(", "\tA"])
def test_a_name_must_be_a_token(name: str) -> None:
    with pytest.raises(BadRequestError):
        build(headers=[(name, "a")])


def test_a_value_beyond_latin_1_is_refused() -> None:
    with pytest.raises(BadRequestError):
        build(headers=[("X-Name", "名")])


BAD_TARGETS = {
    "empty": "",
    "P13-nul": "/a\0",
    "P18-absolute": "http://evil.example/",
    "P19-no-slash": "a",
    "P19-star": "*",
    "P20-authority": "@evil.example/x",
    "P25-crlf": "/a\r\nX: y",
    "P25-lf": "/a\n",
    "space": "/a b",
    "tab": "/a\tb",
    "delete": "/\x7f",
    "beyond-latin-1": "/名",
}


@pytest.mark.parametrize("target", BAD_TARGETS.values(), ids=BAD_TARGETS.keys())
def test_only_a_target_in_origin_form_is_written(target: str) -> None:
    with pytest.raises(BadRequestError):
        build(target=target)


@pytest.mark.parametrize("method", ["", "GET ", "G T", "GET\r\n", "CONNECT", "GÉT"])
def test_only_a_token_that_is_not_connect_is_a_method(method: str) -> None:
    with pytest.raises(BadRequestError):
        build(method=method)


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Connection",
        "connection",
        "Content-Length",
        "CONTENT_LENGTH",
        "Content.Length",
        "Transfer-Encoding",
        "Transfer_Encoding",
        "TE",
        "Trailer",
        "Upgrade",
        "Keep-Alive",
        "Proxy-Connection",
        "Expect",
    ],
)
def test_a_line_that_frames_or_belongs_to_one_connection_is_left_out(name: str) -> None:
    for _ in range(2):
        assert build(headers=[(name, "evil"), ("Accept", "a")]) == (
            b"GET /a?b=c HTTP/1.1\r\nHost: backend:8080\r\nAccept: a\r\n\r\n"
        )


def test_names_without_number_are_judged_as_well_as_the_first() -> None:
    for number in range(3000):
        build(headers=[(f"X-{number}", "a")])
    assert b"X-Late: a" in build(headers=[("X-Late", "a")])
    assert b"evil" not in build(headers=[("Content_length", "evil")])
    with pytest.raises(BadRequestError):
        build(headers=[("X Late", "a")])
