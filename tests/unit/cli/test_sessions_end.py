"""`bff sessions end`: what it ends, what it asks first, and what it leaves on the audit trail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from app.services.session_store import build_session_key
from app.services.session_store.keys import build_session_record_name
from tests.unit.cli.sessions_world import Bff, bff
from tests.unit.services.session_store.support import IDLE

__all__ = ["bff"]


# What is ended


def test_the_session_of_a_reference_is_ended_and_no_other(bff: Bff) -> None:
    ended, reference = bff.log_in()
    kept, _ = bff.log_in()
    result = bff.run("end", reference, "--yes")
    assert (result.exit_code, result.stdout) == (0, "1 session ended.\n")
    assert bff.find(ended) is None
    assert bff.find(kept) is not None


def test_all_sessions_of_a_user_are_ended(bff: Bff) -> None:
    of_alice = [bff.log_in("alice")[0] for _ in range(3)]
    of_bob, _ = bff.log_in("bob")
    result = bff.run("end", "--user", "alice", "--yes")
    assert (result.exit_code, result.stdout) == (0, "3 sessions ended.\n")
    assert not any(bff.find(session_id) for session_id in of_alice)
    assert bff.find(of_bob) is not None


def test_the_sessions_of_everybody_are_ended(bff: Bff) -> None:
    made = [bff.log_in(f"user{number}")[0] for number in range(5)]
    result = bff.run("end", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (0, "5 sessions ended.\n")
    assert not any(bff.find(session_id) for session_id in made)


@pytest.mark.parametrize("target", ["--user=nobody", "--all"])
def test_nothing_to_end_is_no_failure(bff: Bff, target: str) -> None:
    result = bff.run("end", target, "--yes")
    assert (result.exit_code, result.stdout) == (0, "No sessions ended.\n")


def test_a_reference_that_names_nothing_is_a_failure(bff: Bff) -> None:
    kept, _ = bff.log_in()
    result = bff.run("end", "0" * 32, "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"There is no session {'0' * 32}.\n"
    assert bff.find(kept) is not None


@pytest.mark.parametrize(
    "arguments", [[], ["abc", "--all"], ["--user", "alice", "--all"], ["abc", "--user", "alice"], ["abc", "def"]]
)
def test_what_to_end_is_said_in_one_way(bff: Bff, arguments: list[str]) -> None:
    kept, _ = bff.log_in()
    result = bff.run("end", *arguments, "--yes")
    assert result.exit_code == 2
    assert "Error" in result.stderr
    assert bff.find(kept) is not None


@pytest.mark.parametrize("answer", ["n\n", "\n", ""], ids=["no", "enter", "nobody-there"])
def test_without_a_yes_nothing_is_ended(bff: Bff, answer: str) -> None:
    kept, reference = bff.log_in()
    for target in ([reference], ["--user", "alice"], ["--all"]):
        result = bff.run("end", *target, answer=answer)
        assert (result.exit_code, result.stdout) == (1, "")
        assert bff.find(kept) is not None


def test_the_question_says_what_is_about_to_end(bff: Bff) -> None:
    _, reference = bff.log_in("alice", "Firefox\x1b[2J")
    bff.log_in("bob")
    assert "End the sessions of everybody (2 sessions)? [y/N]" in bff.run("end", "--all", answer="n\n").stderr
    assert "End 1 session of alice? [y/N]" in bff.run("end", "--user", "alice", answer="n\n").stderr
    question = bff.run("end", reference, answer="y\n").stderr
    assert re.search(r"End the session of alice \(Firefox\ufffd\[2J, last seen \d{4}-.*Z\)\? \[y/N\]", question)
    assert len(bff.run("list").stdout.splitlines()) == 1


def test_a_session_of_a_later_version_ends_with_its_user_and_with_all(bff: Bff) -> None:
    for target in ("--user=alice", "--all"):
        session_id, _ = bff.log_in()
        name = build_session_record_name(build_session_key(session_id))
        bff.state.put(name, bff.key_ring.seal(msgspec.msgpack.encode({"version": 2, "user": []}), name), IDLE)
        assert bff.run("end", target, "--yes").exit_code == 0
        assert bff.state.find(name) is None
        assert bff.store.has_ended(build_session_key(session_id))


# The trail


def read_events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if '"log":"audit"' in line]


def test_the_trail_goes_to_the_audit_file(bff: Bff, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bff.config.change("logging.audit_sink", str(tmp_path / "audit.log"))
    _, reference = bff.log_in()
    bff.run("list")
    assert not (tmp_path / "audit.log").exists()
    bff.run("end", reference, "--yes")
    [event] = read_events((tmp_path / "audit.log").read_text())
    assert event["event"] == "session.ended"
    assert (event["user_id"], event["session"], event["reason"]) == ("alice", reference, "operator")
    assert read_events("".join(capfd.readouterr())) == []


def test_without_an_audit_file_the_trail_goes_to_standard_error(bff: Bff, capfd: pytest.CaptureFixture[str]) -> None:
    _, reference = bff.log_in()
    capfd.readouterr()
    bff.run("end", reference, "--yes")
    printed = capfd.readouterr()
    assert [event["session"] for event in read_events(printed.err)] == [reference]
    assert printed.out == ""


def test_an_audit_file_that_cannot_be_written_ends_nothing(bff: Bff, tmp_path: Path) -> None:
    bff.config.change("logging.audit_sink", str(tmp_path))
    kept, reference = bff.log_in()
    result = bff.run("end", reference, "--yes")
    assert result.exit_code == 1
    assert "The audit file cannot be written" in result.stderr
    assert bff.find(kept) is not None


def test_the_installed_command_does_it_too(bff: Bff) -> None:
    session_id, reference = bff.log_in()
    command = [str(Path(sys.executable).with_name("bff")), "sessions"]
    config_dir = ["--config-dir", str(bff.config.write())]
    listed = subprocess.run([*command, "list", *config_dir], capture_output=True, text=True, check=False)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.startswith(f"{reference}\talice\tFirefox\t")
    ended = subprocess.run(
        [*command, "end", reference, "--yes", *config_dir], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "1 session ended.\n")
    assert read_events(ended.stderr)[0]["session"] == reference
    assert bff.find(session_id) is None
