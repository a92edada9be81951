"""When users' tokens are refreshed: ahead of their end, once for all who wait, and in the background (T8, T9, T15)."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl

import pytest
import requests
from msgspec.structs import replace

from app.core.errors import ServiceTokenUnavailableError, SessionExpiredError
from tests.support.fake_idp import Answer
from tests.unit.services.session_tokens_world import (
    AHEAD_SECONDS,
    CRUD,
    LIFETIME_SECONDS,
    LLM,
    USER,
    World,
    wait_until_stored,
    world,
)

__all__ = ["world"]


# Before a call


def test_a_fresh_token_is_handed_out_without_asking_anybody(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS - AHEAD_SECONDS - 1
    assert world.start_worker().get(USER, key) == "first-of-alice"
    assert world.idp.forms == []


def test_a_token_that_is_over_is_refreshed_before_the_call(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    worker = world.start_worker()
    assert worker.get(USER, key) == "token-1"
    assert worker.get(USER, key) == "token-1"
    assert [form["refresh_token"] for form in world.refreshes()] == ["first-refresh-of-alice"]
    assert world.outcomes == ["completed"]


def test_a_token_that_is_nearly_over_serves_while_it_is_being_refreshed(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS - AHEAD_SECONDS + 1
    world.idp.may_answer.clear()
    worker = world.start_worker()
    assert worker.get(USER, key) == "first-of-alice"
    assert worker.get(USER, key) == "first-of-alice"
    world.idp.may_answer.set()
    wait_until_stored(world, key, "token-1")
    assert worker.get(USER, key) == "token-1"
    assert len(world.refreshes()) == 1


def test_a_token_that_lives_shorter_than_we_refresh_ahead_is_not_refreshed_on_every_call(world: World) -> None:
    key = world.log_in(expires_at=1_700_000_000.0 + 30)
    world.now += 10
    assert world.start_worker().get(USER, key) == "first-of-alice"
    assert world.refreshes() == []


def test_without_a_refresh_token_the_token_serves_to_its_end_and_then_the_session_is_over(world: World) -> None:
    key = world.log_in(refresh_token=None)
    world.now += LIFETIME_SECONDS - 1
    worker = world.start_worker()
    assert worker.get(USER, key) == "first-of-alice"
    world.now += 1
    with pytest.raises(SessionExpiredError):
        worker.get(USER, key)
    assert world.idp.forms == []


def test_a_session_without_tokens_is_over(world: World) -> None:
    with pytest.raises(SessionExpiredError):
        world.start_worker().get(USER, "b" * 64)


# One at a time


def test_t8_many_calls_on_many_workers_make_one_refresh(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.may_answer.clear()
    workers = [world.start_worker() for _ in range(4)]
    with ThreadPoolExecutor(40) as pool:
        calls = [pool.submit(workers[number % 4].get, USER, key) for number in range(40)]
        world.idp.may_answer.set()
        assert {call.result(30) for call in calls} == {"token-1"}
    assert len(world.refreshes()) == 1


def test_audiences_of_one_session_are_asked_for_one_after_the_other(world: World) -> None:
    key = world.log_in()
    workers = [world.start_worker() for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(workers[number % 3].get, (CRUD, LLM)[number % 2], key) for number in range(12)]
        results = [call.result(30) for call in calls]
    assert len(set(results[0::2])) == len(set(results[1::2])) == 1
    assert set(results[0::2]) != set(results[1::2])
    # Each refresh spent the token that the one before it had made: the provider would have ended the grant otherwise.
    assert len(world.refreshes()) == 2
    assert world.refreshes()[1]["refresh_token"] == "refresh-1"


def test_t9_a_caller_that_goes_away_does_not_stop_the_refresh(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS - 10  # still usable, so the call returns at once
    world.idp.may_answer.clear()
    assert world.start_worker().get(USER, key) == "first-of-alice"
    world.idp.may_answer.set()
    wait_until_stored(world, key, "token-1")
    assert world.stored(key).refresh_token == "refresh-1"


def test_t15_sessions_refresh_at_once_and_each_gets_its_own(world: World) -> None:
    """Duende CVE-2024-51987. Nobody is answered before all have asked, and then the first to ask is answered last."""
    users = ("alice", "bob", "carol", "dave")
    keys = {user: world.log_in(user) for user in users}
    world.now += LIFETIME_SECONDS
    asked, order = list[str](), threading.Condition()

    def answer_in_turn(request: requests.PreparedRequest) -> Answer:
        assert isinstance(request.body, bytes)
        user = dict(parse_qsl(request.body.decode()))["refresh_token"].removeprefix("first-refresh-of-")
        with order:
            asked.append(user)
            order.notify_all()
            assert order.wait_for(lambda: len(asked) >= len(users) and asked[-1] == user, 20)
            asked.insert(0, asked.pop())
            order.notify_all()
        tokens = {"access_token": f"second-of-{user}", "refresh_token": f"second-refresh-of-{user}"}
        return 200, {}, json.dumps({"token_type": "Bearer", "expires_in": LIFETIME_SECONDS, **tokens})

    world.idp._give_token = answer_in_turn  # type: ignore[method-assign]
    workers = [world.start_worker() for _ in range(2)]
    with world.idp.serve(), ThreadPoolExecutor(16) as pool:
        calls = [(user, pool.submit(workers[turn % 2].get, USER, keys[user])) for turn in range(4) for user in users]
        assert [call.result(30) for _, call in calls] == [f"second-of-{user}" for user, _ in calls]
    for user, key in keys.items():
        stored = world.stored(key)
        assert (stored.access_token, stored.refresh_token) == (f"second-of-{user}", f"second-refresh-of-{user}")
    assert len(asked) == len(users), "each was refreshed once"


# In the background


def test_the_next_renewal_is_planned_ahead_of_the_new_expiry(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.start_worker().get(USER, key)
    assert world.scheduled == [(key, world.now + LIFETIME_SECONDS - AHEAD_SECONDS)]


def test_what_is_due_is_renewed_and_the_next_time_told(world: World) -> None:
    key = world.log_in()
    worker = world.start_worker()
    assert worker.renew_due(key) == world.now + LIFETIME_SECONDS - AHEAD_SECONDS
    assert world.refreshes() == []
    world.now += LIFETIME_SECONDS - AHEAD_SECONDS + 1
    assert worker.renew_due(key) == world.now + LIFETIME_SECONDS - AHEAD_SECONDS
    assert world.stored(key).access_token == "token-1"


def test_there_is_nothing_to_renew_without_tokens_or_once_the_grant_is_over(world: World) -> None:
    worker = world.start_worker()
    assert worker.renew_due("b" * 64) is None
    assert worker.renew_due(world.log_in(refresh_token=None)) is None
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.refresh_token = None
    assert worker.renew_due(key) is None
    assert world.sessions.find_by_key(key) is None


def test_a_renewal_that_fails_says_so(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.failure = (500, {})
    with pytest.raises(ServiceTokenUnavailableError):
        world.start_worker().renew_due(key)


def test_a_new_login_is_planned(world: World) -> None:
    key = world.log_in()
    world.start_worker().note_renewal(key, world.stored(key))
    assert world.scheduled == [(key, world.now + LIFETIME_SECONDS - AHEAD_SECONDS)]
    world.start_worker().note_renewal(key, replace(world.stored(key), refresh_token=None))
    assert len(world.scheduled) == 1
