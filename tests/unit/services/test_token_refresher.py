"""The background renews what is due, once each, without running anybody over, and ends when it is told."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.core.errors import BffError, IdpUnavailableError, ServiceTokenUnavailableError, StoreUnavailableError
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


# What is renewed


def test_tokens_are_renewed_when_they_are_due_and_not_before(world: World) -> None:
    worker = world.start_worker()
    world.log_in(1)
    look(worker)
    assert world.grants.attempts.total() == 0
    world.make_all_due()
    look(worker)
    assert world.grants.renewals == {"m0": 1}
    look(worker)
    assert world.grants.attempts.total() == 1


def test_renewed_tokens_are_renewed_again_when_they_are_due_again(world: World) -> None:
    worker = world.start_worker()
    world.log_in(3)
    for _ in range(4):
        world.make_all_due()
        look(worker)
    assert world.grants.renewals == {"m0": 4, "m1": 4, "m2": 4}
    assert world.grants.renewed_too_late == 0
    assert world.outcomes == {"done": 12}


def test_what_others_renewed_meanwhile_is_left_for_its_next_time(world: World) -> None:
    worker = world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants._expires_at["m0"] = world.clock.now + LIFETIME_SECONDS
    look(worker)
    assert world.grants.renewals.total() == 0
    world.make_all_due()
    look(worker)
    assert world.grants.renewals == {"m0": 1}


def test_a_session_with_nothing_left_to_renew_is_dropped(world: World) -> None:
    worker = world.start_worker()
    world.log_in(1)
    world.grants.ended.add("m0")
    for _ in range(3):
        world.make_all_due()
        look(worker)
    assert world.grants.attempts == {"m0": 1}
    assert world.outcomes == {"dropped": 1}


def test_a_session_that_nobody_uses_any_more_is_dropped_without_a_renewal(world: World) -> None:
    worker = world.start_worker()
    world.log_in(2)
    world.worthless.add("m0")
    for _ in range(3):
        world.make_all_due()
        look(worker)
    assert world.grants.attempts == {"m1": 3}
    assert world.outcomes == {"dropped": 1, "done": 3}


# Several workers


def test_two_workers_renew_two_thousand_that_are_due_at_once_each_once(world: World) -> None:
    workers = [world.start_worker(), world.start_worker()]
    members = world.log_in(2000)
    world.make_all_due()
    look(*workers)
    assert world.grants.renewals == dict.fromkeys(members, 1)
    assert world.grants.attempts.total() == 2000
    assert world.grants.renewed_too_late == 0


def test_what_a_worker_that_stands_still_has_claimed_is_renewed_by_another(world: World) -> None:
    stands_still = threading.Event()
    goes_on = threading.Event()

    def stand_still(member: str) -> None:
        world.grants.on_renewal = lambda member: None
        stands_still.set()
        assert goes_on.wait(PATIENCE_SECONDS)

    first, second = world.start_worker(), world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants.on_renewal = stand_still
    first.look()
    assert stands_still.wait(PATIENCE_SECONDS)
    look(second)
    assert world.grants.attempts == {"m0": 1}
    world.clock.now += LEASE_SECONDS
    look(second)
    assert world.grants.renewals == {"m0": 1}
    goes_on.set()
    assert first.wait_until_idle(PATIENCE_SECONDS)
    assert world.grants.renewals == {"m0": 1}
    world.make_all_due()
    look(first, second)
    assert world.grants.renewals == {"m0": 2}
    assert world.grants.attempts == {"m0": 3}


# How many at once


def test_a_renewal_that_takes_long_does_not_hold_up_the_others(world: World) -> None:
    goes_on = threading.Event()

    def hang(member: str) -> None:
        if member in ("m0", "m1", "m2", "m3"):
            assert goes_on.wait(PATIENCE_SECONDS)

    worker = world.start_worker(concurrency=8)
    members = world.log_in(100)
    world.make_all_due()
    world.grants.on_renewal = hang
    worker.look()
    assert not worker.wait_until_idle(0)
    goes_on.set()
    assert worker.wait_until_idle(PATIENCE_SECONDS)
    assert world.grants.renewals == dict.fromkeys(members, 1)


def test_no_more_are_claimed_than_may_run_beside_each_other(world: World) -> None:
    """Of the first four two go through; the two that follow them hang with the others."""
    goes_on, hanging, order = threading.Event(), threading.Semaphore(0), itertools.count()

    def hang(member: str) -> None:
        if next(order) not in (2, 3):
            hanging.release()
            assert goes_on.wait(PATIENCE_SECONDS)

    worker = world.start_worker(concurrency=4)
    world.log_in(20)
    world.make_all_due()
    world.grants.on_renewal = hang
    looking = threading.Thread(target=worker.look)
    looking.start()
    for _ in range(4):
        assert hanging.acquire(timeout=PATIENCE_SECONDS)
    assert len(world.agenda.claim(100)) == 14
    goes_on.set()
    looking.join(PATIENCE_SECONDS)
    assert not looking.is_alive()
    assert worker.wait_until_idle(PATIENCE_SECONDS)
    assert world.grants.attempts.total() == 6
    assert world.grants.most_at_once == 4


# Failures


@pytest.mark.parametrize("error_type", [IdpUnavailableError, ServiceTokenUnavailableError, StoreUnavailableError])
def test_a_renewal_that_failed_is_tried_again_later(world: World, error_type: type[BffError]) -> None:
    worker = world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants.failures["m0"] = error_type(internal_reason="away")
    with capture_logs() as lines:
        look(worker)
        look(worker)
    assert world.grants.attempts == {"m0": 1}
    assert [(line["event"], line["reason"]) for line in lines] == [("token_refresh.failed", "away")]
    del world.grants.failures["m0"]
    world.clock.now += 5
    look(worker)
    assert world.grants.renewals == {"m0": 1}
    assert world.grants.renewed_too_late == 0
    assert world.outcomes == {"failed": 1, "done": 1}


def test_a_session_that_fails_again_and_again_is_tried_less_and_less(world: World) -> None:
    worker = world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants.failures["m0"] = ServiceTokenUnavailableError()
    tries = []
    for _ in range(60):
        before = world.grants.attempts.total()
        for _ in range(60):
            world.clock.now += 1
            look(worker)
        tries.append(world.grants.attempts.total() - before)
    assert 3 <= tries[0] <= 7
    assert max(tries[20:]) <= 1
    assert sum(tries[20:]) >= 8


def test_a_provider_that_fails_for_all_is_left_alone_until_the_next_look(world: World) -> None:
    worker = world.start_worker(concurrency=8)
    members = world.log_in(200)
    world.make_all_due()
    world.grants.failure_of_all = IdpUnavailableError(internal_reason="refused")
    with capture_logs() as lines:
        look(worker)
    tried_first = world.grants.attempts.total()
    assert 8 <= tried_first <= 16
    assert len(lines) <= 8, "one line for each of those that failed at the same moment, at most"
    look(worker)
    assert tried_first < world.grants.attempts.total() <= tried_first + 16
    world.grants.failure_of_all = None
    world.clock.now += 10
    look(worker)
    assert world.grants.renewals == dict.fromkeys(members, 1)
    assert world.grants.renewed_too_late == 0


def test_some_that_fail_do_not_keep_the_others_waiting(world: World) -> None:
    worker = world.start_worker(concurrency=8)
    members = world.log_in(300)
    world.grants.failures = {member: ServiceTokenUnavailableError() for member in members[:300:10]}
    world.make_all_due()
    look(worker)
    assert world.grants.renewals == dict.fromkeys((set(members) - set(world.grants.failures)), 1)


def test_a_renewal_that_crashes_is_told_and_tried_again_later(world: World) -> None:
    worker = world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants.failures["m0"] = KeyError("what nobody thought of")
    with capture_logs() as lines:
        look(worker)
    assert [(line["event"], line["error_type"]) for line in lines] == [("token_refresh.crashed", "KeyError")]
    del world.grants.failures["m0"]
    world.clock.now += 5
    look(worker)
    assert world.grants.renewals == {"m0": 1}


def test_a_look_without_the_store_is_told_and_the_next_one_finds_all(world: World) -> None:
    agenda, store = world._open()
    worker = world._build(agenda, 8, None)
    world.log_in(3)
    world.make_all_due()
    store.is_away = True
    with capture_logs() as lines:
        look(worker)
    assert [(line["event"], line["reason"]) for line in lines] == [("token_refresh.look_failed", "away")]
    store.is_away = False
    look(worker)
    assert world.grants.renewals.total() == 3


# The thread, and its end


def test_once_started_it_looks_by_itself_until_it_is_stopped(world: World) -> None:
    renewed = threading.Semaphore(0)
    worker = world.start_worker_in_haste()
    world.log_in(2)
    world.grants.on_renewal = lambda member: renewed.release()
    looking = worker.start()
    for _ in range(2):
        world.make_all_due()
        for _ in range(2):
            assert renewed.acquire(timeout=PATIENCE_SECONDS)
        assert worker.wait_until_idle(PATIENCE_SECONDS)
    assert worker.stop(PATIENCE_SECONDS)
    assert not looking.is_alive()
    world.make_all_due()
    assert len(world.agenda.claim(10)) == 2
    assert world.grants.renewals == {"m0": 2, "m1": 2}


def test_a_look_that_crashes_does_not_end_the_looking(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = threading.Event()
    worker = world.start_worker_in_haste()
    original = worker.look

    def crash() -> None:
        monkeypatch.setattr(worker, "look", original)
        raise KeyError("what nobody thought of")

    monkeypatch.setattr(worker, "look", crash)
    world.log_in(1)
    world.make_all_due()
    world.grants.on_renewal = lambda member: renewed.set()
    with capture_logs() as lines:
        worker.start()
        assert renewed.wait(PATIENCE_SECONDS)
    assert worker.stop(PATIENCE_SECONDS)
    assert [line["event"] for line in lines] == ["token_refresh.look_crashed"]


def test_a_stop_waits_for_what_is_under_way_and_begins_nothing_more(world: World) -> None:
    is_under_way, goes_on = threading.Semaphore(0), threading.Event()

    def hang(member: str) -> None:
        is_under_way.release()
        assert goes_on.wait(PATIENCE_SECONDS)

    worker = world.start_worker(concurrency=2)
    world.log_in(10)
    world.make_all_due()
    world.grants.on_renewal = hang
    looking = threading.Thread(target=worker.look)
    looking.start()
    for _ in range(2):
        assert is_under_way.acquire(timeout=PATIENCE_SECONDS)
    ends: list[bool] = []
    stopping = threading.Thread(target=lambda: ends.append(worker.stop(PATIENCE_SECONDS)))
    stopping.start()
    looking.join(PATIENCE_SECONDS)
    assert not looking.is_alive()
    assert ends == []
    goes_on.set()
    stopping.join(PATIENCE_SECONDS)
    assert ends == [True]
    assert world.grants.renewals.total() == world.grants.attempts.total() == 2
    assert len(world.agenda.claim(100)) == 8


def test_a_stop_does_not_wait_longer_than_it_may(world: World) -> None:
    goes_on, is_under_way = threading.Event(), threading.Event()

    def hang(member: str) -> None:
        is_under_way.set()
        assert goes_on.wait(PATIENCE_SECONDS)

    worker = world.start_worker()
    world.log_in(1)
    world.make_all_due()
    world.grants.on_renewal = hang
    worker.look()
    assert is_under_way.wait(PATIENCE_SECONDS)
    assert worker.stop(0.01) is False
    goes_on.set()
    assert worker.wait_until_idle(PATIENCE_SECONDS)


def test_what_was_claimed_while_it_was_told_to_stop_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    agenda, store = world._open()
    worker = world._build(agenda, 8, None)
    original = store.claim_due

    def claim_and_be_stopped(name: str, *, limit: int, lease_seconds: float) -> tuple[Claim, ...]:
        claims = original(name, limit=limit, lease_seconds=lease_seconds)
        assert worker.stop(0)
        return claims

    monkeypatch.setattr(store, "claim_due", claim_and_be_stopped)
    world.log_in(3)
    world.make_all_due()
    worker.look()
    assert worker.wait_until_idle(PATIENCE_SECONDS)
    assert world.grants.attempts.total() == 0
    assert len(world.agenda.claim(10)) == 3


# Service tokens


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
