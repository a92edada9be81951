"""The engines that the contract is held against. A further one is a line in `ENGINES`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.services.state_store import StateStore
from app.services.state_store.directory import DirectoryStateStore

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
    prepare: Callable[[Path], str]
    open: Callable[[str, Callable[[], float]], StateStore]
    pass_time: Callable[[SteppedClock, float], None]


def _prepare_directory(scratch: Path) -> str:
    return str(scratch / "state")


def _open_directory(place: str, clock: Callable[[], float]) -> StateStore:
    return DirectoryStateStore(Path(place), clock)


ENGINES = {
    "directory": Engine("directory", _prepare_directory, _open_directory, SteppedClock.step),
}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def place(engine: Engine, tmp_path: Path) -> str:
    return engine.prepare(tmp_path)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def state(engine: Engine, place: str, clock: SteppedClock) -> StateStore:
    """A store whose time is `clock`."""
    return engine.open(place, clock)


@pytest.fixture
def shared(engine: Engine, place: str) -> StateStore:
    """A store in real time, for tests with other processes."""
    return engine.open(place, time.time)
