"""Limits end when they say, and a configured address is read as it was meant."""

from __future__ import annotations

import pytest

from app.services.upstream_connection import Origin, WaitLimits, parse_origin


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_wait_ends_at_the_earlier_of_both_limits(clock: Clock) -> None:
    limits = WaitLimits(10.0, 115.0, clock)
    assert limits.get_seconds() == 10.0
    clock.now = 112.0
    assert limits.get_seconds() == 3.0


@pytest.mark.parametrize("now", [115.0, 116.0])
def test_no_wait_begins_after_the_deadline(clock: Clock, now: float) -> None:
    limits = WaitLimits(None, 115.0, clock)
    assert limits.get_seconds() == 15.0
    clock.now = now
    with pytest.raises(TimeoutError):
        limits.get_seconds()


def test_the_last_wait_is_not_prolonged_by_what_comes_in_between(clock: Clock) -> None:
    limits = WaitLimits(10.0, None, clock).begin_last_wait()
    clock.now = 106.0
    assert limits.get_seconds() == 4.0
    clock.now = 110.0
    with pytest.raises(TimeoutError):
        limits.get_seconds()


def test_the_last_wait_ends_with_the_call(clock: Clock) -> None:
    limits = WaitLimits(10.0, 103.0, clock).begin_last_wait()
    assert limits.get_seconds() == 3.0


def test_without_limits_a_wait_has_none(clock: Clock) -> None:
    assert WaitLimits(None, None, clock).begin_last_wait().get_seconds() is None
    assert WaitLimits(10.0, 103.0, clock).without_end().get_seconds() is None


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("http://backend", Origin("http", "backend", 80, "backend")),
        ("http://backend:80/base", Origin("http", "backend", 80, "backend")),
        ("http://backend:8080", Origin("http", "backend", 8080, "backend:8080")),
        ("https://Backend.example/v1", Origin("https", "backend.example", 443, "backend.example")),
        ("https://backend.example:80", Origin("https", "backend.example", 80, "backend.example:80")),
        ("http://[::1]:8080", Origin("http", "::1", 8080, "[::1]:8080")),
        ("http://[2001:db8::1]", Origin("http", "2001:db8::1", 80, "[2001:db8::1]")),
    ],
)
def test_an_origin_is_read_from_a_base_url(base_url: str, origin: Origin) -> None:
    assert parse_origin(base_url) == origin
