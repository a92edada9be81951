"""Each look of the background renews the service tokens as well, beside the users'."""

from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from app.core.errors import ServiceTokenUnavailableError
from tests.unit.services.refresher_world import PATIENCE_SECONDS, World, look, world

__all__ = ["world"]


def test_each_look_renews_the_service_tokens_as_well(world: World) -> None:
    times: list[None] = []
    worker = world.start_worker(renew_service_tokens=lambda: times.append(None))
    look(worker)
    look(worker)
    assert len(times) == 2


def test_service_tokens_that_take_long_hold_up_nothing_and_are_not_asked_for_twice(world: World) -> None:
    times = threading.Semaphore(0)
    goes_on = threading.Event()

    def hang() -> None:
        times.release()
        assert goes_on.wait(PATIENCE_SECONDS)

    worker = world.start_worker(renew_service_tokens=hang, concurrency=1)
    world.log_in(5)
    world.make_all_due()
    worker.look()
    worker.look()
    assert not worker.wait_until_idle(0)
    goes_on.set()
    assert worker.stop(PATIENCE_SECONDS)
    assert world.grants.renewals.total() == 5
    assert times.acquire(blocking=False)
    assert not times.acquire(blocking=False)


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (ServiceTokenUnavailableError(internal_reason="away"), "service_tokens.not_renewed"),
        (KeyError("what nobody thought of"), "service_tokens.crashed"),
    ],
)
def test_service_tokens_that_cannot_be_had_are_told_and_tried_again(world: World, error: Exception, event: str) -> None:
    def fail() -> None:
        raise error

    worker = world.start_worker(renew_service_tokens=fail)
    with capture_logs() as lines:
        look(worker)
        look(worker)
    assert [line["event"] for line in lines] == [event, event]
