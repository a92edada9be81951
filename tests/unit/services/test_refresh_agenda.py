"""When renewals are put down for: spread out, put off after failures, and always before the token is over."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.core.errors import StoreUnavailableError
from app.services.refresh_agenda import LONGEST_BACK_OFF_SECONDS, RefreshAgenda
from app.services.state_store import Claim
from app.services.state_store.directory import DirectoryStateStore

SESSION = "a" * 64
AHEAD_SECONDS, INTERVAL_SECONDS, LEASE_SECONDS = 60, 30, 45


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class BreakableStore(DirectoryStateStore):
    """The directory engine, with a switch for a disk that does not answer."""

    is_away = False

    def schedule(self, agenda: str, member: str, delay_seconds: float) -> None:
        self._require()
        super().schedule(agenda, member, delay_seconds)

    def settle(self, agenda: str, claim: Claim, *, again_in_seconds: float | None = None) -> None:
        self._require()
        super().settle(agenda, claim, again_in_seconds=again_in_seconds)

    def _require(self) -> None:
        if self.is_away:
            raise StoreUnavailableError(internal_reason="away")


def choose_least(least: float, most: float) -> float:
    return least


def choose_most(least: float, most: float) -> float:
    return most


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(tmp_path: Path, clock: Clock) -> BreakableStore:
    return BreakableStore(tmp_path / "state", clock)


def build(state: BreakableStore, clock: Clock, **changes: float) -> RefreshAgenda:
    """One that spreads as far as it may."""
    times = {
        "refresh_ahead_seconds": AHEAD_SECONDS,
        "interval_seconds": INTERVAL_SECONDS,
        "lease_seconds": LEASE_SECONDS,
        **changes,
    }
    return RefreshAgenda(state, clock=clock, choose=choose_most, **times)


def find_due(agenda: RefreshAgenda, clock: Clock, within_seconds: int = 1000) -> tuple[int, Claim] | None:
    """Lets the time pass second by second until the session can be claimed."""
    for seconds in range(within_seconds):
        if claims := agenda.claim(1):
            return seconds, claims[0]
        clock.now += 1
    return None


def claim_when_due(agenda: RefreshAgenda, clock: Clock) -> tuple[int, Claim]:
    found = find_due(agenda, clock)
    assert found is not None
    return found


# Spread


def test_a_session_is_due_when_its_tokens_ask_for_it_or_a_little_later(state: BreakableStore, clock: Clock) -> None:
    agenda = build(state, clock)
    agenda.schedule(SESSION, clock.now + 240)
    waited, _ = claim_when_due(agenda, clock)
    assert waited == 240 + AHEAD_SECONDS / 4


def test_sessions_that_logged_in_together_are_not_due_together(state: BreakableStore, clock: Clock) -> None:
    agenda = RefreshAgenda(
        state,
        refresh_ahead_seconds=AHEAD_SECONDS,
        interval_seconds=INTERVAL_SECONDS,
        lease_seconds=LEASE_SECONDS,
        clock=clock,
    )
    for number in range(300):
        agenda.schedule(f"m{number}", clock.now + 240)
    clock.now += 240
    dues = []
    for _ in range(AHEAD_SECONDS // 4 + 1):
        dues.append(len(agenda.claim(1000)))
        clock.now += 1
    assert sum(dues) == 300
    assert max(dues) < 100


@pytest.mark.parametrize(
    ("lifetime_seconds", "ahead_seconds", "interval_seconds"),
    [
        (6, 3, 30),
        (60, 60, 30),
        (300, 60, 1),
        (300, 60, 30),
        (300, 60, 3600),
        (3600, 300, 30),
        (36_000, 3600, 30),
        (36_000, 3600, 3600),
    ],
)
def test_the_latest_look_still_comes_before_the_token_is_over(
    state: BreakableStore, clock: Clock, lifetime_seconds: int, ahead_seconds: int, interval_seconds: int
) -> None:
    """Whatever chance chooses. Tokens that live no longer than twice the time ahead are due at half their life."""
    agenda = build(state, clock, interval_seconds=interval_seconds, refresh_ahead_seconds=ahead_seconds)
    expires_at = clock.now + lifetime_seconds
    agenda.schedule(SESSION, expires_at - min(ahead_seconds, lifetime_seconds / 2))
    clock.now = expires_at - 0.001 - agenda.choose_pause()
    assert agenda.claim(1), "a look just before this one could have missed it, this one must not"


def test_pauses_differ_and_are_no_longer_than_the_interval(state: BreakableStore, clock: Clock) -> None:
    assert build(state, clock, interval_seconds=5).choose_pause() == 5
    assert build(state, clock, refresh_ahead_seconds=0).choose_pause() == INTERVAL_SECONDS
    least = RefreshAgenda(
        state, refresh_ahead_seconds=60, interval_seconds=5, lease_seconds=1, clock=clock, choose=choose_least
    )
    assert least.choose_pause() == 2.5


def test_what_is_due_again_at_once_still_waits_for_a_moment(state: BreakableStore, clock: Clock) -> None:
    """Else tokens that live for a second would keep the worker and the provider busy with nothing else."""
    agenda = build(state, clock)
    agenda.schedule(SESSION, clock.now - 10)
    assert agenda.claim(1) == ()
    clock.now += 1
    (claim,) = agenda.claim(1)
    agenda.settle(claim, clock.now - 10)
    assert agenda.claim(1) == ()


# What becomes of a claim


def test_a_settled_session_is_due_again_when_its_tokens_ask_for_it(state: BreakableStore, clock: Clock) -> None:
    agenda = build(state, clock)
    agenda.schedule(SESSION, clock.now)
    _, claim = claim_when_due(agenda, clock)
    agenda.settle(claim, clock.now + 200)
    waited, claim = claim_when_due(agenda, clock)
    assert waited == 200 + AHEAD_SECONDS / 4
    agenda.settle(claim, None)
    assert find_due(agenda, clock) is None


def test_after_each_failure_a_session_waits_twice_as_long_up_to_a_limit(state: BreakableStore, clock: Clock) -> None:
    agenda = build(state, clock)
    agenda.schedule(SESSION, clock.now)
    _, claim = claim_when_due(agenda, clock)
    waits = []
    for _ in range(9):
        agenda.postpone(claim)
        waited, claim = claim_when_due(agenda, clock)
        waits.append(waited)
    assert waits == [5, 10, 20, 40, 80, 160, LONGEST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS, 300]


def test_a_success_ends_a_row_of_failures(state: BreakableStore, clock: Clock) -> None:
    agenda = build(state, clock)
    agenda.schedule(SESSION, clock.now)
    for _ in range(4):
        _, claim = claim_when_due(agenda, clock)
        agenda.postpone(claim)
    _, claim = claim_when_due(agenda, clock)
    agenda.settle(claim, clock.now + 1)
    _, claim = claim_when_due(agenda, clock)
    agenda.postpone(claim)
    waited, _ = claim_when_due(agenda, clock)
    assert waited == 5


def test_sessions_that_failed_together_do_not_come_back_together(state: BreakableStore, clock: Clock) -> None:
    least = RefreshAgenda(
        state, refresh_ahead_seconds=60, interval_seconds=30, lease_seconds=45, clock=clock, choose=choose_least
    )
    least.schedule(SESSION, clock.now)
    _, claim = claim_when_due(least, clock)
    least.postpone(claim)
    waited, _ = claim_when_due(least, clock)
    assert waited == 3, "half of the five seconds that it can be at most"


def test_what_was_given_back_is_due_at_once(state: BreakableStore, clock: Clock) -> None:
    agenda = build(state, clock)
    agenda.schedule(SESSION, clock.now)
    _, claim = claim_when_due(agenda, clock)
    agenda.give_back(claim)
    assert agenda.claim(1)


# A store that is away


def test_a_session_that_cannot_be_put_down_fails_nobody_and_is_said_once(state: BreakableStore, clock: Clock) -> None:
    agenda = build(state, clock)
    state.is_away = True
    with capture_logs() as lines:
        for number in range(5):
            agenda.schedule(f"m{number}", clock.now)
        clock.now += 61
        agenda.schedule("m5", clock.now)
    assert [(line["event"], line["reason"]) for line in lines] == [("token_refresh.not_scheduled", "away")] * 2


def test_what_could_not_be_settled_is_due_again_after_the_lease(state: BreakableStore, clock: Clock) -> None:
    agenda = build(state, clock)
    agenda.schedule(SESSION, clock.now)
    _, claim = claim_when_due(agenda, clock)
    state.is_away = True
    with capture_logs() as lines:
        agenda.settle(claim, None)
    assert [line["event"] for line in lines] == ["token_refresh.not_settled"]
    state.is_away = False
    waited, _ = claim_when_due(agenda, clock)
    assert waited == LEASE_SECONDS
