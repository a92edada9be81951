"""`bff sessions`: what it prints, what it ends, and how it says that it cannot."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.cli.sessions import _tell_age
from app.services.key_ring import KeyRing, build_default_key_file, load_or_create_key_ring
from app.services.session_store import SessionRecord, SessionStore, build_session_key
from app.services.session_store.keys import build_session_record_name
from app.services.state_store import private_files
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.factory import build_state_store
from tests.support.processes import free_port, wait_until
from tests.support.redis_servers import RedisServer
from tests.unit.services.session_store.support import IDLE, build_login, build_settings
from tests.unit.settings.config_folder import ConfigFolder

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class Bff:
    """The store of a BFF, its configuration, and the command beside it."""

    def __init__(self, directory: Path) -> None:
        self.state_directory = directory / "state"
        self.config = ConfigFolder(directory / "config")
        self.config.path.mkdir()
        self.config.change("session.directory", str(self.state_directory))
        self.state = DirectoryStateStore(self.state_directory, self.clock)
        self.key_ring = load_or_create_key_ring(build_default_key_file(self.state_directory))
        self.store = SessionStore(self.state, self.key_ring, settings=build_settings(), clock=self.clock)
        self.seconds_ago = 0.0

    def clock(self) -> float:
        return time.time() - self.seconds_ago

    def log_in(self, user_id: str = "alice", device: str = "Firefox", seconds_ago: float = 0) -> tuple[str, str]:
        """Id and reference of a new session."""
        self.seconds_ago = seconds_ago
        session_id, record = self.store.create(build_login(user_id=user_id, device=device))
        self.seconds_ago = 0
        return session_id, record.reference

    def find(self, session_id: str) -> SessionRecord | None:
        return self.store.find(session_id)

    def run(self, *arguments: str, answer: str = "", **environ: str) -> Result:
        variables = {"BFF_CONFIG_DIR": str(self.config.write()), "FORCE_COLOR": None, **environ}
        return CliRunner(env=variables).invoke(main, ["sessions", *arguments], input=answer)


@pytest.fixture
def bff(tmp_path: Path) -> Bff:
    return Bff(tmp_path)


# list


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


# end


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


# What goes wrong


def test_a_faulty_configuration_is_told_as_the_check_tells_it(bff: Bff) -> None:
    bff.config.change("environment", "test")
    for command in (["list"], ["end", "--all", "--yes"]):
        result = bff.run(*command)
        assert result.exit_code == 1
        assert "environment: found 'test'" in result.stdout


def test_a_folder_that_is_not_there_is_told_and_not_made(bff: Bff, tmp_path: Path) -> None:
    bff.config.change("session.directory", str(tmp_path / "nowhere"))
    for command in (["list"], ["end", "--all", "--yes"]):
        result = bff.run(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"There is no folder {tmp_path / 'nowhere'}" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_another_user_is_told_whom_to_be(bff: Bff, monkeypatch: pytest.MonkeyPatch) -> None:
    """What that user would write, the workers could not read."""
    bff.log_in()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    result = bff.run("end", "--all", "--yes")
    assert result.exit_code == 1
    assert f"belongs to user id {owner}, and this is user id {owner + 1}" in result.stderr


def test_a_folder_that_others_may_write_to_is_not_used(bff: Bff) -> None:
    bff.state_directory.chmod(0o777)
    result = bff.run("list")
    assert result.exit_code == 1
    assert "can be written to by others" in result.stderr
    bff.state_directory.chmod(private_files.FOLDER_MODE)
    assert stat.S_IMODE(bff.state_directory.stat().st_mode) == 0o700


def test_a_store_that_fails_in_the_middle_says_how_far_it_came(bff: Bff, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        bff.log_in()
    really_put: Callable[..., None] = DirectoryStateStore.put
    ended: list[str] = []

    def put(self: DirectoryStateStore, key: str, *arguments: object) -> None:
        ended.append(key)
        if len(ended) > 2:
            monkeypatch.setattr("app.services.state_store.record_files.RecordFiles.find", fail)
            bff_find(key)
        really_put(self, key, *arguments)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def bff_find(key: str) -> None:
        DirectoryStateStore.find(bff.state, key)

    monkeypatch.setattr(DirectoryStateStore, "put", put)
    result = bff.run("end", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "2 sessions ended, then the store failed: " in result.stderr
    assert "No space left on device" in result.stderr


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


# Redis


def use_redis(bff: Bff, tmp_path: Path, url: str) -> None:
    (tmp_path / "keys").write_text(base64.b64encode(bytes(range(32))).decode())
    (tmp_path / "keys").chmod(0o600)
    bff.config.change("session.store", "redis")
    bff.config.change("session.redis_url", url)
    bff.config.change("session.redis.key_prefix", f"{tmp_path.name}:")
    bff.config.change("tokens.data_key_file", str(tmp_path / "keys"))


def test_in_redis_a_worker_hears_of_what_an_operator_ends(bff: Bff, tmp_path: Path, redis_server: RedisServer) -> None:
    use_redis(bff, tmp_path, redis_server.url)
    settings = bff.config.load().settings.session
    state = build_state_store(settings, time.time)
    state.start()
    worker = SessionStore(
        state, KeyRing([bytes(range(32))]), settings=build_settings(local_cache_seconds=60), clock=time.time
    )
    ended, record = worker.create(build_login())
    kept, _ = worker.create(build_login(user_id="bob"))
    assert worker.find(ended) == record
    assert bff.run("list").stdout.count("\n") == 2
    result = bff.run("end", record.reference, "--yes")
    assert (result.exit_code, result.stdout) == (0, "1 session ended.\n")
    wait_until(lambda: worker.find(ended) is None, timeout_seconds=5, what="word of the end")
    assert worker.find(kept) is not None
    assert bff.run("end", "--all", "--yes").stdout == "1 session ended.\n"
    state.close()


def test_sessions_that_were_sealed_with_another_key_are_not_listed_and_end_with_all(
    bff: Bff, tmp_path: Path, redis_server: RedisServer, capfd: pytest.CaptureFixture[str]
) -> None:
    use_redis(bff, tmp_path, redis_server.url)
    state = build_state_store(bff.config.load().settings.session, time.time)
    strange_ring = KeyRing([bytes(range(32, 64))])
    SessionStore(state, strange_ring, settings=build_settings(), clock=time.time).create(build_login())
    listed = bff.run("list")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert "session_record.unreadable" in capfd.readouterr().err
    assert bff.run("end", "--all", "--yes").exit_code == 0
    capfd.readouterr()
    assert bff.run("list").exit_code == 0
    assert "session_record.unreadable" not in capfd.readouterr().err
    state.close()


def test_without_the_key_file_the_command_says_so_and_makes_none(bff: Bff) -> None:
    bff.log_in()
    key_file = build_default_key_file(bff.state_directory)
    key_file.rename(key_file.with_suffix(".away"))
    for command in (["list"], ["end", "--all", "--yes"]):
        result = bff.run(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"The key file {key_file} cannot be read: No such file or directory.\n"
    assert not key_file.exists()


def test_a_redis_that_is_away_is_told_without_its_password(bff: Bff, tmp_path: Path) -> None:
    use_redis(bff, tmp_path, f"redis://:long-random-password@127.0.0.1:{free_port()}/0")
    for command in (["list"], ["end", "--all", "--yes"]):
        result = bff.run(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "The session store cannot be reached right now." in result.stderr
        assert "long-random-password" not in result.stderr
