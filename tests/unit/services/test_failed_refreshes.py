"""Refreshes that fail, are refused, or are overtaken: who is logged out, and who is not (T11, T12, T13)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace

from app.core.errors import BffError, ServiceTokenUnavailableError, SessionExpiredError
from app.services.token_refresh import BACK_OFF_SECONDS
from tests.unit.services.session_tokens_world import LIFETIME_SECONDS, USER, World, wait_until_stored, world

__all__ = ["world"]


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param((500, {}), id="T11-500"),
        pytest.param((503, {"error": "invalid_grant"}), id="T11-503-with-a-code"),
        pytest.param((429, {}), id="T11-429"),
        pytest.param((200, {"nonsense": True}), id="T11-no-token"),
        pytest.param((400, {"error": ["invalid_grant"]}), id="T11-malformed-code"),
        pytest.param((400, {}), id="T11-no-code"),
        pytest.param((401, {"error": "invalid_client"}), id="T13-invalid-client"),
        pytest.param((400, {"error": "unauthorized_client"}), id="T13-unauthorized-client"),
    ],
)
def test_a_provider_that_fails_logs_nobody_out(world: World, failure: tuple[int, dict[str, Any]]) -> None:
    key = world.log_in()
    worker = world.start_worker()
    world.idp.failure = failure
    world.now += LIFETIME_SECONDS - 1
    assert worker.get(USER, key) == "first-of-alice", "a token that is still valid is used"
    world.now += 1 + BACK_OFF_SECONDS
    with pytest.raises(ServiceTokenUnavailableError):
        worker.get(USER, key)
    assert world.sessions.find_by_key(key) is not None
    world.idp.failure = None
    world.now += BACK_OFF_SECONDS + 1
    assert str(worker.get(USER, key)).startswith("token-")


def test_after_a_failure_the_provider_is_left_alone_for_a_moment(world: World) -> None:
    key = world.log_in()
    worker = world.start_worker()
    world.idp.failure = (500, {})
    world.now += LIFETIME_SECONDS
    for _ in range(5):
        with pytest.raises(ServiceTokenUnavailableError):
            worker.get(USER, key)
    assert len(world.idp.forms) == 1


def test_t12_a_grant_that_is_over_ends_the_session_once_and_for_all_waiters(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.refresh_token = None
    world.idp.may_answer.clear()
    workers = [world.start_worker() for _ in range(3)]

    def call(number: int) -> str:
        try:
            return str(workers[number % 3].get(USER, key))
        except BffError as error:
            return error.code

    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(call, number) for number in range(12)]
        world.idp.may_answer.set()
        assert {result.result(30) for result in calls} == {"session_expired"}
    assert len(world.refreshes()) == 1
    assert world.outcomes == ["ended"]
    assert world.ended_sessions == ["refresh_refused"]
    assert world.sessions.find_by_key(key) is None
    assert world.tokens.find(key) is None


def test_an_invalid_grant_for_a_token_that_is_no_longer_stored_ends_nothing(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    worker = world.start_worker()
    stored = world.tokens.find_stored(key)
    assert stored is not None

    def rotate_meanwhile(*_: object) -> tuple[int, dict[str, str], str]:
        newer = replace(stored.tokens, access_token="newer", refresh_token="newer", expires_at=world.now + 300)
        assert world.tokens.save(key, newer, 3600)
        return 400, {}, json.dumps({"error": "invalid_grant"})

    world.idp._give_token = rotate_meanwhile  # type: ignore[method-assign, assignment]
    with world.idp.serve():
        assert worker.get(USER, key) == "newer"
    assert world.sessions.find_by_key(key) is not None


@pytest.mark.parametrize("has_successor", [False, True])
def test_a_session_that_ends_during_the_refresh_stays_ended_and_the_new_tokens_are_revoked(
    world: World, has_successor: bool
) -> None:
    """Unless another login took its place: at many providers both share one grant, and revoking ends it for both."""
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    answer = world.idp._give_token

    def end_meanwhile(request: Any) -> tuple[int, dict[str, str], str]:
        world.sessions.end_by_key(key, has_successor=has_successor)
        return answer(request)

    world.idp._give_token = end_meanwhile  # type: ignore[method-assign]
    with world.idp.serve(), pytest.raises(SessionExpiredError):
        world.start_worker().get(USER, key)
    assert world.tokens.find(key) is None
    assert world.idp.revoked == ([] if has_successor else ["refresh-1"])


def test_a_session_whose_lock_is_never_free_is_refused_and_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    worker = world.start_worker()
    monkeypatch.setattr(worker._refresh, "_lease_seconds", 0.05)
    with world.state.lock(f"refresh-{key}", 1) as hold:
        assert hold
        with pytest.raises(ServiceTokenUnavailableError):
            worker.get(USER, key)
    assert world.idp.forms == []
    assert world.sessions.find_by_key(key) is not None
    assert worker.get(USER, key) == "token-1"


def test_a_grant_is_not_revoked_because_the_store_has_lost_its_session_during_the_refresh(world: World) -> None:
    """As when an empty server takes a failed one's place for a moment: the session may be there again."""
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    answer = world.idp._give_token

    def lose_it_meanwhile(request: Any) -> tuple[int, dict[str, str], str]:
        world.tokens.delete(key)
        return answer(request)

    world.idp._give_token = lose_it_meanwhile  # type: ignore[method-assign]
    with world.idp.serve(), pytest.raises(SessionExpiredError):
        world.start_worker().get(USER, key)
    assert world.idp.revoked == []


def test_a_refresh_that_takes_too_long_is_not_waited_for_and_still_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.may_answer.clear()
    worker = world.start_worker()
    monkeypatch.setattr(worker._refresh, "_lease_seconds", 0.05)
    with pytest.raises(ServiceTokenUnavailableError):
        worker.get(USER, key)
    world.idp.may_answer.set()
    wait_until_stored(world, key, "token-1")


def test_an_answer_to_a_refresh_that_lost_its_turn_overwrites_nothing(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    answer = world.idp._give_token
    newer = replace(world.stored(key), access_token="newer", refresh_token="newer-refresh", expires_at=world.now + 300)

    def be_overtaken(request: Any) -> tuple[int, dict[str, str], str]:
        assert world.tokens.save(key, newer, 3600)
        return answer(request)

    world.idp._give_token = be_overtaken  # type: ignore[method-assign]
    with world.idp.serve(), pytest.raises(ServiceTokenUnavailableError):
        world.start_worker().get(USER, key)
    assert world.stored(key) == newer
