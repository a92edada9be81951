"""What every engine of the `StateStore` has to keep, in one process and among several."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from app.services.state_store import StateStore
from tests.unit.services.state_store.actors import (
    Actor,
    act_at_once,
    build_value,
    is_whole,
    start_actors,
)
from tests.unit.services.state_store.engines import Engine, SteppedClock

KEY = "session:" + "a" * 64
OTHER = "session:" + "b" * 64


@pytest.fixture(scope="module")
def crowd() -> Iterator[list[Actor]]:
    """Eight other processes."""
    with start_actors(8) as actors:
        yield actors


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


# Counters and sets


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


# Locks


def test_a_lock_excludes_a_second_holder_until_it_is_released(state: StateStore) -> None:
    with state.lock("refresh:x", wait_seconds=0) as first:
        assert first
        with state.lock("refresh:x", wait_seconds=0.02) as second:
            assert not second
        with state.lock("refresh:y", wait_seconds=0) as other:
            assert other
    with state.lock("refresh:x", wait_seconds=0) as third:
        assert third


def test_a_holder_is_told_whether_it_has_the_lock(state: StateStore) -> None:
    with state.lock("refresh:x", wait_seconds=0) as first:
        assert first.is_held()
        with state.lock("refresh:x", wait_seconds=0) as second:
            assert not second.is_held()


def test_a_lock_is_released_when_its_holder_fails(state: StateStore) -> None:
    with pytest.raises(OSError, match="the holder's own"), state.lock("refresh:x", wait_seconds=0):
        raise OSError("the holder's own")
    with state.lock("refresh:x", wait_seconds=0) as held:
        assert held


def test_a_lock_excludes_threads_of_one_process(state: StateStore) -> None:
    inside, most_inside = 0, 0

    def enter_often() -> None:
        nonlocal inside, most_inside
        for _ in range(20):
            with state.lock("refresh:x", wait_seconds=60) as held:
                assert held
                inside += 1
                most_inside = max(most_inside, inside)
                time.sleep(0)  # lets the others run while we are inside
                inside -= 1

    threads = [threading.Thread(target=enter_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most_inside == 1


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


# Several processes


def test_of_eight_that_take_a_record_at_once_exactly_one_gets_it(
    engine: Engine, place: str, shared: StateStore, crowd: list[Actor]
) -> None:
    keys = [f"login:{number}" for number in range(150)]
    for key in keys:
        shared.put(key, b"once", 60)
    taken = act_at_once(crowd, engine.name, place, "take_each", keys)
    assert sorted(key for winner in taken for key in winner) == sorted(keys)


def test_of_eight_that_add_a_record_at_once_exactly_one_creates_it(
    engine: Engine, place: str, shared: StateStore, crowd: list[Actor]
) -> None:
    keys = [f"jti:{number}" for number in range(150)]
    added = act_at_once(crowd, engine.name, place, "add_each", keys)
    assert sorted(key for winner in added for key in winner) == sorted(keys)


def test_of_eight_that_add_in_place_of_what_is_over_exactly_one_creates_it(
    engine: Engine, place: str, shared: StateStore, crowd: list[Actor]
) -> None:
    keys = [f"jti:{number}" for number in range(150)]
    for key in keys:
        shared.put(key, b"over", 0)
    added = act_at_once(crowd, engine.name, place, "add_each", keys)
    assert sorted(key for winner in added for key in winner) == sorted(keys)


def test_no_count_is_lost_or_given_twice(engine: Engine, place: str, shared: StateStore, crowd: list[Actor]) -> None:
    counts = act_at_once(crowd, engine.name, place, "increment_often", "limit:x", 40)
    assert sorted(count for mine in counts for count in mine) == list(range(1, 321))


def test_no_member_is_lost_when_many_join_at_once(
    engine: Engine, place: str, shared: StateStore, crowd: list[Actor]
) -> None:
    members = [str(number) for number in range(20)]
    act_at_once(crowd, engine.name, place, "join_set", "sessions-of-user:x", members)
    assert len(shared.members("sessions-of-user:x")) == 160


def test_readers_never_see_a_torn_or_missing_record_while_writers_replace_it(
    engine: Engine, place: str, shared: StateStore, crowd: list[Actor]
) -> None:
    shared.put(KEY, build_value(0), 60)
    readers, writers = crowd[:2], crowd[2:4]
    for reader in readers:
        reader.send(engine.name, place, "read_until", KEY, "probe:stop")
    act_at_once(writers, engine.name, place, "write_often", KEY, 1500)
    shared.put("probe:stop", b"", 60)
    for counts in [reader.answer() for reader in readers]:
        assert counts["torn"] == 0
        assert counts["missing"] == 0
        assert counts["whole"] > 0


def test_a_lock_excludes_other_processes(engine: Engine, place: str, shared: StateStore, crowd: list[Actor]) -> None:
    act_at_once(crowd, engine.name, place, "add_up_under_lock", "refresh:x", "limit:sum", 15)
    found = shared.find("limit:sum")
    assert found is not None
    assert found.value == b"120"


def test_what_was_deleted_does_not_come_back_through_a_late_replacement(
    engine: Engine, place: str, shared: StateStore, crowd: list[Actor]
) -> None:
    keys = [f"session:{number}" for number in range(300)]
    for key in keys:
        shared.put(key, b"live", 60)
    for actor in crowd[:3]:
        actor.send(engine.name, place, "replace_what_is_there", keys)
    crowd[3].send(engine.name, place, "delete_each", keys)
    for actor in crowd[:4]:
        actor.answer()
    assert [key for key in keys if shared.find(key) is not None] == []


def test_the_lock_of_a_killed_holder_is_free_by_the_end_of_its_lease(
    engine: Engine, place: str, shared: StateStore
) -> None:
    with start_actors(1) as [holder]:
        holder.send(engine.name, place, "hold_lock", "refresh:x", 0.5)
        assert holder.answer() is True
        with shared.lock("refresh:x", wait_seconds=0) as held:
            assert not held
        holder.kill()
        with shared.lock("refresh:x", wait_seconds=30) as held:
            assert held


def test_a_writer_that_is_killed_loses_at_most_its_own_last_write(
    engine: Engine, place: str, shared: StateStore
) -> None:
    others = [f"session:{number}" for number in range(50)]
    for key in others:
        shared.put(key, b"other", 60)
    with start_actors(4) as writers:
        for number, writer in enumerate(writers):
            writer.send(engine.name, place, "write_endlessly", KEY + str(number))
        for number, writer in enumerate(writers):
            while writer.answer() < 30:
                pass
            writer.kill()
            last_said = max([30, *writer.answers()])
            found = shared.find(KEY + str(number))
            assert found is not None
            assert is_whole(found.value)
            assert int(found.value[:8]) in (last_said, last_said + 1)
    assert all(shared.find(key) is not None for key in others)
    shared.put(KEY + "0", b"goes on", 60)
