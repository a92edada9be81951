"""Workers that renew in the background, over a real directory store, with grants that are due when a test says so."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.core.errors import BffError, StoreUnavailableError
from app.services.refresh_agenda import RefreshAgenda
from app.services.state_store import Claim
from app.services.state_store.directory import DirectoryStateStore
from app.services.token_refresher import TokenRefresher

LIFETIME_SECONDS, AHEAD_SECONDS, INTERVAL_SECONDS, LEASE_SECONDS = 300, 60, 30, 45
PATIENCE_SECONDS = 30
"""How long a test waits for what has to come; never how long it takes."""


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Grants:
    """What `SessionTokens` is to the refresher: tokens with an end, renewed when they are due and only then."""

    def __init__(self, clock: Clock) -> None:
        self.renewals: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.failures: dict[str, Exception] = {}
        self.failure_of_all: BffError | None = None
        self.ended: set[str] = set()
        self.on_renewal: Callable[[str], None] = lambda member: None
        self.most_at_once = 0
        self.renewed_too_late = 0
        self._clock = clock
        self._expires_at: dict[str, float] = {}
        self._at_once = 0
        self._changing = threading.Lock()

    def log_in(self, agenda: RefreshAgenda, *members: str) -> None:
        for member in members:
            self._expires_at[member] = self._clock() + LIFETIME_SECONDS
            agenda.schedule(member, self._expires_at[member] - AHEAD_SECONDS)

    def renew(self, member: str) -> float | None:
        with self._changing:
            self.attempts[member] += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            self.on_renewal(member)
            return self._renew(member)
        finally:
            with self._changing:
                self._at_once -= 1

    def _renew(self, member: str) -> float | None:
        failure = self.failures.get(member, self.failure_of_all)
        if failure is not None:
            raise failure
        if member in self.ended:
            return None
        with self._changing:
            if self._expires_at[member] - AHEAD_SECONDS <= self._clock():
                self.renewals[member] += 1
                self.renewed_too_late += self._expires_at[member] <= self._clock()
                self._expires_at[member] = self._clock() + LIFETIME_SECONDS
        return self._expires_at[member] - AHEAD_SECONDS


class BreakableStore(DirectoryStateStore):
    """The directory engine, with a switch for a disk that does not answer."""

    is_away = False

    def claim_due(self, agenda: str, *, limit: int, lease_seconds: float) -> tuple[Claim, ...]:
        if self.is_away:
            raise StoreUnavailableError(internal_reason="away")
        return super().claim_due(agenda, limit=limit, lease_seconds=lease_seconds)


@dataclass
class World:
    """Workers that share a store and what is in it."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    outcomes: Counter[str] = field(default_factory=Counter)
    worthless: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.grants = Grants(self.clock)
        self.agenda, self.store = self._open()

    def _open(self) -> tuple[RefreshAgenda, BreakableStore]:
        store = BreakableStore(self.folder / "state", self.clock)
        agenda = RefreshAgenda(
            store,
            refresh_ahead_seconds=AHEAD_SECONDS,
            interval_seconds=INTERVAL_SECONDS,
            lease_seconds=LEASE_SECONDS,
            clock=self.clock,
        )
        return agenda, store

    def start_worker(
        self, *, concurrency: int = 8, renew_service_tokens: Callable[[], None] | None = None
    ) -> TokenRefresher:
        """With a view of the store of its own."""
        return self._build(self._open()[0], concurrency, renew_service_tokens)

    def start_worker_in_haste(self) -> TokenRefresher:
        """One that looks all the time."""
        store = BreakableStore(self.folder / "state", self.clock)
        agenda = RefreshAgenda(
            store,
            refresh_ahead_seconds=AHEAD_SECONDS,
            interval_seconds=INTERVAL_SECONDS,
            lease_seconds=LEASE_SECONDS,
            clock=self.clock,
            choose=lambda least, most: 0.001,
        )
        return self._build(agenda, 8, None)

    def _build(
        self, agenda: RefreshAgenda, concurrency: int, renew_service_tokens: Callable[[], None] | None
    ) -> TokenRefresher:
        return TokenRefresher(
            agenda,
            renew=self.grants.renew,
            is_worth_renewing=lambda member: member not in self.worthless,
            count=lambda outcome: self.outcomes.update([outcome]),
            renew_service_tokens=renew_service_tokens,
            concurrency=concurrency,
        )

    def log_in(self, count: int) -> list[str]:
        members = [f"m{number}" for number in range(count)]
        self.grants.log_in(self.agenda, *members)
        return members

    def make_all_due(self) -> None:
        self.clock.now += LIFETIME_SECONDS - AHEAD_SECONDS / 2


def look(*workers: TokenRefresher) -> None:
    """One look of each, all at the same time, to its very end."""
    threads = [threading.Thread(target=worker.look) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    assert all(worker.wait_until_idle(PATIENCE_SECONDS) for worker in workers)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
