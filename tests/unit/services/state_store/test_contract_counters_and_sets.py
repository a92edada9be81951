"""What every engine of the `StateStore` has to keep: counters and sets."""

from __future__ import annotations

from app.services.state_store import StateStore
from tests.unit.services.state_store.engines import Engine, SteppedClock


def test_a_counter_lives_from_its_first_increment(engine: Engine, state: StateStore, clock: SteppedClock) -> None:
    assert [state.increment("limit:x", 0.5) for _ in range(3)] == [1, 2, 3]
    engine.pass_time(clock, 0.4)
    assert state.increment("limit:x", 0.5) == 4
    engine.pass_time(clock, 0.2)
    assert state.increment("limit:x", 0.5) == 1


def test_a_set_holds_its_members_for_as_long_as_each_lives(
    engine: Engine, state: StateStore, clock: SteppedClock
) -> None:
    state.add_member("sessions-of-user:x", "long", 60)
    state.add_member("sessions-of-user:x", "short", 0.2)
    assert state.members("sessions-of-user:x") == {"long", "short"}
    engine.pass_time(clock, 0.25)
    assert state.members("sessions-of-user:x") == {"long"}


def test_a_member_that_was_removed_is_gone_and_removing_nothing_is_fine(state: StateStore) -> None:
    state.remove_member("sessions-of-user:x", "a")
    state.add_member("sessions-of-user:x", "a", 60)
    state.add_member("sessions-of-user:x", "b", 60)
    state.remove_member("sessions-of-user:x", "a")
    assert state.members("sessions-of-user:x") == {"b"}
    state.remove_member("sessions-of-user:x", "b")
    assert state.members("sessions-of-user:x") == frozenset()
