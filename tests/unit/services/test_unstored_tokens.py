"""Refreshed tokens that the store does not take: kept until it does, and given up with their session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.core.errors import StoreUnavailableError
from app.services import unstored_tokens
from app.services.session_store.keys import build_tombstone_name
from app.services.state_store.file_lock import FOLDER_LOCK_NAME
from app.settings.schema.settings_file import SessionSettings
from tests.support.processes import wait_until
from tests.unit.services.session_tokens_world import LIFETIME_SECONDS, USER, World, world

__all__ = ["world"]


def find_file(world: World, record: str) -> Path:
    return world.state._files._locate(record)


def refuse_writes_once_the_provider_answers(world: World, key: str) -> Path:
    """The session's tokens can be read then, and not replaced; until the folder that is returned is removed."""
    in_the_way = find_file(world, f"tokens:{key}").with_name(FOLDER_LOCK_NAME)
    answer = world.idp._give_token

    def answer_without_store(request: Any) -> tuple[int, dict[str, str], str]:
        in_the_way.unlink(missing_ok=True)
        in_the_way.mkdir()
        return answer(request)

    world.idp._give_token = answer_without_store  # type: ignore[method-assign]
    return in_the_way


def test_a_rotated_token_that_could_not_be_stored_is_stored_once_it_can_be(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    in_the_way = refuse_writes_once_the_provider_answers(world, key)
    worker, other_worker = world.start_worker(), world.start_worker()
    with world.idp.serve(), ThreadPoolExecutor(1) as pool:
        for _ in range(2):  # nobody waits for a store that is away
            with pytest.raises(StoreUnavailableError):
                worker.get(USER, key)
        waiting = pool.submit(other_worker.get, USER, key)
        in_the_way.rmdir()
        assert waiting.result(30) == "token-1", "it waits for its turn, and finds what was stored at last"
    assert world.stored(key).refresh_token == "refresh-1"
    assert len(world.refreshes()) == 1


def test_a_session_that_ended_before_its_tokens_could_be_stored_stays_ended(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    in_the_way = refuse_writes_once_the_provider_answers(world, key)
    with world.idp.serve():
        world.state.put(build_tombstone_name(key), b"", 600)  # the end begins with it, and then removes the records
        with pytest.raises(StoreUnavailableError):
            world.start_worker().get(USER, key)
        find_file(world, f"tokens:{key}").unlink()
        in_the_way.rmdir()
        wait_until(lambda: bool(world.idp.revoked), timeout_seconds=10, what="the new token to be revoked")
    assert world.idp.revoked == ["refresh-1"]
    assert world.tokens.find(key) is None


def test_tokens_that_wait_for_the_store_are_given_up_when_their_session_is_over(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    refuse_writes_once_the_provider_answers(world, key)
    with world.idp.serve(), capture_logs() as lines:
        with pytest.raises(StoreUnavailableError):
            world.start_worker().get(USER, key)
        world.now += SessionSettings().absolute_timeout_seconds
        wait_until(
            lambda: "refresh.tokens_lost" in {line["event"] for line in lines}, timeout_seconds=10, what="the end"
        )
    with world.state.lock(f"refresh-{key}", 10) as hold:
        assert hold


def test_no_more_tokens_wait_for_the_store_than_there_is_room_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstored_tokens, "MOST_KEPT", 0)
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    refuse_writes_once_the_provider_answers(world, key)
    with world.idp.serve(), capture_logs() as lines, pytest.raises(StoreUnavailableError):
        world.start_worker().get(USER, key)
    assert "refresh.tokens_lost" in {line["event"] for line in lines}
    with world.state.lock(f"refresh-{key}", 10) as hold:
        assert hold


def test_a_refresh_whose_answer_could_not_be_kept_is_not_asked_for(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    find_file(world, f"probe:{key}").mkdir()  # the records of the session can still be read
    with pytest.raises(StoreUnavailableError):
        world.start_worker().get(USER, key)
    assert world.idp.forms == []
