"""What is over is removed by one worker of many, and a store that is away stops nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.errors import StoreUnavailableError
from app.services.housekeeping import Housekeeping
from app.services.key_ring import KeyRing
from app.services.session_store import NewSession, SessionStore
from app.services.state_store.directory import DirectoryStateStore
from app.settings.schema.settings_file import SessionSettings

ALICE = NewSession(user_id="alice", subject="alice", provider="test", issuer="https://op.test", claims={})


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class CountingStore(DirectoryStateStore):
    """The directory engine, with its sweeps counted and a switch for a disk that does not answer."""

    sweeps = 0
    is_away = False

    def sweep(self) -> int:
        self.sweeps += 1
        return super().sweep()

    def delete(self, key: str, *, durable: bool = False) -> None:
        if self.is_away:
            raise StoreUnavailableError(internal_reason="away")
        super().delete(key, durable=durable)

    def add(self, key: str, value: bytes, lifetime_seconds: float, *, durable: bool = False) -> bool:
        if self.is_away:
            raise StoreUnavailableError(internal_reason="away")
        return super().add(key, value, lifetime_seconds, durable=durable)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path, clock: Clock) -> CountingStore:
    return CountingStore(tmp_path / "state", clock)


def build(state: CountingStore, clock: Clock) -> tuple[Housekeeping, SessionStore]:
    sessions = SessionStore(state, KeyRing([bytes(range(32))]), settings=SessionSettings(), clock=clock)
    return Housekeeping(state, sessions, interval_seconds=30), sessions


def test_of_several_workers_one_sweeps_an_interval(state: CountingStore, clock: Clock) -> None:
    workers = [build(state, clock)[0] for _ in range(3)]
    for worker in workers:
        worker.sweep()
    assert state.sweeps == 1
    clock.now += 31
    for worker in workers:
        worker.sweep()
    assert state.sweeps == 2


def test_an_expired_session_is_removed(state: CountingStore, clock: Clock) -> None:
    housekeeping, sessions = build(state, clock)
    session_id, _ = sessions.create(ALICE)
    name = f"session:{sessions.session_key(session_id)}"
    clock.now += 10 * 24 * 3600
    record_files = sum(1 for _ in state_files(state))
    housekeeping.sweep()
    assert state.find(name) is None
    assert sum(1 for _ in state_files(state)) < record_files


def state_files(state: CountingStore) -> list[Path]:
    root = state._locks.parent
    return [path for path in root.glob("??/*") if path.name != "lock"]


def test_a_session_that_could_not_be_ended_is_ended_once_the_store_is_back(state: CountingStore, clock: Clock) -> None:
    housekeeping, sessions = build(state, clock)
    session_id, _ = sessions.create(ALICE)
    state.is_away = True
    with pytest.raises(StoreUnavailableError):
        sessions.end(session_id)
    housekeeping.sweep()
    state.is_away = False
    elsewhere = SessionStore(state, KeyRing([bytes(range(32))]), settings=SessionSettings(), clock=clock)
    assert elsewhere.find(session_id) is not None
    housekeeping.sweep()
    assert elsewhere.find(session_id) is None


def test_it_stops_when_told(state: CountingStore, clock: Clock) -> None:
    housekeeping, _ = build(state, clock)
    thread = housekeeping.start()
    housekeeping.stop()
    thread.join(10)
    assert not thread.is_alive()
