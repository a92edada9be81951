"""How many logins one client address may start (attack row L4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.errors import RateLimitedError, StoreUnavailableError
from app.services.login_limits import LoginLimiter, group_address
from app.services.state_store.directory import DirectoryStateStore

NOON = 1_700_000_040.0  # 0 seconds into a minute


class FakeClock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def build_limiter(directory: Path, clock: FakeClock, rate: str = "3/minute") -> LoginLimiter:
    return LoginLimiter(DirectoryStateStore(directory / "state", clock), rate, clock=clock)


def test_one_too_many_is_refused_and_told_when_to_come_back(tmp_path: Path, clock: FakeClock) -> None:
    limiter = build_limiter(tmp_path, clock)
    clock.now = NOON + 20
    for _ in range(3):
        limiter.check("192.0.2.1")
    with pytest.raises(RateLimitedError) as caught:
        limiter.check("192.0.2.1")
    assert caught.value.headers == (("Retry-After", "40"),)


def test_the_next_window_begins_anew(tmp_path: Path, clock: FakeClock) -> None:
    limiter = build_limiter(tmp_path, clock, "1/minute")
    limiter.check("192.0.2.1")
    with pytest.raises(RateLimitedError):
        limiter.check("192.0.2.1")
    clock.now = NOON + 60
    limiter.check("192.0.2.1")


def test_one_address_does_not_count_against_another(tmp_path: Path, clock: FakeClock) -> None:
    limiter = build_limiter(tmp_path, clock, "1/minute")
    limiter.check("192.0.2.1")
    limiter.check("192.0.2.2")


def test_workers_count_together(tmp_path: Path, clock: FakeClock) -> None:
    build_limiter(tmp_path, clock, "1/minute").check("192.0.2.1")
    with pytest.raises(RateLimitedError):
        build_limiter(tmp_path, clock, "1/minute").check("192.0.2.1")


def test_without_a_rate_nothing_is_counted(tmp_path: Path, clock: FakeClock) -> None:
    limiter = build_limiter(tmp_path, clock, "")
    for _ in range(50):
        limiter.check("192.0.2.1")


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
    limiter = build_limiter(tmp_path, clock)
    state = tmp_path / "state"
    state.rename(tmp_path / "gone")
    state.write_text("not a directory")
    with pytest.raises(StoreUnavailableError):
        limiter.check("192.0.2.1")
