"""Sessions last as long as their two timeouts say, whatever clocks and copies say. Held against every engine."""

from __future__ import annotations

import pytest

from app.services.session_store import SessionStore
from app.services.state_store import StateStore
from tests.unit.services.session_store.support import ABSOLUTE, IDLE, KEY_RING, build_login, build_settings
from tests.unit.services.session_store.workers import keep_for_longer
from tests.unit.services.state_store.engines import NOON, Engine, SteppedClock

HOUR = 3600


def test_a_session_ends_when_it_is_idle_for_too_long(sessions: SessionStore, clock: SteppedClock) -> None:
    session_id, _ = sessions.create(build_login())
    clock.step(IDLE - 1)
    assert sessions.find(session_id) is not None
    clock.step(1)
    assert sessions.find(session_id) is None


def test_an_active_session_ends_at_its_absolute_time(sessions: SessionStore, clock: SteppedClock) -> None:
    session_id, record = sessions.create(build_login())
    while clock.now < NOON + ABSOLUTE - 100:
        clock.step(100)
        found = sessions.find(session_id)
        assert found is not None
        record = sessions.touch(session_id, found)
    assert sessions.expires_in(record, clock.now) == sessions.absolute_expires_in(record, clock.now) == 100
    clock.step(100)
    assert sessions.find(session_id) is None


def test_the_record_decides_even_where_the_store_keeps_it_longer(
    sessions: SessionStore, state: StateStore, clock: SteppedClock
) -> None:
    session_id, _ = sessions.create(build_login())
    keep_for_longer(state, session_id)
    clock.step(IDLE)
    assert sessions.find(session_id) is None


def test_a_local_copy_does_not_outlive_the_session(state: StateStore, clock: SteppedClock) -> None:
    sessions = SessionStore(state, KEY_RING, settings=build_settings(local_cache_seconds=60), clock=clock)
    session_id, _ = sessions.create(build_login())
    clock.step(IDLE - 1)
    assert sessions.find(session_id) is not None
    clock.step(2)
    assert sessions.find(session_id) is None


def test_remaining_times_are_whole_seconds_and_never_negative(sessions: SessionStore) -> None:
    _, record = sessions.create(build_login())
    assert sessions.expires_in(record, NOON + 0.5) == IDLE - 1
    assert sessions.absolute_expires_in(record, NOON + 0.5) == ABSOLUTE - 1
    assert sessions.expires_in(record, NOON + 10 * ABSOLUTE) == 0
    assert sessions.absolute_expires_in(record, NOON + 10 * ABSOLUTE) == 0


@pytest.mark.parametrize(("step", "is_there"), [(-1, True), (-300, True), (-HOUR + 1, True), (-HOUR - 1, False)])
def test_a_clock_that_is_set_back_a_little_ends_no_session(
    sessions: SessionStore, clock: SteppedClock, step: int, is_there: bool
) -> None:
    session_id, record = sessions.create(build_login())
    clock.step(step)
    assert (sessions.find(session_id) is not None) == is_there
    assert sessions.expires_in(record, clock.now) <= IDLE
    assert sessions.absolute_expires_in(record, clock.now) <= ABSOLUTE


@pytest.mark.parametrize(("ahead_seconds", "is_there"), [(-300, True), (300, True), (-HOUR - 1, False), (IDLE, False)])
def test_o8_a_machine_whose_clock_is_off_ends_no_session_for_the_others(
    engine: Engine, place: str, sessions: SessionStore, ahead_seconds: int, is_there: bool
) -> None:
    """Beyond all reason it refuses the session itself, and leaves it to those who know better."""
    session_id, record = sessions.create(build_login())
    store = engine.open(place, lambda: NOON + ahead_seconds)
    elsewhere = SessionStore(store, KEY_RING, settings=build_settings(), clock=lambda: NOON + ahead_seconds)
    found = elsewhere.find(session_id)
    assert (found is not None) == is_there
    elsewhere.touch(session_id, found or record)
    assert sessions.find(session_id) is not None
    store.close()
