from __future__ import annotations

import threading

import pytest

from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine.failures import RedisFailedError
from app.services.state_store.redis_engine.pool import WirePool
from app.services.state_store.redis_engine.wire import Wire, WireOpener
from tests.support.redis_servers import RedisServer, running_redis, wait_for
from tests.unit.services.state_store.redis_engine.lending import lent


class Opener:
    """Counts how many were opened."""

    def __init__(self, port: int, timeout_seconds: float = 5) -> None:
        self._opener = WireOpener(timeout_seconds=timeout_seconds)
        self._host = HostAndPort("127.0.0.1", port)
        self.opened: list[Wire] = []

    def __call__(self) -> Wire:
        self.opened.append(self._opener.open(self._host))
        return self.opened[-1]


@pytest.fixture
def opener(redis_server: RedisServer) -> Opener:
    return Opener(redis_server.port)


def test_connections_are_used_again(opener: Opener) -> None:
    pool = WirePool(opener, 3)
    for _ in range(5):
        with lent(pool, 1) as wire:
            assert wire.call("PING") == b"PONG"
    assert len(opener.opened) == 1
    with lent(pool, 1) as first, lent(pool, 1) as second:
        assert first is not second
    assert len(opener.opened) == 2
    pool.drop()


def test_who_finds_all_in_use_waits_for_one_and_no_longer_than_allowed(opener: Opener) -> None:
    pool = WirePool(opener, 1)
    with lent(pool, 1):
        with pytest.raises(RedisFailedError, match="all connections") as failure, lent(pool, 0.01):
            pass
        assert not failure.value.may_have_run
    seen: list[Wire] = []

    def wait_for_one() -> None:
        with lent(pool, 30) as wire:
            seen.append(wire)

    with lent(pool, 1) as held:
        waiting = threading.Thread(target=wait_for_one)
        waiting.start()
    waiting.join()
    assert seen == [held]
    pool.drop()


def test_a_place_is_free_again_when_opening_or_using_failed(opener: Opener) -> None:
    pool = WirePool(opener, 1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), lent(pool, 0):
            1 / 0  # noqa: B018
    refused = WirePool(Opener(1), 1)
    for _ in range(3):
        with pytest.raises(RedisFailedError, match=r"127\.0\.0\.1:1 refused the connection"), lent(refused, 0):
            pass
    pool.drop()


def test_a_connection_that_broke_is_not_given_back(opener: Opener) -> None:
    pool = WirePool(opener, 1)
    with lent(pool, 1) as wire:
        wire.close()
    with lent(pool, 1) as other:
        assert other is not wire
    pool.drop()


def test_dropping_closes_the_idle_at_once_and_those_in_use_when_they_come_back(opener: Opener) -> None:
    pool = WirePool(opener, 2)
    with lent(pool, 1) as used:
        with lent(pool, 1) as idle:
            pass
        pool.drop()
        assert not idle.is_open()
        assert used.call("PING") == b"PONG"
    assert not used.is_open()


def test_a_connection_that_the_server_closed_while_it_was_idle_is_replaced(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        opener = Opener(server.port)
        pool = WirePool(opener, 1)
        with lent(pool, 1) as wire:
            wire.call("PING")
        server.command("CLIENT", "KILL", "TYPE", "normal")
        wait_for(lambda: not wire.is_usable(), "the trust in the last answer to end")
        with lent(pool, 1) as other:
            assert other.call("PING") == b"PONG"
        pool.drop()
