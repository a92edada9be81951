"""Long under load while backends die: no error but of calls that were in flight to the dead one, and nothing grows.

    BFF_SOAK_SECONDS=180 .venv/bin/python -m pytest -m long -s tests/long/test_soak.py      # a short one; default 1800

One worker, sessions in Redis, decisions of a real decision point, two backends of which one is killed and started again
in every period. A backend that failed is left alone for a sixth of a period: while it is, the other one carries all, so
both are never out at once. The load is 70 % of what the worker did flat out just before.
"""

from __future__ import annotations

import os
import re
import statistics
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from bench.proxies.contestant import JSON_PATH, Contestant
from bench.proxies.load import Round, Workload, run_round
from bench.proxies.machine import Cores, count_sockets, read_memory_bytes
from bench.proxies.others import Backend
from bench.proxies.ours import Setup, start_ours
from bench.proxies.world import open_world

pytestmark = [pytest.mark.long, pytest.mark.live, pytest.mark.timeout(0)]

SOAK_SECONDS = int(os.environ.get("BFF_SOAK_SECONDS", "1800"))
PERIOD_SECONDS = 60 if SOAK_SECONDS >= 600 else 20
CONNECTIONS = 40
PART_OF_SATURATION = 0.7
MOST_GROWTH_BYTES = 8 * 1024 * 1024
MOST_NEW_SOCKETS = 16


def test_nothing_fails_or_grows_while_backends_come_and_go(tmp_path: Path) -> None:
    cores = Cores.choose()
    with open_world(tmp_path, cores) as world:
        second = Backend(tmp_path / "second", cores)
        urls = (world.backend.url, second.url)
        setup = Setup("soak", "", backend_urls=urls, reset_seconds=PERIOD_SECONDS / 6)
        bff = start_ours(tmp_path / "soak", world, setup)
        try:
            full = run_round(bff, Workload("json", JSON_PATH, connections=CONNECTIONS), 5, cores)
            delay_ms = max(1, round(1000 * CONNECTIONS / (PART_OF_SATURATION * full.calls_per_second)))
            print(f"\n{full.calls_per_second:.0f} calls/s flat out; a pause of {delay_ms} ms makes it 70 %")
            steady = Workload("json", JSON_PATH, connections=CONNECTIONS, delay_ms=delay_ms)
            run_round(bff, steady, PERIOD_SECONDS, cores)  # pools and copies reach their size
            periods = [
                soak_one_period(bff, steady, (world.backend, second)[number % 2], cores)
                for number in range(max(3, SOAK_SECONDS // PERIOD_SECONDS))
            ]
        finally:
            bff.stop()
            second.child.stop()
        log = (tmp_path / "soak" / "log").read_text(encoding="utf-8")
    print(Counter(re.findall(r'"(?:code|error)":"([a-z_]+)"', log)))
    failed = [one.broken + one.refused for one, _, _ in periods]
    print(f"{sum(one.calls for one, _, _ in periods)} calls, {sum(failed)} failed, {len(periods)} backends killed")
    assert max(failed) <= CONNECTIONS, failed  # each connection has at most one call in flight
    assert "Traceback" not in log
    third = len(periods) // 3
    memory = [bytes_used for _, bytes_used, _ in periods]
    assert statistics.median(memory[-third:]) - statistics.median(memory[:third]) < MOST_GROWTH_BYTES, memory
    sockets = [count for _, _, count in periods]
    assert statistics.median(sockets[-third:]) - statistics.median(sockets[:third]) < MOST_NEW_SOCKETS, sockets


def soak_one_period(bff: Contestant, steady: Workload, backend: Backend, cores: Cores) -> tuple[Round, int, int]:
    """Load for one period, with `backend` dead for its middle third; returns the memory and sockets after it, too.

    The load is what runs in a thread: a backend that a thread has started ends with that thread.
    """
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(run_round, bff, steady, PERIOD_SECONDS, cores)
        wait([load], PERIOD_SECONDS / 3)
        backend.kill()
        wait([load], PERIOD_SECONDS / 3)
        backend.start()
        one = load.result()
    memory, sockets = read_memory_bytes(bff.pids), count_sockets(bff.pids)
    print(
        f"{one.calls_per_second:.0f} calls/s, p99 {one.p99 / 1000:.1f} ms, {one.broken + one.refused} failed, "
        f"{memory / 2**20:.1f} MiB, {sockets} sockets",
        flush=True,
    )
    return one, memory, sockets
