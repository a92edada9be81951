"""Records that another version or somebody else wrote, and what can be read in the store. Held against every engine."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from structlog.testing import capture_logs

from app.services.key_ring import KeyRing
from app.services.session_store import SessionCatalogue, SessionStore, build_session_key
from app.services.session_store.keys import build_session_record_name, build_user_index_name
from app.services.state_store import StateStore
from tests.unit.services.session_store.support import IDLE, KEY_RING, TOUCH, build_login, build_settings
from tests.unit.services.session_store.workers import Watched
from tests.unit.services.state_store.engines import SteppedClock


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
