"""Finding the master by asking Sentinels. What a failover does is with the drills in tests/live."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.errors import StoreUnavailableError
from tests.support.cutting_proxy import CuttingProxy
from tests.support.processes import free_port
from tests.support.redis_servers import MASTER_NAME, SentinelTrio
from tests.unit.services.state_store.redis_engine.support import KEY, opened


def test_one_sentinel_that_is_up_is_enough(sentinels: SentinelTrio) -> None:
    url = f"redis+sentinel://127.0.0.1:{free_port()},{sentinels.sentinels[2].host_and_port}/{MASTER_NAME}"
    with opened(url, retries=0) as store:
        store.check()


def test_the_master_is_asked_for_once_and_not_for_each_connection(sentinels: SentinelTrio) -> None:
    with CuttingProxy(sentinels.sentinels[0].port) as proxy:
        url = f"redis+sentinel://127.0.0.1:{proxy.port}/{MASTER_NAME}"
        with opened(url, retries=0) as store, store.lock("a", 0), ThreadPoolExecutor(8) as callers:
            list(callers.map(lambda number: store.put(f"login:{number}", b"", 60), range(50)))
        assert proxy.connections == 1


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
