"""Two instances that share nothing but Redis, and Redis failing under them: nobody is logged out who should not be."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import requests

from tests.support.bff import Bff, start_bff, start_crud_service
from tests.support.browser_client import CALL_HEADERS, BrowserClient
from tests.support.log_scan import find_leaks
from tests.support.processes import free_port, wait_until
from tests.support.real_op import start_op
from tests.support.redis_servers import RedisServer, running_redis

pytestmark = pytest.mark.live


@dataclass
class Farm:
    """Two instances behind one public address."""

    first: Bff
    second: Bff
    redis: RedisServer

    def log_in(self, user: str = "alice") -> BrowserClient:
        browser = BrowserClient(self.first.origin)
        browser.log_in(user)
        return browser

    def call(self, instance: Bff, browser: BrowserClient, path: str = "/api/crud/forms") -> requests.Response:
        """One call of the page that lands on `instance`."""
        cookie = next(
            f"{cookie.name}={cookie.value}" for cookie in browser.http.cookies if cookie.name == "bff_session"
        )
        headers = {**CALL_HEADERS, "Host": f"localhost:{self.first.port}", "Cookie": cookie}
        with requests.Session() as http:
            http.trust_env = False
            return http.get(f"http://127.0.0.1:{instance.port}{path}", headers=headers, timeout=30)

    def wait_until_both_serve(self, browser: BrowserClient) -> None:
        """A lock that Redis granted in an answer nobody heard is free again when its lease (30 s) is over."""
        wait_until(
            lambda: all(self.call(instance, browser).status_code == 200 for instance in (self.first, self.second)),
            timeout_seconds=60,
            what="calls to be answered again",
        )


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    directory = tmp_path_factory.mktemp("farm")
    key_file = directory / "data.keys"
    key_file.write_bytes(base64.b64encode(secrets.token_bytes(32)) + b"\n")
    key_file.chmod(0o600)
    with ExitStack() as parts:
        redis = parts.enter_context(running_redis(directory))
        op = start_op(directory)
        parts.callback(op.stop)
        crud, backend_url = start_crud_service(directory)
        parts.callback(crud.stop)
        port = free_port()
        client = op.register_client(f"http://localhost:{port}")
        settings = {
            "server": {"public_url": f"http://localhost:{port}"},
            "session": {"store": "redis", "redis_url": redis.url, "redis": {"timeout_seconds": 0.5, "retries": 1}},
            "tokens": {"data_key_file": str(key_file)},
        }
        instances = []
        for number, bind in enumerate((port, free_port())):
            bff = start_bff(
                directory / f"bff-{number}",
                issuer=op.issuer,
                client=client,
                backend_url=backend_url,
                port=bind,
                workers=2,
                settings=settings,
            )
            parts.callback(bff.stop)
            instances.append(bff)
        yield Farm(instances[0], instances[1], redis)
        leaks = find_leaks([bff.directory / "logs" / "bff.log" for bff in instances], set(op.secrets()))
        assert not leaks, f"secrets in the logs: {leaks}"


def test_a_login_on_one_instance_is_good_on_the_other(farm: Farm) -> None:
    browser = farm.log_in()
    assert farm.call(farm.second, browser).status_code == 200
    assert farm.call(farm.second, browser, "/api/profile/whoami").status_code == 200, "its tokens came along"
    assert not (farm.first.state_directory / "00").exists(), "nothing is kept on disk"


def test_a_logout_on_one_instance_is_a_logout_on_the_other_at_once(farm: Farm) -> None:
    browser = farm.log_in()
    cookie = browser.http.cookies.copy()
    for _ in range(20):  # every worker of the other instance has its own copy by now
        assert farm.call(farm.second, browser).status_code == 200
    browser.log_out()
    ended_at = time.monotonic()
    browser.http.cookies.update(cookie)
    wait_until(lambda: farm.call(farm.second, browser).status_code == 401, timeout_seconds=10, what="the end")
    assert time.monotonic() - ended_at < 10
    assert {farm.call(farm.second, browser).status_code for _ in range(20)} == {401}


def test_o1_redis_killed_and_back_with_its_data_gone_asks_everybody_to_log_in_again(farm: Farm) -> None:
    browser = farm.log_in()
    farm.redis.kill()
    wait_until(
        lambda: farm.call(farm.second, browser).status_code == 503, timeout_seconds=20, what="the copies to be spent"
    )
    refused = farm.call(farm.first, browser)
    assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "store_unavailable")
    assert "Set-Cookie" not in refused.headers
    ready = requests.get(f"{farm.first.internal_origin}/health/ready", timeout=10)
    assert ready.status_code == 503
    farm.redis.start()
    wait_until(lambda: farm.call(farm.first, browser).status_code == 401, timeout_seconds=20, what="an answer")
    again = farm.log_in()
    farm.wait_until_both_serve(again)


def test_o1_redis_paused_is_503_in_bounded_time_and_nobody_is_logged_out(farm: Farm) -> None:
    browser = farm.log_in()
    farm.redis.pause()
    try:
        wait_until(
            lambda: farm.call(farm.first, browser).headers.get("X-BFF-Error") == "store_unavailable",
            timeout_seconds=20,
            what="the copies to be spent",
        )
    finally:
        farm.redis.resume()
    farm.wait_until_both_serve(browser)


def test_o1_a_redis_that_is_full_refuses_logins_and_lets_everybody_else_go_on(farm: Farm) -> None:
    browser = farm.log_in()
    farm.redis.command("CONFIG", "SET", "maxmemory", "1")
    try:
        with requests.Session() as http:
            http.trust_env = False
            refused = http.get(f"{farm.first.origin}/auth/login", allow_redirects=False, timeout=30)
        assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "store_unavailable")
        for instance in (farm.first, farm.second):
            assert farm.call(instance, browser, "/api/profile/whoami").status_code == 200
    finally:
        farm.redis.command("CONFIG", "SET", "maxmemory", "0")
    assert farm.log_in().is_logged_in()


def test_o1_a_primary_that_was_demoted_is_503_and_heals(farm: Farm) -> None:
    browser = farm.log_in()
    farm.redis.command("REPLICAOF", "127.0.0.1", farm.redis.port + 1)
    try:
        with requests.Session() as http:
            http.trust_env = False
            refused = http.get(f"{farm.first.origin}/auth/login", allow_redirects=False, timeout=30)
        assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "store_unavailable")
    finally:
        farm.redis.command("REPLICAOF", "NO", "ONE")
    farm.wait_until_both_serve(browser)
    assert farm.log_in().is_logged_in()
