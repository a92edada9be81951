"""Which token a service gets, who shares the BFF's own ones, and when they are renewed (attack row T22)."""

from __future__ import annotations

import threading

import pytest

from app.core.errors import SessionExpiredError
from app.core.routes import TokenMode
from tests.unit.services.token_provider_world import CRUD, SESSION_KEY, World, build_service, world

__all__ = ["world"]


# No token, and the user's


def test_a_service_that_wants_no_token_gets_none(world: World) -> None:
    assert world.start_worker().get(build_service(mode="none"), SESSION_KEY) is None
    assert world.idp.forms == []


@pytest.mark.parametrize("mode", ["user", "resource", "exchange"])
def test_without_a_session_there_is_no_users_token(world: World, mode: TokenMode) -> None:
    with pytest.raises(SessionExpiredError):
        world.start_worker().get(build_service(mode=mode, audience="urn:crud"), None)


# The BFF's own


def test_our_own_token_is_asked_for_with_audience_and_scope_and_kept(world: World) -> None:
    worker = world.start_worker()
    assert [worker.get(CRUD, None) for _ in range(3)] == ["token-1"] * 3
    assert world.idp.forms == [
        {
            "grant_type": "client_credentials",
            "scope": "application.all",
            "resource": "https://crud.example.com",
            "client_id": "bff",
            "client_secret": "a-secret-of-some-length",
        }
    ]


def test_t22_services_audiences_and_scopes_never_share_a_token(world: World) -> None:
    worker = world.start_worker()
    services = [
        build_service("a", audience="x", scope="y"),
        build_service("b", audience="x", scope="y"),
        build_service("a", audience="x", scope="z"),
        build_service("a", audience="z", scope="y"),
        build_service("a", audience="x", scope="y z"),
        build_service("a", audience="x y", scope="z"),
        build_service("a", audience="x y", scope=""),
        build_service("a", audience="", scope="x y"),
    ]
    tokens = [worker.get(service, None) for service in services]
    assert len(set(tokens)) == len(services)


def test_workers_share_a_token_through_the_store(world: World) -> None:
    assert world.start_worker().get(CRUD, None) == "token-1"
    assert world.start_worker().get(CRUD, None) == "token-1"
    assert len(world.idp.forms) == 1


def test_no_token_can_be_read_in_the_store(world: World) -> None:
    world.start_worker().get(CRUD, None)
    kept = [path.read_bytes() for path in world.state_directory.rglob("*") if path.is_file()]
    assert kept
    assert not any(b"token-1" in body for body in kept)


def test_a_token_is_renewed_ahead_of_its_expiry(world: World) -> None:
    worker = world.start_worker(refresh_ahead_seconds=60)
    worker.get(CRUD, None)
    world.now += 239
    assert worker.get(CRUD, None) == "token-1"
    world.now += 1
    assert worker.get(CRUD, None) == "token-2"


def test_a_token_that_another_worker_renewed_is_taken_over(world: World) -> None:
    first, second = world.start_worker(), world.start_worker()
    first.get(CRUD, None)
    second.get(CRUD, None)
    world.now += 240
    assert first.get(CRUD, None) == "token-2"
    assert second.get(CRUD, None) == "token-2"
    assert len(world.idp.forms) == 2


def test_a_token_that_lives_shorter_than_we_renew_ahead_is_not_renewed_on_every_call(world: World) -> None:
    world.idp.expires_in = 40
    worker = world.start_worker(refresh_ahead_seconds=60)
    worker.get(CRUD, None)
    world.now += 19
    assert worker.get(CRUD, None) == "token-1"
    world.now += 1
    assert worker.get(CRUD, None) == "token-2"


def test_workers_share_a_token_that_lives_shorter_than_we_renew_ahead(world: World) -> None:
    world.idp.expires_in = 40
    assert world.start_worker().get(CRUD, None) == "token-1"
    world.now += 19
    assert world.start_worker().get(CRUD, None) == "token-1"
    world.now += 1
    assert world.start_worker().get(CRUD, None) == "token-2"


def test_a_token_of_unknown_lifetime_is_kept_for_a_few_minutes(world: World) -> None:
    world.idp.expires_in = None
    worker = world.start_worker(refresh_ahead_seconds=60)
    worker.get(CRUD, None)
    world.now += 239
    assert worker.get(CRUD, None) == "token-1"
    world.now += 1
    assert worker.get(CRUD, None) == "token-2"


def test_nobody_waits_for_a_renewal_while_the_old_token_is_good(world: World) -> None:
    worker = world.start_worker()
    worker.get(CRUD, None)
    world.now += 250
    world.idp.may_answer.clear()
    renewing = threading.Thread(target=worker.get, args=(CRUD, None))
    renewing.start()
    while len(world.idp.forms) < 2 and renewing.is_alive():
        renewing.join(0.01)
    assert worker.get(CRUD, None) == "token-1"
    world.idp.may_answer.set()
    renewing.join(10)
    assert worker.get(CRUD, None) == "token-2"


# In the background


def test_a_token_that_is_held_is_renewed_before_a_call_has_to(world: World) -> None:
    worker = world.start_worker()
    first = worker.get(CRUD, None)
    worker.renew_service_tokens()
    assert len(world.idp.forms) == 1, "it is not due"
    world.now += 241
    worker.renew_service_tokens()
    assert len(world.idp.forms) == 2
    assert worker.get(CRUD, None) != first
    assert len(world.idp.forms) == 2


def test_there_is_nothing_to_renew_before_the_first_call(world: World) -> None:
    world.start_worker().renew_service_tokens()
    assert world.idp.forms == []
