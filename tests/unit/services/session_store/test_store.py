"""Sessions: found while they last, touched now and then, ended for good. Held against every engine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from app.core.errors import LoginFailedError, StoreUnavailableError
from app.services.key_ring import KeyRing
from app.services.session_store import SessionCatalogue, SessionRecord, SessionStore, build_session_key
from app.services.session_store.keys import (
    build_session_record_name,
    build_tokens_record_name,
    build_tombstone_name,
    build_user_index_name,
)
from app.services.state_store import StateStore, StoredRecord
from app.services.token_store import TokenSet, TokenStore
from tests.support.processes import wait_until
from tests.unit.services.session_store.support import ABSOLUTE, IDLE, KEY_RING, TOUCH, build_login, build_settings
from tests.unit.services.state_store.engines import NOON, Engine, SteppedClock

HOUR = 3600


@pytest.fixture
def sessions(state: StateStore, clock: SteppedClock) -> SessionStore:
    return SessionStore(state, KEY_RING, settings=build_settings(), clock=clock)


@pytest.fixture
def other_worker(engine: Engine, place: str, clock: SteppedClock) -> Iterator[SessionStore]:
    store = engine.open(place, clock)
    store.start()
    yield SessionStore(store, KEY_RING, settings=build_settings(), clock=clock)
    store.close()


def has_heard(engine: Engine, condition: Callable[[], bool]) -> bool:
    """Whether a worker knows of what another one did: with a directory at once, with Redis once word has come. The
    clock stands still, so no copy goes because of its age."""
    if engine.name == "directory":
        return condition()
    wait_until(condition, timeout_seconds=5, what="word of another worker")
    return True


class Watched:
    """A store that does what its engine does, and lets a test count, act in between, or let something fail."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self.calls: list[str] = []
        self.said: list[object] = []
        self.durable: list[str] = []
        self.before: dict[str, Callable[[str], object]] = {}

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._state, name)

        def watched(key: str, *arguments: object, **more: object) -> object:
            self.calls.append(f"{name} {key.partition(':')[0]}")
            self.said += [key, *arguments]
            self.durable += [self.calls[-1]] if more.get("durable") else []
            for call in (name, self.calls[-1]):
                if call in self.before:
                    self.before[call](key)
            return operation(key, *arguments, **more)

        return watched


@pytest.fixture
def watched(state: StateStore) -> Watched:
    return Watched(state)


@pytest.fixture
def watched_sessions(watched: Watched, clock: SteppedClock) -> SessionStore:
    return SessionStore(watched, KEY_RING, settings=build_settings(), clock=clock)


def refuse(_: str) -> None:
    raise StoreUnavailableError(internal_reason="the disk is full")


# Made and found


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


MALFORMED = {
    "L19-path": "../../etc/passwd",
    "L19-long": "a" * 10_240,
    "L19-nul": "\0" * 43,
    "L19-empty": "",
    "L19-short": "a" * 42,
    "L19-newline": "a" * 42 + "\n",
    "L19-trailing-newline": "a" * 43 + "\n",
    "L19-not-ascii": "ä" * 43,
    "L19-surrogate": "\ud800" * 43,
    "L19-standard-base64": "+/" + "a" * 41,
    "L19-padded": "a" * 42 + "=",
}


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


# Timeouts


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
    name = build_session_record_name(build_session_key(session_id))
    stored = state.find(name)
    assert stored is not None
    state.put(name, stored.value, 10 * ABSOLUTE)
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


# Touch


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
    name = build_session_record_name(build_session_key(session_id))
    stored = state.find(name)
    assert stored is not None
    state.put(name, stored.value, 10 * ABSOLUTE)
    clock.step(IDLE)
    assert sessions.touch(session_id, record) == record
    assert sessions.find(session_id) is None


# The end


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


# Records of others


def test_a_record_of_a_later_version_is_not_used_and_not_destroyed(
    sessions: SessionStore, state: StateStore, clock: SteppedClock, capfd: pytest.CaptureFixture[str]
) -> None:
    session_id, record = sessions.create(build_login())
    name = build_session_record_name(build_session_key(session_id))
    later = KEY_RING.seal(msgspec.msgpack.encode({"version": 2, "user": ["of", "another", "shape"]}), name)
    state.put(name, later, IDLE)
    clock.step(TOUCH)
    with capture_logs() as lines:
        assert sessions.find(session_id) is None
        assert sessions.find(session_id) is None
        assert sessions.touch(session_id, record) == record
    assert [line["event"] for line in lines] == ["session_record.unreadable"]
    assert capfd.readouterr().out.count('"record.refused"') == 1
    stored = state.find(name)
    assert stored is not None
    assert stored.value == later
    sessions.end(session_id)
    assert state.find(name) is None


@pytest.mark.parametrize("value", [b"", b"\x80\x04]", b"\x81", msgspec.msgpack.encode({"version": 1})])
def test_a_record_that_is_none_is_an_unknown_session(sessions: SessionStore, state: StateStore, value: bytes) -> None:
    """L24."""
    name = build_session_record_name(build_session_key("a" * 43))
    state.put(name, KEY_RING.seal(value, name), 60)
    assert sessions.find("a" * 43) is None


def test_a_record_from_before_changes_of_claims_were_counted_has_seen_none(
    sessions: SessionStore, state: StateStore
) -> None:
    session_id, _ = sessions.create(build_login())
    name = build_session_record_name(build_session_key(session_id))
    stored = state.find(name)
    assert stored is not None
    fields = msgspec.msgpack.decode(KEY_RING.open(stored.value, name))
    del fields["claims_version"]
    state.put(name, KEY_RING.seal(msgspec.msgpack.encode(fields), name), IDLE)
    sessions.change_claims(build_session_key(session_id), lambda claims: {**claims, "roles": []})
    record = sessions.find(session_id)
    assert record is not None
    assert (record.claims["roles"], record.claims_version) == ([], 1)


STRANGE_RING = KeyRing([bytes(range(32, 64))])
FORGERIES: dict[str, Callable[[bytes, str], bytes]] = {
    "L24-plain": KEY_RING.open,
    "L24-sealed-with-another-key": lambda sealed, name: STRANGE_RING.seal(KEY_RING.open(sealed, name), name),
    "L24-of-another-session": lambda sealed, name: KEY_RING.seal(KEY_RING.open(sealed, name), name + "0"),
    "L24-of-another-kind": lambda sealed, name: KEY_RING.seal(
        KEY_RING.open(sealed, name), name.replace("session", "tokens")
    ),
    "L24-one-bit": lambda sealed, _: sealed[:-1] + bytes([sealed[-1] ^ 1]),
    "L24-nonce": lambda sealed, _: sealed[:9] + bytes([sealed[9] ^ 1]) + sealed[10:],
    "L24-cut-short": lambda sealed, _: sealed[:-1],
    "L24-head-only": lambda sealed, _: sealed[:9],
    "L24-empty": lambda _sealed, _name: b"",
    "L24-later-seal": lambda sealed, _: b"\x02" + sealed[1:],
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_record_that_somebody_else_wrote_is_refused_and_told_once(
    sessions: SessionStore,
    state: StateStore,
    clock: SteppedClock,
    capfd: pytest.CaptureFixture[str],
    forge: Callable[[bytes, str], bytes],
) -> None:
    """Whoever can write to the store knows the names of all records, and can put anything there."""
    session_id, record = sessions.create(build_login())
    name = build_session_record_name(build_session_key(session_id))
    stored = state.find(name)
    assert stored is not None
    forged = forge(stored.value, name)
    state.put(name, forged, IDLE)
    clock.step(TOUCH)
    with capture_logs() as lines:
        assert sessions.find(session_id) is None
        assert sessions.find_stored_by_key(build_session_key(session_id)) is None
        assert SessionCatalogue(sessions).list_of_user("alice") == []
        assert sessions.touch(session_id, record) == record
    assert [line["event"] for line in lines] == ["session_record.unreadable"]
    trail = capfd.readouterr().out
    assert trail.count('"record.refused"') == 1
    assert "alice" not in trail
    left = state.find(name)
    assert left is not None
    assert left.value == forged
    sessions.end(session_id)
    assert state.find(name) is None


def test_a_good_record_under_the_name_of_another_session_lets_nobody_in(
    sessions: SessionStore, state: StateStore
) -> None:
    victim, _ = sessions.create(build_login(user_id="victim"))
    attacker, _ = sessions.create(build_login(user_id="mallory"))
    stored = state.find(build_session_record_name(build_session_key(victim)))
    assert stored is not None
    state.put(build_session_record_name(build_session_key(attacker)), stored.value, IDLE)
    assert sessions.find(attacker) is None


def test_a_name_in_an_index_gives_nobody_a_session(sessions: SessionStore, state: StateStore) -> None:
    """The indexes are not sealed: they say where to look, and the record says whose it is."""
    victim, record = sessions.create(build_login(user_id="victim"))
    state.add_member(build_user_index_name("mallory"), build_session_key(victim), IDLE)
    assert SessionCatalogue(sessions).list_of_user("mallory") == []
    assert [listed.record for listed in SessionCatalogue(sessions).list_of_user("victim")] == [record]


def test_nothing_about_the_user_can_be_read_in_the_store(watched: Watched, watched_sessions: SessionStore) -> None:
    watched_sessions.create(build_login(user_id="alice@example.com", claims={"name": "Alice"}))
    said = b"".join(word if isinstance(word, bytes) else repr(word).encode() for word in watched.said)
    assert b"alice" not in said.lower()


def test_changing_the_key_ends_no_session(state: StateStore, clock: SteppedClock) -> None:
    old, new = bytes(range(32)), bytes(range(32, 64))

    def open_with(*keys: bytes) -> SessionStore:
        return SessionStore(state, KeyRing(list(keys)), settings=build_settings(local_cache_seconds=0), clock=clock)

    session_id, record = open_with(old).create(build_login())
    assert open_with(old, new).find(session_id) == record
    assert open_with(new, old).find(session_id) == record
    clock.step(TOUCH)
    touched = open_with(new, old).touch(session_id, record)
    assert open_with(new).find(session_id) == touched, "what is written is sealed with the first key"
    assert open_with(old, new).find(session_id) == touched, "a worker that was not restarted yet can read it"
    with capture_logs() as lines:
        assert open_with(old).find(session_id) is None
    assert "not in the key file" in lines[0]["reason"]


def test_a_login_waits_for_a_replica(watched: Watched, watched_sessions: SessionStore) -> None:
    watched_sessions.create(build_login())
    assert watched.durable == ["add session"]


# Local copies


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
