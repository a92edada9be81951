"""Users' tokens for single services: by refresh or exchange, and never for anything else (T22)."""

from __future__ import annotations

import pytest

from app.core.errors import ServiceTokenUnavailableError
from app.core.routes import Service
from app.services.refresh_failures import REFUSED_TARGET_SECONDS
from tests.unit.services.session_tokens_world import CRUD, LIFETIME_SECONDS, LLM, USER, World, build_service, world

__all__ = ["world"]


def test_a_service_gets_the_token_for_its_audience_and_scope(world: World) -> None:
    key = world.log_in()
    worker = world.start_worker()
    assert worker.get(CRUD, key) == "token-1"
    assert worker.get(CRUD, key) == "token-1"
    assert world.refreshes()[0]["resource"] == "urn:crud"
    assert world.refreshes()[0]["scope"] == "crud:read"
    assert world.stored(key).access_token == "first-of-alice", "the user's own token is another"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(build_service("resource", name="other", audience="urn:crud", scope="crud:read"), id="service"),
        pytest.param(build_service("resource", audience="urn:crud2", scope="crud:read"), id="audience"),
        pytest.param(build_service("resource", audience="urn:crud", scope="crud:write"), id="scope"),
        pytest.param(build_service("exchange", audience="urn:crud", scope="crud:read"), id="mode"),
        pytest.param(build_service("user"), id="user"),
    ],
)
def test_t22_a_token_is_never_used_for_anything_it_was_not_made_for(world: World, other: Service) -> None:
    key = world.log_in()
    worker = world.start_worker()
    assert worker.get(CRUD, key) != worker.get(other, key)


def test_an_exchange_trades_the_users_own_token(world: World) -> None:
    key = world.log_in()
    service = build_service("exchange", audience="urn:crud", scope="crud:read")
    worker = world.start_worker()
    assert worker.get(service, key) == worker.get(service, key) == "token-1"
    [form] = world.idp.forms
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
    assert form["subject_token"] == "first-of-alice"
    assert (form["resource"], form["scope"]) == ("urn:crud", "crud:read")


def test_an_exchange_refreshes_the_users_token_first_when_that_is_over(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    service = build_service("exchange", audience="urn:crud")
    assert world.start_worker().get(service, key) == "token-2"
    assert world.idp.forms[1]["subject_token"] == "token-1"
    assert world.stored(key).access_token == "token-1"


def test_an_invalid_grant_at_an_exchange_is_503_and_ends_nothing(world: World) -> None:
    key = world.log_in()
    world.idp.failure = (400, {"error": "invalid_grant"})
    with pytest.raises(ServiceTokenUnavailableError):
        world.start_worker().get(build_service("exchange", audience="urn:crud"), key)
    assert world.sessions.find_by_key(key) is not None


def test_an_audience_that_was_refused_is_left_alone_and_the_others_go_on(world: World) -> None:
    key = world.log_in()
    world.idp.refused_audiences = frozenset({"urn:llm"})
    worker, another = world.start_worker(), world.start_worker()
    for asking in (worker, another, worker, another):
        with pytest.raises(ServiceTokenUnavailableError):
            asking.get(LLM, key)
    assert len(world.refreshes()) == 1  # whoever asks again could use a refresh token that is spent
    assert worker.get(USER, key) == "first-of-alice"
    world.idp.refused_audiences = frozenset()
    world.idp.refresh_token = "first-refresh-of-alice"
    world.now += REFUSED_TARGET_SECONDS + 1
    assert str(worker.get(LLM, key)).startswith("token-")


def test_without_a_refresh_token_there_is_no_token_for_an_audience(world: World) -> None:
    key = world.log_in(refresh_token=None)
    with pytest.raises(ServiceTokenUnavailableError):
        world.start_worker().get(CRUD, key)
