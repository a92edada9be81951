"""The primary of a replicated Redis dies under a steady load of logged-in calls: who notices, and what is lost.

Redis replicates after it has answered, so a primary that dies takes with it what no replica had yet. What must not be
lost waits for one; the rest is counted and printed here, and explained in docs/explanation/sessions-and-tokens.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.long.test_redis_drills import ACCESS_TOKEN_SECONDS, check_that_nobody_was_harmed, wait_for_a_refresh_of_each
from tests.support.browser_client import BrowserClient
from tests.support.farm import Farm, build_redis_settings, running_farm
from tests.support.opwalk import walk
from tests.support.processes import wait_until
from tests.support.redis_servers import Cluster, RedisServer, SentinelTrio, running_cluster, running_sentinels
from tests.support.steady_load import STORE_UNAVAILABLE, TOKEN_UNAVAILABLE, SteadyLoad

pytestmark = [pytest.mark.long, pytest.mark.live, pytest.mark.timeout(400)]

FAILOVERS = 5
DOWN_AFTER_MILLISECONDS = 3000
"""Long enough that the only failovers are those of the drill, also where the machine is busy: Sentinels that replace a
primary which is merely slow may promote the one that was just started again with what it had before."""
USERS_LOGGING_IN = 3


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[SentinelTrio]:
    with running_sentinels(tmp_path, down_after_milliseconds=DOWN_AFTER_MILLISECONDS) as trio:
        yield trio


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path) as cluster:
        yield cluster


@contextmanager
def running_farm_on(url: str, directory: Path) -> Iterator[Farm]:
    settings = build_redis_settings(url)
    with running_farm(directory / "farm", settings=settings, access_token_seconds=ACCESS_TOKEN_SECONDS) as farm:
        yield farm


class Logins:
    """People who log in one after the other; every login that the BFF said was done is counted."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self.done: list[BrowserClient] = []
        self.refused = 0

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Only during the block, and not before each of them has done one: the provider keeps a thousand records."""
        stopping, before = threading.Event(), len(self.done)
        threads = [threading.Thread(target=self._run, args=(number, stopping)) for number in range(USERS_LOGGING_IN)]
        for thread in threads:
            thread.start()
        try:
            wait_until(
                lambda: len(self.done) >= before + USERS_LOGGING_IN, timeout_seconds=60, what="logins to be done"
            )
            yield
        finally:
            stopping.set()
            for thread in threads:
                thread.join()

    def find_lost(self) -> list[BrowserClient]:
        return [browser for browser in self.done if not browser.is_logged_in()]

    def _run(self, number: int, stopping: threading.Event) -> None:
        while not stopping.is_set():
            browser = self._farm.open_browser()
            start = browser.navigate("/auth/login", site="none")
            if start.status_code == 302:
                callback_url = walk(browser.http, start.headers["Location"], stop_at=f"{browser.origin}/auth/callback")
                answer = browser.navigate(callback_url, site="cross-site")
                if answer.status_code in (200, 303):
                    self.done.append(browser)
                    continue
            self.refused += 1


def find_roles(trio: SentinelTrio) -> tuple[RedisServer, RedisServer]:
    """The primary and the replica, as they are now."""
    servers = (trio.primary, trio.replica)
    return servers if trio.find_primary_port() == trio.primary.port else servers[::-1]


def finish_failover(trio: SentinelTrio, primary: RedisServer, replica: RedisServer) -> None:
    """The primary was killed: once the replica has taken over, start it again, and wait until it follows.

    It has nothing on disk, so it must not be taken for the primary by a Sentinel that has not heard of the other yet.
    """
    wait_until(lambda: trio.find_primary_ports() == {replica.port}, timeout_seconds=60, what="the replica to take over")
    primary.start()
    wait_until(lambda: is_following(primary, replica), timeout_seconds=60, what="the old primary to follow the new one")
    # It has a copy, and is sent what is new once it has said so: from then on a write can wait for it.
    wait_until(lambda: has_what_is_written(replica), timeout_seconds=60, what="writes to be acknowledged")
    trio.wait_until_watched()


def has_what_is_written(primary: RedisServer) -> bool:
    with primary.admin() as admin:
        admin.set("written", "now")
        return int(admin.wait(1, 100)) == 1


def is_following(server: RedisServer, primary: RedisServer) -> bool:
    try:
        replication = server.read_section("replication")
    except redis.RedisError:  # it is loading what the other one sent
        return False
    return (replication.get("master_port"), replication.get("master_link_status")) == (primary.port, "up")


def test_a_primary_that_is_killed_under_sentinels(trio: SentinelTrio, tmp_path: Path) -> None:
    with running_farm_on(trio.url, tmp_path) as farm:
        with SteadyLoad(farm) as load:
            waits = trio.primary.read_section("commandstats")["cmdstat_wait"]["calls"]
            assert waits >= len(load.browsers), "each login has waited for the replica"
            trio.primary.kill()
            load.wait_for_each(STORE_UNAVAILABLE)
            load.wait_until_good()
            wait_for_a_refresh_of_each(farm, load)
            load.wait_until_good()
        assert trio.find_primary_port() == trio.replica.port
        check_that_nobody_was_harmed(farm, load.calls, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE)
        assert farm.op.events("grant.error") == []


def test_what_failovers_lose(trio: SentinelTrio, tmp_path: Path) -> None:
    with running_farm_on(trio.url, tmp_path) as farm:
        logins = Logins(farm)
        with SteadyLoad(farm) as load:
            for _ in range(FAILOVERS):
                primary, replica = find_roles(trio)
                with logins.under_way():
                    began_at = time.monotonic()
                    primary.kill()
                finish_failover(trio, primary, replica)
                load.wait_until_good()
                print(f"\n  a failover, until both served again: {time.monotonic() - began_at:.1f} s", end="")
            wait_for_a_refresh_of_each(farm, load)
            load.wait_until_good()
        lost = logins.find_lost()
        print(f"\n  {FAILOVERS} failovers: {len(logins.done)} logins done, {len(lost)} of them lost")
        print(f"  {logins.refused} logins refused; {count_lines(farm, 'store.write_not_replicated')} warnings")
        refused = [event for event in farm.op.events("grant.error") if event["grant_type"] == "refresh_token"]
        print(f"  refresh tokens used twice: {len(refused)}")
        assert lost == []
        assert refused == []
        check_that_nobody_was_harmed(farm, load.calls, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE)


def count_lines(farm: Farm, event: str) -> int:
    return farm.read_logs().count(f'"event":"{event}"')


def test_a_master_of_a_cluster_that_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    with running_farm_on(cluster.url, tmp_path) as farm:
        with SteadyLoad(farm, sessions=9) as load:
            cluster.masters[0].kill()
            load.wait_for_any(STORE_UNAVAILABLE)
            load.wait_until_good()
            wait_for_a_refresh_of_each(farm, load)
            load.wait_until_good()
        check_that_nobody_was_harmed(farm, load.calls, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE)
        assert farm.op.events("grant.error") == []
