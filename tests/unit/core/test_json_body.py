"""A JSON body is read in one way or not at all."""

from __future__ import annotations

import json

import pytest

from app.core.errors import BadRequestError
from app.core.json_body import check_json_headers, parse_json_body


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": {"b": [1, "x", null, true]}}', {"a": {"b": [1, "x", None, True]}}),
        ('{"name": "Zoë \\ud83d\\ude00"}'.encode(), {"name": "Zoë 😀"}),
        (b" [] ", []),
        (b"1.5e3", 1500.0),
        (b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
    ],
)
def test_json_is_read(content: bytes, expected: object) -> None:
    assert parse_json_body(content) == expected


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"kind=public", id="form"),
        pytest.param(b'{"a": 1} {"a": 2}', id="two-texts"),
        pytest.param(b'{"a": 1,}', id="trailing-comma"),
        pytest.param(b"{'a': 1}", id="single-quotes"),
        pytest.param(b'{"kind": "public", "kind": "secret"}', id="name-twice"),
        pytest.param(b'{"kind": "public", "k\\u0069nd": "secret"}', id="name-twice-spelled-differently"),
        pytest.param(b'[{"x": {"a": 1, "a": 1}}]', id="name-twice-deep"),
        pytest.param(b'{"a": NaN}', id="nan"),
        pytest.param(b'{"a": -Infinity}', id="infinity"),
        pytest.param(b'{"a": 1e400}', id="becomes-infinity"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", id="endless-number"),
        pytest.param(b'{"a": "\xff"}', id="bad-utf8"),
        pytest.param('{"a": 1}'.encode("utf-16"), id="utf-16"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte-order-mark"),
        pytest.param(b'{"a": "\\ud800"}', id="half-a-surrogate-pair"),
        pytest.param(b'{"\\udfff": 1}', id="half-a-surrogate-pair-in-a-name"),
        pytest.param(b"[" * 65 + b"]" * 65, id="65-levels"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="100000-levels"),
        pytest.param(b'{"a": "\n"}', id="control-character"),
    ],
)
def test_what_two_readers_may_read_differently_is_refused(content: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse_json_body(content)


@pytest.mark.parametrize(
    ("content_type", "content_encoding"),
    [
        ("application/json", None),
        ("Application/JSON; charset=UTF-8", "identity"),
        ('application/vnd.forms+json; charset="utf-8"', None),
    ],
)
def test_a_body_that_is_said_to_be_json_is(content_type: str, content_encoding: str | None) -> None:
    check_json_headers(content_type, content_encoding)


@pytest.mark.parametrize(
    ("content_type", "content_encoding"),
    [
        pytest.param(None, None, id="no-type"),
        pytest.param("text/plain", None, id="B1-text"),
        pytest.param("application/x-www-form-urlencoded", None, id="form"),
        pytest.param("application/json", "gzip", id="compressed"),
        pytest.param("application/json; charset=utf-16", None, id="other-charset"),
        pytest.param("application/json; charset=utf-8; charset=utf-16", None, id="two-charsets"),
        pytest.param("text/html+json", None, id="text-plus-json"),
    ],
)
def test_a_body_that_is_not_said_to_be_plain_json_is_refused(
    content_type: str | None, content_encoding: str | None
) -> None:
    with pytest.raises(BadRequestError):
        check_json_headers(content_type, content_encoding)
