"""`session.max_per_user`: the oldest goes, also when logins come at once. Held against every engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from app.core.errors import StoreUnavailableError
from app.services.session_store import SessionCatalogue, SessionLimit, SessionStore, limit
from app.services.session_store.catalogue import ListedSession
from app.services.session_store.limit import select_surplus
from app.services.session_store.record import build_session_record
from app.services.state_store import StateStore
from tests.unit.services.session_store.support import IDLE, KEY_RING, TOUCH, build_login, build_settings
from tests.unit.services.state_store.engines import NOON, Engine, SteppedClock


class Worker:
    """Logs users in as the login flow does: make a session within a turn, then end what is too much."""

    def __init__(self, state: StateStore, clock: SteppedClock, max_per_user: int) -> None:
        self.sessions = SessionStore(state, KEY_RING, settings=build_settings(), clock=clock)
        self.limit = SessionLimit(state, self.sessions, max_per_user=max_per_user)
        self.catalogue = SessionCatalogue(self.sessions)
        self.ended: list[str] = []
        self.ids: dict[str, str] = {}

    def log_in(self, user_id: str = "alice") -> str:
        """The new session's reference."""
        with self.limit.turn(user_id) as turn:
            session_id, record = self.sessions.create(build_login(user_id=user_id, subject=user_id))
            for surplus in turn.find_surplus(self.sessions.session_key(session_id)):
                ended = self.sessions.end_by_key(surplus.key)
                assert ended is not None
                self.ended.append(ended.reference)
        self.ids[record.reference] = session_id
        return record.reference

    def touch(self, reference: str) -> None:
        session_id = self.ids[reference]
        record = self.sessions.find(session_id)
        assert record is not None
        assert self.sessions.touch(session_id, record) != record

    def list_live(self, user_id: str = "alice") -> set[str]:
        return {session.record.reference for session in self.catalogue.list_of_user(user_id)}


BuildWorker = Callable[[int], Worker]


@pytest.fixture
def build_worker(state: StateStore, clock: SteppedClock) -> BuildWorker:
    return lambda max_per_user: Worker(state, clock, max_per_user)


def test_the_oldest_goes(build_worker: BuildWorker, clock: SteppedClock) -> None:
    worker = build_worker(2)
    references = []
    for _ in range(4):
        references.append(worker.log_in())
        clock.step(1)
    assert worker.list_live() == set(references[2:])
    assert worker.ended == references[:2]


def test_the_oldest_is_the_one_whose_login_is_longest_ago_however_busy_it_is(
    build_worker: BuildWorker, clock: SteppedClock
) -> None:
    worker = build_worker(2)
    oldest = worker.log_in()
    clock.step(1)
    kept = worker.log_in()
    clock.step(TOUCH)
    worker.touch(oldest)
    newest = worker.log_in()
    assert worker.list_live() == {kept, newest}


def test_without_a_limit_nothing_goes_and_nobody_waits(build_worker: BuildWorker, state: StateStore) -> None:
    worker = build_worker(0)
    with build_worker(1).limit.turn("alice"):  # somebody else's turn
        references = {worker.log_in() for _ in range(3)}
    assert worker.list_live() == references


def test_the_limit_is_each_users_own(build_worker: BuildWorker) -> None:
    worker = build_worker(1)
    alice, bob = worker.log_in("alice"), worker.log_in("bob")
    assert (worker.list_live("alice"), worker.list_live("bob")) == ({alice}, {bob})


def test_sessions_that_are_over_do_not_count(build_worker: BuildWorker, clock: SteppedClock) -> None:
    worker = build_worker(2)
    worker.log_in()
    clock.step(IDLE)
    second, third = worker.log_in(), worker.log_in()
    assert worker.list_live() == {second, third}
    assert worker.ended == []


def test_a_limit_that_was_lowered_ends_several_at_once(build_worker: BuildWorker, clock: SteppedClock) -> None:
    for _ in range(5):
        build_worker(0).log_in()
        clock.step(1)
    worker = build_worker(2)
    newest = worker.log_in()
    assert len(worker.ended) == 4
    assert len(worker.list_live()) == 2
    assert newest in worker.list_live()


def test_a_login_on_a_machine_whose_clock_is_behind_does_not_end_itself(
    build_worker: BuildWorker, clock: SteppedClock
) -> None:
    worker = build_worker(1)
    worker.log_in()
    clock.step(-30)
    newest = worker.log_in()
    assert worker.list_live() == {newest}


@pytest.mark.parametrize("max_per_user", [1, 3])
def test_logins_at_once_leave_as_many_as_may_be_and_no_fewer(
    engine: Engine, place: str, clock: SteppedClock, max_per_user: int
) -> None:
    logins = 6
    stores = [engine.open(place, clock) for _ in range(logins)]
    workers = [Worker(store, clock, max_per_user) for store in stores]
    start = threading.Barrier(logins)
    made: list[str] = []

    def log_in(worker: Worker) -> None:
        start.wait()
        made.append(worker.log_in())

    threads = [threading.Thread(target=log_in, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live = workers[0].list_live()
    ended = [reference for worker in workers for reference in worker.ended]
    for store in stores:
        store.close()
    assert len(made) == logins
    assert len(live) == max_per_user
    assert sorted([*live, *ended]) == sorted(made), "each ended once, and no more than had to"


def test_a_turn_that_does_not_come_refuses_the_login(
    build_worker: BuildWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, "TURN_WAIT_SECONDS", 0.05)
    with build_worker(1).limit.turn("alice"):
        worker = build_worker(1)
        with pytest.raises(StoreUnavailableError), worker.limit.turn("alice"):
            raise AssertionError("two logins at once")
        assert worker.log_in("bob")


def test_a_turn_that_was_lost_ends_nothing(state: StateStore, clock: SteppedClock) -> None:
    class Lost:
        def __bool__(self) -> bool:
            return True

        def is_held(self) -> bool:
            return False

    class ForgetsLocks:
        def __getattr__(self, name: str) -> Any:
            return getattr(state, name)

        def lock(self, *_: object) -> AbstractContextManager[Lost]:
            @contextmanager
            def hold() -> Any:
                yield Lost()

            return hold()

    first = Worker(state, clock, 1).log_in()
    worker = Worker(ForgetsLocks(), clock, 1)
    with pytest.raises(StoreUnavailableError):
        worker.log_in()
    assert first in worker.list_live()


def build_listed(key: str, created_at: float) -> ListedSession:
    return ListedSession(key, build_session_record(build_login(), reference=key, now=created_at))


def test_of_sessions_that_began_together_always_the_same_goes() -> None:
    listed = [build_listed(key, NOON) for key in ("c", "a", "b", "own")]
    for order in (listed, listed[::-1]):
        assert [session.key for session in select_surplus(order, "own", 2)] == ["a", "b"]


def test_the_own_session_counts_even_if_it_is_not_listed() -> None:
    assert [session.key for session in select_surplus([build_listed("a", NOON)], "own", 1)] == ["a"]
    assert select_surplus([], "own", 1) == []
