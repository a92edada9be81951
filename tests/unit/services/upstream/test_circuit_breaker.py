"""The breaker opens after failures in a row, lets one trial through, and believes the trial only."""

from __future__ import annotations

import pytest

from app.core.errors import CircuitOpenError
from app.services.circuit_breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(failures=3, reset_seconds=30, monotonic=clock)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.fail(breaker.admit())


def test_failures_in_a_row_open_the_circuit(breaker: CircuitBreaker) -> None:
    fail(breaker, 3)
    with pytest.raises(CircuitOpenError):
        breaker.admit()


def test_a_success_between_failures_starts_the_count_anew(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.succeed(breaker.admit())
    fail(breaker, 2)
    assert breaker.admit() is False


def test_a_refusal_says_when_to_come_back(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 12.5
    with pytest.raises(CircuitOpenError) as refusal:
        breaker.admit()
    assert refusal.value.headers == (("Retry-After", "18"),)


def test_only_one_trial_passes_after_the_reset_time(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    assert breaker.admit() is True
    with pytest.raises(CircuitOpenError) as refusal:
        breaker.admit()
    assert refusal.value.headers == (("Retry-After", "1"),)


def test_a_trial_that_succeeds_closes_the_circuit(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    breaker.succeed(breaker.admit())
    assert breaker.admit() is False
    fail(breaker, 2)
    assert breaker.admit() is False


def test_a_trial_that_fails_keeps_it_open_for_another_reset_time(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    breaker.fail(breaker.admit())
    clock.now += 29
    with pytest.raises(CircuitOpenError):
        breaker.admit()
    clock.now += 1
    assert breaker.admit() is True


def test_an_abandoned_trial_leaves_room_for_another(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    breaker.abandon(breaker.admit())
    assert breaker.admit() is True


def test_calls_from_before_do_not_decide_an_open_circuit(breaker: CircuitBreaker, clock: Clock) -> None:
    earlier, also_earlier = breaker.admit(), breaker.admit()
    fail(breaker, 3)
    breaker.succeed(earlier)
    clock.now += 29
    breaker.fail(also_earlier)
    with pytest.raises(CircuitOpenError):
        breaker.admit()
    clock.now += 1
    assert breaker.admit() is True


def test_zero_failures_switch_it_off(clock: Clock) -> None:
    breaker = CircuitBreaker(failures=0, reset_seconds=30, monotonic=clock)
    fail(breaker, 100)
    assert breaker.admit() is False
