"""Tokens in the store: sealed, bound to their place, gone with their session."""

from __future__ import annotations

import hashlib
import time

import msgspec
import pytest
from structlog.testing import capture_logs

from app.services.key_ring import KeyRing
from app.services.session_store import SessionStore, build_session_key
from app.services.state_store import StateStore
from app.services.token_store import TokenSet, TokenStore
from tests.unit.services.session_store.support import build_login, build_settings
from tests.unit.services.state_store.engines import Engine, SteppedClock, clock, engine, place, state

__all__ = ["clock", "engine", "place", "state"]

KEY, OTHER_KEY = build_session_key("a" * 43), build_session_key("b" * 43)
TOKENS = TokenSet(
    access_token="access-secret",
    token_type="Bearer",
    expires_at=1_800_000_300.5,
    refresh_token="refresh-secret",
    id_token="id-secret",
    scope="openid",
)
OLD, NEW = b"0123456789abcdef" * 2, b"fedcba9876543210" * 2


@pytest.fixture
def tokens(state: StateStore) -> TokenStore:
    return TokenStore(state, KeyRing([OLD]), clock=time.time)


def test_tokens_come_back_as_they_were(tokens: TokenStore) -> None:
    assert tokens.find(KEY) is None
    assert tokens.save(KEY, TOKENS, 60) is True
    assert tokens.find(KEY) == TOKENS
    bare = TokenSet("access", "Bearer")
    assert tokens.save(KEY, bare, 60) is True
    assert tokens.find(KEY) == bare
    assert tokens.find(OTHER_KEY) is None
    tokens.delete(KEY)
    assert tokens.find(KEY) is None


def test_tokens_go_when_their_lifetime_is_over(tokens: TokenStore, engine: Engine, clock: SteppedClock) -> None:
    tokens.save(KEY, TOKENS, 0.5)
    engine.pass_time(clock, 0.6)
    assert tokens.find(KEY) is None


def test_no_token_lies_open_in_the_store(tokens: TokenStore, state: StateStore) -> None:
    service = "crud|https://crud.example.com|all"
    tokens.save(KEY, TOKENS, 60)
    tokens.save_service_token(service, TOKENS)
    names = (f"tokens:{KEY}", f"service-token:{hashlib.sha256(service.encode()).hexdigest()}")
    for name in names:
        stored = state.find(name)
        assert stored is not None
        for secret in (b"access-secret", b"refresh-secret", b"id-secret", b"crud.example.com"):
            assert secret not in stored.value


def test_no_token_is_in_a_repr() -> None:
    assert "secret" not in repr(TOKENS) + str(TOKENS)


def test_tokens_of_one_session_do_not_open_as_another_ones(
    tokens: TokenStore, state: StateStore, capfd: pytest.CaptureFixture[str]
) -> None:
    """L24, T22."""
    tokens.save(KEY, TOKENS, 60)
    stored = state.find(f"tokens:{KEY}")
    assert stored is not None
    state.put(f"tokens:{OTHER_KEY}", stored.value, 60)
    with capture_logs() as lines:
        assert tokens.find(OTHER_KEY) is None
        assert tokens.find(OTHER_KEY) is None
    assert [line["event"] for line in lines] == ["token_record.unreadable"]
    assert capfd.readouterr().out.count('"record.refused"') == 1
    assert tokens.find(KEY) == TOKENS


@pytest.mark.parametrize("value", [b"", b"\x01", bytes(100), msgspec.msgpack.encode(TOKENS)])
def test_what_is_not_sealed_is_no_token(tokens: TokenStore, state: StateStore, value: bytes) -> None:
    state.put(f"tokens:{KEY}", value, 60)
    assert tokens.find(KEY) is None


def test_a_sealed_record_of_a_later_version_is_left_alone(tokens: TokenStore, state: StateStore) -> None:
    later = KeyRing([OLD]).seal(msgspec.msgpack.encode({"version": 2, "tokens": []}), f"tokens:{KEY}")
    state.put(f"tokens:{KEY}", later, 60)
    assert tokens.find(KEY) is None
    stored = state.find(f"tokens:{KEY}")
    assert stored is not None
    assert stored.value == later


def test_changing_the_key_loses_no_tokens(tokens: TokenStore, state: StateStore) -> None:
    tokens.save(KEY, TOKENS, 60)
    assert TokenStore(state, KeyRing([NEW, OLD]), clock=time.time).find(KEY) == TOKENS
    with capture_logs() as lines:
        assert TokenStore(state, KeyRing([NEW]), clock=time.time).find(KEY) is None
    assert "not in the key file" in lines[0]["reason"]


def test_what_is_saved_after_the_end_of_its_session_does_not_stay(
    tokens: TokenStore, state: StateStore, clock: SteppedClock
) -> None:
    sessions = SessionStore(state, KeyRing([OLD]), settings=build_settings(), clock=clock)
    session_id, _ = sessions.create(build_login())
    key = build_session_key(session_id)
    tokens.save(key, TOKENS, 60)
    sessions.end(session_id)
    assert tokens.find(key) is None
    assert tokens.save(key, TOKENS, 60) is False
    assert tokens.find(key) is None


def test_a_session_that_ends_while_its_tokens_are_saved_keeps_none(state: StateStore, clock: SteppedClock) -> None:
    sessions = SessionStore(state, KeyRing([OLD]), settings=build_settings(), clock=clock)
    session_id, _ = sessions.create(build_login())
    key = build_session_key(session_id)

    class EndsInBetween(KeyRing):
        def seal(self, plaintext: bytes, bound_to: str) -> bytes:
            sessions.end(session_id)
            return super().seal(plaintext, bound_to)

    tokens = TokenStore(state, EndsInBetween([OLD]), clock=time.time)
    assert tokens.save(key, TOKENS, 60) is False
    assert tokens.find(key) is None


def test_service_tokens_are_kept_by_what_they_are_for(tokens: TokenStore) -> None:
    assert tokens.find_service_token("crud|a|b") is None
    tokens.save_service_token("crud|a|b", TOKENS)
    assert tokens.find_service_token("crud|a|b") == TOKENS
    assert tokens.find_service_token("crud|a|c") is None
