"""How one worker hears of what another one changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from app.services.state_store.interface import StoredRecord
from app.services.state_store.redis_engine import RedisStateStore
from tests.support.redis_servers import RedisServer, running_redis, wait_for
from tests.unit.services.state_store.engines import ENGINES, Engine
from tests.unit.services.state_store.redis_engine.support import KEY, OTHER, new_prefix, opened


def find(store: RedisStateStore, key: str = KEY) -> StoredRecord:
    found = store.find(key)
    assert found is not None
    return found


def start(store: RedisStateStore) -> None:
    store.start()
    assert store.listener.wait_until_hearing(30)


@pytest.fixture(params=[name for name in sorted(ENGINES) if name != "directory"])
def redis_engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def pair(redis_engine: Engine, request: pytest.FixtureRequest) -> Iterator[tuple[RedisStateStore, RedisStateStore]]:
    """Two workers, perhaps on two machines, that share a store and hear."""
    place = redis_engine.prepare(request)
    with ExitStack() as stack:
        stores = []
        for _ in range(2):
            store = redis_engine.open(place, time.time)
            assert isinstance(store, RedisStateStore)
            stack.callback(store.close)
            start(store)
            stores.append(store)
        yield stores[0], stores[1]


def test_a_change_by_one_spoils_the_copies_of_the_other(pair: tuple[RedisStateStore, RedisStateStore]) -> None:
    one, other = pair
    one.put(KEY, b"first", 60)

    def hold_against(change: Callable[[], object]) -> None:
        mark = find(other).mark
        wait_for(lambda: other.is_current(KEY, mark), "word of the write before to arrive")
        change()
        wait_for(lambda: not other.is_current(KEY, mark), "word of the change to arrive")

    hold_against(lambda: one.put(KEY, b"second", 60))
    hold_against(lambda: one.put_if_current(KEY, find(one).mark, b"third", 60))
    hold_against(lambda: one.delete(KEY))


def test_what_is_taken_spoils_the_copies_of_the_other(pair: tuple[RedisStateStore, RedisStateStore]) -> None:
    one, other = pair
    one.put(KEY, b"once", 60)
    mark = find(other).mark
    assert one.take(KEY) == b"once"
    wait_for(lambda: not other.is_current(KEY, mark), "word of the change to arrive")


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
def store(redis_server: RedisServer, prefix: str) -> Iterator[RedisStateStore]:
    with opened(redis_server.url, key_prefix=prefix) as store:
        yield store


@pytest.fixture
def other(redis_server: RedisServer, prefix: str) -> Iterator[RedisStateStore]:
    with opened(redis_server.url, key_prefix=prefix) as store:
        yield store


def test_the_echo_of_its_own_write_costs_a_worker_no_read(store: RedisStateStore, other: RedisStateStore) -> None:
    start(store)
    store.put(KEY, b"value", 60)
    mark = find(store).mark
    other.put(OTHER, b"later", 60)
    behind = find(store, OTHER).mark
    other.put(OTHER, b"latest", 60)
    wait_for(lambda: not store.is_current(OTHER, behind), "what was sent after the echo to arrive")
    assert store.is_current(KEY, mark)


def test_changes_under_another_prefix_are_not_heard(store: RedisStateStore, redis_server: RedisServer) -> None:
    start(store)
    store.put(KEY, b"ours", 60)
    store.put(OTHER, b"ours", 60)
    mine, behind = find(store).mark, find(store, OTHER).mark
    with opened(redis_server.url) as stranger:
        stranger.put(KEY, b"theirs", 60)
    store_of_ours = find(store, OTHER)
    assert store_of_ours.value == b"ours"
    store.put(OTHER, b"again", 60)
    wait_for(lambda: not store.is_current(OTHER, behind), "word of our own change")
    assert store.is_current(KEY, mine)


def test_without_listening_a_worker_still_knows_of_its_own_changes(
    store: RedisStateStore, other: RedisStateStore
) -> None:
    store.put(KEY, b"value", 60)
    mark = find(store).mark
    other.put(KEY, b"other", 60)
    assert store.is_current(KEY, mark)  # whoever keeps copies bounds their age
    store.put(KEY, b"own", 60)
    assert not store.is_current(KEY, mark)


def test_what_was_missed_while_the_line_was_cut_is_not_trusted(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as server, opened(server.url) as store:
        start(store)
        store.put(KEY, b"value", 60)
        mark = find(store).mark
        with capture_logs() as lines:
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            wait_for(lambda: not store.is_current(KEY, mark), "the line to be back")
            assert store.listener.wait_until_hearing(30)
            wait_for(lambda: len(lines) >= 2, "both to be said")
        assert [line["event"] for line in lines] == ["store.changes_not_heard", "store.changes_heard_again"]
        fresh = find(store).mark
        assert store.is_current(KEY, fresh)


def test_a_loss_is_said_once_and_the_line_comes_back_by_itself(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as server, opened(server.url) as store:
        start(store)
        with capture_logs() as lines:
            server.kill()
            wait_for(lambda: not store.listener.is_hearing(), "the loss to be noticed")
            server.start()
            assert store.listener.wait_until_hearing(30)
            wait_for(lambda: len(lines) >= 2, "both to be said")
        assert [line["event"] for line in lines] == ["store.changes_not_heard", "store.changes_heard_again"]


def test_a_line_that_went_dead_without_a_word_is_noticed(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as server, opened(server.url, timeout_seconds=0.2) as store:
        start(store)
        server.pause()
        wait_for(lambda: not store.listener.is_hearing(), "the silence to be noticed")
        server.resume()
        assert store.listener.wait_until_hearing(30)


def test_a_long_silence_is_no_loss(store: RedisStateStore, redis_server: RedisServer) -> None:
    def count_pings() -> int:
        return int(redis_server.read_section("commandstats").get("cmdstat_ping", {}).get("calls", 0))

    start(store)
    with capture_logs() as lines:
        before = count_pings()
        wait_for(lambda: count_pings() >= before + 2, "two questions into the silence")
    assert lines == []
    assert store.listener.is_hearing()


def test_listening_ends_when_the_store_is_closed(redis_server: RedisServer) -> None:
    def count_listeners() -> int:
        return len(redis_server.command("CLIENT", "LIST", "TYPE", "pubsub").split(b"\n")) - 1

    before = count_listeners()
    with opened(redis_server.url) as store:
        start(store)
        assert count_listeners() == before + 1
    wait_for(lambda: count_listeners() == before, "the connection to be gone")
