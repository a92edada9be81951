"""Sessions listed, by user and for everybody. Held against every engine."""

from __future__ import annotations

import msgspec
import pytest

from app.services.session_store import SessionCatalogue, SessionStore, find_by_reference
from app.services.session_store.keys import (
    build_session_record_name,
    build_shard_index_name,
    build_user_index_name,
    list_shard_index_names,
)
from app.services.state_store import StateStore
from tests.unit.services.session_store.support import IDLE, KEY_RING, TOUCH, build_login, build_settings
from tests.unit.services.state_store.engines import SteppedClock


@pytest.fixture
def sessions(state: StateStore, clock: SteppedClock) -> SessionStore:
    return SessionStore(state, KEY_RING, settings=build_settings(), clock=clock)


@pytest.fixture
def catalogue(sessions: SessionStore) -> SessionCatalogue:
    return SessionCatalogue(sessions)


def log_in(sessions: SessionStore, user_id: str = "alice") -> tuple[str, str]:
    """Id and reference of a new session."""
    session_id, record = sessions.create(build_login(user_id=user_id, subject=user_id))
    return session_id, record.reference


def list_references(catalogue: SessionCatalogue, user_id: str) -> list[str]:
    return [session.record.reference for session in catalogue.list_of_user(user_id)]


def test_a_user_has_the_own_sessions_and_nobody_elses(sessions: SessionStore, catalogue: SessionCatalogue) -> None:
    _, first = log_in(sessions)
    _, second = log_in(sessions)
    _, other = log_in(sessions, "bob")
    assert set(list_references(catalogue, "alice")) == {first, second}
    assert list_references(catalogue, "bob") == [other]
    assert list_references(catalogue, "carol") == []


def test_the_session_that_was_active_last_comes_first(
    sessions: SessionStore, catalogue: SessionCatalogue, clock: SteppedClock
) -> None:
    first_id, first = log_in(sessions)
    clock.step(TOUCH)
    _, second = log_in(sessions)
    assert list_references(catalogue, "alice") == [second, first]
    clock.step(TOUCH)
    record = sessions.find(first_id)
    assert record is not None
    sessions.touch(first_id, record)
    assert list_references(catalogue, "alice") == [first, second]


def test_what_is_listed_can_be_ended_by_its_key(sessions: SessionStore, catalogue: SessionCatalogue) -> None:
    session_id, reference = log_in(sessions)
    _, other = log_in(sessions)
    listed = find_by_reference(catalogue.list_of_user("alice"), reference)
    assert listed is not None
    assert listed.key == sessions.session_key(session_id)
    sessions.end_by_key(listed.key)
    assert list_references(catalogue, "alice") == [other]


def test_a_reference_finds_its_session_only_in_the_list_it_is_in(
    sessions: SessionStore, catalogue: SessionCatalogue
) -> None:
    _, reference = log_in(sessions, "bob")
    assert find_by_reference(catalogue.list_of_user("alice"), reference) is None
    assert find_by_reference(catalogue.list_of_user("bob"), reference[:-1]) is None
    assert find_by_reference(catalogue.list_of_user("bob"), "") is None


def test_a_reference_can_stand_in_a_path_and_on_a_command_line(sessions: SessionStore) -> None:
    references = [log_in(sessions)[1] for _ in range(200)]
    assert all(reference.isalnum() and reference.isascii() for reference in references)


def test_a_session_whose_time_is_over_is_not_listed(
    sessions: SessionStore, catalogue: SessionCatalogue, state: StateStore, clock: SteppedClock
) -> None:
    session_id, _ = log_in(sessions)
    name = build_session_record_name(sessions.session_key(session_id))
    stored = state.find(name)
    assert stored is not None
    state.put(name, stored.value, 10 * IDLE)  # the record decides, however long the store keeps it
    clock.step(IDLE)
    _, fresh = log_in(sessions)
    assert list_references(catalogue, "alice") == [fresh]
    assert [session.record.reference for session in catalogue.list_all()] == [fresh]


def test_an_ended_session_is_not_listed_whatever_copies_there_are(
    sessions: SessionStore, catalogue: SessionCatalogue, state: StateStore
) -> None:
    session_id, _ = log_in(sessions)
    assert sessions.find(session_id) is not None  # there is a copy now
    state.delete(build_session_record_name(sessions.session_key(session_id)))
    assert list_references(catalogue, "alice") == []


def test_a_record_of_somebody_else_in_a_users_index_is_not_listed(
    sessions: SessionStore, catalogue: SessionCatalogue, state: StateStore
) -> None:
    session_id, _ = log_in(sessions, "bob")
    state.add_member(build_user_index_name("alice"), sessions.session_key(session_id), 60)
    assert list_references(catalogue, "alice") == []


def test_everybodys_sessions_are_listed_once_each(sessions: SessionStore, catalogue: SessionCatalogue) -> None:
    made = {log_in(sessions, f"user{number % 7}")[1] for number in range(40)}
    listed = [session.record.reference for session in catalogue.list_all()]
    assert len(listed) == 40
    assert set(listed) == made


def test_an_end_takes_the_session_from_the_list_of_all(sessions: SessionStore, state: StateStore) -> None:
    session_id, _ = log_in(sessions)
    key = sessions.session_key(session_id)
    assert list(sessions.find_all_keys()) == [key]
    assert state.members(build_shard_index_name(key)) == {key}
    sessions.end(session_id)
    assert list(sessions.find_all_keys()) == []


def test_the_lists_are_as_many_as_keys_can_begin_with() -> None:
    names = list_shard_index_names()
    assert len(set(names)) == 256
    assert {build_shard_index_name("00ff"), build_shard_index_name("ff00"), build_shard_index_name("a0")} <= set(names)


def test_a_session_of_a_later_version_is_not_listed_and_can_be_ended_with_all(
    sessions: SessionStore, catalogue: SessionCatalogue, state: StateStore
) -> None:
    session_id, _ = log_in(sessions)
    key = sessions.session_key(session_id)
    name = build_session_record_name(key)
    state.put(name, KEY_RING.seal(msgspec.msgpack.encode({"version": 2, "user": []}), name), IDLE)
    assert catalogue.list_all() == []
    assert list(sessions.find_all_keys()) == [key]
    sessions.end_by_key(key)
    assert state.find(build_session_record_name(key)) is None
    assert list(sessions.find_all_keys()) == []
