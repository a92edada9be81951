"""Sessions are found as the login made them, under ids nobody guesses and no store sees. Held against every engine."""

from __future__ import annotations

import hashlib

import pytest

from app.core.errors import LoginFailedError
from app.services.session_store import SessionStore
from app.services.state_store import StateStore
from tests.unit.services.session_store.support import MALFORMED, TOUCH, build_login
from tests.unit.services.session_store.workers import Watched
from tests.unit.services.state_store.engines import NOON, SteppedClock


def test_a_session_is_found_as_the_login_made_it(sessions: SessionStore, other_worker: SessionStore) -> None:
    session_id, record = sessions.create(build_login())
    for worker in (sessions, other_worker):
        assert worker.find(session_id) == record
    assert (record.user_id, record.subject, record.provider) == ("alice", "alice", "op.example.com")
    assert record.claims == {"name": "Alice", "roles": ["editor"]}
    assert (record.created_at, record.last_seen_at) == (NOON, NOON)
    assert (record.auth_time, record.acr, record.device) == (1_799_999_990, "urn:mfa", "Firefox")


def test_ids_are_256_random_bits_and_references_are_something_else(sessions: SessionStore) -> None:
    made = [sessions.create(build_login()) for _ in range(20)]
    assert {len(session_id) for session_id, _ in made} == {43}
    assert len({session_id for session_id, _ in made} | {record.reference for _, record in made}) == 40
    assert all(sessions.find(record.reference) is None for _, record in made)


def test_the_store_never_sees_an_id(watched: Watched, watched_sessions: SessionStore, clock: SteppedClock) -> None:
    session_id, record = watched_sessions.create(build_login())
    clock.step(TOUCH)
    watched_sessions.touch(session_id, record)
    watched_sessions.find(session_id)
    watched_sessions.end(session_id)
    assert {"add session", "put_if_current session", "put tombstone"} <= set(watched.calls)
    assert not any(session_id in repr(word) for word in watched.said)
    assert watched_sessions.session_key(session_id) == hashlib.sha256(session_id.encode()).hexdigest()


@pytest.mark.parametrize("session_id", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_id_is_unknown_and_the_store_is_not_asked(
    watched: Watched, watched_sessions: SessionStore, session_id: str
) -> None:
    assert watched_sessions.find(session_id) is None
    assert watched_sessions.end(session_id) is None
    assert watched.calls == []


def test_a_well_formed_id_of_nobody_is_unknown(sessions: SessionStore) -> None:
    assert sessions.find("a" * 43) is None


@pytest.mark.parametrize(
    "claims",
    [{"n": 2**80}, {"n": "\ud800"}, {"n": object()}],
    ids=["huge-number", "lone-surrogate", "object"],
)
def test_claims_that_cannot_be_kept_refuse_the_login(
    sessions: SessionStore, state: StateStore, claims: dict[str, object]
) -> None:
    with pytest.raises(LoginFailedError):
        sessions.create(build_login(claims=claims))
    assert sessions.find_keys_of_user("alice") == frozenset()


def test_a_device_name_is_cut(sessions: SessionStore) -> None:
    _, record = sessions.create(build_login(device="x" * 5000))
    assert len(record.device) == 256


def test_nothing_of_the_user_is_shown_in_a_repr(sessions: SessionStore) -> None:
    login = build_login(claims={"email": "alice@example.com"})
    _, record = sessions.create(login)
    assert "alice@" not in repr(login)
    assert repr(record) == f"<SessionRecord {record.reference}>"


def test_a_login_waits_for_a_replica(watched: Watched, watched_sessions: SessionStore) -> None:
    watched_sessions.create(build_login())
    assert watched.durable == ["add session"]
