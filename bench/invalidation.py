"""How long after the end of a session does another machine still serve it?

    .venv/bin/python -m bench.invalidation [--ends 400]

Starts Redis, a provider and two instances of two workers each, logs users in, and ends their sessions at one instance,
one after the other: by logout, by `DELETE /api/me/sessions/{id}`, and by `bff sessions end`. Meanwhile pollers call the
other instance with the session that is about to end, each on a connection of its own, so that both workers have copies.
For each end: how long after it was answered (for the command: after it returned) a call that was still served had
begun. Zero: none was.
"""

from __future__ import annotations

import argparse
import http.client
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.support.bff import run_command
from tests.support.browser_client import BrowserClient
from tests.support.farm import Farm, build_redis_settings, running_farm
from tests.support.redis_servers import running_redis

PATH = "/api/crud/forms"
POLLERS = 4
PAUSE_SECONDS = 0.002
"""Between two calls of a poller, so that a machine of two cores has time for the servers too."""
SERVED_BEFORE_THE_END = 5
LOCAL_CACHE_SECONDS = 60
"""So that no copy ends because of its age."""


class Poller:
    """Calls until it is refused."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port = port
        self._headers = headers
        self.served = 0
        self.last_served_at = 0.0
        """When the last call that was served had begun."""
        self.refused_at = 0.0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Poller:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while True:
            began_at = time.monotonic()
            connection.request("GET", PATH, headers=self._headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                assert answer.status == 401, answer.status
                self.refused_at = time.monotonic()
                connection.close()
                return
            self.served += 1
            self.last_served_at = began_at
            time.sleep(PAUSE_SECONDS)


def measure_end(farm: Farm, browser: BrowserClient, end: Callable[[], object]) -> tuple[float, float]:
    """Returns how long after the end the session was served, and until when all pollers had been refused."""
    headers = farm.build_headers(browser)
    pollers = [Poller(farm.second.port, headers) for _ in range(POLLERS)]
    with ExitStack() as running:
        for poller in pollers:
            running.enter_context(poller)
        while min(poller.served for poller in pollers) < SERVED_BEFORE_THE_END:
            time.sleep(0.002)
        end()
        ended_at = time.monotonic()
    served_at = max(poller.last_served_at for poller in pollers)
    refused_at = max(poller.refused_at for poller in pollers)
    return max(0.0, served_at - ended_at), max(0.0, refused_at - ended_at)


def log_out(farm: Farm, number: int) -> tuple[float, float]:
    browser = farm.log_in(f"user{number}")
    return measure_end(farm, browser, browser.log_out)


def end_from_another_device(farm: Farm, number: int) -> tuple[float, float]:
    here, there = farm.log_in(f"user{number}"), farm.log_in(f"user{number}")
    [own] = [session["id"] for session in there.get("/api/me/sessions").json()["sessions"] if session["current"]]

    def end() -> None:
        assert here.call("DELETE", f"/api/me/sessions/{own}").status_code == 204

    return measure_end(farm, there, end)


def end_by_command(farm: Farm, number: int) -> tuple[float, float]:
    browser = farm.log_in(f"user{number}")

    def end() -> None:
        ended = run_command(farm.first, "sessions", "end", "--user", f"user{number}", "--yes")
        assert ended.returncode == 0, ended.stderr

    return measure_end(farm, browser, end)


def report(name: str, measured: list[tuple[float, float]]) -> None:
    for what, values in (
        ("a served call began", sorted(served for served, _ in measured)),
        ("all were refused", sorted(refused for _, refused in measured)),
    ):
        median, late = values[len(values) // 2], values[int(len(values) * 0.99)]
        print(
            f"{name:24} {len(values):4} ends, {what:20} after the end:"
            f" median {median * 1000:5.1f} ms, p99 {late * 1000:5.1f} ms, longest {values[-1] * 1000:5.1f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ends", type=int, default=400, help="in all; a tenth of them by the command")
    ends = parser.parse_args().ends
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_redis(folder) as redis:
            settings = build_redis_settings(redis.url, timeout_seconds=2)
            settings["session"]["local_cache_seconds"] = LOCAL_CACHE_SECONDS
            with running_farm(folder, settings=settings) as farm:
                many, few = ends * 9 // 20, ends // 10
                report("logout", [log_out(farm, number) for number in range(many)])
                report("DELETE /api/me/sessions", [end_from_another_device(farm, number) for number in range(many)])
                report("bff sessions end", [end_by_command(farm, number) for number in range(few)])


if __name__ == "__main__":
    main()
