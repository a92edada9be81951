"""A worker that is killed in the middle of writing loses at most its own call, never somebody's session."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import requests

from tests.support.bff import Bff, Stack, start_bff
from tests.support.browser_client import BrowserClient
from tests.support.processes import free_port

pytestmark = pytest.mark.live


def log_in_again_and_again(browser: BrowserClient, user: str, done: threading.Event, kept: list[str]) -> None:
    """Log in until told to stop; every login that the BFF said was done is in `kept`, by its cookie."""
    while not done.is_set():
        try:
            browser.log_in(user)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            browser.http.close()  # its worker was killed: this login may be lost
        else:
            kept.append(browser.session_cookie())
            browser.http.cookies.clear()


def test_no_session_is_lost_when_workers_are_killed_during_logins(stack: Stack, tmp_path: Path) -> None:
    drill(stack, tmp_path / "bff", kills=4, users=2, workers=2)


def drill(stack: Stack, directory: Path, *, kills: int, users: int, workers: int) -> int:
    """Kill a worker, `kills` times, while `users` log in; then every login that was done has to be there still.

    Returns how many logins that were.
    """
    port = free_port()
    bff = start_bff(
        directory,
        issuer=stack.op.issuer,
        client=stack.op.register_client(f"http://localhost:{port}"),
        backend_url=stack.backend_url,
        port=port,
        workers=workers,
        settings={"session": {"touch_interval_seconds": 0}},
    )
    done, kept = threading.Event(), list[str]()
    threads = []
    try:
        for number in range(users):
            arguments = (BrowserClient(bff.origin), f"user{number}", done, kept)
            threads.append(threading.Thread(target=log_in_again_and_again, args=arguments))
            threads[-1].start()
        for _ in range(kills):
            kill_a_worker_after_another_login(bff, kept, workers)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    try:
        there = [still_logged_in(bff.origin, cookie) for cookie in kept]
    finally:
        bff.stop()
    assert len(kept) >= kills
    assert all(there), f"{there.count(False)} of {len(there)} sessions are gone"
    return len(kept)


def kill_a_worker_after_another_login(bff: Bff, kept: list[str], workers: int) -> None:
    before, victim = len(kept), bff.worker_pids()[0]
    bff.child.wait_until(lambda: len(kept) > before, timeout_seconds=60, what="another login")
    os.kill(victim, signal.SIGKILL)
    bff.child.wait_until(
        lambda: victim not in bff.worker_pids() and len(bff.worker_pids()) == workers,
        timeout_seconds=30,
        what="a new worker",
    )


def still_logged_in(origin: str, cookie: str) -> bool:
    with BrowserClient(origin) as browser:
        return browser.get("/api/auth/session", headers={"Cookie": f"bff_session={cookie}"}).status_code == 200
