"""Workers' own copies of sessions in Redis: what they save, and that they end with the session.

Copies may live for a minute here, so that no test has to be fast: what ends sooner did not end because of its age.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread

import pytest

from app.services.session_store import build_session_key
from tests.live.test_session_management import find_own_id
from tests.support.bff import Bff, merge, run_command
from tests.support.browser_client import BrowserClient
from tests.support.farm import Farm, build_redis_settings, running_farm
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer, running_redis

pytestmark = pytest.mark.live

LOCAL_CACHE_SECONDS = 60
TOUCH_INTERVAL_SECONDS = 2
USER_TOKEN, SERVICE_TOKEN, NO_TOKEN = "/api/profile/whoami", "/api/crud/forms", "/api/auth/session"
READS, WRITES = frozenset({"GET", "MGET"}), frozenset({"SET", "DEL", "EVALSHA", "EVAL"})


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def farm(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    session = {"local_cache_seconds": LOCAL_CACHE_SECONDS, "touch_interval_seconds": TOUCH_INTERVAL_SECONDS}
    settings = merge(build_redis_settings(redis.url), {"session": session})
    with running_farm(tmp_path_factory.mktemp("farm"), settings=settings, workers=1) as farm:
        yield farm


@dataclass
class Watch:
    """What clients asked of Redis about one session; what scripts do within Redis counts as the one script."""

    seen: list[str] = field(default_factory=list)

    def count(self, commands: frozenset[str]) -> int:
        return sum(command in commands for command in self.seen)


@contextmanager
def watching(redis: RedisServer, session_key: str) -> Iterator[Watch]:
    watch = Watch()
    last = f"the end of {session_key}"

    with redis.admin(timeout_seconds=30) as admin, admin.monitor() as monitor:

        def listen() -> None:
            for word in monitor.listen():
                if last in word["command"]:
                    return
                if session_key in word["command"] and word["client_type"] != "lua":
                    watch.seen.append(word["command"].split()[0].upper())

        thread = Thread(target=listen)
        thread.start()
        try:
            yield watch
        finally:
            redis.command("ECHO", last)  # what came before it has been seen
            thread.join()


def test_calls_while_a_copy_is_good_cost_one_read_tokens_included(farm: Farm, redis: RedisServer) -> None:
    began_at = time.monotonic()  # the login counts as the first touch
    browser = farm.log_in("alice")
    with watching(redis, build_session_key(browser.session_cookie())) as watch:
        for _ in range(20):
            for path in (USER_TOKEN, SERVICE_TOKEN, NO_TOKEN):
                assert farm.call(farm.second, browser, path).status_code == 200
    touches = watch.count(WRITES)
    assert touches <= (time.monotonic() - began_at) / TOUCH_INTERVAL_SECONDS + 1
    # A touch looks at what it is about to change; and what it wrote is read by the next call.
    assert 1 <= watch.count(READS) <= 1 + 2 * touches, watch.seen


def test_an_active_session_is_written_once_in_a_touch_interval(farm: Farm, redis: RedisServer) -> None:
    began_at = time.monotonic()  # the login counts as the first touch
    browser = farm.log_in("bob")
    calls = 0
    with watching(redis, build_session_key(browser.session_cookie())) as watch:
        while watch.count(WRITES) < 3:
            assert farm.call(farm.second, browser, USER_TOKEN).status_code == 200
            calls += 1
            assert time.monotonic() - began_at < 60
    touches = watch.count(WRITES)
    assert calls > touches
    assert touches <= (time.monotonic() - began_at) / TOUCH_INTERVAL_SECONDS + 1
    assert watch.count(READS) <= 1 + 2 * touches, watch.seen
    assert set(watch.seen) <= READS | WRITES


def is_refused(farm: Farm, instance: Bff, browser: BrowserClient) -> bool:
    answer = farm.call(instance, browser, NO_TOKEN)
    return (answer.status_code, answer.headers.get("X-BFF-Error")) == (401, "session_expired")


def check_that_word_goes_round(farm: Farm, browser: BrowserClient) -> None:
    """Each instance has one worker, so one refusal of each is the refusal of all."""
    for instance in farm.instances:
        wait_until(
            lambda instance=instance: is_refused(farm, instance, browser),  # type: ignore[misc]
            timeout_seconds=LOCAL_CACHE_SECONDS / 2,
            what="the end of the session",
        )


def make_copies(farm: Farm, browser: BrowserClient) -> None:
    for instance in farm.instances:
        assert farm.call(instance, browser, USER_TOKEN).status_code == 200


def test_a_session_that_is_logged_out_is_over_on_the_other_instance_before_its_copies_are(farm: Farm) -> None:
    browser = farm.log_in("carol")
    cookies = browser.http.cookies.copy()
    make_copies(farm, browser)
    browser.log_out()
    browser.http.cookies.update(cookies)
    check_that_word_goes_round(farm, browser)


def test_a_session_that_its_user_ends_is_over_on_the_other_instance_before_its_copies_are(farm: Farm) -> None:
    here, there = farm.log_in("dave"), farm.log_in("dave")
    reference = find_own_id(there)
    make_copies(farm, there)
    assert here.call("DELETE", f"/api/me/sessions/{reference}").status_code == 204
    check_that_word_goes_round(farm, there)
    assert here.is_logged_in()


def test_a_session_that_an_operator_ends_is_over_on_all_instances_before_its_copies_are(farm: Farm) -> None:
    browser, bystander = farm.log_in("erin"), farm.log_in("frank")
    make_copies(farm, browser)
    ended = run_command(farm.second, "sessions", "end", "--user", "erin", "--yes")
    assert (ended.returncode, ended.stdout) == (0, "1 session ended.\n"), ended.stderr
    check_that_word_goes_round(farm, browser)
    assert bystander.is_logged_in()
