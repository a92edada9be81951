"""How many bad logout tokens one address may send."""

from __future__ import annotations

import pytest

from app.core.errors import RateLimitedError
from app.services.logout_refusals import MOST_ADDRESSES, MOST_REFUSALS, WINDOW_SECONDS, LogoutRefusals


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.refusals = LogoutRefusals(monotonic=lambda: self.now)

    def note(self, address: str, times: int = MOST_REFUSALS) -> None:
        for _ in range(times):
            self.refusals.note(address)


def test_one_too_many_is_refused_and_told_when_to_come_back() -> None:
    world = World()
    world.note("192.0.2.1", MOST_REFUSALS - 1)
    world.refusals.check("192.0.2.1")
    world.now += 20
    world.note("192.0.2.1", 1)
    with pytest.raises(RateLimitedError) as caught:
        world.refusals.check("192.0.2.1")
    assert caught.value.headers == (("Retry-After", "40"),)


def test_good_tokens_are_never_too_many() -> None:
    world = World()
    for _ in range(10 * MOST_REFUSALS):
        world.refusals.check("192.0.2.1")


def test_the_next_window_begins_anew() -> None:
    world = World()
    world.note("192.0.2.1")
    world.now += WINDOW_SECONDS
    world.refusals.check("192.0.2.1")
    world.note("192.0.2.1", 1)
    world.refusals.check("192.0.2.1")


def test_one_address_does_not_count_against_another() -> None:
    world = World()
    world.note("192.0.2.1")
    world.refusals.check("192.0.2.2")


def test_an_ipv6_network_counts_as_one_address() -> None:
    world = World()
    world.note("2001:db8:1:2::9")
    with pytest.raises(RateLimitedError):
        world.refusals.check("2001:db8:1:2::10")


def test_addresses_without_end_take_no_memory_without_end() -> None:
    world = World()
    for number in range(MOST_ADDRESSES + MOST_REFUSALS):
        world.refusals.note(f"10.0.{number // 256}.{number % 256}")
    assert len(world.refusals._counts) <= MOST_ADDRESSES + 1
    world.refusals.check("10.0.0.1")
    with pytest.raises(RateLimitedError):
        world.refusals.check("192.0.2.1")
