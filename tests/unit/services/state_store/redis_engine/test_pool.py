from __future__ import annotations

import queue
import threading
from collections import deque

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
    with lent(pool) as held:
        waiting = Waiter(pool)
    assert waiting.get() is held
    pool.drop()


class Waiter:
    """Takes a connection in a thread of its own, once one is free."""

    def __init__(self, pool: WirePool) -> None:
        self._pool = pool
        self._got: queue.SimpleQueue[Wire | BaseException] = queue.SimpleQueue()
        waiting_before = pool._waiting
        threading.Thread(target=self._wait, daemon=True).start()
        wait_for(lambda: pool._waiting > waiting_before, "it to stand in line")

    def _wait(self) -> None:
        try:
            with lent(self._pool, 60) as wire:
                self._got.put(wire)
        except BaseException as error:  # noqa: BLE001
            self._got.put(error)

    def get(self) -> Wire | BaseException:
        return self._got.get(timeout=10)


def test_who_waits_may_open_one_when_another_broke(opener: Opener) -> None:
    pool = WirePool(opener, 1)
    with lent(pool) as broken:
        waiting = Waiter(pool)
        broken.close()
    assert waiting.get() is opener.opened[1]
    pool.drop()


def test_who_is_cut_off_in_his_turn_leaves_it_to_the_next(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WirePool(opener, 1)
    wait, cut_off = pool._changed.wait, [SystemExit("cut off")]

    def wait_and_fail_once(timeout: float | None = None) -> bool:
        was_woken = wait(timeout)
        if cut_off:
            raise cut_off.pop()
        return was_woken

    monkeypatch.setattr(pool._changed, "wait", wait_and_fail_once)
    with lent(pool) as held:
        first, second = Waiter(pool), Waiter(pool)
    assert isinstance(first.get(), SystemExit)
    assert second.get() is held
    pool.drop()


def test_many_at_once_share_a_few(opener: Opener) -> None:
    pool = WirePool(opener, 3)
    failures: list[BaseException] = []

    def call_often() -> None:
        try:
            for number in range(200):
                with lent(pool, 30) as wire:
                    assert wire.call("ECHO", f"{threading.get_ident()} {number}").decode().endswith(f" {number}")
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=call_often) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(opener.opened) <= 3
    assert pool._waiting == 0
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


def test_one_that_was_opened_during_a_drop_is_not_kept(opener: Opener) -> None:
    def open_and_drop() -> Wire:
        wire = opener()
        pool.drop()
        return wire

    pool = WirePool(open_and_drop, 1)
    with lent(pool) as old:
        pass
    assert not old.is_open()


def test_one_that_comes_back_in_the_moment_of_a_drop_is_not_lent_again(opener: Opener) -> None:
    pool = WirePool(opener, 1)

    class Idle(deque[Wire]):
        def append(self, wire: Wire) -> None:
            pool.drop()
            super().append(wire)

    pool._idle = Idle()
    with lent(pool) as old:
        pass
    with lent(pool) as new:
        assert new is not old
    assert not old.is_open()
    pool._idle.clear()
    new.close()
