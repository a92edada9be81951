"""Keys rotate while users log in and tokens are refreshed: nobody notices.

The provider reads the JWKS where the BFF publishes it and keeps it for a while, as providers do: it never asks anew
within that time, not even for a key that it does not know.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.bff import Bff, start_bff, start_crud_service
from tests.support.browser_client import BrowserClient
from tests.support.processes import free_port, wait_until
from tests.support.product import BFF_COMMAND
from tests.support.real_op import OpClient, RealOp, start_op
from tests.support.redis_servers import RedisServer
from tests.unit.services.key_store.support import read_stored_keys

pytestmark = pytest.mark.live


@contextmanager
def running_world(directory: Path, *, publish_ahead_seconds: int, jwks_cache: str = "") -> Iterator[tuple[RealOp, Bff]]:
    """A provider whose tokens are good for a second, and a BFF with two workers that proves who it is with its keys."""
    with ExitStack() as parts:
        op = start_op(directory, OP_TTL_AT="1", OP_JWKS_CACHE=jwks_cache)
        parts.callback(op.stop)
        crud, backend_url = start_crud_service(directory)
        parts.callback(crud.stop)
        port = free_port()
        bff = start_bff(
            directory / "bff",
            issuer=op.issuer,
            client=op.register_client(f"http://localhost:{port}", auth_method="private_key_jwt"),
            backend_url=backend_url,
            port=port,
            workers=2,
            settings={
                "keys": {"publish_ahead_seconds": publish_ahead_seconds},
                "oidc": {"userinfo": False},
                "limits": {"login_starts": "100000/minute"},
            },
        )
        parts.callback(bff.stop)
        bff.wait_for_workers(2)
        yield op, bff


def run_keys(bff: Bff, *arguments: str) -> Any:
    command = [BFF_COMMAND, "keys", *arguments, "--json", "--config-dir", str(bff.directory / "config")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def find_current(bff: Bff) -> str:
    """Read off the file: a command costs a second of a processor."""
    keys = read_stored_keys(bff.directory / "keys")
    kid: str = next(key["kid"] for key in keys if key["state"] == "current")
    return kid


@dataclass
class Load:
    """Somebody logs in and somebody's token is renewed every `interval_seconds`, until it is stopped."""

    bff: Bff
    interval_seconds: float
    users: int = 16
    logins: int = 0
    refreshes: int = 0
    failures: list[str] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _browsers: list[BrowserClient] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[Load]:
        self._browsers = [BrowserClient(self.bff.origin) for _ in range(2 * self.users)]
        for number, browser in enumerate(self._browsers):
            browser.log_in(f"user-{number}")
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            thread.join(120)
            for browser in self._browsers:
                browser.http.close()

    def wait_for_more(self, count: int) -> None:
        """Waits for so many logins and refreshes from now on, or for a failure."""
        logins, refreshes = self.logins + count, self.refreshes + count
        wait_until(
            lambda: bool(self.failures) or (self.logins >= logins and self.refreshes >= refreshes),
            timeout_seconds=60,
            what="further logins and refreshes",
        )

    def _run(self) -> None:
        """Each browser is one user at a time, so none is used by two at once."""
        busy: dict[int, Future[None]] = {}
        with ThreadPoolExecutor(2 * self.users) as pool:
            number = 0
            while not self._stopping.wait(self.interval_seconds):
                number += 1
                for index, work in (
                    (number % self.users, self._log_in),
                    (number % self.users + self.users, self._refresh),
                ):
                    if index not in busy or busy[index].done():
                        busy[index] = pool.submit(self._try, work, self._browsers[index])

    def _try(self, work: Any, browser: BrowserClient) -> None:
        try:
            work(browser)
        except (AssertionError, requests.RequestException, LookupError) as error:
            self.failures.append(f"{time.time():.3f} {type(error).__name__} {error}"[:300])

    def _log_in(self, browser: BrowserClient) -> None:
        browser.log_in()  # the provider knows the user still, and asks nothing
        self.logins += 1

    def _refresh(self, browser: BrowserClient) -> None:
        answer = browser.get("/api/profile/whoami")  # with the user's token, which is over by now
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:200]}"
        self.refreshes += 1


def read_refreshes(bff: Bff) -> dict[str, float]:
    """How many refreshes of tokens there were, by how they ended."""
    text = requests.get(f"{bff.internal_origin}/metrics", timeout=10).text
    lines = [line for line in text.splitlines() if line.startswith("bff_token_refreshes_total{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


def wait_until_it_signs(bff: Bff, kid: str, timeout_seconds: float) -> None:
    wait_until(lambda: find_current(bff) == kid, timeout_seconds=timeout_seconds, what="the new key to sign")


def drill(op: RealOp, bff: Bff, *, rotations: int, publish_ahead_seconds: float, interval_seconds: float) -> Load:
    """Rotates under load, waiting each time until the provider has seen what the new key signed."""
    load = Load(bff, interval_seconds)
    kids = [find_current(bff)]
    with load.running():
        for _ in range(rotations):
            kids.append(run_keys(bff, "rotate")[-1]["kid"])
            wait_until_it_signs(bff, kids[-1], publish_ahead_seconds + 30)
            load.wait_for_more(20)
    assert load.failures == []
    assert len(set(kids)) == rotations + 1
    assert op.events("grant.error") == []
    assert op.events("pushed_authorization_request.error") == []
    outcomes = read_refreshes(bff)
    assert outcomes["completed"] > 20
    assert sum(count for outcome, count in outcomes.items() if outcome != "completed") == 0
    return load


def test_a_rotation_in_the_middle_of_logins_and_refreshes_fails_none(tmp_path: Path) -> None:
    with running_world(tmp_path, publish_ahead_seconds=4, jwks_cache="1") as (op, bff):
        drill(op, bff, rotations=1, publish_ahead_seconds=4, interval_seconds=0.1)


def test_two_machines_that_start_at_once_share_their_keys_in_redis(tmp_path: Path, redis_server: RedisServer) -> None:
    ring = tmp_path / "ring"
    ring.touch(0o600)
    ring.write_text("cGFzc3dvcmRzLWFyZS1ub3QtYWxsb3dlZC1oZXJlIT8=")
    settings = {
        "session": {"store": "redis", "redis_url": redis_server.url, "redis": {"key_prefix": f"{tmp_path.name}:"}},
        "tokens": {"data_key_file": str(ring)},
        "keys": {"store": "redis"},
        "oidc": {"client_auth": "private_key_jwt"},
    }
    client = OpClient("bff", "private_key_jwt", "")

    def start(name: str) -> Bff:
        return start_bff(
            tmp_path / name,
            issuer="http://127.0.0.1:9",
            client=client,
            backend_url="http://127.0.0.1:9",
            workers=2,
            settings=settings,
        )

    # A child is told to end when the thread that started it ends: the pool outlives them.
    with ThreadPoolExecutor(2) as pool:
        machines = list(pool.map(start, ("one", "two")))
        try:
            check_that_keys_are_shared(machines)
            assert not any(machine.directory.joinpath("keys").exists() for machine in machines)
        finally:
            for machine in machines:
                machine.stop()


def check_that_keys_are_shared(machines: list[Bff]) -> None:
    wait_until(lambda: all(map(is_ready, machines)), timeout_seconds=30, what="both to be ready")
    (kids,) = {tuple(list_published(machine)) for machine in machines for _ in range(8)}
    assert len(kids) == 1
    fresh = run_keys(machines[0], "rotate")[-1]["kid"]
    wait_until(
        lambda: all(list_published(machine) == [*kids, fresh] for machine in machines for _ in range(8)),
        timeout_seconds=15,
        what="the new key everywhere",
    )


def is_ready(bff: Bff) -> bool:
    return requests.get(f"{bff.origin}/health/ready", timeout=10).status_code == 200


def list_published(bff: Bff) -> list[str]:
    answer = requests.get(f"{bff.origin}/.well-known/jwks.json", timeout=10)
    assert answer.status_code == 200, answer.text
    return [key["kid"] for key in answer.json()["keys"]]
