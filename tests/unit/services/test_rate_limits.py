"""How many of something somebody may do in a time; first of all logins of one client address (attack row L4)."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from app.core.errors import RateLimitedError, StoreUnavailableError
from app.services import rate_limits
from app.services.rate_limits import LocalLimitStorage, RateLimit, build_login_limit, group_address
from app.services.state_store.directory import DirectoryStateStore

NOON = 1_700_000_040.0  # 0 seconds into a minute


class FakeClock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def build_limit(directory: Path, clock: FakeClock, rate: str = "3/minute") -> RateLimit:
    limit = build_login_limit(DirectoryStateStore(directory / "state", clock), rate, clock=clock)
    assert limit is not None
    return limit


def test_one_too_many_is_refused_and_told_when_to_come_back(tmp_path: Path, clock: FakeClock) -> None:
    limit = build_limit(tmp_path, clock)
    clock.now = NOON + 20
    for _ in range(3):
        limit.check("192.0.2.1")
    for _ in range(2):
        with pytest.raises(RateLimitedError) as caught:
            limit.check("192.0.2.1")
        assert caught.value.headers == (("Retry-After", "40"),)


def test_the_next_window_begins_anew(tmp_path: Path, clock: FakeClock) -> None:
    limit = build_limit(tmp_path, clock, "1/minute")
    limit.check("192.0.2.1")
    with pytest.raises(RateLimitedError):
        limit.check("192.0.2.1")
    clock.now = NOON + 60
    limit.check("192.0.2.1")


def test_one_address_does_not_count_against_another(tmp_path: Path, clock: FakeClock) -> None:
    limit = build_limit(tmp_path, clock, "1/minute")
    limit.check("192.0.2.1")
    limit.check("192.0.2.2")


def test_workers_count_together(tmp_path: Path, clock: FakeClock) -> None:
    build_limit(tmp_path, clock, "1/minute").check("192.0.2.1")
    with pytest.raises(RateLimitedError):
        build_limit(tmp_path, clock, "1/minute").check("192.0.2.1")


def test_who_is_over_the_limit_costs_the_store_nothing_more(tmp_path: Path, clock: FakeClock) -> None:
    counted: list[str] = []

    class CountingStore(DirectoryStateStore):
        def increment(self, key: str, lifetime_seconds: float) -> int:
            counted.append(key)
            return super().increment(key, lifetime_seconds)

    limit = build_login_limit(CountingStore(tmp_path / "state", clock), "2/minute", clock=clock)
    assert limit is not None
    for _ in range(20):
        with contextlib.suppress(RateLimitedError):
            limit.check("192.0.2.1")
    assert len(counted) == 3


def test_without_a_rate_there_is_no_limit(tmp_path: Path, clock: FakeClock) -> None:
    assert build_login_limit(DirectoryStateStore(tmp_path / "state", clock), "", clock=clock) is None


def test_what_is_remembered_of_floods_is_bounded(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "_MOST_REFUSED", 10)
    monkeypatch.setattr(rate_limits, "_MOST_LOCAL_COUNTS", 10)
    storage = LocalLimitStorage(clock)
    limit = RateLimit(storage, "1/minute", name="x", refusal="no", clock=clock)
    for number in range(100):
        limit.check(str(number))
        with pytest.raises(RateLimitedError):
            limit.check(str(number))
    assert len(storage._counts) == len(limit._refused) == 10


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str, group: str) -> None:
    assert group_address(address) == group


def test_a_store_that_is_down_is_said_to_be_down(tmp_path: Path, clock: FakeClock) -> None:
    limit = build_limit(tmp_path, clock)
    state = tmp_path / "state"
    state.rename(tmp_path / "gone")
    state.write_text("not a directory")
    with pytest.raises(StoreUnavailableError):
        limit.check("192.0.2.1")
