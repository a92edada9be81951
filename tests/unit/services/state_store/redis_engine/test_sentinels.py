"""Finding the master by asking Sentinels. What a failover does is with the drills in tests/live."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.core.errors import StoreUnavailableError
from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine.failures import RedisFailedError
from app.services.state_store.redis_engine.nodes import Nodes
from app.services.state_store.redis_engine.sentinels import SentinelServers
from app.services.state_store.redis_engine.wire import Wire, WireOpener
from tests.support.cutting_proxy import CuttingProxy
from tests.support.processes import free_port
from tests.support.redis_servers import (
    MASTER_NAME,
    RedisServer,
    SentinelTrio,
    running_redis,
    running_sentinel,
    wait_for,
)
from tests.unit.services.state_store.redis_engine.lending import lent
from tests.unit.services.state_store.redis_engine.support import KEY, opened


def test_one_sentinel_that_is_up_is_enough(sentinels: SentinelTrio) -> None:
    url = f"redis+sentinel://127.0.0.1:{free_port()},{sentinels.sentinels[2].host_and_port}/{MASTER_NAME}"
    with opened(url, retries=0) as store:
        store.check()


def test_the_master_is_asked_for_with_new_connections_and_not_for_each_call(sentinels: SentinelTrio) -> None:
    callers_at_once = 8
    with CuttingProxy(sentinels.sentinels[0].port) as proxy:
        url = f"redis+sentinel://127.0.0.1:{proxy.port}/{MASTER_NAME}"
        with opened(url, retries=0) as store, store.lock("a", 0), ThreadPoolExecutor(callers_at_once) as callers:
            list(callers.map(lambda number: store.put(f"login:{number}", b"", 60), range(50)))
        assert proxy.connections <= 1 + 1 + callers_at_once, "one before the first connection, and one after each"


@dataclass
class Replaced:
    """Two servers, and a Sentinel that can be told which of them is the master: both are up and take writes."""

    old: RedisServer
    new: RedisServer
    sentinel: RedisServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.sentinel.host_and_port}/{MASTER_NAME}"

    def replace(self) -> None:
        self.sentinel.command("SENTINEL", "REMOVE", MASTER_NAME)
        self.sentinel.command("SENTINEL", "MONITOR", MASTER_NAME, "127.0.0.1", self.new.port, 1)


@pytest.fixture
def replaced(tmp_path: Path) -> Iterator[Replaced]:
    with (
        running_redis(tmp_path, "old") as old,
        running_redis(tmp_path, "new") as new,
        running_sentinel(tmp_path, 0, old) as sentinel,
    ):
        yield Replaced(old, new, sentinel)


def test_a_master_that_was_replaced_without_failing_is_left(replaced: Replaced) -> None:
    with opened(replaced.url, key_prefix="bff:") as store, capture_logs() as lines:
        store.put(KEY, b"", 60)
        replaced.replace()

        def is_at_the_new_one() -> bool:
            store.put(KEY, b"", 60)
            return bool(replaced.new.command("EXISTS", f"bff:session:{{{'a' * 64}}}"))

        wait_for(is_at_the_new_one, "the replaced master to be left")
    assert [line["event"] for line in lines] == ["store.master_found"] * 2


def test_word_of_changes_is_heard_from_the_new_master(replaced: Replaced) -> None:
    with opened(replaced.url, key_prefix="bff:") as store, opened(replaced.url, key_prefix="bff:") as other:
        store.start()
        assert store.listener.wait_until_hearing(30)
        replaced.replace()

        def hears() -> bool:
            other.put(KEY, b"one", 60)
            found = store.find(KEY)
            if found is None:  # one of them still asks the old master
                return False
            other.put(KEY, b"two", 60)
            try:
                wait_for(lambda: not store.is_current(KEY, found.mark), "word", timeout_seconds=0.2)
            except TimeoutError:
                return False
            return count_listeners(replaced.new) > 0

        wait_for(hears, "word from the new master")


def count_listeners(server: RedisServer) -> int:
    return int(server.read_section("stats")["pubsub_channels"])


class Asked:
    """A worker's view of the master, with a clock that stands still."""

    def __init__(self, sentinel: HostAndPort) -> None:
        self.now = 1000.0
        opener = WireOpener(timeout_seconds=5)
        self.servers = SentinelServers(
            [sentinel],
            MASTER_NAME,
            nodes=Nodes(opener, 1),
            opener=opener,
            timeout_seconds=1,
            monotonic=lambda: self.now,
        )

    def find_port(self) -> int:
        return self.servers.find_node(KEY, 1).host.port


@pytest.fixture
def asked(replaced: Replaced) -> Iterator[Asked]:
    asked = Asked(HostAndPort("127.0.0.1", replaced.sentinel.port))
    yield asked
    asked.servers.close()


def test_sentinels_that_are_gone_are_no_reason_to_leave_a_master_that_answers(replaced: Replaced, asked: Asked) -> None:
    assert asked.find_port() == replaced.old.port
    replaced.sentinel.kill()
    asked.now += 60
    assert asked.find_port() == replaced.old.port
    asked.servers.doubt(asked.servers.find_node(KEY, 1))
    assert asked.find_port() == replaced.old.port


def test_a_master_that_failed_is_not_believed_again_before_the_sentinels_are_asked(
    replaced: Replaced, asked: Asked
) -> None:
    node = asked.servers.find_node(KEY, 1)
    replaced.replace()
    assert asked.find_port() == replaced.old.port
    asked.servers.doubt(node)
    assert asked.find_port() == replaced.new.port


def test_a_master_that_is_replaced_while_we_connect_to_it_is_not_used(replaced: Replaced) -> None:
    """It may have been started again just now, with nothing, and takes itself for the master."""

    class Overtaken(WireOpener):
        def open(self, host: HostAndPort, timeout_seconds: float | None = None) -> Wire:
            wire = super().open(host, timeout_seconds)
            if host.port == replaced.old.port:
                replaced.replace()
            return wire

    servers = SentinelServers(
        [HostAndPort("127.0.0.1", replaced.sentinel.port)],
        MASTER_NAME,
        nodes=Nodes(Overtaken(timeout_seconds=5), 1),
        opener=WireOpener(timeout_seconds=5),
        timeout_seconds=1,
    )
    node = servers.find_node(KEY, 1)
    assert node.host.port == replaced.old.port
    with pytest.raises(RedisFailedError, match="is not the master any more") as failure, lent(node.pool):
        pytest.fail("it was used")
    assert not failure.value.may_have_run
    assert failure.value.may_pass
    with lent(servers.find_node(KEY, 1).pool) as wire:
        assert wire.call("CONFIG", "GET", "port") == [b"port", str(replaced.new.port).encode()]
    servers.close()


def test_connections_that_were_opened_together_share_one_question(sentinels: SentinelTrio) -> None:
    with CuttingProxy(sentinels.sentinels[0].port) as proxy:
        nodes = Nodes(WireOpener(timeout_seconds=5), 1)
        now = 1000.0
        servers = SentinelServers(
            [HostAndPort("127.0.0.1", proxy.port)],
            MASTER_NAME,
            nodes=nodes,
            opener=WireOpener(timeout_seconds=5),
            timeout_seconds=5,
            monotonic=lambda: now,
        )
        master = servers.find_node(KEY, 1).host
        for moment in (1001.0, 1001.0, 1001.0, 1002.0):
            now = moment
            nodes.check_opened(master)
        assert proxy.connections == 3
        servers.close()


def test_a_master_that_no_sentinel_knows_is_a_store_that_does_not_answer(sentinels: SentinelTrio) -> None:
    url = sentinels.url.replace(MASTER_NAME, "another")
    with opened(url, retries=0) as store, pytest.raises(StoreUnavailableError) as failure:
        store.find(KEY)
    assert failure.value.internal_reason.startswith("find: no Sentinel names the master: a master of that name")


def test_no_sentinel_at_all_is_a_store_that_does_not_answer() -> None:
    port = free_port()
    url = f"redis+sentinel://127.0.0.1:{port}/{MASTER_NAME}"
    with opened(url) as store, pytest.raises(StoreUnavailableError) as failure:
        store.find(KEY)
    reason = f"find: no Sentinel names the master: 127.0.0.1:{port} refused the connection"
    assert failure.value.internal_reason == reason
