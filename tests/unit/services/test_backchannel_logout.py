"""A logout token is good once whatever breaks meanwhile, and meets the logins that it overtakes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jws

from app.core.errors import BadRequestError, LoginFailedError, StoreUnavailableError
from app.core.logout_token import LOGOUT_EVENT, MAX_AGE_SECONDS
from app.services.backchannel_logout import CLAIM_SECONDS, BackchannelLogout
from app.services.logout_marks import LogoutMarks
from app.services.session_store.keys import build_user_index_name
from tests.support.fake_idp import CLIENT_ID, ISSUER, KEY
from tests.unit.services.flow_world import World, build_settings, world

__all__ = ["world"]

LEEWAY_SECONDS = 30


def build_logout(world: World) -> BackchannelLogout:
    return BackchannelLogout(
        build_settings().oidc,
        oidc_client=world.client,
        state_store=world.state_store,
        session_store=world.session_store,
        token_store=world.token_store,
        marks=LogoutMarks(world.state_store, clock=world.clock),
        monotonic=world.clock,
    )


def sign(world: World, **changes: Any) -> str:
    now = int(world.now)
    claims = {"iss": ISSUER, "aud": CLIENT_ID, "iat": now, "exp": now + 3600, "jti": "j", "sub": "alice"}
    claims |= {"events": {LOGOUT_EVENT: {}}, **changes}
    header = {"alg": "ES256", "kid": "k1", "typ": "logout+jwt"}
    return jws.serialize_compact(header, json.dumps(claims), KEY, algorithms=["ES256"])


def fail(*_: object) -> Any:
    raise StoreUnavailableError(internal_reason="away")


def die(*_: object) -> Any:
    raise KeyboardInterrupt


def test_a_store_that_fails_in_the_middle_leaves_the_token_good(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.log_in()
    logout, token = build_logout(world), sign(world)
    with monkeypatch.context() as broken:
        broken.setattr(world.state_store, "members", fail)
        with pytest.raises(StoreUnavailableError):
            logout.accept(token)
    assert len(logout.accept(token)) == 1


def test_a_process_that_dies_in_the_middle_leaves_the_token_good_after_a_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.log_in()
    logout, token = build_logout(world), sign(world)
    with monkeypatch.context() as broken:
        broken.setattr(world.state_store, "members", die)
        with pytest.raises(KeyboardInterrupt):
            logout.accept(token)
    with pytest.raises(BadRequestError):
        logout.accept(token)
    world.now += CLAIM_SECONDS + 1
    assert len(logout.accept(token)) == 1


def test_l16_a_token_is_never_good_twice_as_long_as_it_could_be_good_at_all(world: World) -> None:
    logout = build_logout(world)
    early = sign(world, iat=int(world.now) + LEEWAY_SECONDS)
    logout.accept(early)
    for _ in range(0, MAX_AGE_SECONDS + 3 * LEEWAY_SECONDS, 5):
        with pytest.raises(BadRequestError):
            logout.accept(early)
        world.now += 5


def test_the_same_jti_of_another_token_is_a_replay_too(world: World) -> None:
    logout = build_logout(world)
    logout.accept(sign(world))
    with pytest.raises(BadRequestError):
        logout.accept(sign(world, sub="bob"))


def test_a_login_that_had_begun_is_ended_and_one_that_begins_afterwards_is_not(world: World) -> None:
    overtaken = world.begin()
    world.now += 5
    build_logout(world).accept(sign(world))
    with pytest.raises(LoginFailedError):
        world.finish(*overtaken)
    assert world.session_store.find_keys_of_user("alice") == frozenset()
    world.now += 1
    assert world.session_store.find(world.log_in().session_id) is not None


def test_a_session_that_the_provider_has_ended_is_not_made_however_late_its_login_began(world: World) -> None:
    world.idp.claims = {"sid": "s1"}
    build_logout(world).accept(sign(world, sid="s1"))
    world.now += 500
    with pytest.raises(LoginFailedError):
        world.log_in()
    world.idp.claims = {"sid": "s2"}
    assert world.session_store.find(world.log_in().session_id) is not None


def test_a_login_without_sid_that_had_begun_is_ended_by_any_logout_of_its_user(world: World) -> None:
    overtaken = world.begin()
    world.now += 5
    build_logout(world).accept(sign(world, sid="s1"))
    with pytest.raises(LoginFailedError):
        world.finish(*overtaken)
    world.now += 1
    assert world.session_store.find(world.log_in().session_id) is not None


def test_a_login_with_another_sid_is_not_ended(world: World) -> None:
    world.idp.claims = {"sid": "s2"}
    login = world.begin()
    build_logout(world).accept(sign(world, sid="s1"))
    assert world.session_store.find(world.finish(*login).session_id) is not None


def test_a_session_that_is_just_being_written_is_not_ended_by_another_ones_sid(world: World) -> None:
    """Its lists are there and its record is not: whose `sid` it has is not known yet, and the login looks for marks."""
    key = "0" * 64
    world.state_store.add_member(build_user_index_name("alice"), key, 3600)
    build_logout(world).accept(sign(world, sid="s1"))
    assert not world.session_store.has_ended(key)
    build_logout(world).accept(sign(world, jti="j2"))
    assert world.session_store.has_ended(key)


def test_a_mark_outlives_every_login_that_it_concerns(world: World) -> None:
    overtaken = world.begin()
    build_logout(world).accept(sign(world))
    world.now += 599
    with pytest.raises(LoginFailedError):
        world.finish(*overtaken)


def test_a_login_that_cannot_look_for_marks_leaves_no_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    login = world.begin()
    monkeypatch.setattr(LogoutMarks, "cover", fail)
    with pytest.raises(StoreUnavailableError):
        world.finish(*login)
    assert world.session_store.find_keys_of_user("alice") == frozenset()


def test_revoking_stops_when_it_takes_too_long(world: World) -> None:
    world.idp.token_changes = {"scope": "openid"}
    for _ in range(5):
        world.log_in()
    logout = build_logout(world)
    ended = logout.accept(sign(world))
    assert len(ended) == 5
    revoke, asked = world.client.revoke, list[str]()

    def revoke_slowly(token: str, *rest: Any, **options: Any) -> bool:
        asked.append(token)
        world.now += 4
        return revoke(token, *rest, **options)

    world.client.revoke = revoke_slowly  # type: ignore[method-assign]
    logout.revoke(ended)
    assert len(asked) == 3
