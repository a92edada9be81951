"""Limits on calls: per address over all routes, per caller on one; and a store that is down neither opens nor shuts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app.core.errors import RateLimitedError, StoreUnavailableError
from app.core.identity import Identity
from app.core.routes import Route
from app.services.call_limits import ALONE_SECONDS, CallLimits
from app.services.state_store.directory import DirectoryStateStore
from tests.unit.core.builders import build_route

NOON = 1_700_000_040.0  # 0 seconds into a minute
HERE, THERE = "192.0.2.1", "192.0.2.2"


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


class Store(DirectoryStateStore):
    is_down = False
    asked = 0

    def increment(self, key: str, lifetime_seconds: float) -> int:
        self.asked += 1
        if self.is_down:
            raise StoreUnavailableError(internal_reason="down for the test")
        return super().increment(key, lifetime_seconds)


class World:
    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.store = Store(directory / "state", self.clock)
        self.store_errors = 0
        limited = dataclasses.replace(build_route("/limited/*"), id="limited", rate_limit="2/minute")
        also = dataclasses.replace(build_route("/also/*"), id="also", rate_limit="2/minute")
        self.limited, self.also = limited, also
        self.free = dataclasses.replace(build_route("/free/*"), id="free")

    def build(self, per_address: str = "") -> CallLimits:
        """What one worker has."""

        def count_store_error() -> None:
            self.store_errors += 1

        return CallLimits(
            self.store,
            per_address=per_address,
            routes=[self.limited, self.also, self.free],
            clock=self.clock,
            count_store_error=count_store_error,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def build_identity(session: str = "", user: str = "alice", provider: str = "op") -> Identity:
    return Identity(user, user, provider, session, {})


def count_passed(limits: CallLimits, route: Route, address: str, identity: Identity | None, calls: int = 5) -> int:
    passed = 0
    for _ in range(calls):
        try:
            limits.check(route, address, identity)
        except RateLimitedError:
            continue
        passed += 1
    return passed


def test_a_session_is_held_to_the_limit_of_a_route_wherever_it_comes_from(world: World) -> None:
    limits, session = world.build(), build_identity("session-1")
    assert count_passed(limits, world.limited, HERE, session, calls=2) == 2
    with pytest.raises(RateLimitedError) as refusal:
        limits.check(world.limited, THERE, session)
    assert refusal.value.headers == (("Retry-After", "60"),)


def test_limits_do_not_count_for_each_other(world: World) -> None:
    limits = world.build()
    assert count_passed(limits, world.limited, HERE, build_identity("session-1")) == 2
    assert count_passed(limits, world.limited, HERE, build_identity("session-2")) == 2
    assert count_passed(limits, world.also, HERE, build_identity("session-1")) == 2
    assert count_passed(limits, world.free, HERE, build_identity("session-1")) == 5


def test_with_a_bearer_token_it_is_the_user_who_counts_and_without_anybody_the_address(world: World) -> None:
    limits = world.build()
    assert count_passed(limits, world.limited, HERE, build_identity()) == 2
    assert count_passed(limits, world.limited, THERE, build_identity()) == 0
    assert count_passed(limits, world.limited, HERE, build_identity(provider="another")) == 2
    assert count_passed(limits, world.limited, HERE, None) == 2
    assert count_passed(limits, world.limited, THERE, None) == 2


def test_an_address_is_held_to_its_limit_over_all_routes(world: World) -> None:
    limits = world.build("3/minute")
    assert count_passed(limits, world.free, "2001:db8::1", build_identity("session-1"), calls=2) == 2
    assert count_passed(limits, world.free, "2001:db8::2", build_identity("session-2")) == 1
    assert count_passed(limits, world.free, HERE, None) == 3


def test_workers_count_together(world: World) -> None:
    session = build_identity("session-1")
    assert count_passed(world.build(), world.limited, HERE, session) == 2
    assert count_passed(world.build(), world.limited, HERE, session) == 0


def test_while_the_store_is_down_each_worker_counts_alone(world: World) -> None:
    limits, session = world.build(), build_identity("session-1")
    world.store.is_down = True
    assert count_passed(limits, world.limited, HERE, session) == 2
    assert count_passed(limits, world.limited, HERE, build_identity("session-2")) == 2
    assert world.store.asked == world.store_errors == 1, "asked once, and then left alone for a while"
    world.store.is_down = False
    world.clock.now += ALONE_SECONDS
    assert count_passed(limits, world.limited, HERE, build_identity("session-3")) == 2
    assert world.store.asked > 1


def test_where_nothing_is_limited_nobody_has_to_ask(world: World) -> None:
    assert world.build().limits_anybody
    unlimited = CallLimits(
        world.store, per_address="", routes=[world.free], clock=world.clock, count_store_error=lambda: None
    )
    assert not unlimited.limits_anybody
