"""The engines that the contract is held against. A further one is a line in `ENGINES`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.services.state_store import StateStore
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.redis_engine import RedisStateStore, open_redis_state_store
from app.settings.schema.session_section import RedisSettings
from tests.support.processes import wait_until
from tests.support.redis_servers import build_place

NOON = 1_800_000_000.0


class SteppedClock:
    """Time that moves when told to."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def step(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Engine:
    """How tests get at an engine: `prepare` gives a fresh place as text, `open` opens it, in any process."""

    name: str
    prepare: Callable[[pytest.FixtureRequest], str]
    open: Callable[[str, Callable[[], float]], StateStore]
    pass_time: Callable[[SteppedClock, float], None]


def _prepare_directory(request: pytest.FixtureRequest) -> str:
    scratch: Path = request.getfixturevalue("tmp_path")
    return str(scratch / "state")


def _open_directory(place: str, clock: Callable[[], float]) -> StateStore:
    return DirectoryStateStore(Path(place), clock)


def open_redis(place: str, clock: Callable[[], float]) -> RedisStateStore:
    """`place` as `build_place` makes it."""
    described = json.loads(place)
    return open_redis_state_store(described["url"], RedisSettings(**described["settings"]), clock)


def _pass_real_time(clock: SteppedClock, seconds: float) -> None:
    """Redis counts the lifetimes itself: there is no way but to let them pass."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > until, timeout_seconds=seconds + 5, what="time to pass")
    clock.step(seconds)


def _build_redis_engine(name: str, fixture: str) -> Engine:
    def prepare(request: pytest.FixtureRequest) -> str:
        server = request.getfixturevalue(fixture)
        return build_place(server.url, getattr(server, "tls_ca_file", None) or "")

    return Engine(name, prepare, open_redis, _pass_real_time)


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("directory", _prepare_directory, _open_directory, SteppedClock.step),
        _build_redis_engine("redis", "redis_server"),
        _build_redis_engine("redis-tls", "tls_redis"),
        _build_redis_engine("redis-sentinel", "sentinels"),
        _build_redis_engine("redis-cluster", "cluster"),
    )
}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def place(engine: Engine, request: pytest.FixtureRequest) -> str:
    return engine.prepare(request)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def state(engine: Engine, place: str, clock: SteppedClock) -> Iterator[StateStore]:
    """A store whose time is `clock`."""
    store = engine.open(place, clock)
    yield store
    store.close()


@pytest.fixture
def shared(engine: Engine, place: str) -> Iterator[StateStore]:
    """A store in real time, for tests with other processes."""
    store = engine.open(place, time.time)
    yield store
    store.close()
