"""The audit trail: who logged in and out, whose session ended and why, what was refused. One JSON line an event.

The events are a closed set (`AuditEvent`, described in docs/reference/audit-events.md). A line never holds a token,
a code, a state or a cookie value; a session appears as its reference. Goes to stdout or to a file of its own
(`logging.audit_sink`), where each line is one append, so that several workers may share it.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from app.observability import lines, logs


class AuditEvent(StrEnum):
    """Every event there is; `noun.past_tense`."""

    LOGIN_STARTED = "login.started"
    LOGIN_COMPLETED = "login.completed"
    LOGIN_FAILED = "login.failed"
    LOGOUT_COMPLETED = "logout.completed"
    LOGOUT_REQUESTED = "logout.requested"
    LOGOUT_REFUSED = "logout.refused"
    SESSION_ENDED = "session.ended"
    CLAIMS_CHANGED = "claims.changed"
    ACCESS_REFUSED = "access.refused"
    ACCESS_DENIED = "access.denied"
    ACCESS_DECIDED = "access.decided"
    DECISIONS_DROPPED = "decisions.dropped"
    CSRF_REFUSED = "csrf.refused"
    RECORD_REFUSED = "record.refused"
    CLIENT_REGISTERED = "client.registered"
    CLIENT_UPDATED = "client.updated"
    REGISTRATION_FAILED = "registration.failed"
    KEY_CREATED = "key.created"
    KEY_ACTIVATED = "key.activated"
    KEY_RETIRED = "key.retired"
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 - an event's name


_REFUSALS = {
    "access_denied": AuditEvent.ACCESS_DENIED,
    "csrf_failed": AuditEvent.CSRF_REFUSED,
    "insufficient_user_authentication": AuditEvent.ACCESS_REFUSED,
    "pdp_unavailable": AuditEvent.ACCESS_REFUSED,
    "rate_limited": AuditEvent.ACCESS_REFUSED,
    "token_invalid": AuditEvent.ACCESS_REFUSED,
    "unmapped": AuditEvent.ACCESS_REFUSED,
    "unsafe_return_to": AuditEvent.ACCESS_REFUSED,
}
"""The refusals that are worth a line in the trail; that somebody is not logged in is not one."""


class _FileSink:
    """Appends lines to a file, readable by its owner only; `reopen` follows a rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()

    def write(self, line: bytes) -> None:
        os.write(self._descriptor, line)

    def reopen(self) -> None:
        old, self._descriptor = self._descriptor, self._open()
        os.close(old)

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


_file: _FileSink | None = None
"""None: stdout."""


def configure(audit_sink: str) -> None:
    """Chooses where the trail goes: `stdout`, or the path of a file. Raises `OSError` when it cannot be opened."""
    global _file
    if _file is not None:
        _file.close()
    _file = None if audit_sink == "stdout" else _FileSink(Path(audit_sink))


def record(event: str, **fields: object) -> None:
    """Writes one event, with the ids of the current request. Raises `ValueError` for one that is not in the set."""
    line = logs.build_line("audit", {"event": AuditEvent(event).value, **fields})
    if _file is None:
        lines.stdout.write(line)
        return
    try:
        _file.write(line)
    except OSError:
        # A full disk must not turn a logout into an error; the line goes where somebody may still see it.
        logs.get_logger(__name__).exception("the audit file cannot be written")
        lines.stdout.write(line)


def record_refusal(error_code: str, **fields: object) -> None:
    """Writes the event that belongs to an error of ours, if there is one."""
    event = _REFUSALS.get(error_code)
    if event is not None:
        record(event, code=error_code, **fields)


def reopen() -> None:
    """Opens the audit file anew, after it was rotated (SIGUSR1)."""
    if _file is not None:
        _file.reopen()
