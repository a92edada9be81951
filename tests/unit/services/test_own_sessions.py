"""A user's own sessions and the tokens behind them. What a browser sees of it is in the integration tests."""

from __future__ import annotations

import pytest

from app.core.errors import RouteNotFoundError
from app.services.login_flow import LoginDone
from app.services.own_sessions import OwnSessions
from tests.unit.services.flow_world import World, world

__all__ = ["world"]


def build_own_sessions(world: World) -> OwnSessions:
    return OwnSessions(session_store=world.session_store, token_store=world.token_store, oidc_client=world.client)


def log_in(world: World, sid: str | None, user: str = "alice") -> LoginDone:
    world.idp.claims = {} if sid is None else {"sid": sid}
    return world.log_in(user)


@pytest.mark.parametrize(
    ("ended_sid", "other_sid", "is_revoked"),
    [
        pytest.param("a", "b", True, id="two-sessions-at-the-provider"),
        pytest.param("a", "a", False, id="one-session-at-the-provider"),
        pytest.param(None, None, False, id="nobody-knows"),
        pytest.param("a", None, False, id="the-other-one-is-not-known"),
        pytest.param(None, "b", False, id="the-ended-one-is-not-known"),
    ],
)
def test_tokens_are_revoked_unless_another_session_may_hang_on_the_same_grant(
    world: World, ended_sid: str | None, other_sid: str | None, is_revoked: bool
) -> None:
    ended, other = log_in(world, ended_sid), log_in(world, other_sid)
    log_in(world, ended_sid, "bob")
    assert build_own_sessions(world).end(other.record, ended.record.reference) is True
    assert world.idp.revoked == (["refresh-1"] if is_revoked else [])
    assert world.session_store.find(ended.session_id) is None
    assert world.token_store.find(world.session_store.session_key(ended.session_id)) is None
    assert world.session_store.find(other.session_id) is not None


def test_the_last_session_takes_its_grant_along(world: World) -> None:
    only = log_in(world, None)
    build_own_sessions(world).end(only.record, only.record.reference)
    assert world.idp.revoked == ["refresh-1"]


def test_what_somebody_else_ends_at_the_same_moment_is_ended_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = log_in(world, "a"), log_in(world, "b")
    own_sessions = build_own_sessions(world)
    really_end = world.session_store.end_by_key

    def end_twice(key: str) -> object:
        really_end(key)
        return really_end(key)

    monkeypatch.setattr(world.session_store, "end_by_key", end_twice)
    assert own_sessions.end(here.record, there.record.reference) is False
    assert world.idp.revoked == []


def test_a_reference_of_somebody_else_names_nothing(world: World) -> None:
    alice, bob = log_in(world, "a"), log_in(world, "b", "bob")
    own_sessions = build_own_sessions(world)
    for reference in (bob.record.reference, bob.session_id, alice.session_id, "", "x"):
        with pytest.raises(RouteNotFoundError):
            own_sessions.end(alice.record, reference)
    assert world.session_store.find(bob.session_id) is not None
    assert world.session_store.find(alice.session_id) is not None
