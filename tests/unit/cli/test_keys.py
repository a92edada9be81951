"""`bff keys`: what it prints, what it changes, and how it says that it cannot."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.services.key_store.factory import FILE_NAME
from tests.support.processes import free_port
from tests.support.redis_servers import RedisServer
from tests.unit.services.key_store.support import open_key_store, read_stored_keys
from tests.unit.settings.config_folder import ConfigFolder

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


class Bff:
    """The keys of a BFF, its configuration, and the command beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "keys"
        self.config = ConfigFolder(directory / "config")
        self.config.path.mkdir()
        self.config.change("keys.directory", str(self.directory))
        self.audit_file = directory / "audit.log"
        self.config.change("logging.audit_sink", str(self.audit_file))

    def start(self) -> str:
        """What a start does; returns the key that signs."""
        return open_key_store(self.directory).current.kid

    def run(self, *arguments: str, answer: str = "", **environ: str) -> Result:
        variables = {"BFF_CONFIG_DIR": str(self.config.write()), "FORCE_COLOR": None, **environ}
        return CliRunner(env=variables).invoke(main, ["keys", *arguments], input=answer)

    def events(self) -> list[tuple[str, str]]:
        """What the commands have put into the trail."""
        lines = self.audit_file.read_text(encoding="utf-8").splitlines()
        return [(event["event"], event["kid"]) for event in map(json.loads, lines)]

    def states(self) -> list[str]:
        return sorted(key["state"] for key in read_stored_keys(self.directory))


@pytest.fixture
def bff(tmp_path: Path) -> Bff:
    return Bff(tmp_path)


def test_each_key_is_a_line_for_a_pipe(bff: Bff) -> None:
    first = bff.start()
    bff.run("rotate")
    lines = [line.split("\t") for line in bff.run("list").stdout.splitlines()]
    assert [line[1:3] for line in lines] == [["ES256", "current"], ["ES256", "next"]]
    assert lines[0][0] == first
    assert all(re.fullmatch(TIME, time) for line in lines for time in line[3:])
    assert lines[0][4] == lines[1][4], "the one is replaced when the other signs"


def test_json_has_the_same(bff: Bff) -> None:
    kid = bff.start()
    (entry,) = json.loads(bff.run("list", "--json").stdout)
    assert (entry["kid"], entry["algorithm"], entry["state"]) == (kid, "ES256", "current")
    assert set(entry) == {"kid", "algorithm", "state", "created_at", "changes_at"}


def test_a_terminal_gets_a_table_that_says_what_comes_next(bff: Bff) -> None:
    open_key_store(bff.directory, clock=time.time)
    bff.run("rotate", "--now", "--yes")
    bff.run("rotate")
    text = ESCAPE.sub("", bff.run("list", FORCE_COLOR="1", COLUMNS="120").stdout)
    heading, *rows = [line.rstrip() for line in text.splitlines() if line.strip()]
    assert re.split(r"\s{2,}", heading) == ["kid", "algorithm", "state", "age", "what comes next"]
    told = sorted(re.split(r"\s{2,}", row)[2:] for row in rows)
    assert [row[0] for row in told] == ["current", "next", "retired"]
    assert told[0][2] == "is replaced in 59 min"
    assert told[1][2] == "signs in 59 min"
    assert told[2][2] == "goes in 59 d"


def test_a_rotation_publishes_a_key_that_signs_later(bff: Bff) -> None:
    first = bff.start()
    result = bff.run("rotate")
    assert (result.exit_code, result.stdout) == (0, "")
    assert re.search(rf"is published, and signs from {TIME} on\.", result.stderr)
    ((event, kid),) = bff.events()
    assert (event, kid != first) == ("key.created", True)
    assert bff.states() == ["current", "next"]

    again = bff.run("rotate", "--json")
    assert len(bff.events()) == 1
    assert [key["kid"] for key in json.loads(again.stdout)] == [first, kid]


def test_an_emergency_is_warned_of_and_asked_about(bff: Bff) -> None:
    first = bff.start()
    refused = bff.run("rotate", "--now", answer="n\n")
    assert refused.exit_code == 1
    assert "refuses the new key until" in refused.stderr
    assert bff.states() == ["current"]

    done = bff.run("rotate", "--now", answer="y\n")
    assert done.exit_code == 0
    assert [event for event, _ in bff.events()] == ["key.created", "key.activated"]
    assert bff.states() == ["current", "retired"]
    assert open_key_store(bff.directory).current.kid != first


def test_an_old_key_is_taken_out(bff: Bff) -> None:
    first = bff.start()
    bff.run("rotate", "--now", "--yes")
    assert bff.run("retire", first, answer="n\n").exit_code == 1
    result = bff.run("retire", first, "--yes")
    assert result.exit_code == 0
    assert bff.events()[-1] == ("key.retired", first)
    assert bff.states() == ["current"]


def test_the_key_that_signs_cannot_be_taken_out(bff: Bff) -> None:
    first = bff.start()
    for prepare in (None, "rotate"):
        if prepare:
            bff.run(prepare)
        result = bff.run("retire", first, "--yes")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "is the key that signs. Replace it first: `bff keys rotate`" in result.stderr
        assert "current" in bff.states()


@pytest.mark.parametrize("kid", ["-Zk9-no-option", "-BHjQh8", "-h", "--help-me", "--Zk9_h", "-y"])
def test_a_key_id_may_begin_with_a_dash(bff: Bff, kid: str) -> None:
    bff.start()
    result = bff.run("retire", kid, "--yes")
    assert (result.exit_code, f"There is no key {kid}." in result.stderr) == (1, True)


def test_help_is_told_where_a_key_id_is_wanted(bff: Bff) -> None:
    assert "Take the key KID out" in bff.run("retire", "--help").stdout


def test_a_key_that_is_not_there_is_told_so(bff: Bff) -> None:
    bff.start()
    result = bff.run("retire", "no\x1b[2Jsuch", "--yes")
    assert result.exit_code == 1
    assert "There is no key no\N{REPLACEMENT CHARACTER}[2Jsuch." in result.stderr


def test_no_command_makes_the_first_key(bff: Bff) -> None:
    bff.directory.mkdir(mode=0o700)
    assert (bff.run("list").exit_code, bff.run("list").stdout) == (0, "")
    assert json.loads(bff.run("list", "--json").stdout) == []
    result = bff.run("rotate")
    assert (result.exit_code, result.stderr) == (1, "There are no keys yet: the first start of the BFF makes one.\n")
    assert list(bff.directory.iterdir()) == []


def test_a_missing_folder_and_a_damaged_file_are_told_in_a_sentence(bff: Bff) -> None:
    result = bff.run("list")
    assert result.exit_code == 1
    assert "A relative keys.directory begins where the BFF was started." in result.stderr
    bff.start()
    (bff.directory / FILE_NAME).write_bytes(b"{")
    for command in (["list"], ["rotate"], ["retire", "x", "--yes"]):
        result = bff.run(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "is damaged" in result.stderr
        assert "Traceback" not in result.stderr


def test_keys_in_redis_are_seen_and_rotated(bff: Bff, tmp_path: Path, redis_server: RedisServer) -> None:
    use_redis(bff, tmp_path, redis_server.url)
    assert bff.run("list").stdout == ""
    assert "There are no keys yet" in bff.run("rotate").stderr


def test_a_redis_that_is_away_is_told(bff: Bff, tmp_path: Path) -> None:
    use_redis(bff, tmp_path, f"redis://:long-random-password@127.0.0.1:{free_port()}/0")
    result = bff.run("list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The session store cannot be reached right now." in result.stderr
    assert "long-random-password" not in result.stderr


def use_redis(bff: Bff, tmp_path: Path, url: str) -> None:
    (tmp_path / "ring").write_text(base64.b64encode(bytes(range(32))).decode())
    (tmp_path / "ring").chmod(0o600)
    bff.config.change("session.store", "redis")
    bff.config.change("session.redis_url", url)
    bff.config.change("session.redis.key_prefix", f"{tmp_path.name}:")
    bff.config.change("keys.store", "redis")
    bff.config.change("tokens.data_key_file", str(tmp_path / "ring"))
