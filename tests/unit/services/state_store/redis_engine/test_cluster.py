"""Following the slots of a cluster as they move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import redis

from app.core.errors import StoreUnavailableError
from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine import RedisStateStore
from app.services.state_store.redis_engine.wire import Reply, WireOpener
from tests.support.processes import free_port
from tests.support.redis_servers import Cluster, RedisServer, wait_for
from tests.unit.services.state_store.redis_engine.support import OTHER, new_prefix, opened

NAME = "moving"
KEY, TOKENS = f"session:{NAME}", f"tokens:{NAME}"


class SlotMove:
    """The slot of `KEY`, on its way from one master to another."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.slot = int(cluster.masters[0].command("CLUSTER", "KEYSLOT", NAME))
        self.source = cluster.find_master(NAME)
        self.target = next(master for master in cluster.masters if master is not self.source)

    def begin(self) -> None:
        """From here on the source asks for what it does not have to be looked for at the target (ASK)."""
        self.target.command("CLUSTER", "SETSLOT", self.slot, "IMPORTING", get_id(self.source))
        self.source.command("CLUSTER", "SETSLOT", self.slot, "MIGRATING", get_id(self.target))

    def carry_records(self) -> None:
        for key in self.source.command("CLUSTER", "GETKEYSINSLOT", self.slot, 100):
            self.source.command("MIGRATE", "127.0.0.1", self.target.port, key.decode(), 0, 5000)

    def end(self) -> None:
        """From here on the source sends everybody to the target (MOVED)."""
        for node in (self.target, self.source):
            node.command("CLUSTER", "SETSLOT", self.slot, "NODE", get_id(self.target))


def get_id(node: RedisServer) -> str:
    return str(node.command("CLUSTER", "MYID").decode())


def read_view(node: RedisServer) -> frozenset[tuple[str, ...]]:
    """Which master has which slots since which epoch, as this node sees it."""
    lines = call(node, "CLUSTER", "NODES").decode().splitlines()
    masters = [line.split() for line in lines if "master" in line.split()[2]]
    return frozenset((words[0], words[6], *[word for word in words[8:] if "[" not in word]) for words in masters)


def call(node: RedisServer, *words: str) -> Reply:
    """Without redis-py's reading between the lines."""
    wire = WireOpener(timeout_seconds=5).open(HostAndPort("127.0.0.1", node.port))
    try:
        return wire.call(*words)
    finally:
        wire.close()


def is_settled(cluster: Cluster) -> bool:
    """Whether all see the same."""
    return len({read_view(node) for node in cluster.nodes}) == 1 and have_own_epochs(cluster)


def have_own_epochs(cluster: Cluster) -> bool:
    """Whether all know the epoch of each master and no two share one: a move is believed for its higher epoch."""
    views = {frozenset((name, epoch) for name, epoch, *_ in read_view(node)) for node in cluster.nodes}
    epochs = [epoch for _, epoch in next(iter(views))]
    return len(views) == 1 and len(epochs) == len(set(epochs))


def give_back(cluster: Cluster, move: SlotMove) -> None:
    """A move of its own: only a node that imports a slot tells the others that it is its own from now on."""
    wait_for(lambda: have_own_epochs(cluster), "word of the move to have gone round")
    with suppress(redis.ResponseError):  # when it never left
        move.source.command("CLUSTER", "SETSLOT", move.slot, "IMPORTING", get_id(move.target))
    for node in (move.source, move.target):
        node.command("CLUSTER", "SETSLOT", move.slot, "NODE", get_id(move.source))
    wait_for(lambda: is_settled(cluster), "all nodes to see the slot where it was")


@contextmanager
def moving(cluster: Cluster) -> Iterator[SlotMove]:
    """Puts the slot back at the end: the cluster is shared with other tests."""
    move = SlotMove(cluster)
    wait_for(lambda: is_settled(cluster), "the cluster to be at rest")
    try:
        yield move
    finally:
        for node in (move.source, move.target):
            node.command("CLUSTER", "SETSLOT", move.slot, "STABLE")
        for key in move.target.command("CLUSTER", "GETKEYSINSLOT", move.slot, 100):
            with suppress(redis.ResponseError):  # MOVED, where it is nobody's
                move.target.command("DEL", key.decode())
        give_back(cluster, move)


@pytest.fixture
def store(cluster: Cluster) -> Iterator[RedisStateStore]:
    with opened(cluster.url, retries=0) as store:
        yield store


def read(store: RedisStateStore, key: str = KEY) -> bytes | None:
    found = store.find(key)
    return found.value if found else None


def test_records_are_found_at_every_stage_of_a_move(cluster: Cluster, store: RedisStateStore) -> None:
    store.put(KEY, b"before", 60)
    with moving(cluster) as move:
        move.begin()
        assert read(store) == b"before"
        store.put(KEY, b"still there", 60)
        move.carry_records()
        assert read(store) == b"still there"  # ASK
        store.put(KEY, b"already here", 60)
        assert store.add(TOKENS, b"tokens", 60)
        move.end()
        assert read(store) == b"already here"  # MOVED
        assert store.take(KEY) == b"already here"
        assert read(store, TOKENS) == b"tokens"


def test_a_slot_that_moved_is_asked_for_at_the_right_node_from_then_on(
    cluster: Cluster, store: RedisStateStore
) -> None:
    store.put(KEY, b"value", 60)
    with moving(cluster) as move:
        move.begin()
        move.carry_records()
        move.end()
        assert read(store) == b"value"
        before = count_errors(move.source, "MOVED")
        for _ in range(10):
            assert read(store) == b"value"
        assert count_errors(move.source, "MOVED") == before


def count_errors(server: RedisServer, code: str) -> int:
    return int(server.read_section("errorstats").get(f"errorstat_{code}", {}).get("count", 0))


def test_a_slot_that_two_nodes_send_each_other_for_ends_in_a_failure(cluster: Cluster, store: RedisStateStore) -> None:
    assert read(store) is None
    with moving(cluster) as move:
        for node, other in ((move.source, move.target), (move.target, move.source)):
            node.command("CLUSTER", "SETSLOT", move.slot, "NODE", get_id(other))
        with pytest.raises(StoreUnavailableError) as failure:
            store.find(KEY)
        assert failure.value.internal_reason == "find: MOVED from node to node without end"


def test_one_seed_that_is_up_is_enough(cluster: Cluster) -> None:
    dead = ",".join(f"127.0.0.1:{free_port()}" for _ in range(2))
    url = f"redis+cluster://{dead},{cluster.replicas[0].host_and_port}"
    with opened(url, retries=0) as store:
        store.put(KEY, b"a", 60)
        store.put(OTHER, b"b", 60)
        assert (read(store, KEY), read(store, OTHER)) == (b"a", b"b")


def test_without_a_single_node_the_failure_names_all(cluster: Cluster) -> None:
    ports = [free_port(), free_port()]
    url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
    with opened(url, retries=0) as store, pytest.raises(StoreUnavailableError) as failure:
        store.find(KEY)
    for port in ports:
        assert f"127.0.0.1:{port} refused the connection" in failure.value.internal_reason


def test_the_records_of_the_store_are_spread_over_all_masters(cluster: Cluster) -> None:
    prefix = new_prefix()
    with opened(cluster.url, key_prefix=prefix) as store:
        for number in range(60):
            store.put(f"login:{number}", b"", 60)
    assert all(master.command("KEYS", f"{prefix}*") for master in cluster.masters)
