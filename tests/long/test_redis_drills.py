"""Redis fails in every way it has, under a steady load of logged-in calls to two instances; everything is real.

Access tokens last seconds and refresh tokens are rotated, so that renewals are under way all the time; a refresh token
that is used twice ends the grant, so a rotated token that was lost would show as a user who is logged out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from msgspec.structs import replace

from app.services.key_ring import KeyRing
from app.services.session_store import build_session_key
from app.services.state_store.redis_engine import open_redis_state_store
from app.services.token_store import TokenStore
from app.settings.schema.session_section import RedisSettings
from tests.support.browser_client import BrowserClient
from tests.support.farm import Farm, build_redis_settings, running_farm
from tests.support.processes import free_port, wait_until
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.steady_load import GOOD, LOGGED_OUT, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE, Calls, SteadyLoad

pytestmark = [pytest.mark.long, pytest.mark.live, pytest.mark.timeout(300)]

ACCESS_TOKEN_SECONDS = 14
CALLERS = 200
LONGEST_CALL_SECONDS = 8
"""A call may ask the store several times, each with 0.5 s for either of two attempts, and wait for a refresh."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Keeps what it was told, also over a kill."""
    with running_redis(tmp_path_factory.mktemp("redis"), appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture(scope="module")
def farm(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    directory, settings = tmp_path_factory.mktemp("farm"), build_redis_settings(redis.url)
    with running_farm(directory, settings=settings, access_token_seconds=ACCESS_TOKEN_SECONDS) as farm:
        yield farm


def check_that_nobody_was_harmed(farm: Farm, calls: Calls, *allowed: str) -> None:
    """`allowed`: what callers may have got beside good answers. And new logins work."""
    print(f"\n  {dict(calls.outcomes)}, longest call {calls.longest_seconds:.1f} s")
    assert calls.find_others({GOOD, *allowed}) == []
    assert calls.with_cookie_changes == []
    assert calls.longest_seconds < LONGEST_CALL_SECONDS
    assert farm.log_in("newcomer").is_logged_in()


def start_login(farm: Farm) -> str:
    """What somebody gets who wants to log in now."""
    with requests.Session() as http:
        http.trust_env = False
        answer = http.get(f"{farm.first.origin}/auth/login", allow_redirects=False, timeout=30)
    return f"{answer.status_code} {answer.headers.get('X-BFF-Error', '')}".rstrip()


def count_refreshes(farm: Farm) -> int:
    return len([event for event in farm.op.events("grant.success") if event["grant_type"] == "refresh_token"])


def wait_for_a_refresh_of_each(farm: Farm, load: SteadyLoad) -> None:
    before = count_refreshes(farm)
    wait_until(
        lambda: count_refreshes(farm) >= before + len(load.browsers), timeout_seconds=60, what="as many refreshes"
    )


def let_expire(farm: Farm, redis: RedisServer, browser: BrowserClient) -> None:
    """Makes the user's access token one that ran out a moment ago."""
    state = open_redis_state_store(redis.url, RedisSettings(), time.time)
    try:
        tokens = TokenStore(state, KeyRing.load(farm.directory / "data.keys"), clock=time.time)
        key = build_session_key(browser.session_cookie())
        stored = tokens.find_stored(key)
        assert stored is not None
        assert tokens.replace(key, stored, replace(stored.tokens, expires_at=time.time() - 1), 3600)
    finally:
        state.close()


def test_t8_calls_of_eight_workers_that_share_only_redis_make_one_refresh(redis: RedisServer, tmp_path: Path) -> None:
    with running_farm(tmp_path, settings=build_redis_settings(redis.url), workers=4) as farm:
        browser = farm.log_in()
        let_expire(farm, redis, browser)
        before = count_refreshes(farm)
        farm.op.fail("/token", delay_ms=3000)
        with ThreadPoolExecutor(CALLERS) as pool:
            turns = (farm.instances[number % 2] for number in range(CALLERS))
            answers = list(pool.map(lambda instance: farm.call(instance, browser, "/api/profile/whoami"), turns))
        assert Counter(answer.status_code for answer in answers) == {200: CALLERS}
        assert count_refreshes(farm) - before == 1
        assert farm.op.events("grant.error") == []
        assert browser.is_logged_in()


def test_a_redis_that_is_killed_and_started_again(farm: Farm, redis: RedisServer) -> None:
    with SteadyLoad(farm) as load:
        redis.kill()
        load.wait_for_each(STORE_UNAVAILABLE)
        redis.start()
        load.wait_until_good()
        wait_for_a_refresh_of_each(farm, load)
        load.wait_until_good()
    check_that_nobody_was_harmed(farm, load.calls, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE)


def test_a_redis_that_is_killed_while_the_provider_rotates_refresh_tokens(farm: Farm, redis: RedisServer) -> None:
    with SteadyLoad(farm) as load:
        farm.op.fail("/token", delay_ms=2000)  # it rotates when the delay is over
        before, seen = count_refreshes(farm), len(farm.op.events("request"))
        wait_until(
            lambda: any(event["path"] == "/token" for event in farm.op.events("request")[seen:]),
            timeout_seconds=30,
            what="a refresh to be under way",
        )
        redis.kill()
        wait_until(lambda: count_refreshes(farm) > before, timeout_seconds=10, what="the rotated token")
        load.wait_for_each(STORE_UNAVAILABLE)
        redis.start()
        farm.op.clear_faults()
        load.wait_until_good()
        wait_for_a_refresh_of_each(farm, load)
        load.wait_until_good()
    check_that_nobody_was_harmed(farm, load.calls, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE)
    assert farm.op.events("grant.error") == []


def test_a_redis_that_is_paused_and_goes_on(farm: Farm, redis: RedisServer) -> None:
    with SteadyLoad(farm) as load:
        redis.pause()
        try:
            load.wait_for_each(STORE_UNAVAILABLE)
            load.wait_for_each(STORE_UNAVAILABLE)
        finally:
            redis.resume()
        load.wait_until_good()
        wait_for_a_refresh_of_each(farm, load)
        load.wait_until_good()
    check_that_nobody_was_harmed(farm, load.calls, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE)


def test_a_redis_that_refuses_writes(farm: Farm, redis: RedisServer) -> None:
    with SteadyLoad(farm) as load:
        redis.command("REPLICAOF", "127.0.0.1", free_port())
        try:
            assert start_login(farm) == STORE_UNAVAILABLE
            # Reading goes on until the tokens are over: their renewal cannot be written down, so none is asked for.
            load.wait_for_each(GOOD)
            load.wait_for_each(STORE_UNAVAILABLE)
        finally:
            redis.command("REPLICAOF", "NO", "ONE")
        load.wait_until_good()
    check_that_nobody_was_harmed(farm, load.calls, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE)


def test_a_redis_that_is_full(farm: Farm, redis: RedisServer) -> None:
    with SteadyLoad(farm) as load:
        redis.command("CONFIG", "SET", "maxmemory", 1)
        try:
            assert start_login(farm) == STORE_UNAVAILABLE
            load.wait_for_each(GOOD)
            load.wait_for_each(STORE_UNAVAILABLE)
        finally:
            redis.command("CONFIG", "SET", "maxmemory", 0)
        load.wait_until_good()
    check_that_nobody_was_harmed(farm, load.calls, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE)


def test_a_redis_that_comes_back_empty(farm: Farm, redis: RedisServer) -> None:
    with SteadyLoad(farm) as load:
        redis.kill()
        load.wait_for_each(STORE_UNAVAILABLE)
        for file in (redis.folder / "appendonlydir").iterdir():
            file.unlink()
        redis.start()
        load.wait_for_each(LOGGED_OUT)
        moment = time.monotonic()
        assert load.calls.with_cookie_changes == []
        wait_until(
            lambda: all("store.came_back_empty" in bff.child.read_log() for bff in farm.instances),
            timeout_seconds=30,
            what="each instance to say why",
        )
        load.log_in_again(range(len(load.browsers)))
        load.wait_until_good()
    before = Calls([call for call in load.calls.calls if call.began_at < moment])
    check_that_nobody_was_harmed(farm, before, STORE_UNAVAILABLE, TOKEN_UNAVAILABLE, LOGGED_OUT)
