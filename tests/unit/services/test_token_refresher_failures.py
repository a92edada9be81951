"""Renewals in the background that fail are tried again later, and keep no others waiting."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from app.core.errors import BffError, IdpUnavailableError, ServiceTokenUnavailableError, StoreUnavailableError
from tests.unit.services.refresher_world import World, look, world

__all__ = ["world"]


@pytest.mark.parametrize("error_type", [IdpUnavailableError, ServiceTokenUnavailableError, StoreUnavailableError])
def test_a_renewal_that_failed_is_tried_again_later(world: World, error_type: type[BffError]) -> None:
    worker = world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants.failures["m0"] = error_type(internal_reason="away")
    with capture_logs() as lines:
        look(worker)
        look(worker)
    assert world.grants.attempts == {"m0": 1}
    assert [(line["event"], line["reason"]) for line in lines] == [("token_refresh.failed", "away")]
    del world.grants.failures["m0"]
    world.clock.now += 5
    look(worker)
    assert world.grants.renewals == {"m0": 1}
    assert world.grants.renewed_too_late == 0
    assert world.outcomes == {"failed": 1, "done": 1}


def test_a_session_that_fails_again_and_again_is_tried_less_and_less(world: World) -> None:
    worker = world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants.failures["m0"] = ServiceTokenUnavailableError()
    tries = []
    for _ in range(60):
        before = world.grants.attempts.total()
        for _ in range(60):
            world.clock.now += 1
            look(worker)
        tries.append(world.grants.attempts.total() - before)
    assert 3 <= tries[0] <= 7
    assert max(tries[20:]) <= 1
    assert sum(tries[20:]) >= 8


def test_a_provider_that_fails_for_all_is_left_alone_until_the_next_look(world: World) -> None:
    worker = world.start_worker(concurrency=8)
    members = world.log_in(200)
    world.make_all_due()
    world.grants.failure_of_all = IdpUnavailableError(internal_reason="refused")
    with capture_logs() as lines:
        look(worker)
    tried_first = world.grants.attempts.total()
    assert 8 <= tried_first <= 16
    assert len(lines) <= 8, "one line for each of those that failed at the same moment, at most"
    look(worker)
    assert tried_first < world.grants.attempts.total() <= tried_first + 16
    world.grants.failure_of_all = None
    world.clock.now += 10
    look(worker)
    assert world.grants.renewals == dict.fromkeys(members, 1)
    assert world.grants.renewed_too_late == 0


def test_some_that_fail_do_not_keep_the_others_waiting(world: World) -> None:
    worker = world.start_worker(concurrency=8)
    members = world.log_in(300)
    world.grants.failures = {member: ServiceTokenUnavailableError() for member in members[:300:10]}
    world.make_all_due()
    look(worker)
    assert world.grants.renewals == dict.fromkeys((set(members) - set(world.grants.failures)), 1)


def test_a_renewal_that_crashes_is_told_and_tried_again_later(world: World) -> None:
    worker = world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants.failures["m0"] = KeyError("what nobody thought of")
    with capture_logs() as lines:
        look(worker)
    assert [(line["event"], line["error_type"]) for line in lines] == [("token_refresh.crashed", "KeyError")]
    del world.grants.failures["m0"]
    world.clock.now += 5
    look(worker)
    assert world.grants.renewals == {"m0": 1}


def test_a_look_without_the_store_is_told_and_the_next_one_finds_all(world: World) -> None:
    agenda, store = world._open()
    worker = world._build(agenda, 8, None)
    world.log_in(3)
    world.make_all_due()
    store.is_away = True
    with capture_logs() as lines:
        look(worker)
    assert [(line["event"], line["reason"]) for line in lines] == [("token_refresh.look_failed", "away")]
    store.is_away = False
    look(worker)
    assert world.grants.renewals.total() == 3
