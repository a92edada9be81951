"""A user's tokens that are bound to the session's key: one key for life, and sessions that have none yet (RFC 9449)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.core.errors import ServiceTokenUnavailableError
from app.core.routes import Service, ServiceToken
from app.services.dpop_key import AccessToken, BoundToken, generate_dpop_key
from tests.unit.services.session_tokens_world import LIFETIME_SECONDS, USER, World, build_service, world

__all__ = ["world"]

KEY = generate_dpop_key()


def build_bound_service(mode: str = "resource", *, is_bound: bool = True) -> Service:
    token = ServiceToken(mode, "urn:crud", "crud:read", is_bound)  # type: ignore[arg-type]
    return replace(build_service(name="crud"), token=token)


def log_in_bound(world: World) -> str:
    return world.log_in(token_type="DPoP", dpop_key=KEY.text)


def describe(token: AccessToken) -> tuple[str, str | None]:
    return (token.access_token, token.key.thumbprint) if isinstance(token, BoundToken) else (token, None)


def test_a_bound_token_is_handed_out_with_its_key(world: World) -> None:
    key = log_in_bound(world)
    assert describe(world.start_worker().get(USER, key)) == ("first-of-alice", KEY.thumbprint)


def test_a_refresh_proves_the_same_key_and_keeps_it(world: World) -> None:
    key = log_in_bound(world)
    worker = world.start_worker(binds_user_tokens=True)
    for number in (1, 2):
        world.now += LIFETIME_SECONDS
        assert describe(worker.get(USER, key)) == (f"token-{number}", KEY.thumbprint)
    assert world.idp.jkts == [KEY.thumbprint, KEY.thumbprint]
    assert world.stored(key).dpop_key == KEY.text


def test_another_worker_proves_the_same_key(world: World) -> None:
    key = log_in_bound(world)
    world.now += LIFETIME_SECONDS
    world.start_worker(binds_user_tokens=True).get(USER, key)
    assert describe(world.start_worker(binds_user_tokens=True).get(USER, key)) == ("token-1", KEY.thumbprint)


def test_a_bound_session_stays_bound_when_the_setting_is_switched_off(world: World) -> None:
    key = log_in_bound(world)
    world.now += LIFETIME_SECONDS
    assert describe(world.start_worker(binds_user_tokens=False).get(USER, key)) == ("token-1", KEY.thumbprint)


def test_a_session_from_before_the_setting_is_usable_and_gets_a_key_with_its_next_refresh(world: World) -> None:
    key = world.log_in()
    worker = world.start_worker(binds_user_tokens=True)
    assert worker.get(USER, key) == "first-of-alice"
    world.now += LIFETIME_SECONDS
    access_token, jkt = describe(worker.get(USER, key))
    assert (access_token, jkt) == ("token-1", world.idp.jkts[0])
    assert jkt is not None
    assert describe(world.start_worker(binds_user_tokens=True).get(USER, key)) == ("token-1", jkt)
    world.now += LIFETIME_SECONDS
    assert describe(worker.get(USER, key)) == ("token-2", jkt)


def test_a_record_whose_key_an_older_version_dropped_gets_a_new_token_and_key(world: World) -> None:
    key = world.log_in(token_type="DPoP", dpop_key=None)
    access_token, jkt = describe(world.start_worker(binds_user_tokens=True).get(USER, key))
    assert (access_token, jkt) == ("token-1", world.idp.jkts[0])
    assert jkt is not None


@pytest.mark.parametrize("mode", ["resource", "exchange"])
def test_a_services_token_is_bound_to_the_sessions_key(world: World, mode: str) -> None:
    key = log_in_bound(world)
    token = world.start_worker(binds_user_tokens=True).get(build_bound_service(mode), key)
    assert describe(token) == ("token-1", KEY.thumbprint)
    assert world.idp.jkts == [KEY.thumbprint]


@pytest.mark.parametrize("mode", ["resource", "exchange"])
def test_a_service_may_get_a_bearer_token_beside_the_users_bound_one(world: World, mode: str) -> None:
    key = log_in_bound(world)
    worker = world.start_worker(binds_user_tokens=True)
    assert worker.get(build_bound_service(mode, is_bound=False), key) == "token-1"
    assert world.idp.jkts == [None]
    assert describe(worker.get(USER, key)) == ("first-of-alice", KEY.thumbprint)


@pytest.mark.parametrize("mode", ["resource", "exchange"])
def test_a_service_may_get_a_bound_token_beside_the_users_bearer_one(world: World, mode: str) -> None:
    key = world.log_in()
    worker = world.start_worker()
    access_token, jkt = describe(worker.get(build_bound_service(mode), key))
    assert (access_token, jkt) == ("token-1", world.idp.jkts[0])
    assert jkt is not None
    assert worker.get(USER, key) == "first-of-alice"
    world.now += LIFETIME_SECONDS
    assert worker.get(USER, key) == "token-2"


def test_a_services_token_from_before_it_was_switched_is_not_used(world: World) -> None:
    key = log_in_bound(world)
    worker = world.start_worker(binds_user_tokens=True)
    assert worker.get(build_bound_service(is_bound=False), key) == "token-1"
    assert describe(worker.get(build_bound_service(), key)) == ("token-2", KEY.thumbprint)


def test_a_refresh_that_is_answered_with_an_unbound_token_is_refused(world: World) -> None:
    """RFC 9449 §5: the downgrade is the provider's doing, and nobody is logged out for it."""
    key = log_in_bound(world)
    world.idp.binds_tokens = False
    world.now += LIFETIME_SECONDS
    with pytest.raises(ServiceTokenUnavailableError) as caught:
        world.start_worker(binds_user_tokens=True).get(USER, key)
    assert "token_type is not DPoP" in caught.value.internal_reason
    assert world.sessions.find_by_key(key) is not None
