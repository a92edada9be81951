from __future__ import annotations

import json
import logging
import threading
import traceback
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from app.core.errors import StoreUnavailableError
from app.observability import logs
from app.observability.lines import MAX_LINE_BYTES
from tests.unit.observability.captured_lines import CapturedLines

SECRET = "Zm9yLXlvdXItZXllcy1vbmx5"


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    logs.configure("info")
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_an_event_is_one_json_object_with_time_level_and_name(captured: CapturedLines) -> None:
    logs.get_logger("app.somewhere").info("it happened", count=3)

    (record,) = captured.records
    assert record == {
        "time": record["time"],
        "log": "event",
        "level": "info",
        "logger": "app.somewhere",
        "event": "it happened",
        "count": 3,
    }
    assert record["time"].endswith("Z")
    assert datetime.fromisoformat(record["time"]).utcoffset() == timedelta(0)


def test_what_is_below_the_level_is_not_written(captured: CapturedLines) -> None:
    logs.get_logger("app").debug("nobody asked")
    logging.getLogger("lib").debug("nobody asked")
    assert captured.text == ""

    logs.configure("debug")
    logs.get_logger("app").debug("somebody asked")
    assert len(captured.records) == 1


def test_lines_of_a_request_carry_its_ids(captured: CapturedLines) -> None:
    logs.bind_request("req-1", "0af7651916cd43dd8448eb211c80319c")
    logs.get_logger("app").info("structlog")
    logging.getLogger("lib").warning("standard library")

    assert [(line["request_id"], line["trace_id"]) for line in captured.records] == [
        ("req-1", "0af7651916cd43dd8448eb211c80319c"),
        ("req-1", "0af7651916cd43dd8448eb211c80319c"),
    ]


def test_the_next_request_of_a_connection_keeps_nothing_of_the_one_before(captured: CapturedLines) -> None:
    logs.bind_request("req-1", "0af7651916cd43dd8448eb211c80319c")
    logs.bind_request("req-2")
    logs.get_logger("app").info("next")
    logs.clear_request()
    logs.get_logger("app").info("none")

    first, second = captured.records
    assert first["request_id"] == "req-2"
    assert "trace_id" not in first
    assert "request_id" not in second


def test_requests_in_other_threads_do_not_mix(captured: CapturedLines) -> None:
    logs.bind_request("req-1")
    thread = threading.Thread(target=lambda: logs.get_logger("app").info("elsewhere"))
    thread.start()
    thread.join()

    assert "request_id" not in captured.records[0]


def test_secrets_in_fields_do_not_reach_the_line(captured: CapturedLines) -> None:
    logs.get_logger("app").warning(f"refused Bearer {SECRET}", token=SECRET, url=f"https://op/?code={SECRET}")
    logging.getLogger("urllib3").warning("GET %s", f"/cb?state={SECRET}&code={SECRET}")

    assert SECRET not in captured.text
    assert len(captured.records) == 2


def raise_with_locals() -> None:
    access_token_of_user = SECRET
    assert access_token_of_user
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise StoreUnavailableError(f"outer: access_token={SECRET}") from error


@pytest.mark.parametrize("how", ["structlog", "logging"])
def test_an_exception_tells_types_and_places_and_nothing_that_a_frame_held(captured: CapturedLines, how: str) -> None:
    log = logs.get_logger("lib") if how == "structlog" else logging.getLogger("lib")
    try:
        raise_with_locals()
    except StoreUnavailableError:
        log.exception("it broke")

    (record,) = captured.records
    assert [error["type"] for error in record["exception"]] == ["StoreUnavailableError", "KeyError"]
    assert record["exception"][0]["frames"][-1].endswith(" raise_with_locals")
    assert SECRET not in captured.text
    assert "access_token_of_user" not in captured.text
    assert record["level"] == "error"


def test_an_exception_given_as_an_object_is_described_too(captured: CapturedLines) -> None:
    logs.get_logger("app").error("it broke", exc_info=ValueError("so"))

    assert captured.records[0]["exception"] == [{"type": "ValueError", "message": "so", "frames": []}]


def test_an_endless_chain_of_causes_ends(captured: CapturedLines) -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    logs.get_logger("app").error("circle", exc_info=first)

    assert len(captured.records[0]["exception"]) == 2


def recurse(depth: int) -> None:
    if depth == 0:
        raise RuntimeError("deep " + "x" * 10_000)
    recurse(depth - 1)


@pytest.mark.parametrize("field", ["x" * 20_000, ["y" * 1000] * 100, {str(n): "z" * 500 for n in range(100)}])
def test_a_line_is_never_longer_than_one_atomic_write(captured: CapturedLines, field: object) -> None:
    try:
        recurse(200)
    except RuntimeError:
        logs.get_logger("app").exception("big", field=field, other=field, third=field)

    assert all(len(line) + 1 <= MAX_LINE_BYTES for line in captured.text.encode().splitlines())
    assert captured.records[0]["event"] == "big"
    assert captured.records[0]["cut"] is True


def test_a_line_break_in_a_value_starts_no_line(captured: CapturedLines) -> None:
    logs.get_logger("app").info("one\ntwo", user_agent='x"}\n{"log":"audit","event":"login.completed"}')

    assert len(captured.records) == 1


def test_warnings_become_lines(captured: CapturedLines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # Outside pytest this is `warnings.showwarning` itself.
        logging._showwarning("old things", DeprecationWarning, "file.py", 3)  # type: ignore[attr-defined]

    assert captured.records[0]["logger"] == "py.warnings"
    assert "DeprecationWarning: old things" in captured.records[0]["event"]


def test_a_record_that_cannot_be_rendered_is_reported_without_its_arguments(captured: CapturedLines) -> None:
    record = logging.LogRecord("lib", logging.WARNING, "file.py", 1, "%s and %s", (SECRET,), None)
    logs.JsonHandler().handle(record)

    assert captured.records[0]["event"] == "a log record could not be rendered"
    assert captured.records[0]["logger"] == "lib"
    assert SECRET not in captured.text


def test_an_undecodable_name_is_no_reason_to_lose_a_line(captured: CapturedLines) -> None:
    logs.get_logger("app").info("found", file="\udcff.yaml")

    assert captured.records[0]["file"] == "\\udcff.yaml"


def test_configuring_twice_does_not_double_the_lines(captured: CapturedLines) -> None:
    logs.configure("info")
    logging.getLogger("lib").info("once")

    assert len(captured.records) == 1


def test_the_description_of_an_exception_looks_at_no_source_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traceback.linecache, "getline", lambda *_: pytest.fail("read a source file"))  # type: ignore[attr-defined]
    try:
        raise_with_locals()
    except StoreUnavailableError as error:
        json.dumps(logs.describe_exception(error))
