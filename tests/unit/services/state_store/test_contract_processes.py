"""What every engine of the `StateStore` has to keep among several processes, some of which are killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.services.state_store import StateStore
from tests.unit.services.state_store.actors import Actor, act_at_once, build_value, is_whole, start_actors
from tests.unit.services.state_store.engines import Engine
from tests.unit.services.state_store.support import KEY


@pytest.fixture(scope="module")
def crowd() -> Iterator[list[Actor]]:
    """Eight other processes."""
    with start_actors(8) as actors:
        yield actors


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
