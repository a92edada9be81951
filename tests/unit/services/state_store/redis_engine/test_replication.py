"""A durable write waits for a replica, where there is one and it is in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine import RedisStateStore
from app.services.state_store.redis_engine.nodes import Nodes
from app.services.state_store.redis_engine.wire import WireOpener
from tests.support.redis_servers import RedisServer, running_redis, wait_for
from tests.unit.services.state_store.redis_engine.lending import lent
from tests.unit.services.state_store.redis_engine.support import KEY, opened


@dataclass
class Pair:
    primary: RedisServer
    replica: RedisServer

    def count_waits(self) -> int:
        return count_calls(self.primary, "wait")


def count_calls(server: RedisServer, command: str) -> int:
    return int(server.read_section("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


def acknowledges_in_time(primary: RedisServer) -> bool:
    with primary.admin() as admin, admin.pipeline(transaction=False) as pipeline:
        pipeline.set("warm", "up")
        pipeline.execute_command("WAIT", 1, 50)
        return bool(pipeline.execute()[1] == 1)


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with (
        running_redis(folder, "primary") as primary,
        running_redis(folder, "replica", replicaof=f"127.0.0.1 {primary.port}") as replica,
    ):
        wait_for(lambda: primary.read_section("replication")["connected_slaves"] == 1, "the replica")
        wait_for(lambda: primary.read_section("replication")["slave0"]["state"] == "online", "the replica")
        wait_for(lambda: acknowledges_in_time(primary), "the replica to be quick")
        yield Pair(primary, replica)


@pytest.fixture
def store(pair: Pair) -> Iterator[RedisStateStore]:
    with opened(pair.primary.url, key_prefix="bff:") as store:
        yield store


def write_in_every_way(store: RedisStateStore) -> None:
    assert store.add(KEY, b"1", 60, durable=True)
    read = store.find(KEY)
    assert read is not None
    assert store.put_if_current(KEY, read.mark, b"2", 60, durable=True)
    store.put(KEY, b"4", 60, durable=True)
    store.delete(KEY, durable=True)


def test_a_durable_write_is_on_the_replica_when_it_returns_or_it_is_said(pair: Pair, store: RedisStateStore) -> None:
    missing = 0
    with capture_logs() as lines:
        for number in range(50):
            store.put(f"session:{number}", b"value", 60, durable=True)
            missing += 1 - pair.replica.command("EXISTS", f"bff:session:{{{number}}}")
    assert missing < 25
    assert missing == 0 or lines


def test_every_kind_of_write_can_be_durable_and_none_is_unasked(pair: Pair, store: RedisStateStore) -> None:
    before = pair.count_waits()
    write_in_every_way(store)
    assert pair.count_waits() == before + 4
    store.put(KEY, b"value", 60)
    assert pair.count_waits() == before + 4


def test_without_a_replica_nothing_waits(redis_server: RedisServer) -> None:
    before = count_calls(redis_server, "wait")
    with opened(redis_server.url) as store, capture_logs() as lines:
        write_in_every_way(store)
    assert count_calls(redis_server, "wait") == before
    assert lines == []


def test_a_replica_that_came_back_is_waited_for_again_within_a_second(pair: Pair) -> None:
    now = 1000.0
    host = HostAndPort("127.0.0.1", pair.primary.port)
    node = Nodes(WireOpener(timeout_seconds=5), 1, monotonic=lambda: now).get(host)
    pair.replica.command("REPLICAOF", "NO", "ONE")
    wait_for(lambda: pair.primary.read_section("replication")["connected_slaves"] == 0, "the replica to be gone")
    with lent(node.pool, 5) as wire:
        assert node.count_replicas(wire) == 0
        pair.replica.command("REPLICAOF", "127.0.0.1", pair.primary.port)
        wait_for(lambda: acknowledges_in_time(pair.primary), "the replica to be back")
        now += 1
        assert node.count_replicas(wire) == 1
    node.pool.drop()


def test_a_replica_that_lags_stops_no_write_and_is_said_now_and_then(pair: Pair, store: RedisStateStore) -> None:
    store.put(KEY, b"1", 60, durable=True)
    pair.replica.pause()
    with capture_logs() as lines:
        for _ in range(3):
            store.put(KEY, b"2", 60, durable=True)
    found = store.find(KEY)
    assert found is not None
    assert found.value == b"2"
    [line] = lines
    assert (line["event"], line["count"]) == ("store.write_not_replicated", 1)
    assert line["server"] == pair.primary.host_and_port


def test_a_connection_that_breaks_while_waiting_does_not_undo_the_write(pair: Pair) -> None:
    with opened(pair.primary.url, timeout_seconds=0.05) as store, capture_logs():
        store.put(KEY, b"1", 60, durable=True)
        pair.replica.pause()
        store.put(KEY, b"2", 60, durable=True)
        found = store.find(KEY)
    assert found is not None
    assert found.value == b"2"
