"""Many copies looked at together: which records are still the ones that were read. Held against every engine."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from app.services.state_store import StateStore
from tests.unit.services.state_store.engines import Engine, SteppedClock

KEYS = [f"session:{number:064x}" for number in range(40)]
"""In a cluster they lie on all of its masters."""


def read_marks(state: StateStore, *keys: str) -> dict[str, Hashable]:
    found = {key: state.find(key) for key in keys}
    return {key: record.mark for key, record in found.items() if record is not None}


def test_records_that_nobody_touched_are_confirmed(state: StateStore) -> None:
    for key in KEYS:
        state.put(key, b"value", 60)
    confirmed = state.confirm(read_marks(state, *KEYS))
    assert sorted(confirmed) == KEYS
    assert all(state.is_current(key, mark) for key, mark in confirmed.items())
    assert sorted(state.confirm(confirmed)) == KEYS


def test_nothing_is_confirmed_of_nothing(state: StateStore) -> None:
    assert state.confirm({}) == {}


def test_what_was_changed_removed_or_written_anew_is_not_confirmed(
    engine: Engine, place: str, state: StateStore, clock: SteppedClock
) -> None:
    """By another worker, whose word of it this one does not hear."""
    same, changed, gone, again, over = KEYS[:5]
    other = engine.open(place, clock)
    for key in (same, changed, gone, again):
        state.put(key, b"value", 60)
    state.put(over, b"value", 0.2)
    marks = read_marks(state, *KEYS[:5])
    assert len(marks) == 5
    other.put(changed, b"other", 60)
    other.delete(gone)
    other.delete(again)
    other.put(again, b"value", 60)
    engine.pass_time(clock, 0.25)
    assert list(state.confirm(marks)) == [same]
    other.close()


def test_a_mark_that_was_confirmed_is_outdated_by_the_next_change(state: StateStore) -> None:
    state.put(KEYS[0], b"one", 60)
    confirmed = state.confirm(read_marks(state, KEYS[0]))
    state.put(KEYS[0], b"two", 60)
    assert not state.is_current(KEYS[0], confirmed[KEYS[0]])
    assert state.confirm(confirmed) == {}


def test_a_mark_that_was_confirmed_ends_with_its_record(engine: Engine, state: StateStore, clock: SteppedClock) -> None:
    state.put(KEYS[0], b"value", 0.5)
    confirmed = state.confirm(read_marks(state, KEYS[0]))
    assert state.is_current(KEYS[0], confirmed[KEYS[0]])
    engine.pass_time(clock, 0.55)
    assert not state.is_current(KEYS[0], confirmed[KEYS[0]])


@pytest.mark.parametrize("mark", [None, b"", "mark", 1])
def test_a_mark_of_something_else_is_not_confirmed(state: StateStore, mark: Hashable) -> None:
    state.put(KEYS[0], b"value", 60)
    assert state.confirm({KEYS[0]: mark}) == {}


def test_a_mark_of_another_record_is_not_confirmed(state: StateStore) -> None:
    for key in KEYS[:2]:
        state.put(key, b"value", 60)
    marks = read_marks(state, *KEYS[:2])
    assert state.confirm({KEYS[0]: marks[KEYS[1]], KEYS[1]: marks[KEYS[0]]}) == {}
