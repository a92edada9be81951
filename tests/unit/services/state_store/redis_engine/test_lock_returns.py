"""Locks that are ours without a holder go back once Redis answers, long before their lease is over; others stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.core.errors import StoreUnavailableError
from app.services.state_store.redis_engine import RedisStateStore
from app.services.state_store.redis_engine.caller import RedisCaller
from app.services.state_store.redis_engine.failures import UnclearOutcomeError
from app.services.state_store.redis_engine.lock_returns import LockReturns
from app.services.state_store.redis_engine.scripts import Command
from tests.support.cutting_proxy import CuttingProxy
from tests.support.processes import free_port
from tests.support.redis_servers import RedisServer, running_redis, wait_for
from tests.unit.services.state_store.redis_engine.support import new_prefix, opened

NAME = "refresh-x"
LEASE_SECONDS = 600
SOON_SECONDS = 10
"""How long a test waits for what takes a fraction of a second."""


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[CuttingProxy]:
    with CuttingProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: CuttingProxy, prefix: str) -> Iterator[RedisStateStore]:
    """A worker whose connections can be cut."""
    with opened(f"redis://127.0.0.1:{proxy.port}", key_prefix=prefix, retries=1, max_connections=1) as store:
        with store.lock("other", 0):  # its scripts are known to the server
            pass
        yield store


@pytest.fixture
def other(redis_server: RedisServer, prefix: str) -> Iterator[RedisStateStore]:
    """Another worker."""
    with opened(redis_server.url, key_prefix=prefix) as store:
        yield store


@contextmanager
def returning(caller: Any, **more: Any) -> Iterator[LockReturns]:
    returns = LockReturns(caller, **more)
    yield returns
    returns.stop()


class CountingCaller:
    """Asks Redis, and counts the answers."""

    def __init__(self, caller: RedisCaller) -> None:
        self.caller = caller
        self.answers = 0

    def call(self, operation: str, command: Command) -> Any:
        try:
            return self.caller.call(operation, command)
        finally:
            self.answers += 1


def find_lock_key(redis_server: RedisServer, prefix: str) -> str:
    [key] = redis_server.command("KEYS", f"{prefix}lock:*")
    return key.decode() if isinstance(key, bytes) else str(key)


def test_a_lock_that_was_granted_in_a_lost_reply_is_granted_to_who_asks_again(
    store: RedisStateStore, proxy: CuttingProxy
) -> None:
    proxy.cut_replies(1)
    with store.lock(NAME, 0, LEASE_SECONDS) as held:
        assert held.is_held()


def test_a_lock_that_was_granted_in_replies_nobody_heard_is_given_back(
    store: RedisStateStore, other: RedisStateStore, proxy: CuttingProxy
) -> None:
    proxy.cut_replies(2)
    with pytest.raises(UnclearOutcomeError), store.lock(NAME, 0, LEASE_SECONDS):
        pass
    with other.lock(NAME, SOON_SECONDS) as held:
        assert held


def test_a_lock_whose_release_was_lost_is_given_back(
    store: RedisStateStore, other: RedisStateStore, proxy: CuttingProxy
) -> None:
    with capture_logs() as lines, store.lock(NAME, 0, LEASE_SECONDS):
        proxy.cut_requests(2)
    assert [(line["event"], line["lock"]) for line in lines] == [("store.lock_not_released", "refresh")]
    with other.lock(NAME, SOON_SECONDS) as held:
        assert held


def test_a_lock_that_a_paused_redis_grants_when_it_goes_on_is_given_back(tmp_path_factory: Any, prefix: str) -> None:
    with (
        running_redis(tmp_path_factory.mktemp("redis")) as server,
        opened(server.url, key_prefix=prefix, timeout_seconds=0.2, retries=1) as store,
        opened(server.url, key_prefix=prefix) as other,
    ):
        with store.lock("other", 0), other.lock("another", 0):
            pass
        server.pause()
        with pytest.raises(UnclearOutcomeError), store.lock(NAME, 0, LEASE_SECONDS):
            pass
        server.resume()
        with other.lock(NAME, SOON_SECONDS) as held:
            assert held


def test_a_lock_that_was_never_asked_for_leaves_nothing_to_give_back(prefix: str) -> None:
    with opened(f"redis://127.0.0.1:{free_port()}", key_prefix=prefix, retries=0) as store:
        with pytest.raises(StoreUnavailableError) as failure, store.lock(NAME, 0):
            pass
        assert not isinstance(failure.value, UnclearOutcomeError)


def test_what_another_holds_is_not_given_back(other: RedisStateStore, redis_server: RedisServer, prefix: str) -> None:
    with other.lock(NAME, 0, LEASE_SECONDS) as held, returning(other._caller, late_seconds=0) as returns:
        returns.note(find_lock_key(redis_server, prefix), b"a token of somebody who is not heard of any more")
        wait_for(lambda: len(returns) == 0, "the lock to be seen to be another's")
        assert held.is_held()


def test_a_grant_that_comes_after_redis_denied_it_is_given_back(
    other: RedisStateStore, redis_server: RedisServer, prefix: str
) -> None:
    """A request on a connection that was given up can be read after one on a newer connection."""
    key, token = f"{prefix}lock:{{late}}", "a token"
    caller = CountingCaller(other._caller)
    with returning(caller, late_seconds=LEASE_SECONDS) as returns:
        returns.note(key, token.encode())
        wait_for(lambda: caller.answers > 0, "the lock to be denied")
        redis_server.command("SET", key, token)
        wait_for(lambda: not redis_server.command("EXISTS", key), "the late lock to be given back")
        wait_for(lambda: len(returns) == 0, "it to be forgotten")


def test_what_waits_for_redis_is_bounded_and_the_oldest_goes_first(tmp_path_factory: Any, prefix: str) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as server, opened(server.url, retries=0) as store:
        server.kill()
        with returning(store._caller, most_kept=2) as returns:
            tokens = {f"{prefix}lock:{{{number}}}": f"token {number}" for number in range(3)}
            for key, token in tokens.items():
                returns.note(key, token.encode())
            assert len(returns) == 2
            server.start()
            for key, token in tokens.items():
                server.command("SET", key, token)
            wait_for(lambda: len(returns) == 0, "the others to be given back")
            assert [key for key in tokens if server.command("EXISTS", key)] == [f"{prefix}lock:{{0}}"]


def test_after_all_were_given_back_the_next_one_is_as_well(other: RedisStateStore, redis_server: RedisServer) -> None:
    """The thread ends when nothing is left, and begins anew."""
    with returning(other._caller, late_seconds=0) as returns:
        for number in range(3):
            key, token = f"again:lock:{number}", f"token {number}"
            redis_server.command("SET", key, token)
            returns.note(key, token.encode())
            wait_for(lambda: len(returns) == 0, "the lock to be given back")
            assert not redis_server.command("EXISTS", key)


def test_a_store_that_is_closed_asks_no_more(other: RedisStateStore) -> None:
    caller = CountingCaller(other._caller)
    with returning(caller, late_seconds=LEASE_SECONDS) as returns:
        returns.note("closed:lock:1", b"1" * 16)
        wait_for(lambda: caller.answers > 0, "the first question")
        thread = returns._thread
        assert thread is not None
        returns.stop()
        thread.join(SOON_SECONDS)
        assert not thread.is_alive()
