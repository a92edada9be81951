"""Event lines: structlog and the standard library's logging, one JSON object a line on stdout, secrets redacted.

`configure` is called once in every process, the gunicorn master included. Every line carries `time` (ISO 8601, UTC),
`level`, `log` ("event" here, "access" and "audit" elsewhere) and, within a request, its `request_id` and `trace_id`.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import msgspec
import structlog

from app.observability import lines
from app.observability.redaction import redact_field, redact_text

_MAX_FRAMES = 15
_MAX_CAUSES = 4
_MAX_MESSAGE_CHARS = 500
_SHORT_TEXT_CHARS = 100

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_request_fields: ContextVar[Mapping[str, str] | None] = ContextVar("bff_request_fields", default=None)
_encoder = msgspec.json.Encoder(enc_hook=lambda value: f"<{type(value).__name__}>")


def configure(level: str) -> None:
    """Sends structlog's events, the standard library's log records and Python's warnings to stdout as JSON."""
    number = logging.getLevelNamesMapping()[level.upper()]
    _configure_structlog(number)
    root = logging.getLogger()
    for handler in [*root.handlers]:
        if isinstance(handler, JsonHandler):
            root.removeHandler(handler)
    root.addHandler(JsonHandler())
    root.setLevel(number)
    # What these say at lower levels is each request they make, addresses and query included.
    for name in ("urllib3", "requests", "werkzeug"):
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    logging.captureWarnings(True)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Returns a logger whose lines carry `logger: name`; the first argument of its methods is a fixed sentence."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger


def bind_request(request_id: str, trace_id: str = "") -> None:
    """Makes every line from here on, in this thread or greenlet, carry these ids; replaces those of the last request
    of a connection that is kept alive."""
    _request_fields.set({"request_id": request_id, "trace_id": trace_id} if trace_id else {"request_id": request_id})


def clear_request() -> None:
    """Ends what `bind_request` began."""
    _request_fields.set(None)


def get_request_fields() -> Mapping[str, str]:
    """Returns the ids bound to the current request; empty outside one."""
    return _request_fields.get() or {}


def build_line(kind: str, fields: Mapping[str, object], now: datetime | None = None) -> bytes:
    """Makes one redacted JSON line, at most `MAX_LINE_BYTES` long, newline included."""
    record: dict[str, object] = {"time": now or datetime.now(UTC), "log": kind, **get_request_fields()}
    for name, value in fields.items():
        record[name] = redact_field(name, value)
    return _encode(record)


def describe_exception(error: BaseException) -> list[dict[str, object]]:
    """Describes an exception and what caused it: types, redacted messages and places in the code.

    Neither local variables nor source lines are read, so what a frame held cannot leak.
    """
    described: list[dict[str, object]] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(described) < _MAX_CAUSES:
        seen.add(id(current))
        frames = traceback.StackSummary.extract(traceback.walk_tb(current.__traceback__), lookup_lines=False)
        described.append(
            {
                "type": type(current).__qualname__,
                "message": redact_text(_get_message(current), _MAX_MESSAGE_CHARS),
                "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-_MAX_FRAMES:]],
            }
        )
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return described


class JsonHandler(logging.Handler):
    """Turns records of the standard library's logging (gunicorn, urllib3, warnings) into event lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, object] = {
                "level": record.levelname.lower(),
                "logger": record.name,
                "event": record.getMessage(),
            }
            if record.exc_info and record.exc_info[1] is not None:
                fields["exception"] = describe_exception(record.exc_info[1])
            lines.stdout.write(build_line("event", fields))
        except Exception:  # noqa: BLE001 - logging must not break what it tells about
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is the base class's
        """Says that a line was lost; the base class would print the record's arguments unredacted."""
        lines.stdout.write(build_line("event", {"event": "a log record could not be rendered", "logger": record.name}))


class _LineLogger:
    """structlog's innermost logger: takes the ready line."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: bytes) -> None:
        lines.stdout.write(line)

    debug = info = warning = error = critical = exception = fatal = log = msg


class _LineLoggerFactory:
    def __call__(self, *args: Any) -> _LineLogger:
        return _LineLogger(*args)


def _render(_: object, __: str, event_dict: MutableMapping[str, Any]) -> tuple[tuple[bytes], dict[str, Any]]:
    exc_info = event_dict.pop("exc_info", None)
    error = _find_exception(exc_info)
    if error is not None:
        event_dict["exception"] = describe_exception(error)
    first = {name: event_dict.pop(name) for name in ("level", "logger", "event") if name in event_dict}
    return (build_line("event", {**first, **event_dict}),), {}


def _find_exception(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple) and len(exc_info) == 3 and isinstance(exc_info[1], BaseException):
        return exc_info[1]
    return sys.exc_info()[1] if exc_info else None


def _get_message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - somebody else's __str__
        return "<no message>"


def _encode(record: dict[str, object]) -> bytes:
    line = _encoder.encode(record) + b"\n"
    if len(line) <= lines.MAX_LINE_BYTES:
        return line
    short = {name: _shorten(value) for name, value in record.items()} | {"cut": True}
    line = _encoder.encode(short) + b"\n"
    if len(line) <= lines.MAX_LINE_BYTES:
        return line
    kept = ("time", "log", "level", "logger", "event", "request_id")
    return _encoder.encode({name: short[name] for name in kept if name in short} | {"cut": True}) + b"\n"


def _shorten(value: object) -> object:
    if isinstance(value, str):
        return redact_text(value, _SHORT_TEXT_CHARS)
    if isinstance(value, list):
        return [_shorten(item) for item in value[-5:]]
    if isinstance(value, dict):
        return {name: _shorten(item) for name, item in [*value.items()][:20]}
    return value


def _configure_structlog(level: int) -> None:
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, _render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_LineLoggerFactory(),
        cache_logger_on_first_use=False,
    )


# From the first import on: no event leaves unredacted, not even where nobody has called `configure`.
_configure_structlog(logging.INFO)
