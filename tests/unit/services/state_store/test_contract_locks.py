"""What every engine of the `StateStore` has to keep: locks, in one process."""

from __future__ import annotations

import threading
import time

import pytest

from app.services.state_store import StateStore


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
