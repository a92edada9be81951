"""The background looks by itself, whatever crashes, and ends when it is told."""

from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from app.services.state_store import Claim
from tests.unit.services.refresher_world import PATIENCE_SECONDS, World, world

__all__ = ["world"]


def test_once_started_it_looks_by_itself_until_it_is_stopped(world: World) -> None:
    renewed = threading.Semaphore(0)
    worker = world.start_worker_in_haste()
    world.log_in(2)
    world.grants.on_renewal = lambda member: renewed.release()
    looking = worker.start()
    for _ in range(2):
        world.make_all_due()
        for _ in range(2):
            assert renewed.acquire(timeout=PATIENCE_SECONDS)
        assert worker.wait_until_idle(PATIENCE_SECONDS)
    assert worker.stop(PATIENCE_SECONDS)
    assert not looking.is_alive()
    world.make_all_due()
    assert len(world.agenda.claim(10)) == 2
    assert world.grants.renewals == {"m0": 2, "m1": 2}


def test_a_look_that_crashes_does_not_end_the_looking(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = threading.Event()
    worker = world.start_worker_in_haste()
    original = worker.look

    def crash() -> None:
        monkeypatch.setattr(worker, "look", original)
        raise KeyError("what nobody thought of")

    monkeypatch.setattr(worker, "look", crash)
    world.log_in(1)
    world.make_all_due()
    world.grants.on_renewal = lambda member: renewed.set()
    with capture_logs() as lines:
        worker.start()
        assert renewed.wait(PATIENCE_SECONDS)
    assert worker.stop(PATIENCE_SECONDS)
    assert [line["event"] for line in lines] == ["token_refresh.look_crashed"]


def test_a_stop_waits_for_what_is_under_way_and_begins_nothing_more(world: World) -> None:
    is_under_way, goes_on = threading.Semaphore(0), threading.Event()

    def hang(member: str) -> None:
        is_under_way.release()
        assert goes_on.wait(PATIENCE_SECONDS)

    worker = world.start_worker(concurrency=2)
    world.log_in(10)
    world.make_all_due()
    world.grants.on_renewal = hang
    looking = threading.Thread(target=worker.look)
    looking.start()
    for _ in range(2):
        assert is_under_way.acquire(timeout=PATIENCE_SECONDS)
    ends: list[bool] = []
    stopping = threading.Thread(target=lambda: ends.append(worker.stop(PATIENCE_SECONDS)))
    stopping.start()
    looking.join(PATIENCE_SECONDS)
    assert not looking.is_alive()
    assert ends == []
    goes_on.set()
    stopping.join(PATIENCE_SECONDS)
    assert ends == [True]
    assert world.grants.renewals.total() == world.grants.attempts.total() == 2
    assert len(world.agenda.claim(100)) == 8


def test_a_stop_does_not_wait_longer_than_it_may(world: World) -> None:
    goes_on, is_under_way = threading.Event(), threading.Event()

    def hang(member: str) -> None:
        is_under_way.set()
        assert goes_on.wait(PATIENCE_SECONDS)

    worker = world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants.on_renewal = hang
    worker.look()
    assert is_under_way.wait(PATIENCE_SECONDS)
    assert worker.stop(0.01) is False
    goes_on.set()
    assert worker.wait_until_idle(PATIENCE_SECONDS)


def test_what_was_claimed_while_it_was_told_to_stop_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    agenda, store = world._open()
    worker = world._build(agenda, 8, None)
    original = store.claim_due

    def claim_and_be_stopped(name: str, *, limit: int, lease_seconds: float) -> tuple[Claim, ...]:
        claims = original(name, limit=limit, lease_seconds=lease_seconds)
        assert worker.stop(0)
        return claims

    monkeypatch.setattr(store, "claim_due", claim_and_be_stopped)
    world.log_in(3)
    world.make_all_due()
    worker.look()
    assert worker.wait_until_idle(PATIENCE_SECONDS)
    assert world.grants.attempts.total() == 0
    assert len(world.agenda.claim(10)) == 3
