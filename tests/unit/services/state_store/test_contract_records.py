"""What every engine of the `StateStore` has to keep: records, their lifetimes and their marks."""

from __future__ import annotations

import pytest

from app.services.state_store import StateStore
from tests.unit.services.state_store.engines import Engine, SteppedClock
from tests.unit.services.state_store.support import KEY, OTHER

# Records


def test_what_was_put_is_found(state: StateStore) -> None:
    state.put(KEY, b"\x00\xffvalue", 60)
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"\x00\xffvalue"
    assert state.find(OTHER) is None


def test_records_of_one_session_are_found_together(state: StateStore) -> None:
    session, tokens, tombstone = (f"{kind}:{'a' * 64}" for kind in ("session", "tokens", "tombstone"))
    state.put(session, b"one", 60)
    state.put(tokens, b"two", 60)
    found = state.find_together(session, tombstone, tokens)
    assert [record and record.value for record in found] == [b"one", None, b"two"]
    assert found[0] is not None
    assert state.is_current(session, found[0].mark)
    state.put(session, b"three", 60)
    assert not state.is_current(session, found[0].mark)


@pytest.mark.parametrize("size", [0, 1, 70_000, 300_000])
def test_values_of_any_size_come_back_whole(state: StateStore, size: int) -> None:
    state.put(KEY, b"x" * size, 60)
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"x" * size


def test_a_put_replaces_the_record_and_its_lifetime(engine: Engine, state: StateStore, clock: SteppedClock) -> None:
    state.put(KEY, b"old", 0.2)
    state.put(KEY, b"new", 60)
    engine.pass_time(clock, 0.3)
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"new"


def test_a_record_is_gone_when_its_lifetime_is_over(engine: Engine, state: StateStore, clock: SteppedClock) -> None:
    state.put(KEY, b"short", 0.2)
    state.put(OTHER, b"long", 60)
    assert state.find(KEY) is not None
    engine.pass_time(clock, 0.25)
    assert state.find(KEY) is None
    assert state.find(OTHER) is not None


def test_what_is_over_can_neither_be_taken_nor_replaced(engine: Engine, state: StateStore, clock: SteppedClock) -> None:
    state.put(KEY, b"over", 0.2)
    engine.pass_time(clock, 0.25)
    assert state.take(KEY) is None
    assert state.find(KEY) is None


def test_what_was_deleted_is_gone_and_deleting_nothing_is_fine(state: StateStore) -> None:
    state.put(KEY, b"value", 60)
    state.delete(KEY)
    state.delete(KEY)
    assert state.find(KEY) is None


def test_only_the_very_record_that_was_read_is_replaced_if_current(state: StateStore) -> None:
    state.put(KEY, b"old", 60)
    read = state.find(KEY)
    assert read is not None
    assert state.put_if_current(KEY, read.mark, b"new", 60) is True
    assert state.put_if_current(KEY, read.mark, b"late", 60) is False
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"new"


def test_what_is_gone_is_not_replaced_though_it_was_read_before(
    engine: Engine, state: StateStore, clock: SteppedClock
) -> None:
    state.put(KEY, b"deleted", 60)
    state.put(OTHER, b"short", 0.2)
    deleted, short = state.find(KEY), state.find(OTHER)
    assert deleted is not None
    assert short is not None
    state.delete(KEY)
    engine.pass_time(clock, 0.25)
    assert state.put_if_current(KEY, deleted.mark, b"late", 60) is False
    assert state.put_if_current(OTHER, short.mark, b"late", 60) is False
    assert state.find(KEY) is None
    assert state.find(OTHER) is None


def test_a_mark_of_something_else_replaces_nothing(state: StateStore) -> None:
    state.put(KEY, b"mine", 60)
    state.put(OTHER, b"mine", 60)
    other = state.find(OTHER)
    assert other is not None
    assert state.put_if_current(KEY, other.mark, b"crossed", 60) is False
    assert state.put_if_current(KEY, "no mark at all", b"crossed", 60) is False
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"mine"


def test_add_creates_only_what_is_not_there(state: StateStore) -> None:
    assert state.add(KEY, b"first", 60) is True
    assert state.add(KEY, b"second", 60) is False
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"first"


def test_add_takes_the_place_of_what_is_over(engine: Engine, state: StateStore, clock: SteppedClock) -> None:
    state.add(KEY, b"first", 0.2)
    engine.pass_time(clock, 0.25)
    assert state.add(KEY, b"second", 60) is True
    assert state.take(KEY) == b"second"


def test_a_record_can_be_taken_once(state: StateStore) -> None:
    state.put(KEY, b"once", 60)
    assert state.take(KEY) == b"once"
    assert state.take(KEY) is None
    assert state.find(KEY) is None


@pytest.mark.parametrize(
    "key", ["", "session", "session:", ":x", "session:../x", "session:a/b", "session:\0", "Session:x", "session:ä"]
)
def test_a_key_that_is_no_key_is_refused(state: StateStore, key: str) -> None:
    with pytest.raises(ValueError):
        state.put(key, b"", 60)
    with pytest.raises(ValueError):
        state.find(key)


# Marks


def test_a_mark_stays_current_until_the_next_write(state: StateStore) -> None:
    state.put(KEY, b"one", 60)
    first = state.find(KEY)
    assert first is not None
    assert state.is_current(KEY, first.mark)
    state.put(KEY, b"two", 60)
    assert not state.is_current(KEY, first.mark)


def test_no_two_writes_in_quick_succession_share_a_mark(state: StateStore) -> None:
    marks = set()
    for _ in range(200):
        state.put(KEY, b"same", 60)
        found = state.find(KEY)
        assert found is not None
        marks.add(found.mark)
    assert len(marks) == 200


def test_no_mark_is_current_once_the_record_is_gone_or_over(
    engine: Engine, state: StateStore, clock: SteppedClock
) -> None:
    state.put(KEY, b"deleted", 60)
    state.put(OTHER, b"short", 0.2)
    deleted, short = state.find(KEY), state.find(OTHER)
    assert deleted is not None
    assert short is not None
    state.delete(KEY)
    engine.pass_time(clock, 0.25)
    assert not state.is_current(KEY, deleted.mark)
    assert not state.is_current(OTHER, short.mark)


# Sweep and check


def test_a_sweep_leaves_what_lives(engine: Engine, state: StateStore, clock: SteppedClock) -> None:
    for number in range(20):
        state.put(f"login:{number}", b"pending", 0.2)
    state.put(KEY, b"live", 60)
    engine.pass_time(clock, 1.3)
    state.sweep()
    assert state.find(KEY) is not None
    assert all(state.find(f"login:{number}") is None for number in range(20))
    assert state.sweep() == 0


def test_a_store_that_works_passes_its_check(state: StateStore) -> None:
    state.check()
