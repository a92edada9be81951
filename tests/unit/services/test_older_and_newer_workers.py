"""Workers of an older and of a newer version share a store while an upgrade rolls over them (O7).

What an older one wrote stands here as it lay in the store when sealed records came to be. A change that makes one of
these tests fail would log everybody out at the upgrade.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.core.errors import LoginStateInvalidError
from app.services.key_ring import KeyRing
from app.services.login_attempts import LoginAttemptStore, hash_secret
from app.services.session_store import SessionStore, build_session_key
from app.services.state_store import StateStore
from app.services.token_store import ServiceAccessToken, TokenSet, TokenStore
from tests.support.fake_idp import ISSUER, FakeIdp
from tests.unit.services.session_store.support import build_settings
from tests.unit.services.session_tokens_world import CRUD, LIFETIME_SECONDS, USER, World
from tests.unit.services.state_store.engines import SteppedClock, clock, engine, place, state

__all__ = ["clock", "engine", "place", "state"]

KEY_RING = KeyRing([bytes(range(32))])
SESSION_ID = "a" * 43
KEY = build_session_key(SESSION_ID)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeIdp().serve() as idp:
        yield World(tmp_path, idp)


def put(state: StateStore, name: str, fields: dict[str, Any], key_ring: KeyRing = KEY_RING) -> bytes:
    sealed = key_ring.seal(msgspec.msgpack.encode(fields), name)
    state.put(name, sealed, 3600)
    return sealed


def read(state: StateStore, name: str, key_ring: KeyRing = KEY_RING) -> dict[str, Any]:
    stored = state.find(name)
    assert stored is not None
    fields: dict[str, Any] = msgspec.msgpack.decode(key_ring.open(stored.value, name))
    return fields


def test_o7_what_an_older_worker_sealed_opens() -> None:
    sealed = "0197e963f48a269ec63f06f26a3ab1a98b90a495ec3d375805e98f07"
    sealed += "9e1ff0e07f72c4e3aa0081ebdff847a0600453812a194a8e0d09c9"
    assert KEY_RING.open(bytes.fromhex(sealed), "session:x") == b"of an older worker"


def test_o7_a_session_of_an_older_worker_is_used_and_written_on(state: StateStore, clock: SteppedClock) -> None:
    older = {
        "version": 1,
        "reference": "0123456789abcdef",
        "user_id": "alice",
        "subject": "alice",
        "provider": "op.example.com",
        "issuer": ISSUER,
        "idp_session_id": "op-session-1",
        "claims": {"name": "Alice", "roles": ["editor"]},
        "created_at": clock.now - 100,
        "last_seen_at": clock.now - 100,
        "auth_time": 1_800_000_000,
        "acr": "pwd",
        "device": "Firefox",
    }
    put(state, f"session:{KEY}", older)
    sessions = SessionStore(state, KEY_RING, settings=build_settings(), clock=clock)
    record = sessions.find(SESSION_ID)
    assert record is not None
    assert (record.user_id, record.claims["roles"], record.idp_session_id) == ("alice", ["editor"], "op-session-1")
    sessions.touch(SESSION_ID, record)
    assert read(state, f"session:{KEY}") == {**older, "last_seen_at": clock.now}, "the older one reads it still"


def test_o7_tokens_of_an_older_worker_are_used(state: StateStore, clock: SteppedClock) -> None:
    of_a_service = {"access_token": "crud-1", "expires_at": clock.now + 300, "obtained_at": clock.now}
    tokens = {
        "access_token": "access-1",
        "token_type": "Bearer",
        "expires_at": clock.now + 300,
        "refresh_token": "refresh-1",
        "id_token": "id-1",
        "scope": "openid",
        "obtained_at": clock.now,
        "for_services": {"crud": of_a_service},
    }
    put(state, f"tokens:{KEY}", {"version": 1, "tokens": tokens})
    assert TokenStore(state, KEY_RING, clock=clock).find(KEY) == TokenSet(
        **{**tokens, "for_services": {"crud": ServiceAccessToken(**of_a_service)}}  # type: ignore[arg-type]
    )


def test_o7_a_login_that_began_at_an_older_worker_ends_at_a_newer_one(state: StateStore) -> None:
    older = {
        "version": 1,
        "started_at": 1_800_000_000.0,
        "browser_secret_hash": hash_secret("of the browser"),
        "nonce": "n" * 43,
        "code_verifier": "v" * 43,
        "redirect_uri": "https://app.example.com/auth/callback",
        "return_to": "/",
        "previous_session_key": None,
    }
    put(state, f"login:{hash_secret('state')}", older)
    attempts = LoginAttemptStore(state, KEY_RING)
    assert attempts.check_browser("state", "of the browser").nonce == "n" * 43
    assert attempts.take("state").code_verifier == "v" * 43


def test_o7_a_login_that_began_at_a_worker_of_a_later_version_is_left_for_that_one(state: StateStore) -> None:
    name = f"login:{hash_secret('state')}"
    later = put(state, name, {"version": 2, "everything": "else"})
    with pytest.raises(LoginStateInvalidError):
        LoginAttemptStore(state, KEY_RING).check_browser("state", "of the browser")
    stored = state.find(name)
    assert stored is not None
    assert stored.value == later


def test_o7_a_refresh_keeps_what_only_a_newer_worker_knows(world: World) -> None:
    """Also of the tokens for services, but not of one that is replaced: there it spoke of the old one."""
    key = world.log_in()
    worker = world.start_worker()
    worker.get(CRUD, key)
    name = f"tokens:{key}"
    newer = read(world.state, name, world.key_ring)
    [target] = newer["tokens"]["for_services"]
    newer["colour"] = "red"
    newer["tokens"]["bound_to"] = {"device": secrets.token_hex(4)}
    newer["tokens"]["for_services"][target]["colour"] = "green"
    put(world.state, name, newer, world.key_ring)

    world.now += LIFETIME_SECONDS
    renewed = worker.get(USER, key)
    stored = read(world.state, name, world.key_ring)
    assert stored["tokens"]["access_token"] == renewed
    assert stored["tokens"]["refresh_token"] != newer["tokens"]["refresh_token"]
    assert (stored["colour"], stored["tokens"]["bound_to"]) == ("red", newer["tokens"]["bound_to"])
    assert stored["tokens"]["for_services"] == newer["tokens"]["for_services"]

    worker.get(CRUD, key)
    [of_the_service] = read(world.state, name, world.key_ring)["tokens"]["for_services"].values()
    assert of_the_service["access_token"] != newer["tokens"]["for_services"][target]["access_token"]
    assert "colour" not in of_the_service
