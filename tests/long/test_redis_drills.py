"""Redis fails in every way it has, under a steady load of logged-in calls to two instances; everything is real.

Access tokens last seconds and refresh tokens are rotated, so that renewals are under way at every moment; a refresh
token that is used twice ends the grant, so a rotated token that was lost would show as a user who is logged out.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.farm import Farm, build_redis_settings, running_farm
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.steady_load import GOOD, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE, Calls, SteadyLoad

pytestmark = [pytest.mark.long, pytest.mark.live, pytest.mark.timeout(300)]

ACCESS_TOKEN_SECONDS = 14
LONGEST_CALL_SECONDS = 8
UNAVAILABLE = {STORE_UNAVAILABLE, TOKEN_UNAVAILABLE}


@pytest.fixture(scope="module")
def redis_with_a_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Keeps what it was told, also over a kill."""
    folder = tmp_path_factory.mktemp("redis")
    with running_redis(folder, appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture(scope="module")
def farm(redis_with_a_memory: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    settings = build_redis_settings(redis_with_a_memory.url)
    directory = tmp_path_factory.mktemp("farm")
    with running_farm(directory, settings=settings, access_token_seconds=ACCESS_TOKEN_SECONDS) as farm:
        yield farm


def check_that_nobody_was_harmed(calls: Calls, what: str) -> None:
    print(f"{what}: {dict(calls.outcomes)}, longest call {calls.longest_seconds:.1f} s")
    assert calls.find_others({GOOD, *UNAVAILABLE}) == []
    assert calls.with_cookie_changes == []
    assert calls.longest_seconds < LONGEST_CALL_SECONDS


def test_a_killed_redis(farm: Farm, redis_with_a_memory: RedisServer) -> None:
    with SteadyLoad(farm) as load:
        redis_with_a_memory.kill()
        load.wait_for_each(STORE_UNAVAILABLE)
        redis_with_a_memory.start()
        load.wait_until_good()
    check_that_nobody_was_harmed(load.calls, "killed")
