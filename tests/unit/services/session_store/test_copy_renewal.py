"""Copies that are in use stay young without being read again, and no longer than the record is the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import StoreUnavailableError
from app.services.session_store import SessionStore
from app.services.session_store import copy_renewal as renewals
from app.services.session_store.copy_renewal import AT_ONCE, CopyRenewal
from app.services.session_store.keys import build_session_record_name
from app.services.state_store import StateStore, StoredRecord
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.redis_engine.caller import RedisCaller
from app.services.token_store import TokenSet, TokenStore
from tests.support.processes import wait_until
from tests.unit.services.session_store.support import KEY_RING, build_login, build_settings
from tests.unit.services.state_store.engines import Engine, SteppedClock

COPY_SECONDS = 2.0
TOKENS = TokenSet("access", "Bearer")


class Counting:
    """A store that notes what is read and looked at, and lets something happen while it looks."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self.reads: list[str] = []
        self.looks: list[int] = []
        self.during_look: Callable[[], object] = lambda: None
        """Once it has been seen what is there, and nothing was made of it yet."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def find(self, key: str) -> StoredRecord | None:
        self.reads.append(key)
        return self._state.find(key)

    def confirm(self, marks: Mapping[str, Hashable]) -> dict[str, Hashable]:
        self.looks.append(len(marks))
        caller = getattr(self._state, "_caller", None)
        if not isinstance(caller, RedisCaller):
            confirmed = self._state.confirm(marks)
            self.during_look()
            return confirmed
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(caller, "look", lambda commands: self._look(type(caller).look(caller, commands)))
            return self._state.confirm(marks)

    def _look(self, replies: list[Any]) -> list[Any]:
        self.during_look()
        return replies


class Worker:
    def __init__(self, state: StateStore, clock: SteppedClock) -> None:
        self.state: Any = Counting(state)
        self.clock = clock
        self.sessions = SessionStore(self.state, KEY_RING, settings=build_settings(), clock=clock)
        self.tokens = TokenStore(self.state, KEY_RING, clock=clock, local_cache_seconds=COPY_SECONDS)
        self.pauses: list[float] = []
        self.renewal = CopyRenewal(
            self.state,
            (self.sessions.copies, self.tokens.copies),
            max_age_seconds=COPY_SECONDS,
            clock=clock,
            sleep=self.pauses.append,
        )

    def log_in(self) -> str:
        session_id, _ = self.sessions.create(build_login())
        assert self.tokens.save(self.sessions.session_key(session_id), TOKENS, 600)
        return session_id

    def call(self, session_id: str) -> bool:
        """Whether the session and its tokens are there."""
        session = self.sessions.find(session_id)
        return session is not None and self.tokens.find(self.sessions.session_key(session_id)) == TOKENS


@pytest.fixture
def worker(state: StateStore, clock: SteppedClock) -> Worker:
    return Worker(state, clock)


@pytest.fixture
def elsewhere(engine: Engine, place: str, clock: SteppedClock) -> Worker:
    """Another worker; what it changes is never announced to the first."""
    return Worker(engine.open(place, clock), clock)


def test_a_session_that_calls_again_and_again_is_read_once(worker: Worker, clock: SteppedClock) -> None:
    session_id = worker.log_in()
    assert worker.call(session_id)
    worker.state.reads.clear()
    for _ in range(20):
        clock.step(0.6)
        assert worker.call(session_id)
        worker.renewal.renew()
    assert worker.state.reads == []


def test_a_session_that_does_not_call_again_is_not_looked_at(worker: Worker, clock: SteppedClock) -> None:
    session_id = worker.log_in()
    assert worker.call(session_id)
    clock.step(COPY_SECONDS / 2)
    worker.renewal.renew()
    assert worker.state.looks == []


@pytest.mark.parametrize("moment", ["before the look", "during the look"])
@pytest.mark.parametrize("change", ["ended", "claims changed", "record lost"])
def test_what_another_worker_does_unheard_is_seen_as_soon_as_without_renewal(
    worker: Worker, elsewhere: Worker, clock: SteppedClock, change: str, moment: str
) -> None:
    session_id = worker.log_in()
    key = worker.sessions.session_key(session_id)
    assert worker.call(session_id)
    changes: dict[str, Callable[[], object]] = {
        "ended": lambda: elsewhere.sessions.end(session_id),
        "claims changed": lambda: elsewhere.sessions.change_claims(key, lambda _: {"name": "Bob"}),
        "record lost": lambda: elsewhere.state.delete(build_session_record_name(key)),
    }
    clock.step(1.5)
    assert worker.call(session_id)
    if moment == "before the look":
        changes[change]()
    else:
        worker.state.during_look = changes[change]
    worker.renewal.renew()
    worker.state.during_look = lambda: None
    clock.step(COPY_SECONDS)
    found = worker.sessions.find(session_id)
    assert (found and found.claims) == ({"name": "Bob"} if change == "claims changed" else None)


def test_a_session_that_ends_here_while_it_is_looked_at_does_not_come_back(worker: Worker, clock: SteppedClock) -> None:
    session_id = worker.log_in()
    assert worker.call(session_id)
    clock.step(1.5)
    assert worker.call(session_id)
    worker.state.during_look = lambda: worker.sessions.end(session_id)
    worker.renewal.renew()
    assert not worker.call(session_id)


def test_many_are_looked_at_a_few_at_a_time(worker: Worker, clock: SteppedClock) -> None:
    count = AT_ONCE * 2 + 3
    session_ids = [worker.log_in() for _ in range(count)]
    for _ in range(2):
        assert all(map(worker.call, session_ids))
    clock.step(1.5)
    worker.renewal.renew()
    assert worker.state.looks == [AT_ONCE, AT_ONCE, 3] * 2, "sessions, then tokens"
    assert worker.pauses == [0] * 6, "others may go on in between"
    worker.state.reads.clear()
    clock.step(1.5)
    assert all(map(worker.call, session_ids))
    assert worker.state.reads == []


def test_a_copy_is_no_younger_than_the_look_that_renewed_it(worker: Worker, clock: SteppedClock) -> None:
    session_id = worker.log_in()
    assert worker.call(session_id)
    clock.step(1.25)
    assert worker.call(session_id)
    worker.state.during_look = lambda: clock.step(0.5)
    began_at = clock.now
    worker.renewal.renew()
    copy = worker.sessions.copies.get(build_session_record_name(worker.sessions.session_key(session_id)))
    assert copy is not None
    assert copy.copied_at == began_at


def test_a_round_ends_when_it_takes_longer_than_copies_live(worker: Worker, clock: SteppedClock) -> None:
    session_ids = [worker.log_in() for _ in range(3 * AT_ONCE)]
    for _ in range(2):
        assert all(map(worker.call, session_ids))
    clock.step(1.5)
    worker.state.during_look = lambda: clock.step(COPY_SECONDS)
    worker.renewal.renew()
    assert worker.state.looks == [AT_ONCE]


def count_threads() -> int:
    return sum(thread.name == "copy-renewal" for thread in threading.enumerate())


def test_it_goes_on_after_a_failure_and_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "SHORTEST_INTERVAL_SECONDS", 0.001)
    failures = [StoreUnavailableError(internal_reason="away"), ZeroDivisionError("not foreseen")]
    rounds = threading.Semaphore(0)

    def renew() -> None:
        rounds.release()
        if failures:
            raise failures.pop()

    renewal = CopyRenewal(DirectoryStateStore(tmp_path, time.time), (), max_age_seconds=0.001, clock=time.time)
    monkeypatch.setattr(renewal, "renew", renew)
    renewal.start()
    for _ in range(5):
        assert rounds.acquire(timeout=10)
    renewal.stop()
    wait_until(lambda: count_threads() == 0, timeout_seconds=10, what="the thread to end")


def test_nothing_is_begun_where_no_copies_are_made(tmp_path: Path) -> None:
    CopyRenewal(DirectoryStateStore(tmp_path, time.time), (), max_age_seconds=0, clock=time.time).start()
    assert count_threads() == 0
