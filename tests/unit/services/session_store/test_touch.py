"""An active session is written now and then, without a lock and without harm. Held against every engine."""

from __future__ import annotations

import msgspec
from structlog.testing import capture_logs

from app.services.session_store import SessionStore, build_session_key
from app.services.session_store.keys import build_session_record_name
from app.services.state_store import StateStore
from tests.unit.services.session_store.support import IDLE, KEY_RING, TOUCH, build_login, build_settings
from tests.unit.services.session_store.workers import Watched, keep_for_longer, refuse
from tests.unit.services.state_store.engines import SteppedClock


def test_a_touched_session_stays(sessions: SessionStore, clock: SteppedClock) -> None:
    session_id, record = sessions.create(build_login())
    clock.step(IDLE - 10)
    touched = sessions.touch(session_id, record)
    assert touched.last_seen_at == clock.now
    clock.step(IDLE - 10)
    assert sessions.find(session_id) == touched


def test_an_active_session_is_written_once_in_a_touch_interval(
    watched: Watched, watched_sessions: SessionStore, clock: SteppedClock
) -> None:
    session_id, record = watched_sessions.create(build_login())
    watched.calls.clear()
    for _ in range(TOUCH * 3):
        clock.step(1)
        record = watched_sessions.touch(session_id, record)
    assert watched.calls.count("put_if_current session") == 3
    assert "put session" not in watched.calls


def test_workers_do_not_write_what_another_has_just_written(
    watched: Watched, watched_sessions: SessionStore, other_worker: SessionStore, clock: SteppedClock
) -> None:
    session_id, record = watched_sessions.create(build_login())
    clock.step(TOUCH)
    touched = other_worker.touch(session_id, record)
    watched.calls.clear()
    assert watched_sessions.touch(session_id, record) == touched
    assert "put_if_current session" not in watched.calls


def test_a_touch_interval_of_the_idle_time_does_not_end_active_sessions(state: StateStore, clock: SteppedClock) -> None:
    settings = build_settings(idle_timeout_seconds=30, touch_interval_seconds=29)
    sessions = SessionStore(state, KEY_RING, settings=settings, clock=clock)
    session_id, _ = sessions.create(build_login())
    for _ in range(20):
        clock.step(14)
        found = sessions.find(session_id)
        assert found is not None
        sessions.touch(session_id, found)


def test_a_touch_keeps_what_only_a_newer_worker_knows(
    sessions: SessionStore, state: StateStore, clock: SteppedClock
) -> None:
    session_id, _ = sessions.create(build_login())
    name = build_session_record_name(build_session_key(session_id))
    stored = state.find(name)
    assert stored is not None
    newer = {**msgspec.msgpack.decode(KEY_RING.open(stored.value, name)), "colour": "red"}
    state.put(name, KEY_RING.seal(msgspec.msgpack.encode(newer), name), IDLE)
    clock.step(TOUCH)
    found = sessions.find(session_id)
    assert found is not None
    sessions.touch(session_id, found)
    stored = state.find(name)
    assert stored is not None
    assert msgspec.msgpack.decode(KEY_RING.open(stored.value, name)) == {**newer, "last_seen_at": clock.now}


def test_a_touch_is_one_write_and_takes_no_lock(
    watched: Watched, watched_sessions: SessionStore, clock: SteppedClock
) -> None:
    session_id, record = watched_sessions.create(build_login())
    clock.step(TOUCH)
    watched.calls.clear()
    assert watched_sessions.touch(session_id, record).last_seen_at == clock.now
    assert watched.calls == ["find session", "put_if_current session"]


def test_a_touch_leaves_it_to_whoever_is_changing_the_record(
    watched: Watched, watched_sessions: SessionStore, state: StateStore, clock: SteppedClock
) -> None:
    session_id, record = watched_sessions.create(build_login())
    name = build_session_record_name(build_session_key(session_id))
    stored = state.find(name)
    assert stored is not None
    clock.step(TOUCH)
    watched.before["put_if_current"] = lambda _: state.put(name, stored.value, IDLE)
    assert watched_sessions.touch(session_id, record) == record
    found = state.find(name)
    assert found is not None
    assert found.value == stored.value
    watched.before.clear()
    assert watched_sessions.touch(session_id, record).last_seen_at == clock.now


def test_a_touch_that_cannot_be_written_does_not_fail_the_call(
    watched: Watched, watched_sessions: SessionStore, clock: SteppedClock
) -> None:
    session_id, record = watched_sessions.create(build_login())
    clock.step(TOUCH)
    watched.before["put_if_current"] = refuse
    with capture_logs() as lines:
        assert watched_sessions.touch(session_id, record) == record
        assert watched_sessions.touch(session_id, record) == record
    assert [line["event"] for line in lines] == ["session_record.touch_failed"]
    watched.before.clear()
    assert watched_sessions.touch(session_id, record).last_seen_at == clock.now


def test_a_touch_does_not_revive_a_session_whose_time_is_over(
    sessions: SessionStore, state: StateStore, clock: SteppedClock
) -> None:
    session_id, record = sessions.create(build_login())
    keep_for_longer(state, session_id)
    clock.step(IDLE)
    assert sessions.touch(session_id, record) == record
    assert sessions.find(session_id) is None
