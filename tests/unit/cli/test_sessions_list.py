"""`bff sessions list`: what it prints for a pipe and for a terminal, and what it never prints."""

from __future__ import annotations

import re

import pytest

from app.cli.sessions import _tell_age
from app.services.session_store import build_session_key
from tests.unit.cli.sessions_world import Bff, bff
from tests.unit.services.session_store.support import IDLE

__all__ = ["bff"]

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def test_each_session_is_a_line_for_a_pipe(bff: Bff) -> None:
    _, older = bff.log_in("alice", "Mozilla/5.0 (X11; Linux x86_64)", seconds_ago=100)
    _, newer = bff.log_in("bob", "")
    result = bff.run("list", COLUMNS="40")
    assert result.exit_code == 0
    first, second = (line.split("\t") for line in result.stdout.splitlines())
    assert first[:3] == [newer, "bob", "-"]
    assert second[:3] == [older, "alice", "Mozilla/5.0 (X11; Linux x86_64)"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in (*first[3:], *second[3:]))
    assert len(first) == len(second) == 5


def test_without_sessions_a_pipe_gets_nothing(bff: Bff) -> None:
    result = bff.run("list")
    assert (result.exit_code, result.stdout) == (0, "")


def test_only_the_sessions_of_one_user_are_listed_when_asked(bff: Bff) -> None:
    _, reference = bff.log_in("alice")
    bff.log_in("bob")
    assert [line.split("\t")[0] for line in bff.run("list", "--user", "alice").stdout.splitlines()] == [reference]
    assert bff.run("list", "--user", "nobody").stdout == ""


@pytest.mark.parametrize("columns", [80, 120, 250])
def test_a_terminal_gets_a_table_with_whole_references(bff: Bff, columns: int) -> None:
    made = [
        bff.log_in("alice", "Mozilla/5.0 " + "x" * 200, seconds_ago=90)[1],
        bff.log_in("bob")[1],
        bff.log_in("3c1f0d5a-6a53-4f0e-9d3f-0a5f5c8e7b11", "Safari", seconds_ago=1000)[1],
    ]
    result = bff.run("list", FORCE_COLOR="1", COLUMNS=str(columns))
    text = ESCAPE.sub("", result.stdout)
    assert text != result.stdout
    heading, *rows, count = [line for line in text.splitlines() if line.strip()]
    assert re.split(r"\s{2,}", heading.strip()) == ["reference", "user", "device", "created", "last seen"]
    assert [row[:32] for row in rows if row[:32].strip()] == [made[1], made[0], made[2]]
    assert all(len(row) <= columns for row in rows)
    assert re.search(r" now +now *$", rows[0])
    assert re.search(r" alice +Moz.*… +1 min ago +1 min ago *$" if columns < 250 else r" alice +Mozilla", rows[1])
    assert count == "3 sessions."
    assert "no sessions." in ESCAPE.sub("", bff.run("list", "--user", "x", FORCE_COLOR="1").stdout)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *[(-5, "now"), (0.9, "now"), (1, "1 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (3599, "59 min ago")],
        *[(7199, "1 h ago"), (86_399, "23 h ago"), (200_000, "2 d ago")],
    ],
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, told: str) -> None:
    assert _tell_age(seconds) == told


@pytest.mark.parametrize("columns", ["", "120"])
def test_what_a_browser_calls_itself_gives_the_terminal_no_orders(bff: Bff, columns: str) -> None:
    bff.log_in("ali\tce\x1b]0;owned\x07", "evil\x1b[2J\r\nline\u202e[bold]x")
    terminal = {"FORCE_COLOR": "1", "COLUMNS": columns} if columns else {}
    output = ESCAPE.sub("", bff.run("list", **terminal).stdout)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", output)
    assert "[bold]" in output
    if not columns:
        assert output.count("\n") == 1
        assert output.count("\t") == 4


def test_what_is_over_is_not_listed(bff: Bff) -> None:
    bff.log_in(seconds_ago=IDLE + 1)
    ended, _ = bff.log_in()
    bff.store.end(ended)
    assert bff.run("list").stdout == ""


def test_no_id_and_no_key_is_ever_printed(bff: Bff) -> None:
    session_id, _ = bff.log_in()
    output = bff.run("list").output + bff.run("end", "--all", "--yes").output
    assert session_id not in output
    assert build_session_key(session_id) not in output
