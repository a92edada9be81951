"""Sessions are read from the store once for many calls, and anew once they have changed. Held against every engine."""

from __future__ import annotations

from app.services.session_store import SessionStore, build_session_key
from app.services.state_store import StateStore, StoredRecord
from app.services.token_store import TokenSet, TokenStore
from tests.unit.services.session_store.support import KEY_RING, TOUCH, build_login, build_settings
from tests.unit.services.session_store.workers import Watched, has_heard
from tests.unit.services.state_store.engines import Engine, SteppedClock


def test_calls_in_quick_succession_read_the_store_once(
    watched: Watched, watched_sessions: SessionStore, clock: SteppedClock
) -> None:
    session_id, _ = watched_sessions.create(build_login())
    watched.calls.clear()
    for _ in range(10):
        clock.step(0.1)
        assert watched_sessions.find(session_id) is not None
    assert watched.calls.count("find session") == 1
    clock.step(2)
    watched_sessions.find(session_id)
    assert watched.calls.count("find session") == 2


def test_tokens_are_read_together_with_their_session(watched: Watched, clock: SteppedClock) -> None:
    tokens = TokenStore(watched, KEY_RING, clock=clock, local_cache_seconds=2)
    sessions = SessionStore(watched, KEY_RING, settings=build_settings(), clock=clock, keep_tokens=tokens.keep_read)
    session_id, _ = sessions.create(build_login())
    key = build_session_key(session_id)
    mine = TokenSet("access", "Bearer", refresh_token="refresh")
    assert tokens.save(key, mine, 600)
    watched.calls.clear()
    for _ in range(10):
        assert sessions.find(session_id) is not None
        assert tokens.find(key) == mine
    assert [call for call in watched.calls if not call.startswith("is_current")] == ["find_together session"]


def test_tokens_that_changed_after_they_were_read_with_their_session_are_read_again(
    engine: Engine, state: StateStore, place: str, clock: SteppedClock
) -> None:
    state.start()
    tokens = TokenStore(state, KEY_RING, clock=clock, local_cache_seconds=2)
    sessions = SessionStore(state, KEY_RING, settings=build_settings(), clock=clock, keep_tokens=tokens.keep_read)
    session_id, _ = sessions.create(build_login())
    key = build_session_key(session_id)
    assert tokens.save(key, TokenSet("old", "Bearer"), 600)
    assert sessions.find(session_id) is not None
    elsewhere = engine.open(place, clock)
    new = TokenSet("new", "Bearer")
    assert TokenStore(elsewhere, KEY_RING, clock=clock).save(key, new, 600)
    assert has_heard(engine, lambda: tokens.find(key) == new)
    elsewhere.close()


def test_a_local_copy_is_dropped_as_soon_as_the_record_changes(
    engine: Engine, state: StateStore, sessions: SessionStore, other_worker: SessionStore, clock: SteppedClock
) -> None:
    state.start()
    session_id, record = sessions.create(build_login())
    clock.step(TOUCH)
    assert sessions.find(session_id) == record
    touched = other_worker.touch(session_id, record)
    assert touched != record
    assert has_heard(engine, lambda: sessions.find(session_id) == touched)


def test_a_read_that_began_before_the_end_is_not_served_after_it(
    engine: Engine, state: StateStore, clock: SteppedClock, other_worker: SessionStore
) -> None:
    state.start()

    class Slow(Watched):
        def find(self, key: str) -> StoredRecord | None:
            found = self._state.find(key)
            if key.startswith("session:"):
                other_worker.end_by_key(key.partition(":")[2])
            return found

    sessions = SessionStore(Slow(state), KEY_RING, settings=build_settings(), clock=clock)
    session_id, _ = other_worker.create(build_login())
    sessions.find(session_id)  # this one overlaps the end
    reader = SessionStore(state, KEY_RING, settings=build_settings(), clock=clock)
    sessions._state = state
    assert has_heard(engine, lambda: sessions.find(session_id) is None)
    assert reader.find(session_id) is None


def test_a_worker_drops_its_own_copy_of_what_it_ends_itself(state: StateStore, clock: SteppedClock) -> None:
    class NeverTells(Watched):
        def is_current(self, key: str, mark: object) -> bool:
            return True

    sessions = SessionStore(NeverTells(state), KEY_RING, settings=build_settings(), clock=clock)
    session_id, _ = sessions.create(build_login())
    assert sessions.find(session_id) is not None
    sessions.end(session_id)
    assert sessions.find(session_id) is None


def test_local_copies_can_be_switched_off(watched: Watched, clock: SteppedClock) -> None:
    sessions = SessionStore(watched, KEY_RING, settings=build_settings(local_cache_seconds=0), clock=clock)
    session_id, _ = sessions.create(build_login())
    watched.calls.clear()
    for _ in range(3):
        sessions.find(session_id)
    assert watched.calls == ["find session"] * 3
