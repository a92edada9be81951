"""Access lines: one JSON record a call, written once its answer is out.

The caller only queues the record; it is encoded where it is written (`lines`). When nobody reads stdout, records
beyond the bound are dropped and counted (`bff_access_records_dropped_total`).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec

from app.observability import lines
from app.observability.redaction import redact_text

_MAX_PATH_CHARS = 1000
_SHORT_TEXT_CHARS = 50
"""A control character takes six bytes in JSON: even then all texts together stay below `MAX_LINE_BYTES`."""
_encoder = msgspec.json.Encoder()


class AccessRecord(msgspec.Struct, kw_only=True, gc=False, tag_field="log", tag="access"):
    """One call. Handed over with `record`, which owns it from then on."""

    time: float | datetime
    """When the call came in, epoch seconds; written as ISO 8601 in UTC."""
    request_id: str
    trace_id: str = ""
    method: str
    path: str
    """As it came, without its query: a query may hold a code or a state."""
    route_id: str
    """Of `routes.yaml`, or the name of our own endpoint; empty when nothing matched."""
    service: str = ""
    status: int
    code: str = ""
    """What `X-BFF-Error` says; empty when the answer is a success or a backend's own."""
    decision: str = ""
    """The decision point's: allow or deny, with `(remembered)` when it was not asked anew; empty without one; `off`
    where one was needed and `pdp.enabled` is false."""
    duration_ms: float
    upstream_ms: float | None = None
    """Until the backend's answer began; None when no backend was asked."""
    bytes_in: int = 0
    bytes_out: int = 0
    user_id: str | None = None
    session: str | None = None
    """The session's reference, never its cookie."""
    client_address: str
    aborted: bool = False
    """The client went away, or the backend's answer broke off."""


def record(entry: AccessRecord) -> None:
    """Queues one line; never waits and never raises."""
    lines.stdout.offer(lambda: build_line(entry))


def start(
    *,
    start_thread: lines.StartThread = lines.start_daemon_thread,
    sleep: lines.Sleep = time.sleep,
) -> None:
    """Hands the writing of all log lines of this process to a thread.

    Under gevent, `start_thread` and `sleep` must be the unpatched ones. `lines.stdout.on_drop` counts what is lost.
    """
    lines.stdout.start(start_thread=start_thread, sleep=sleep)


def stop(timeout_seconds: float = 2.0) -> bool:
    """Writes out what waits, for at most `timeout_seconds`; False when that was not enough."""
    return lines.stdout.stop(timeout_seconds)


def build_line(entry: AccessRecord) -> bytes:
    """Encodes a record as one line of at most `MAX_LINE_BYTES`."""
    if not isinstance(entry.time, datetime):
        entry.time = datetime.fromtimestamp(entry.time, UTC)
    entry.duration_ms = round(entry.duration_ms, 3)
    if entry.upstream_ms is not None:
        entry.upstream_ms = round(entry.upstream_ms, 3)
    if len(entry.path) > _MAX_PATH_CHARS or "eyJ" in entry.path:
        entry.path = redact_text(entry.path, _MAX_PATH_CHARS)
    try:
        line = _encoder.encode(entry) + b"\n"
    except UnicodeEncodeError:
        line = b""
    return line if 0 < len(line) <= lines.MAX_LINE_BYTES else _encode_shortened(entry)


def _encode_shortened(entry: AccessRecord) -> bytes:
    """For what only somebody hostile sends: texts without a UTF-8 form, or far too long in all."""
    for name in entry.__struct_fields__:
        value = getattr(entry, name)
        if isinstance(value, str):
            setattr(entry, name, redact_text(value, _SHORT_TEXT_CHARS))
    return _encoder.encode(entry) + b"\n"
