"""Sessions end for good, on every worker, also while others touch them or a store fails. Held against every engine."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from app.core.errors import LoginFailedError, StoreUnavailableError
from app.services.session_store import SessionRecord, SessionStore, build_session_key
from app.services.session_store.keys import build_session_record_name, build_tokens_record_name, build_tombstone_name
from app.services.state_store import StateStore
from tests.unit.services.session_store.support import KEY_RING, TOUCH, build_login, build_settings
from tests.unit.services.session_store.workers import Watched, has_heard, refuse
from tests.unit.services.state_store.engines import Engine, SteppedClock


def test_an_ended_session_is_gone_for_every_worker_at_once(
    engine: Engine, sessions: SessionStore, other_worker: SessionStore
) -> None:
    session_id, record = sessions.create(build_login())
    assert other_worker.find(session_id) == record
    assert sessions.end(session_id) == record
    assert sessions.find(session_id) is None
    assert has_heard(engine, lambda: other_worker.find(session_id) is None), "a local copy was believed"


def test_the_end_takes_the_tokens_and_leaves_a_tombstone_for_ten_minutes(
    watched: Watched, watched_sessions: SessionStore, state: StateStore
) -> None:
    session_id, _ = watched_sessions.create(build_login())
    key = watched_sessions.session_key(session_id)
    state.put(build_tokens_record_name(key), b"sealed", 60)
    assert not watched_sessions.has_ended(key)
    watched.said.clear()
    watched_sessions.end(session_id)
    assert state.find(build_tokens_record_name(key)) is None
    assert watched_sessions.has_ended(key)
    tombstone = watched.said.index(build_tombstone_name(key))
    assert watched.said[tombstone + 2] == 600


def test_the_end_of_one_session_is_no_other_ones(sessions: SessionStore) -> None:
    """L17."""
    first, _ = sessions.create(build_login())
    second, record = sessions.create(build_login(idp_session_id="op-session-2"))
    sessions.end(first)
    assert sessions.find(second) == record
    assert sessions.find_keys_of_user("alice") == {build_session_key(second)}


def test_sessions_can_be_found_by_user_and_by_session_of_the_idp(sessions: SessionStore) -> None:
    first, second = (sessions.create(build_login())[0] for _ in range(2))
    bob, _ = sessions.create(build_login(user_id="bob", idp_session_id=""))
    keys = {build_session_key(first), build_session_key(second)}
    assert sessions.find_keys_of_user("alice") == keys
    assert sessions.find_keys_of_idp_session("https://op.example.com", "op-session-1") == keys
    assert sessions.find_keys_of_idp_session("https://other.example.com", "op-session-1") == frozenset()
    assert sessions.find_keys_of_user("bob") == {build_session_key(bob)}
    assert sessions.find_keys_of_idp_session("https://op.example.com", "") == frozenset()
    for key in keys:
        sessions.end_by_key(key)
    assert sessions.find_keys_of_user("alice") == frozenset()
    assert sessions.find_keys_of_idp_session("https://op.example.com", "op-session-1") == frozenset()


def test_ending_twice_or_what_was_never_there_is_fine(sessions: SessionStore) -> None:
    session_id, _ = sessions.create(build_login())
    sessions.end(session_id)
    assert sessions.end(session_id) is None
    assert sessions.end("a" * 43) is None


def test_the_tombstone_is_written_before_anything_is_removed(watched: Watched, watched_sessions: SessionStore) -> None:
    session_id, _ = watched_sessions.create(build_login())
    watched.calls.clear()
    watched_sessions.end(session_id)
    changes = [call for call in watched.calls if not call.startswith("find")]
    assert changes == [
        "put tombstone",
        "delete session",
        "delete tokens",
        "remove_member sessions-of-shard",
        "remove_member sessions-of-user",
        "remove_member sessions-of-sid",
    ]
    assert build_tombstone_name("x") == "tombstone:x"


# At the same time


@pytest.mark.parametrize("moment", ["find session", "put_if_current"])
def test_a_slow_touch_does_not_bring_an_ended_session_back(
    watched: Watched, watched_sessions: SessionStore, other_worker: SessionStore, clock: SteppedClock, moment: str
) -> None:
    """The session ends, on another worker, just before the touch takes its next step."""
    session_id, record = watched_sessions.create(build_login())
    clock.step(TOUCH)
    watched.before[moment] = lambda _: other_worker.end(session_id)
    watched_sessions.touch(session_id, record)
    watched.before.clear()
    assert watched_sessions.find(session_id) is None
    assert other_worker.find(session_id) is None


def test_touches_and_an_end_at_once_leave_nothing(
    engine: Engine, place: str, sessions: SessionStore, state: StateStore, clock: SteppedClock
) -> None:
    for _ in range(30):
        session_id, record = sessions.create(build_login())
        clock.step(TOUCH)
        start = threading.Barrier(4)

        def touch(session_id: str = session_id, record: SessionRecord = record, start: Any = start) -> None:
            worker = SessionStore(engine.open(place, clock), KEY_RING, settings=build_settings(), clock=clock)
            start.wait()
            for _ in range(5):
                worker.touch(session_id, record)

        def end(session_id: str = session_id, start: Any = start) -> None:
            start.wait()
            sessions.end(session_id)

        threads = [threading.Thread(target=action) for action in (touch, touch, touch, end)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert state.find(build_session_record_name(build_session_key(session_id))) is None


@pytest.mark.parametrize("moment", ["add session", "find tombstone"])
def test_a_login_that_is_overtaken_by_the_end_of_its_session_creates_nothing(
    watched: Watched, watched_sessions: SessionStore, other_worker: SessionStore, moment: str
) -> None:
    """The index names the session before it is there, so "end all sessions of alice" may come first."""
    ended: list[str] = []

    def end_all(_: str) -> None:
        for key in other_worker.find_keys_of_user("alice"):
            other_worker.end_by_key(key)
            ended.append(key)

    watched.before[moment] = end_all
    with pytest.raises(LoginFailedError):
        watched_sessions.create(build_login())
    watched.before.clear()
    [key] = ended
    assert watched_sessions.find_by_key(key) is None
    assert watched_sessions.find_keys_of_user("alice") == frozenset()


# The store fails


@pytest.mark.parametrize("operation", ["find", "put", "delete", "remove_member"])
def test_an_end_that_fails_counts_on_this_worker_and_is_finished_later(
    watched: Watched, watched_sessions: SessionStore, other_worker: SessionStore, operation: str
) -> None:
    """L15."""
    session_id, _ = watched_sessions.create(build_login())
    watched.before[operation] = refuse
    with pytest.raises(StoreUnavailableError):
        watched_sessions.end(session_id)
    watched.before.clear()
    assert watched_sessions.find(session_id) is None
    assert watched_sessions.retry_unfinished_ends() == 1
    assert other_worker.find(session_id) is None
    assert other_worker.has_ended(build_session_key(session_id))
    assert watched_sessions.retry_unfinished_ends() == 0


def test_a_full_disk_does_not_keep_a_session_from_ending(
    watched: Watched, watched_sessions: SessionStore, other_worker: SessionStore
) -> None:
    session_id, _ = watched_sessions.create(build_login())
    watched.before["put"] = refuse
    with pytest.raises(StoreUnavailableError):
        watched_sessions.end(session_id)
    assert other_worker.find(session_id) is None


def test_a_store_that_fails_is_never_an_unknown_session(watched: Watched, watched_sessions: SessionStore) -> None:
    session_id, record = watched_sessions.create(build_login())
    watched.before["find"] = refuse
    with pytest.raises(StoreUnavailableError):
        watched_sessions.find(session_id)
    watched.before.clear()
    assert watched_sessions.find(session_id) == record
