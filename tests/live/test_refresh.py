"""A user's tokens at the moment they run out, with everything real: many callers, several instances, one refresh.

The provider rotates refresh tokens and ends the grant when one is used twice, so a second refresh would show.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from msgspec.structs import replace

from app.services.key_ring import KeyRing, build_default_key_file
from app.services.session_store import build_session_key
from app.services.state_store.directory import DirectoryStateStore
from app.services.token_store import TokenStore
from tests.live.test_aborted_calls import build_request
from tests.support.bff import Bff, Stack, start_bff
from tests.support.browser_client import CALL_HEADERS, BrowserClient
from tests.support.processes import free_port, wait_until
from tests.support.real_op import start_op

pytestmark = pytest.mark.live

WORKERS = 5
"""Of the second instance; with the stack's own three there are eight."""
CALLERS = 200


@pytest.fixture
def second(stack: Stack, tmp_path: Path) -> Iterator[Bff]:
    """A second instance of the stack's BFF: the same sessions, keys and public address, other processes."""
    settings = {
        "server": {"public_url": stack.bff.origin},
        "session": {"directory": str(stack.bff.state_directory)},
        "keys": {"directory": str(stack.bff.directory / "keys")},
    }
    bff = start_bff(
        tmp_path,
        issuer=stack.op.issuer,
        client=stack.client,
        backend_url=stack.backend_url,
        port=free_port(),
        workers=WORKERS,
        settings=settings,
    )
    yield bff
    bff.stop()


def open_tokens(bff: Bff) -> TokenStore:
    key_ring = KeyRing.load(build_default_key_file(bff.state_directory))
    return TokenStore(DirectoryStateStore(bff.state_directory, time.time), key_ring, clock=time.time)


def get_session_key(browser: BrowserClient) -> str:
    session_id = next(cookie.value for cookie in browser.http.cookies if cookie.name == "bff_session")
    assert session_id is not None
    return build_session_key(session_id)


def let_expire(bff: Bff, browser: BrowserClient) -> None:
    """Makes the user's access token one that ran out a moment ago."""
    tokens, key = open_tokens(bff), get_session_key(browser)
    stored = tokens.find(key)
    assert stored is not None
    assert stored.refresh_token is not None
    assert tokens.save(key, replace(stored, expires_at=time.time() - 1), 3600)


def call(instance: Bff, public: Bff, browser: BrowserClient) -> requests.Response:
    """One call of the page to an instance, whatever its own port is."""
    with requests.Session() as http:
        http.trust_env = False
        cookies = "; ".join(
            f"{cookie.name}={cookie.value}" for cookie in browser.http.cookies if cookie.name == "bff_session"
        )
        headers = {**CALL_HEADERS, "Host": f"localhost:{public.port}", "Cookie": cookies}
        return http.get(f"http://127.0.0.1:{instance.port}/api/profile/whoami", headers=headers, timeout=60)


def count_refreshes(stack: Stack) -> int:
    grants = stack.op.events("grant.success") + stack.op.events("grant.error")
    return len([event for event in grants if event["grant_type"] == "refresh_token"])


def test_t8_calls_of_two_instances_at_the_moment_of_expiry_make_one_refresh(stack: Stack, second: Bff) -> None:
    browser = stack.log_in("alice")
    let_expire(stack.bff, browser)
    before = count_refreshes(stack)
    stack.op.mutate(fail={"/token": {"delay_ms": 3000}})
    with ThreadPoolExecutor(CALLERS) as pool:
        instances = [(stack.bff, second)[number % 2] for number in range(CALLERS)]
        answers = list(pool.map(lambda instance: call(instance, stack.bff, browser), instances))
    assert {answer.status_code for answer in answers} == {200}
    assert count_refreshes(stack) - before == 1
    assert browser.is_logged_in()


def test_t9_a_browser_that_goes_away_in_the_middle_of_a_refresh_loses_nothing(stack: Stack) -> None:
    browser = stack.log_in("alice")
    let_expire(stack.bff, browser)
    tokens, key = open_tokens(stack.bff), get_session_key(browser)
    expired = tokens.find(key)
    before, seen = count_refreshes(stack), len(stack.op.events("request"))
    stack.op.fail("/token", delay_ms=1000)
    with socket.create_connection(("127.0.0.1", stack.bff.port), timeout=20) as connection:
        connection.sendall(build_request(browser, "/api/profile/whoami"))
        wait_until(
            lambda: any(event["path"] == "/token" for event in stack.op.events("request")[seen:]),
            timeout_seconds=20,
            what="the refresh",
        )
    wait_until(lambda: tokens.find(key) != expired, timeout_seconds=20, what="the new tokens to be kept")
    stack.op.clear_faults()
    assert browser.get("/api/profile/whoami").status_code == 200
    assert count_refreshes(stack) - before == 1


def test_a_provider_that_is_down_logs_nobody_out_and_calls_go_on_once_it_is_back(stack: Stack) -> None:
    browser = stack.log_in("alice")
    let_expire(stack.bff, browser)
    stack.op.mutate(fail={"/token": {"status": 500}})
    refused = browser.get("/api/profile/whoami")
    assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "service_token_unavailable")
    assert "Set-Cookie" not in refused.headers
    assert browser.is_logged_in()
    stack.op.clear_faults()
    wait_until(
        lambda: browser.get("/api/profile/whoami").status_code == 200, timeout_seconds=20, what="the provider's return"
    )


def test_a_keep_alive_renews_the_users_token_when_it_is_due(stack: Stack) -> None:
    browser = stack.log_in("alice")
    before = count_refreshes(stack)
    assert browser.post("/api/auth/session/refresh").status_code == 200
    assert count_refreshes(stack) == before, "it was not due"
    let_expire(stack.bff, browser)
    assert browser.post("/api/auth/session/refresh").status_code == 200
    assert count_refreshes(stack) == before + 1


def test_a_keep_alive_goes_on_while_the_provider_fails_and_ends_with_the_grant(stack: Stack) -> None:
    browser = stack.log_in("alice")
    let_expire(stack.bff, browser)
    stack.op.mutate(fail={"/token": {"status": 500}})
    assert browser.post("/api/auth/session/refresh").status_code == 200
    stack.op.mutate(fail={"/token": {"status": 400, "body": {"error": "invalid_grant"}}})

    def is_over() -> bool:  # after a failure the provider is left alone for a moment
        return browser.post("/api/auth/session/refresh").headers.get("X-BFF-Error") == "session_expired"

    wait_until(is_over, timeout_seconds=20, what="the end of the session")


def test_t12_a_grant_that_the_provider_has_ended_ends_the_session(stack: Stack) -> None:
    browser = stack.log_in("alice")
    let_expire(stack.bff, browser)
    stack.op.mutate(fail={"/token": {"status": 400, "body": {"error": "invalid_grant"}}})
    refused = browser.get("/api/profile/whoami")
    assert (refused.status_code, refused.headers["X-BFF-Error"]) == (401, "session_expired")
    stack.op.clear_faults()
    assert not browser.is_logged_in()


def test_a_worker_killed_in_the_middle_of_a_refresh_keeps_nobody_waiting_for_its_lock(tmp_path: Path) -> None:
    op = start_op(tmp_path)
    port = free_port()
    client = op.register_client(f"http://localhost:{port}")
    bff = start_bff(
        tmp_path / "bff",
        issuer=op.issuer,
        client=client,
        backend_url=op.issuer,
        port=port,
        workers=1,
        routes={
            "services": {"echo": {"base_url": op.issuer, "token": {"mode": "user"}}},
            "routes": [
                {
                    "path": "/api/x",
                    "target_service": "echo",
                    "upstream_path": "/_test/health",
                    "auth": "session",
                    "authz": "none",
                }
            ],
        },
    )
    try:
        browser = BrowserClient(bff.origin)
        browser.log_in("alice")
        let_expire(bff, browser)
        # The provider is not asked before the delay is over: what the dead worker wanted never reaches the grant.
        op.mutate(fail={"/token": {"status": 500, "delay_ms": 60_000}})
        seen = len(op.events("request"))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(browser.get, "/api/x")
            wait_until(
                lambda: any(event["path"] == "/token" for event in op.events("request")[seen:]),
                timeout_seconds=20,
                what="the refresh",
            )
            [worker] = bff.worker_pids()
            os.kill(worker, signal.SIGKILL)
            with pytest.raises(requests.RequestException):
                waiting.result(30)
        op.clear_faults()
        wait_until(lambda: bff.worker_pids() not in ([], [worker]), timeout_seconds=30, what="a new worker")
        bff.wait_for_workers(1)
        answer = browser.get("/api/x")
        assert answer.status_code == 200, answer.text
    finally:
        bff.stop()
        op.stop()


def test_tokens_are_renewed_in_the_background_before_any_call_wants_them(tmp_path: Path) -> None:
    op = start_op(tmp_path, OP_TTL_AT="12")
    port = free_port()
    bff = start_bff(
        tmp_path / "bff",
        issuer=op.issuer,
        client=op.register_client(f"http://localhost:{port}"),
        backend_url=op.issuer,
        port=port,
        workers=2,
        settings={"tokens": {"refresh_ahead_seconds": 9, "sweep_interval_seconds": 1}},
    )
    try:
        browser = BrowserClient(bff.origin)
        browser.log_in("alice")
        before = open_tokens(bff).find(get_session_key(browser))
        assert before is not None

        def is_renewed() -> bool:
            now = open_tokens(bff).find(get_session_key(browser))
            return now is not None and now.access_token != before.access_token

        wait_until(is_renewed, timeout_seconds=30, what="a renewal that no call asked for")
        refused = [event for event in op.events("grant.error") if event["grant_type"] == "refresh_token"]
        assert refused == []
    finally:
        bff.stop()
        op.stop()
