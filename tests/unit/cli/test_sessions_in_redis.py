"""`bff sessions` where the sessions are in Redis."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest

from app.services.key_ring import KeyRing
from app.services.session_store import SessionStore
from app.services.state_store.factory import build_state_store
from tests.support.processes import free_port, wait_until
from tests.support.redis_servers import RedisServer
from tests.unit.cli.sessions_world import Bff, bff
from tests.unit.services.session_store.support import build_login, build_settings

__all__ = ["bff"]


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


def test_a_redis_that_is_away_is_told_without_its_password(bff: Bff, tmp_path: Path) -> None:
    use_redis(bff, tmp_path, f"redis://:long-random-password@127.0.0.1:{free_port()}/0")
    for command in (["list"], ["end", "--all", "--yes"]):
        result = bff.run(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "The session store cannot be reached right now." in result.stderr
        assert "long-random-password" not in result.stderr
