from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core import errors
from app.observability import audit, logs
from app.observability.audit import AuditEvent
from tests.unit.observability.captured_lines import CapturedLines

SECRET = "Zm9yLXlvdXItZXllcy1vbmx5"
REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "audit-events.md"


@pytest.fixture(autouse=True)
def _back_to_stdout() -> Iterator[None]:
    yield
    audit.configure("stdout")


def test_an_event_is_one_line_with_the_ids_of_its_request(captured: CapturedLines) -> None:
    logs.bind_request("req-1")
    audit.record("login.completed", user_id="alice", session="r-1")

    (record,) = captured.records
    assert {name: value for name, value in record.items() if name != "time"} == {
        "log": "audit",
        "event": "login.completed",
        "request_id": "req-1",
        "user_id": "alice",
        "session": "r-1",
    }


def test_an_unknown_event_is_a_programming_error(captured: CapturedLines) -> None:
    with pytest.raises(ValueError, match=r"login\.finished"):
        audit.record("login.finished")

    assert captured.text == ""


def test_every_event_is_noun_and_past_participle() -> None:
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+ed", event) for event in AuditEvent)


def test_no_secret_gets_into_the_trail(captured: CapturedLines) -> None:
    audit.record("login.failed", code=SECRET, reason=f"token={SECRET}", session_id=SECRET)

    assert SECRET not in captured.text


def test_a_file_of_its_own_takes_the_trail_and_nothing_else(captured: CapturedLines, tmp_path: Path) -> None:
    path = tmp_path / "log" / "audit.log"
    audit.configure(str(path))
    audit.record("logout.completed", user_id="alice")
    logs.get_logger("app").info("something else")

    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["event"] == "logout.completed"
    assert captured.of("audit") == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_trail_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    for _ in range(2):
        audit.configure(str(path))
        audit.record("logout.completed")

    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_after_a_rotation_the_trail_goes_to_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit.configure(str(path))
    audit.record("login.completed")
    path.rename(tmp_path / "audit.log.1")
    audit.reopen()
    audit.record("logout.completed")

    assert "login.completed" in (tmp_path / "audit.log.1").read_text(encoding="utf-8")
    assert "logout.completed" in path.read_text(encoding="utf-8")


def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        audit.configure(str(tmp_path))


def test_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "audit.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        audit.configure(str(tmp_path / "audit.log"))


def test_an_event_that_the_file_refuses_is_still_seen(captured: CapturedLines) -> None:
    audit.configure("/dev/full")
    audit.record("session.ended", reason="logout")

    assert [record["event"] for record in captured.of("audit")] == ["session.ended"]
    assert [record["level"] for record in captured.of("event")] == ["error"]


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("csrf_failed", "csrf.refused"),
        ("access_denied", "access.denied"),
        ("unmapped", "access.refused"),
        ("pdp_unavailable", "access.refused"),
        ("rate_limited", "access.refused"),
        ("unsafe_return_to", "access.refused"),
    ],
)
def test_a_refusal_leaves_its_event(captured: CapturedLines, code: str, event: str) -> None:
    audit.record_refusal(code, path="/x")

    assert [(record["event"], record["code"]) for record in captured.records] == [(event, code)]


@pytest.mark.parametrize("code", ["not_authenticated", "session_expired", "route_not_found", "upstream_timeout"])
def test_an_ordinary_refusal_leaves_no_event(captured: CapturedLines, code: str) -> None:
    audit.record_refusal(code)

    assert captured.text == ""


def test_refusals_are_known_by_codes_that_exist() -> None:
    codes = {error.code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "code")}

    assert set(audit._REFUSALS) <= codes


def test_the_reference_lists_exactly_the_events_there_are() -> None:
    described = re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", REFERENCE.read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert sorted(described) == sorted(AuditEvent)
