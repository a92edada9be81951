"""The provider fails in every way it has, under a steady load of logged-in calls to two instances; everything is real.

Access tokens last seconds, so that renewals are wanted all the time, and refresh tokens are rotated: one that is used
twice ends the grant.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.bff import Bff, build_route
from tests.support.farm import Farm, running_farm
from tests.support.processes import wait_until
from tests.support.steady_load import GOOD, LOGGED_OUT, NO_ANSWER, TOKEN_UNAVAILABLE, Calls, SteadyLoad

pytestmark = [pytest.mark.long, pytest.mark.live, pytest.mark.timeout(300)]

ACCESS_TOKEN_SECONDS = 14
PROVIDER_TIMEOUT_SECONDS = 2
LONGEST_CALL_SECONDS = 4 * PROVIDER_TIMEOUT_SECONDS + 5
"""As long as a refresh may hold its turn; a call may have to wait for one."""
WORKERS = 2


UNKNOWN_AUDIENCE = {
    "services": {
        "unknown": {"base_url": "http://127.0.0.1:9", "token": {"mode": "resource", "audience": "urn:test:unknown"}}
    },
    "routes": [build_route("/api/unknown", "unknown", "/")],
}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    settings = {
        "oidc": {"timeout_seconds": PROVIDER_TIMEOUT_SECONDS},
        "tokens": {"refresh_ahead_seconds": 4, "sweep_interval_seconds": 1},
    }
    directory = tmp_path_factory.mktemp("farm")
    with running_farm(
        directory,
        settings=settings,
        access_token_seconds=ACCESS_TOKEN_SECONDS,
        workers=WORKERS,
        more_routes=UNKNOWN_AUDIENCE,
    ) as farm:
        yield farm


def check_that_nobody_was_harmed(farm: Farm, calls: Calls, *allowed: str) -> None:
    """`allowed`: what callers may have got beside good answers."""
    print(f"\n  {dict(calls.outcomes)}, longest call {calls.longest_seconds:.1f} s")
    assert calls.find_others({GOOD, *allowed}) == []
    assert calls.with_cookie_changes == []
    assert calls.longest_seconds < LONGEST_CALL_SECONDS
    assert farm.log_in("newcomer").is_logged_in()


FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "503-that-says-invalid_grant": {"status": 503, "body": {"error": "invalid_grant"}},
    "429": {"status": 429},
    "hanging": {"status": 500, "delay_ms": 60_000},
    "closing": {"close": True},
    "html": {"status": 200, "body": "<html>Welcome</html>"},
    "no-token": {"status": 200, "body": {"token_type": "Bearer"}},
    "list": {"status": 200, "body": [1]},
    "T13-invalid_client": {"status": 401, "body": {"error": "invalid_client"}},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_provider_whose_token_endpoint_fails(farm: Farm, fault: dict[str, Any]) -> None:
    with SteadyLoad(farm) as load:
        farm.op.mutate(fail={"/token": fault})
        with load.span() as at_first:
            load.wait_for_each(GOOD)  # the token at hand is still good
        assert set(at_first.outcomes) == {GOOD}
        load.wait_for_each(TOKEN_UNAVAILABLE)
        farm.op.clear_faults()
        load.wait_until_good()
        assert all(browser.is_logged_in() for browser in load.browsers)
    check_that_nobody_was_harmed(farm, load.calls, TOKEN_UNAVAILABLE)


def test_a_provider_that_stands_still_and_goes_on(farm: Farm) -> None:
    with SteadyLoad(farm) as load:
        os.kill(farm.op.child.pid, signal.SIGSTOP)
        try:
            load.wait_for_each(TOKEN_UNAVAILABLE)
        finally:
            os.kill(farm.op.child.pid, signal.SIGCONT)
        # What it had taken in before it stood still it answers now, to nobody: it has rotated a token that we never
        # saw, and the next use of the old one ends the grant. Nothing but a new login helps those users.
        load.wait_for_each_to_be(GOOD, LOGGED_OUT)
        logged_out = load.calls.logged_out
        print(f"\n  {len(logged_out)} of {len(load.browsers)} sessions lost to answers that came too late")
        load.log_in_again(logged_out)
        load.wait_until_good()
    check_that_nobody_was_harmed(farm, load.calls, TOKEN_UNAVAILABLE, LOGGED_OUT)


def test_a_provider_that_rotates_and_refuses(farm: Farm) -> None:
    """An audience it does not know costs the refresh token of the session that asked, and of no other one."""
    asking, sparing = farm.log_in("asking"), farm.log_in("sparing")
    seen = len(farm.op.events("grant.error"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: farm.call(farm.first, asking, "/api/unknown"), range(8)))
    assert {answer.headers["X-BFF-Error"] for answer in answers} == {"service_token_unavailable"}
    assert {"Set-Cookie" in answer.headers for answer in answers} == {False}
    # Grants of sessions from the drills before may end at the same time; nobody else asks for this audience.
    refused = [event["error"] for event in farm.op.events("grant.error")[seen:]]
    assert refused.count("invalid_target") == 1, "asked once, and not again for a while"
    assert farm.call(farm.second, asking, "/api/profile/whoami").status_code == 200
    wait_until(lambda: not asking.is_logged_in(), timeout_seconds=60, what="the end of the spent grant")
    assert farm.call(farm.second, sparing, "/api/profile/whoami").status_code == 200


def kill_a_worker(bff: Bff) -> None:
    killed = bff.worker_pids()[0]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in bff.worker_pids(), timeout_seconds=30, what="the end of a worker")
    bff.wait_for_workers(WORKERS)


@pytest.mark.parametrize("moment", ["asking", "holding the lock"])
def test_a_worker_killed_during_refreshes(farm: Farm, moment: str) -> None:
    """Killed while the provider thinks: nothing was rotated, so nothing is lost but the calls that worker had."""
    with SteadyLoad(farm) as load:
        # "asking": it fails after a while. "holding the lock": it never answers, the lock is held all the time.
        farm.op.mutate(fail={"/token": {"status": 500, "delay_ms": 300 if moment == "asking" else 60_000}})
        load.wait_for_any(TOKEN_UNAVAILABLE)
        for bff in farm.instances:
            kill_a_worker(bff)
        farm.op.clear_faults()
        load.wait_until_good()
    check_that_nobody_was_harmed(farm, load.calls, TOKEN_UNAVAILABLE, NO_ANSWER)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with (
        small_disk(disk, megabytes=4),
        running_farm(
            tmp_path, settings={"session": {"directory": str(disk / "state")}}, instances=1, access_token_seconds=60
        ) as farm,
        SteadyLoad(farm) as load,
    ):
        leaving = farm.log_in("leaving")
        filler = disk / "filler"
        fill(filler)
        with load.span() as full:
            newcomer = farm.open_browser()
            refused = newcomer.navigate("/auth/login", site="none")
            assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "store_unavailable")
            load.wait_for_each(GOOD)
            leaving.log_out()
            assert not leaving.is_logged_in()
        assert set(full.outcomes) == {GOOD}
        filler.unlink()
        load.wait_until_good()
        assert farm.log_in("newcomer").is_logged_in()
    assert load.calls.with_cookie_changes == []


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[None]:
    """A file system of its own in memory; only root can mount one."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
