"""What every engine has to keep of an agenda, in one process and among several."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from app.services.state_store import Claim, StateStore
from tests.support.processes import wait_until
from tests.unit.services.state_store.actors import Actor, act_at_once, start_actors
from tests.unit.services.state_store.engines import Engine, SteppedClock

AGENDA = "token-refresh"
ALICE, BOB = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def crowd() -> Iterator[list[Actor]]:
    """Eight other processes."""
    with start_actors(8) as actors:
        yield actors


def claim(state: StateStore, *, limit: int = 10, lease_seconds: float = 60) -> tuple[Claim, ...]:
    return state.claim_due(AGENDA, limit=limit, lease_seconds=lease_seconds)


def claim_members(state: StateStore, *, limit: int = 10, lease_seconds: float = 60) -> list[str]:
    return sorted(each.member for each in claim(state, limit=limit, lease_seconds=lease_seconds))


# When a member is due


def test_a_member_is_claimed_once_it_is_due_and_not_before(
    engine: Engine, state: StateStore, clock: SteppedClock
) -> None:
    state.schedule(AGENDA, ALICE, 0.2)
    state.schedule(AGENDA, BOB, 60)
    engine.pass_time(clock, 0.25)
    assert claim_members(state) == [ALICE]


def test_what_was_due_before_now_is_due_at_once(state: StateStore) -> None:
    state.schedule(AGENDA, ALICE, -3600)
    assert claim_members(state) == [ALICE]


def test_nothing_is_due_in_an_agenda_that_nobody_wrote_in(state: StateStore) -> None:
    assert claim(state) == ()


def test_a_later_time_takes_the_place_of_an_earlier_one(state: StateStore) -> None:
    state.schedule(AGENDA, ALICE, 0)
    state.schedule(AGENDA, ALICE, 60)
    assert claim(state) == ()


def test_an_earlier_time_takes_the_place_of_a_later_one(engine: Engine, state: StateStore, clock: SteppedClock) -> None:
    state.schedule(AGENDA, ALICE, 0.2)
    state.schedule(AGENDA, ALICE, 0)
    assert claim_members(state) == [ALICE]
    engine.pass_time(clock, 0.25)
    assert claim(state) == ()


@pytest.mark.parametrize("delay_seconds", [1e12, float("inf")])
def test_a_time_beyond_all_reason_is_only_far_away(state: StateStore, delay_seconds: float) -> None:
    state.schedule(AGENDA, ALICE, delay_seconds)
    assert claim(state) == ()


def test_agendas_do_not_mix(state: StateStore) -> None:
    state.schedule("other", ALICE, 0)
    assert claim(state) == ()
    assert [each.member for each in state.claim_due("other", limit=1, lease_seconds=60)] == [ALICE]


@pytest.mark.parametrize("agenda", ["", "Refresh", "../x", "a/b", "a:b", "ä", "a\0"])
def test_a_name_that_is_no_agendas_is_refused(state: StateStore, agenda: str) -> None:
    with pytest.raises(ValueError):
        state.schedule(agenda, ALICE, 0)
    with pytest.raises(ValueError):
        state.claim_due(agenda, limit=1, lease_seconds=60)


@pytest.mark.parametrize("member", ["", "../x", "a/b", "a b", "ä", "a\0", "a\n", "x" * 129])
def test_a_name_that_is_no_members_is_refused(state: StateStore, member: str) -> None:
    with pytest.raises(ValueError):
        state.schedule(AGENDA, member, 0)


# Claims


def test_a_claimed_member_is_not_claimed_again(state: StateStore) -> None:
    state.schedule(AGENDA, ALICE, 0)
    assert claim_members(state) == [ALICE]
    assert claim(state) == ()


def test_a_claimed_member_is_due_again_when_its_lease_is_over(
    engine: Engine, state: StateStore, clock: SteppedClock
) -> None:
    state.schedule(AGENDA, ALICE, 0)
    assert claim_members(state, lease_seconds=0.2) == [ALICE]
    engine.pass_time(clock, 0.25)
    assert claim_members(state) == [ALICE]


@pytest.mark.parametrize("limit", [-1, 0, 1, 3])
def test_no_more_are_claimed_than_asked_for(state: StateStore, limit: int) -> None:
    for number in range(7):
        state.schedule(AGENDA, f"m{number}", 0)
    first = claim_members(state, limit=limit)
    assert len(first) == max(limit, 0)
    rest = claim_members(state, limit=100)
    assert sorted(first + rest) == [f"m{number}" for number in range(7)]


def test_fewer_are_claimed_than_asked_for_only_when_no_more_are_due(state: StateStore) -> None:
    for number in range(200):
        state.schedule(AGENDA, f"m{number}", 0)
    counts = [len(claim(state, limit=30)) for _ in range(8)]
    assert counts == [30, 30, 30, 30, 30, 30, 20, 0]


def test_a_settled_member_is_gone(engine: Engine, state: StateStore, clock: SteppedClock) -> None:
    state.schedule(AGENDA, ALICE, 0)
    (claimed,) = claim(state, lease_seconds=0.2)
    state.settle(AGENDA, claimed)
    state.settle(AGENDA, claimed)
    engine.pass_time(clock, 0.25)
    assert claim(state) == ()


def test_a_member_that_was_put_off_is_due_again_then_and_not_before(
    engine: Engine, state: StateStore, clock: SteppedClock
) -> None:
    state.schedule(AGENDA, ALICE, 0)
    state.schedule(AGENDA, BOB, 0)
    for claimed in claim(state):
        state.settle(AGENDA, claimed, again_in_seconds=0.2 if claimed.member == ALICE else 60)
    engine.pass_time(clock, 0.25)
    assert claim_members(state) == [ALICE]


@pytest.mark.parametrize("again_in_seconds", [None, 60.0])
def test_what_was_scheduled_anew_while_it_was_claimed_stays_as_scheduled(
    state: StateStore, again_in_seconds: float | None
) -> None:
    state.schedule(AGENDA, ALICE, 0)
    (claimed,) = claim(state)
    state.schedule(AGENDA, ALICE, 0)
    state.settle(AGENDA, claimed, again_in_seconds=again_in_seconds)
    assert claim_members(state) == [ALICE]


def test_what_was_scheduled_anew_for_the_end_of_its_lease_stays_as_well(
    engine: Engine, state: StateStore, clock: SteppedClock
) -> None:
    state.schedule(AGENDA, ALICE, 0)
    (claimed,) = claim(state, lease_seconds=0.2)
    state.schedule(AGENDA, ALICE, 0.2)
    state.settle(AGENDA, claimed)
    engine.pass_time(clock, 0.25)
    assert claim_members(state) == [ALICE]


@pytest.mark.parametrize("again_in_seconds", [None, 0.0])
def test_a_claim_that_is_over_changes_nothing_for_who_claimed_next(
    engine: Engine, state: StateStore, clock: SteppedClock, again_in_seconds: float | None
) -> None:
    state.schedule(AGENDA, ALICE, 0)
    (late,) = claim(state, lease_seconds=0.1)
    engine.pass_time(clock, 0.15)
    (current,) = claim(state)
    state.settle(AGENDA, late, again_in_seconds=again_in_seconds)
    assert claim(state) == ()
    state.settle(AGENDA, current, again_in_seconds=0)
    assert claim_members(state) == [ALICE]


def test_a_claim_of_nothing_that_is_there_settles_nothing(state: StateStore) -> None:
    state.schedule(AGENDA, ALICE, 0)
    state.settle(AGENDA, Claim(ALICE, "1"))
    assert claim_members(state) == [ALICE]


# Several at once


def test_of_eight_processes_that_claim_at_once_one_gets_each_member(
    engine: Engine, place: str, shared: StateStore, crowd: list[Actor]
) -> None:
    members = [f"m{number}" for number in range(400)]
    for member in members:
        shared.schedule(AGENDA, member, 0)
    claimed = act_at_once(crowd, engine.name, place, "claim_all", AGENDA, 7)
    assert sorted(member for mine in claimed for member in mine) == sorted(members)


def test_a_member_that_eight_processes_schedule_at_once_is_on_the_agenda_once(
    engine: Engine, place: str, shared: StateStore, crowd: list[Actor]
) -> None:
    members = [f"m{number}" for number in range(60)]
    act_at_once(crowd, engine.name, place, "schedule_each", AGENDA, members)
    assert sorted(claim_members(shared, limit=1000)) == sorted(members)


def test_no_member_is_lost_between_those_who_schedule_and_those_who_settle(
    engine: Engine, place: str, shared: StateStore, crowd: list[Actor]
) -> None:
    members = [f"m{number}" for number in range(100)]
    schedulers, settlers = crowd[:4], crowd[4:]
    for settler in settlers:
        settler.send(engine.name, place, "settle_until", AGENDA, "probe:stop")
    act_at_once(schedulers, engine.name, place, "schedule_each", AGENDA, members)
    shared.put("probe:stop", b"", 60)
    settled = [member for settler in settlers for member in settler.answer()]
    left = claim_members(shared, limit=1000)
    assert {*settled, *left} == set(members)
    assert len(left) == len(set(left))
    assert len(settled) + len(left) <= 400


def test_threads_of_one_process_get_different_members(state: StateStore) -> None:
    for number in range(100):
        state.schedule(AGENDA, f"m{number}", 0)
    claimed: list[str] = []

    def claim_all() -> None:
        while mine := claim_members(state, limit=3):
            claimed.extend(mine)

    threads = [threading.Thread(target=claim_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(f"m{number}" for number in range(100))


def test_what_a_killed_process_had_claimed_is_due_again_when_its_lease_is_over(
    engine: Engine, place: str, shared: StateStore
) -> None:
    shared.schedule(AGENDA, ALICE, 0)
    with start_actors(1) as [claimer]:
        claimer.send(engine.name, place, "claim_and_stand_still", AGENDA, 0.5)
        assert claimer.answer() == [ALICE]
        claimer.kill()
    wait_until(lambda: claim_members(shared) == [ALICE], timeout_seconds=10, what="the lease to end")
