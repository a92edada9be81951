"""Tokens of the BFF's own that are bound to a key of its own (RFC 9449)."""

from __future__ import annotations

from app.services.dpop_key import BoundToken
from app.services.own_dpop_key import RECORD_NAME
from app.services.token_provider import TokenProvider
from tests.unit.services.token_provider_world import World, assert_unavailable, build_service, world

__all__ = ["world"]

BOUND = build_service("bound", audience="https://crud.example.com", is_bound=True)


def get_bound(provider: TokenProvider) -> BoundToken:
    token = provider.get(BOUND, None)
    assert isinstance(token, BoundToken)
    return token


def test_a_bound_service_token_and_its_key_are_shared_by_all_workers(world: World) -> None:
    first, second = get_bound(world.start_worker()), get_bound(world.start_worker())
    assert first.access_token == second.access_token == "token-1"
    assert first.key.thumbprint == second.key.thumbprint == world.idp.jkts[0]


def test_all_bound_service_tokens_have_the_one_key_of_the_bff(world: World) -> None:
    worker = world.start_worker()
    get_bound(worker)
    worker.get(build_service("other", audience="urn:other", is_bound=True), None)
    world.now += 300
    get_bound(world.start_worker())
    assert len(world.idp.jkts) == 3
    assert len(set(world.idp.jkts)) == 1


def test_a_token_is_used_with_the_key_it_came_with_after_the_bffs_key_has_changed(world: World) -> None:
    first = get_bound(world.start_worker())
    world.state_store.delete(RECORD_NAME)
    assert get_bound(world.start_worker()).key.thumbprint == first.key.thumbprint
    world.now += 300
    renewed = get_bound(world.start_worker())
    assert renewed.key.thumbprint == world.idp.jkts[1] != first.key.thumbprint


def test_a_service_that_was_switched_does_not_get_the_token_from_before(world: World) -> None:
    plain = build_service("bound", audience="https://crud.example.com")
    worker = world.start_worker()
    assert worker.get(plain, None) == "token-1"
    assert get_bound(worker).access_token == "token-2"
    assert worker.get(plain, None) == "token-1"
    assert world.idp.jkts[0] is None


def test_a_service_token_that_comes_unbound_is_refused(world: World) -> None:
    world.idp.binds_tokens = False
    error = assert_unavailable(world.start_worker(), BOUND)
    assert "token_type is not DPoP" in error.internal_reason
