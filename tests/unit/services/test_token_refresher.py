"""The background renews what is due, once each, without running anybody over."""

from __future__ import annotations

import itertools
import threading

from tests.unit.services.refresher_world import LEASE_SECONDS, LIFETIME_SECONDS, PATIENCE_SECONDS, World, look, world

__all__ = ["world"]


# What is renewed


def test_tokens_are_renewed_when_they_are_due_and_not_before(world: World) -> None:
    worker = world.start_worker()
    world.log_in(1)
    look(worker)
    assert world.grants.attempts.total() == 0
    world.make_all_due()
    look(worker)
    assert world.grants.renewals == {"m0": 1}
    look(worker)
    assert world.grants.attempts.total() == 1


def test_renewed_tokens_are_renewed_again_when_they_are_due_again(world: World) -> None:
    worker = world.start_worker()
    world.log_in(3)
    for _ in range(4):
        world.make_all_due()
        look(worker)
    assert world.grants.renewals == {"m0": 4, "m1": 4, "m2": 4}
    assert world.grants.renewed_too_late == 0
    assert world.outcomes == {"done": 12}


def test_what_others_renewed_meanwhile_is_left_for_its_next_time(world: World) -> None:
    worker = world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants._expires_at["m0"] = world.clock.now + LIFETIME_SECONDS
    look(worker)
    assert world.grants.renewals.total() == 0
    world.make_all_due()
    look(worker)
    assert world.grants.renewals == {"m0": 1}


def test_a_session_with_nothing_left_to_renew_is_dropped(world: World) -> None:
    worker = world.start_worker()
    world.log_in(1)
    world.grants.ended.add("m0")
    for _ in range(3):
        world.make_all_due()
        look(worker)
    assert world.grants.attempts == {"m0": 1}
    assert world.outcomes == {"dropped": 1}


def test_a_session_that_nobody_uses_any_more_is_dropped_without_a_renewal(world: World) -> None:
    worker = world.start_worker()
    world.log_in(2)
    world.worthless.add("m0")
    for _ in range(3):
        world.make_all_due()
        look(worker)
    assert world.grants.attempts == {"m1": 3}
    assert world.outcomes == {"dropped": 1, "done": 3}


# Several workers


def test_two_workers_renew_two_thousand_that_are_due_at_once_each_once(world: World) -> None:
    workers = [world.start_worker(), world.start_worker()]
    members = world.log_in(2000)
    world.make_all_due()
    look(*workers)
    assert world.grants.renewals == dict.fromkeys(members, 1)
    assert world.grants.attempts.total() == 2000
    assert world.grants.renewed_too_late == 0


def test_what_a_worker_that_stands_still_has_claimed_is_renewed_by_another(world: World) -> None:
    stands_still = threading.Event()
    goes_on = threading.Event()

    def stand_still(member: str) -> None:
        world.grants.on_renewal = lambda member: None
        stands_still.set()
        assert goes_on.wait(PATIENCE_SECONDS)

    first, second = world.start_worker(), world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants.on_renewal = stand_still
    first.look()
    assert stands_still.wait(PATIENCE_SECONDS)
    look(second)
    assert world.grants.attempts == {"m0": 1}
    world.clock.now += LEASE_SECONDS
    look(second)
    assert world.grants.renewals == {"m0": 1}
    goes_on.set()
    assert first.wait_until_idle(PATIENCE_SECONDS)
    assert world.grants.renewals == {"m0": 1}
    world.make_all_due()
    look(first, second)
    assert world.grants.renewals == {"m0": 2}
    assert world.grants.attempts == {"m0": 3}


# How many at once


def test_a_renewal_that_takes_long_does_not_hold_up_the_others(world: World) -> None:
    goes_on = threading.Event()

    def hang(member: str) -> None:
        if member in ("m0", "m1", "m2", "m3"):
            assert goes_on.wait(PATIENCE_SECONDS)

    worker = world.start_worker(concurrency=8)
    members = world.log_in(100)
    world.make_all_due()
    world.grants.on_renewal = hang
    worker.look()
    assert not worker.wait_until_idle(0)
    goes_on.set()
    assert worker.wait_until_idle(PATIENCE_SECONDS)
    assert world.grants.renewals == dict.fromkeys(members, 1)


def test_no_more_are_claimed_than_may_run_beside_each_other(world: World) -> None:
    """Of the first four two go through; the two that follow them hang with the others."""
    goes_on, hanging, order = threading.Event(), threading.Semaphore(0), itertools.count()

    def hang(member: str) -> None:
        if next(order) not in (2, 3):
            hanging.release()
            assert goes_on.wait(PATIENCE_SECONDS)

    worker = world.start_worker(concurrency=4)
    world.log_in(20)
    world.make_all_due()
    world.grants.on_renewal = hang
    looking = threading.Thread(target=worker.look)
    looking.start()
    for _ in range(4):
        assert hanging.acquire(timeout=PATIENCE_SECONDS)
    assert len(world.agenda.claim(100)) == 14
    goes_on.set()
    looking.join(PATIENCE_SECONDS)
    assert not looking.is_alive()
    assert worker.wait_until_idle(PATIENCE_SECONDS)
    assert world.grants.attempts.total() == 6
    assert world.grants.most_at_once == 4
