"""What the calls of a session cost in Redis: one read while the worker trusts its copy, and few writes."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.bff import merge
from tests.support.browser_client import BrowserClient
from tests.support.farm import Farm, build_redis_settings, running_farm
from tests.support.redis_servers import RedisServer, running_redis

pytestmark = pytest.mark.live

END = "the-end-of-the-recording"
READS, WRITES = frozenset({"GET", "MGET"}), frozenset({"SET", "DEL", "UNLINK", "PEXPIRE"})
RECORD = re.compile(r"\b(session|tokens):\{[0-9a-f]{64}\}")


@contextmanager
def recorded(redis: RedisServer) -> Iterator[list[str]]:
    """Gives the commands that Redis got during the block, once it has ended."""
    commands = list[str]()
    client: Any = redis.admin()
    with client.monitor() as monitor:
        yield commands
        redis.command("ECHO", END)
        for command in monitor.listen():
            if END in command["command"]:
                return
            commands.append(command["command"])


def count_uses(commands: list[str]) -> Counter[tuple[str, str]]:
    """How often each kind of record was read or written. What a script does stands there too, beside its call."""
    uses: Counter[tuple[str, str]] = Counter()
    for command in commands:
        name = command.split(" ", 1)[0].upper()
        for kind in set(RECORD.findall(command)):
            if name in READS or name in WRITES:
                uses[kind, "read" if name in READS else "write"] += 1
    return uses


@contextmanager
def running(tmp_path: Path, **session: float) -> Iterator[tuple[Farm, RedisServer, BrowserClient]]:
    with running_redis(tmp_path) as redis:
        settings = merge(build_redis_settings(redis.url), {"session": session})
        with running_farm(tmp_path, settings=settings, workers=1) as farm:
            yield farm, redis, farm.log_in()


def call(farm: Farm, browser: BrowserClient) -> None:
    assert farm.call(farm.second, browser, "/api/profile/whoami").status_code == 200


def test_calls_that_follow_each_other_read_the_session_and_its_tokens_once(tmp_path: Path) -> None:
    with running(tmp_path, local_cache_seconds=30) as (farm, redis, browser):
        with recorded(redis) as commands:
            for _ in range(20):
                call(farm, browser)
        assert count_uses(commands) == {("session", "read"): 1, ("tokens", "read"): 1}


def test_an_active_session_is_written_once_a_touch_interval(tmp_path: Path) -> None:
    with running(tmp_path, local_cache_seconds=30, touch_interval_seconds=1) as (farm, redis, browser):
        with recorded(redis) as commands:
            began_at, calls = time.monotonic(), 0
            while time.monotonic() - began_at < 3.2:
                call(farm, browser)
                calls += 1
            seconds = time.monotonic() - began_at
        assert calls > 20
        assert 2 <= count_uses(commands)["session", "write"] <= seconds + 1
