"""Several workers, one session directory: who logs in at one is logged in at all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.support.bff import Stack
from tests.support.browser_client import BrowserClient

pytestmark = pytest.mark.live


@contextmanager
def only(serving: int, workers: list[int]) -> Iterator[None]:
    """Let one worker serve: the others are stopped, so that the kernel gives every connection to this one."""
    others = [pid for pid in workers if pid != serving]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def test_a_login_on_one_worker_counts_on_all_others_eight_calls_at_once(stack: Stack) -> None:
    workers = stack.bff.wait_for_workers(3)
    alice = stack.open_browser()
    with only(workers[0], workers):
        alice.log_in("alice")
    alice.http.close()  # a connection kept open would stay with the first worker

    for serving in workers[1:]:
        with only(serving, workers), ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: alice.get("/api/crud/forms"), range(8)))
        assert [answer.status_code for answer in answers] == [200] * 8
        alice.http.close()


def test_a_logout_on_one_worker_counts_on_all_others_at_once(stack: Stack) -> None:
    workers = stack.bff.worker_pids()
    alice = stack.log_in("alice")
    cookie = alice.session_cookie()
    for serving in workers:  # every worker has a copy of the session now
        alice.http.close()
        with only(serving, workers):
            assert alice.is_logged_in()
    alice.http.close()
    with only(workers[0], workers):
        alice.log_out()

    thief = BrowserClient(stack.bff.origin)
    for serving in workers:
        with only(serving, workers):
            answer = thief.get("/api/crud/forms", headers={"Cookie": f"bff_session={cookie}"})
        assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, "session_expired")
        thief.http.close()


def test_many_users_log_in_at_once(stack: Stack) -> None:
    names = [f"user{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        browsers = list(threads.map(stack.log_in, names))
    for name, browser in zip(names, browsers, strict=True):
        assert browser.get_session().json()["user"]["id"] == name
        assert browser.get("/api/crud/whoami").json()["headers"]["X-User-ID"] == name
