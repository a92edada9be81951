"""Two instances that share nothing but Redis, and Redis failing under them: nobody is logged out who should not be."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests

from tests.support.browser_client import BrowserClient
from tests.support.farm import Farm, build_redis_settings, running_farm
from tests.support.processes import is_answering, wait_until
from tests.support.redis_servers import RedisServer, running_redis

pytestmark = pytest.mark.live

LOCAL_CACHE_SECONDS = 2
"""What the settings say when they say nothing."""
LONGEST_CALL_SECONDS = 10
"""A call may ask the store several times, each with 0.5 s for either of two attempts."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def farm(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with running_farm(tmp_path_factory.mktemp("farm"), settings=build_redis_settings(redis.url)) as farm:
        yield farm


@pytest.fixture(autouse=True)
def faults_end(farm: Farm, redis: RedisServer) -> Iterator[None]:
    """Whatever a test left behind, also one that failed, the next one finds everything up."""
    yield
    farm.op.clear_faults()
    redis.resume()
    if not redis.is_answering():
        redis.kill()
        redis.start()


def wait_until_both_serve(farm: Farm, browser: BrowserClient) -> None:
    """Sooner than any lease (30 s) is over: locks that Redis granted in answers nobody heard are given back."""
    wait_until(
        lambda: all(farm.call(instance, browser).status_code == 200 for instance in farm.instances),
        timeout_seconds=15,
        what="calls to be answered again",
    )


def test_a_login_on_one_instance_is_good_on_the_other(farm: Farm) -> None:
    browser = farm.log_in()
    assert farm.call(farm.second, browser).status_code == 200
    assert farm.call(farm.second, browser, "/api/profile/whoami").status_code == 200, "its tokens came along"
    assert not (farm.state_directory / "00").exists(), "nothing is kept on disk"


def count_looks(redis: RedisServer) -> int:
    return int(redis.read_section("commandstats").get("cmdstat_getrange", {"calls": 0})["calls"])


def test_copies_of_a_session_in_use_are_confirmed(farm: Farm, redis: RedisServer) -> None:
    browser = farm.log_in()
    before = count_looks(redis)

    def call_and_count() -> bool:
        assert farm.call(farm.second, browser, "/api/profile/whoami").status_code == 200
        return count_looks(redis) >= before + 6

    wait_until(call_and_count, timeout_seconds=20, what="looks at the session's records")


def test_a_logout_on_one_instance_is_a_logout_on_the_other_at_once(farm: Farm) -> None:
    browser = farm.log_in()
    cookie = browser.http.cookies.copy()
    for _ in range(20):  # every worker of the other instance has its own copy by now
        assert farm.call(farm.second, browser).status_code == 200
    browser.log_out()
    browser.http.cookies.update(cookie)
    wait_until(lambda: farm.call(farm.second, browser).status_code == 401, timeout_seconds=10, what="the end")
    assert {farm.call(farm.second, browser).status_code for _ in range(20)} == {401}


def test_a_logout_at_the_provider_that_one_instance_hears_of_is_over_on_the_other(farm: Farm) -> None:
    browser, bystander = farm.log_in("ivan"), farm.log_in("ivan")
    for _ in range(20):  # every worker of the first instance has its own copy by now
        assert farm.call(farm.first, browser).status_code == 200
    farm.log_out_at_the_provider(browser)
    wait_until(lambda: farm.has_sent_logout("success", "ivan"), timeout_seconds=10, what="the provider's word")
    wait_until(lambda: farm.call(farm.first, browser).status_code == 401, timeout_seconds=10, what="the end")
    assert {farm.call(farm.first, browser).status_code for _ in range(20)} == {401}
    assert {farm.call(farm.second, browser).status_code for _ in range(20)} == {401}
    assert farm.call(farm.first, bystander).status_code == 200


@pytest.mark.parametrize("end", ["here", "at-the-provider"])
def test_a_stream_ends_on_the_other_instance_with_its_session(farm: Farm, end: str) -> None:
    browser = farm.log_in("mallory")
    with requests.Session() as http:
        http.trust_env = False
        url = f"http://127.0.0.1:{farm.second.port}/api/crud/events"
        stream = http.get(url, headers=farm.build_headers(browser), stream=True, timeout=20)
        lines = stream.iter_lines(chunk_size=1)
        assert any(b"hello" in line for line in lines), "it has begun"
        if end == "here":
            browser.log_out()
        else:
            farm.log_out_at_the_provider(browser)
            wait_until(lambda: farm.has_sent_logout("success", "mallory"), timeout_seconds=10, what="the word")
        ended_at = time.monotonic()
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
            list(lines)
        assert time.monotonic() - ended_at < 5


def test_a_logout_token_that_the_provider_gets_wrong_is_refused_to_its_face(farm: Farm) -> None:
    browser = farm.log_in("judy")
    farm.op.mutate(logout_token={"header": {"typ": "JWT"}})
    try:
        farm.log_out_at_the_provider(browser)
        wait_until(lambda: farm.has_sent_logout("error", "judy"), timeout_seconds=10, what="the provider's word")
    finally:
        farm.op.clear_faults()
    [refused] = [event for event in farm.op.events("backchannel.error") if event["sub"] == "judy"]
    assert "400" in refused["error"]
    assert farm.call(farm.first, browser).status_code == 200


def wait_for_a_refusal(farm: Farm, browser: BrowserClient, path: str = "/api/crud/forms") -> requests.Response:
    """Of a worker that has no copy of the session any more; the other one may still have its own for a moment."""
    answers = list[requests.Response]()

    def is_refused() -> bool:
        answers.append(farm.call(farm.first, browser, path))
        return answers[-1].status_code != 200

    wait_until(is_refused, timeout_seconds=20, what="the copies to be spent")
    return answers[-1]


def check_that_the_store_is_named(refused: requests.Response) -> None:
    assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "store_unavailable")
    assert "Set-Cookie" not in refused.headers
    assert refused.elapsed.total_seconds() < LONGEST_CALL_SECONDS


def test_o1_redis_killed_and_back_with_its_data_gone_asks_everybody_to_log_in_again(
    farm: Farm, redis: RedisServer
) -> None:
    browser = farm.log_in()
    redis.kill()
    check_that_the_store_is_named(wait_for_a_refusal(farm, browser))
    ready = requests.get(f"{farm.first.internal_origin}/health/ready", timeout=10)
    assert ready.status_code == 503
    redis.start()
    wait_until(lambda: farm.call(farm.first, browser).status_code == 401, timeout_seconds=20, what="an answer")
    wait_until(
        lambda: is_answering(f"{farm.first.internal_origin}/health/ready", status=200),
        timeout_seconds=20,
        what="the BFF to be ready again",
    )
    again = farm.log_in()
    wait_until_both_serve(farm, again)


def test_o1_redis_paused_is_503_in_bounded_time_and_nobody_is_logged_out(farm: Farm, redis: RedisServer) -> None:
    browser = farm.log_in()
    redis.pause()
    try:
        check_that_the_store_is_named(wait_for_a_refusal(farm, browser))
    finally:
        redis.resume()
    wait_until_both_serve(farm, browser)


def test_o1_a_redis_that_is_full_refuses_logins_and_lets_everybody_else_go_on(farm: Farm, redis: RedisServer) -> None:
    browser = farm.log_in()
    redis.command("CONFIG", "SET", "maxmemory", "1")
    try:
        with requests.Session() as http:
            http.trust_env = False
            refused = http.get(f"{farm.first.origin}/auth/login", allow_redirects=False, timeout=30)
        assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "store_unavailable")
        for instance in farm.instances:
            assert farm.call(instance, browser, "/api/profile/whoami").status_code == 200
    finally:
        redis.command("CONFIG", "SET", "maxmemory", "0")
    assert farm.log_in().is_logged_in()


def test_o1_a_primary_that_was_demoted_is_503_and_heals(farm: Farm, redis: RedisServer) -> None:
    browser = farm.log_in()
    redis.command("REPLICAOF", "127.0.0.1", redis.port + 1)
    try:
        with requests.Session() as http:
            http.trust_env = False
            refused = http.get(f"{farm.first.origin}/auth/login", allow_redirects=False, timeout=30)
        assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "store_unavailable")
    finally:
        redis.command("REPLICAOF", "NO", "ONE")
    wait_until_both_serve(farm, browser)
    assert farm.log_in().is_logged_in()


def test_both_redis_and_the_provider_down_log_nobody_out(farm: Farm, redis: RedisServer) -> None:
    browser = farm.log_in("mallory")
    farm.op.fail("/token", status=500)
    redis.pause()
    try:
        check_that_the_store_is_named(wait_for_a_refusal(farm, browser, "/api/profile/whoami"))
        assert farm.open_browser().navigate("/auth/login", site="none").status_code == 503
        assert farm.open_browser().get("/health/live").status_code == 200
    finally:
        redis.resume()
    wait_until(  # the token is still good, whatever the provider does
        lambda: all(farm.call(each, browser, "/api/profile/whoami").status_code == 200 for each in farm.instances),
        timeout_seconds=20,
        what="calls to be answered again",
    )
    farm.op.clear_faults()
    wait_until_both_serve(farm, browser)
    assert farm.log_in("mallory").is_logged_in()


def count_deaf_workers(farm: Farm) -> int:
    """Those that have said that they hear of no changes, and not yet that they do again."""
    log = farm.read_logs()
    return log.count("store.changes_not_heard") - log.count("store.changes_heard_again")


def test_a_session_that_ended_is_served_no_longer_than_copies_last_when_no_word_of_it_comes(
    farm: Farm, redis: RedisServer
) -> None:
    wait_until(lambda: count_deaf_workers(farm) == 0, timeout_seconds=20, what="word of changes to be heard")
    redis.command("ACL", "SETUSER", "default", "-subscribe")
    try:
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        wait_until(lambda: count_deaf_workers(farm) == 4, timeout_seconds=20, what="each worker to hear nothing")
        browser = farm.log_in("niaj")
        cookies = browser.http.cookies.copy()
        for _ in range(10):  # each worker of the other instance has a copy
            assert farm.call(farm.second, browser, "/api/profile/whoami").status_code == 200
        browser.log_out()
        over_at = time.monotonic() + LOCAL_CACHE_SECONDS
        browser.http.cookies.update(cookies)
        wait_until(lambda: time.monotonic() >= over_at, timeout_seconds=20, what="the copies to be over")
        assert {farm.call(farm.second, browser, "/api/profile/whoami").status_code for _ in range(10)} == {401}
    finally:
        redis.command("ACL", "SETUSER", "default", "+subscribe")
    wait_until(lambda: count_deaf_workers(farm) == 0, timeout_seconds=20, what="word of changes to be heard again")
