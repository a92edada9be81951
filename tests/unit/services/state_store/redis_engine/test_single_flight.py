from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.services.state_store.redis_engine.failures import RedisFailedError
from app.services.state_store.redis_engine.single_flight import SingleFlight
from tests.support.processes import wait_until


class Work:
    """Ends when told to, and counts how often it was begun."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.begun = 0
        self.may_end = threading.Event()
        self._error = error

    def __call__(self) -> int:
        self.begun += 1
        assert self.may_end.wait(30)
        if self._error:
            raise self._error
        return 7


def test_many_that_ask_at_once_get_what_one_found() -> None:
    flight, work = SingleFlight[int](), Work()
    with ThreadPoolExecutor(5) as callers:
        results = [callers.submit(flight.run, work, 30) for _ in range(5)]
        wait_until(lambda: callers._work_queue.empty() and work.begun > 0, timeout_seconds=30, what="all to ask")
        work.may_end.set()
        assert [result.result() for result in results] == [7] * 5
    assert work.begun == 1
    assert flight.run(work, 30) == 7
    assert work.begun == 2


@pytest.mark.parametrize(
    ("error", "seen_by_others"),
    [(RedisFailedError("nobody answers"), "nobody answers"), (SystemExit(), "the lookup was broken off")],
)
def test_those_who_wait_get_the_failure_too(error: BaseException, seen_by_others: str) -> None:
    flight, work = SingleFlight[int](), Work(error)
    with ThreadPoolExecutor(2) as callers:
        first = callers.submit(flight.run, work, 30)
        wait_until(lambda: work.begun == 1, timeout_seconds=30, what="the first to work")
        second = callers.submit(flight.run, work, 30)
        wait_until(callers._work_queue.empty, timeout_seconds=30, what="the second to ask")
        work.may_end.set()
        with pytest.raises(type(error)):
            first.result()
        with pytest.raises((RedisFailedError, SystemExit)) as failure:
            second.result()
    if work.begun == 1:  # else the second came when the first had failed already, and worked itself
        assert str(failure.value) == seen_by_others


def test_who_waits_too_long_is_let_go() -> None:
    flight, work = SingleFlight[int](), Work()
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(flight.run, work, 30)
        wait_until(lambda: work.begun == 1, timeout_seconds=30, what="the first to work")
        with pytest.raises(RedisFailedError, match="in time"):
            flight.run(work, 0.01)
        work.may_end.set()
        assert first.result() == 7
