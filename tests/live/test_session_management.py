"""Sessions looked after while several workers serve them: ended elsewhere, they are over at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.live.test_workers import only
from tests.support.bff import WORKERS, Stack, run_command
from tests.support.browser_client import BrowserClient

pytestmark = pytest.mark.live

MIB = 1024 * 1024
PATH = "/api/me/sessions"


def list_sessions(browser: BrowserClient) -> list[dict[str, Any]]:
    answer = browser.get(PATH)
    assert answer.status_code == 200, answer.text
    sessions: list[dict[str, Any]] = answer.json()["sessions"]
    return sessions


def find_own_id(browser: BrowserClient) -> str:
    [own] = [session["id"] for session in list_sessions(browser) if session["current"]]
    return str(own)


def test_a_session_ended_from_another_device_is_over_on_every_worker_at_once(stack: Stack) -> None:
    workers = stack.bff.wait_for_workers(WORKERS)
    here, there = stack.log_in("carol"), stack.log_in("carol")
    reference = find_own_id(there)
    for serving in workers:  # every worker has copies of both sessions now
        for browser in (here, there):
            browser.http.close()
            with only(serving, workers):
                assert browser.get("/api/crud/forms").status_code == 200
                browser.http.close()
    with only(workers[0], workers):
        assert here.call("DELETE", f"{PATH}/{reference}").status_code == 204
        here.http.close()
    for serving in workers:
        with only(serving, workers):
            answer = there.get("/api/crud/forms")
            assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, "session_expired")
            assert here.get("/api/crud/forms").status_code == 200
            there.http.close()
            here.http.close()
    assert there.session_cookie(), "a 401 took the cookie"


def test_two_devices_that_end_each_other_at_once_leave_none_half_alive(stack: Stack) -> None:
    first, second = stack.log_in("dave"), stack.log_in("dave")
    references = find_own_id(first), find_own_id(second)
    with ThreadPoolExecutor(2) as threads:
        answers = list(
            threads.map(
                lambda pair: pair[0].call("DELETE", f"{PATH}/{pair[1]}").status_code,
                [(first, references[1]), (second, references[0])],
            )
        )
    assert set(answers) <= {204, 401, 404}
    live = [browser for browser in (first, second) if browser.is_logged_in()]
    assert len(live) + answers.count(204) == 2
    for browser in live:
        assert len(list_sessions(browser)) == 1


def test_a_slow_call_ends_well_and_does_not_bring_its_session_back(stack: Stack) -> None:
    here, there = stack.log_in("erin"), stack.log_in("erin")
    reference = find_own_id(there)
    has_begun, may_end = threading.Event(), threading.Event()

    def give_body() -> Iterator[bytes]:
        # More than sockets hold: once it is gone, the BFF has let the call in and reads its body.
        yield from (b"a" * MIB for _ in range(32))
        has_begun.set()
        may_end.wait(20)
        yield b"b" * 1000

    with ThreadPoolExecutor(1) as threads:
        upload = threads.submit(there.post, "/api/crud/files", data=give_body())
        assert has_begun.wait(20)
        assert here.call("DELETE", f"{PATH}/{reference}").status_code == 204
        may_end.set()
        assert upload.result(timeout=20).json()["bytes"] == 32 * MIB + 1000
    answer = there.get("/api/crud/forms")
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, "session_expired")
    assert reference not in [session["id"] for session in list_sessions(here)]


def test_an_operator_ends_sessions_and_every_worker_knows_at_once(stack: Stack) -> None:
    workers = stack.bff.wait_for_workers(WORKERS)
    frank, grace = stack.log_in("frank"), stack.log_in("grace")
    for serving in workers:
        for browser in (frank, grace):
            browser.http.close()
            with only(serving, workers):
                assert browser.get("/api/crud/forms").status_code == 200
                browser.http.close()
    listed = run_command(stack.bff, "sessions", "list", "--user", "frank")
    assert listed.returncode == 0, listed.stderr
    assert [line.split("\t")[:2] for line in listed.stdout.splitlines()] == [[find_own_id(frank), "frank"]]
    frank.http.close()
    ended = run_command(stack.bff, "sessions", "end", "--user", "frank", "--yes")
    assert (ended.returncode, ended.stdout) == (0, "1 session ended.\n"), ended.stderr
    for serving in workers:
        with only(serving, workers):
            assert frank.get("/api/crud/forms").status_code == 401
            assert grace.get("/api/crud/forms").status_code == 200
            frank.http.close()
            grace.http.close()
    assert stack.log_in("frank").is_logged_in(), "what the command wrote kept the next login out"
