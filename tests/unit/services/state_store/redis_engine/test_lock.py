"""Locks with a lease: what a directory cannot show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from app.services.state_store.redis_engine import RedisStateStore
from tests.support.redis_servers import RedisServer, running_redis, wait_for
from tests.unit.services.state_store.redis_engine.support import new_prefix, opened

NAME = "refresh:x"


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
def store(redis_server: RedisServer, prefix: str) -> Iterator[RedisStateStore]:
    with opened(redis_server.url, key_prefix=prefix) as store:
        yield store


def test_a_holder_that_overruns_its_lease_is_told_and_takes_nobody_elses_lock_away(store: RedisStateStore) -> None:
    with capture_logs() as lines:
        with store.lock(NAME, 0, lease_seconds=0.05) as slow:
            assert slow.is_held()
            with store.lock(NAME, wait_seconds=30, lease_seconds=60) as quick:
                assert quick.is_held()
                assert not slow.is_held()
        with store.lock(NAME, 0) as third:
            assert third.is_held()
    [line] = lines
    assert (line["event"], line["lock"]) == ("store.lock_lost", "refresh")


def test_a_late_release_leaves_the_next_holders_lock(store: RedisStateStore) -> None:
    late = store.lock(NAME, 0, lease_seconds=0.05)
    assert late.__enter__().is_held()
    with store.lock(NAME, wait_seconds=30, lease_seconds=60) as quick:
        late.__exit__(None, None, None)
        assert quick.is_held()
        with store.lock(NAME, 0) as third:
            assert not third


def test_a_lease_is_never_extended(store: RedisStateStore) -> None:
    with store.lock(NAME, 0, lease_seconds=0.1) as held:
        wait_for(lambda: not held.is_held(), "the lease to be over")
        with store.lock(NAME, wait_seconds=10) as other:  # the server's clock may be a little behind ours
            assert other


def test_a_holder_whose_lease_is_over_is_told_so_without_asking(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        running_redis(tmp_path_factory.mktemp("redis")) as server,
        opened(server.url, retries=0) as store,
        store.lock(NAME, 0, lease_seconds=0.05) as held,
    ):
        wait_for(lambda: not held.is_held(), "the lease to be over")
        server.kill()
        assert not held.is_held()


def test_a_holder_is_told_when_the_server_forgot_its_lock(
    store: RedisStateStore, redis_server: RedisServer, prefix: str
) -> None:
    with store.lock(NAME, 0, lease_seconds=60) as held:
        [key] = redis_server.command("KEYS", f"{prefix}lock:*")
        redis_server.command("DEL", key)
        assert not held.is_held()


def test_work_that_is_done_does_not_fail_because_its_lock_cannot_be_released(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with (
        running_redis(tmp_path_factory.mktemp("redis")) as server,
        opened(server.url, retries=0) as store,
        capture_logs() as lines,
        store.lock(NAME, 0) as held,
    ):
        assert held
        server.kill()
    [line] = lines
    assert (line["event"], line["lock"]) == ("store.lock_not_released", "refresh")
    assert "refused the connection" in line["reason"] or "closed the connection" in line["reason"]
