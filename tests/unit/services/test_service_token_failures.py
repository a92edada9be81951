"""What happens while no token of the BFF's own can be had (attack rows T11 and T13)."""

from __future__ import annotations

import threading

import pytest

from app.core.errors import ServiceTokenUnavailableError
from app.services.token_provider import BACK_OFF_SECONDS, SPENT_SECONDS, TokenProvider
from app.services.token_store import TokenSet
from tests.unit.services.token_provider_world import CRUD, SESSION_KEY, World, assert_unavailable, build_service, world

__all__ = ["world"]


def test_t11_the_old_token_serves_while_the_provider_fails_and_not_a_second_longer(world: World) -> None:
    worker = world.start_worker()
    worker.get(CRUD, None)
    world.idp.failure = (500, {})
    world.now += 300 - SPENT_SECONDS - 1
    assert worker.get(CRUD, None) == "token-1"
    world.now += 1
    assert_unavailable(worker)
    world.idp.failure = None
    world.now += BACK_OFF_SECONDS
    assert worker.get(CRUD, None) == f"token-{len(world.idp.forms)}"


def test_t11_a_worker_that_is_new_uses_the_stored_token_while_the_provider_fails(world: World) -> None:
    world.start_worker().get(CRUD, None)
    world.idp.failure = (503, {})
    world.now += 250
    assert world.start_worker().get(CRUD, None) == "token-1"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error": "invalid_client"}),
        (400, {"error": "invalid_grant"}),
        (400, {"error": "invalid_target"}),
        (200, {"access_token": "x", "token_type": "mac"}),
        (200, {}),
        (503, {}),
    ],
)
def test_t13_whatever_the_provider_says_it_is_503_and_nobody_is_logged_out(
    world: World, status: int, body: dict[str, str]
) -> None:
    world.idp.failure = (status, body)
    world.token_store.save(SESSION_KEY, TokenSet("users-token", "Bearer", None), 600)
    worker = world.start_worker()
    error = assert_unavailable(worker)
    assert error.status == 503
    assert worker.get(build_service(mode="user"), SESSION_KEY) == "users-token"


def test_after_a_failure_the_provider_is_left_alone_for_a_moment(world: World) -> None:
    world.idp.failure = (400, {"error": "invalid_scope"})
    worker = world.start_worker()
    for _ in range(5):
        assert_unavailable(worker)
    assert len(world.idp.forms) == 1
    world.now += BACK_OFF_SECONDS
    assert_unavailable(worker)
    assert len(world.idp.forms) == 2


def test_one_services_failure_does_not_keep_another_from_its_token(world: World) -> None:
    worker = world.start_worker()
    world.idp.failure = (400, {"error": "invalid_target"})
    assert_unavailable(worker)
    world.idp.failure = None
    assert worker.get(build_service("other"), None) == "token-2"


def get_together(count: int, worker: TokenProvider, may_answer: threading.Event) -> list[str]:
    """Calls from many threads; the provider answers once all of them have begun."""
    results: list[str] = []
    all_began = threading.Barrier(count + 1)

    def get() -> None:
        all_began.wait(10)
        try:
            results.append(str(worker.get(CRUD, None)))
        except ServiceTokenUnavailableError as error:
            results.append(error.code)

    threads = [threading.Thread(target=get) for _ in range(count)]
    for thread in threads:
        thread.start()
    all_began.wait(10)
    may_answer.set()
    for thread in threads:
        thread.join(20)
    return results


@pytest.mark.parametrize("failure", [None, (500, {})], ids=["answers", "fails"])
def test_many_calls_at_once_ask_once(world: World, failure: tuple[int, dict[str, str]] | None) -> None:
    worker = world.start_worker()
    world.idp.failure = failure
    world.idp.may_answer.clear()
    results = get_together(20, worker, world.idp.may_answer)
    assert results == (["token-1"] * 20 if failure is None else ["service_token_unavailable"] * 20)
    assert len(world.idp.forms) <= 1


def test_a_store_that_fails_does_not_take_a_good_token_away(world: World) -> None:
    worker = world.start_worker()
    worker.get(CRUD, None)
    world.state_directory.rename(world.state_directory.with_name("gone"))
    world.state_directory.write_text("not a directory")
    world.now += 250
    assert worker.get(CRUD, None) == "token-1"


def test_a_renewal_in_the_background_that_fails_disturbs_nobody(world: World) -> None:
    worker = world.start_worker()
    first = worker.get(CRUD, None)
    world.now += 241
    world.idp.failure = (500, {})
    worker.renew_service_tokens()
    assert worker.get(CRUD, None) == first
