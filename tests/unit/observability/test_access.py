from __future__ import annotations

import json
from typing import Any

import pytest

from app.observability import access
from app.observability.access import AccessRecord, build_line
from app.observability.lines import MAX_LINE_BYTES
from tests.unit.observability.captured_lines import CapturedLines


def build_record(**changes: Any) -> AccessRecord:
    fields: dict[str, Any] = {
        "time": 1_700_000_000.25,
        "request_id": "req-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "method": "GET",
        "path": "/api/crud/forms",
        "route_id": "crud-forms",
        "service": "crud_service",
        "status": 200,
        "duration_ms": 12.34567,
        "upstream_ms": 10.98765,
        "bytes_in": 3,
        "bytes_out": 4,
        "user_id": "alice",
        "session": "r-1",
        "client_address": "192.0.2.1",
    }
    return AccessRecord(**{**fields, **changes})


def test_a_record_is_one_line_with_every_field(captured: CapturedLines) -> None:
    access.record(build_record())

    assert captured.records == [
        {
            "log": "access",
            "time": "2023-11-14T22:13:20.250000Z",
            "request_id": "req-1",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "method": "GET",
            "path": "/api/crud/forms",
            "route_id": "crud-forms",
            "service": "crud_service",
            "status": 200,
            "code": "",
            "decision": "",
            "duration_ms": 12.346,
            "upstream_ms": 10.988,
            "bytes_in": 3,
            "bytes_out": 4,
            "user_id": "alice",
            "session": "r-1",
            "client_address": "192.0.2.1",
            "aborted": False,
        }
    ]


def test_what_is_not_known_is_null_and_not_left_out() -> None:
    record = json.loads(build_line(build_record(user_id=None, session=None, upstream_ms=None)))

    assert (record["user_id"], record["session"], record["upstream_ms"]) == (None, None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("path", "/" + '"' * 8000), ("path", "/" + "x" * 8000), ("user_id", "u" * 5000), ("user_id", "\x00" * 1000)],
)
def test_a_line_is_never_longer_than_one_atomic_write(field: str, value: str) -> None:
    line = build_line(build_record(**{field: value}))

    assert len(line) <= MAX_LINE_BYTES
    assert json.loads(line)["request_id"] == "req-1"


def test_a_token_in_a_path_is_redacted() -> None:
    assert b"eyJ" not in build_line(build_record(path="/x/eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."))


def test_a_text_without_a_utf_8_form_costs_no_line() -> None:
    assert json.loads(build_line(build_record(user_id="a\udc80")))["user_id"] == "a\\udc80"
