"""The directory engine: what a sweep removes, and what it leaves."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.file_lock import hold_folder_lock
from tests.unit.services.state_store.directory_files import DAY, HOUR, find_file, folder, list_files, set_age, state
from tests.unit.services.state_store.engines import SteppedClock
from tests.unit.services.state_store.support import KEY, OTHER

__all__ = ["folder", "state"]


def test_a_sweep_removes_and_counts_what_is_over(state: DirectoryStateStore, folder: Path, clock: SteppedClock) -> None:
    for number in range(30):
        state.put(f"login:{number}", b"pending", 60)
    state.put(KEY, b"live", 600)
    assert state.sweep() == 0
    clock.step(61)
    assert state.sweep() == 30
    assert list_files(folder) == {find_file(folder, KEY)}


def test_a_sweep_does_not_remove_what_was_replaced_meanwhile(
    state: DirectoryStateStore, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.put(KEY, b"old", 60)
    clock.step(61)

    def replace_first(sub_folder: Path) -> AbstractContextManager[None]:
        monkeypatch.undo()
        state.put(KEY, b"new", 60)
        return hold_folder_lock(sub_folder)

    monkeypatch.setattr("app.services.state_store.record_files.hold_folder_lock", replace_first)
    assert state.sweep() == 0
    assert state.find(KEY) is not None


def test_a_sweep_removes_what_dead_processes_left(state: DirectoryStateStore, folder: Path) -> None:
    old, young = folder / "a0" / "x.1.__wz_cache", folder / "a0" / "x.2.__wz_cache"
    old_lock, young_lock = folder / "locks" / "old", folder / "locks" / "young"
    for path, age in ((old, HOUR + 1), (young, HOUR - 1), (old_lock, HOUR + 1), (young_lock, HOUR - 1)):
        path.touch(mode=0o600)
        set_age(path, age)
    state.sweep()
    assert list_files(folder) == {young, young_lock}


def test_a_sweep_leaves_an_old_lock_that_is_held(state: DirectoryStateStore, folder: Path) -> None:
    with state.lock("refresh:x", wait_seconds=0):
        [file] = list_files(folder)
        set_age(file, DAY)
        state.sweep()
        with state.lock("refresh:x", wait_seconds=0) as second:
            assert not second


def test_a_lock_leaves_no_file_behind(state: DirectoryStateStore, folder: Path) -> None:
    with state.lock("refresh:x", wait_seconds=0):
        assert len(list_files(folder)) == 1
    assert list_files(folder) == set()


def test_one_file_that_cannot_be_swept_does_not_save_the_others(
    state: DirectoryStateStore, folder: Path, clock: SteppedClock
) -> None:
    state.put(KEY, b"value", 60)
    state.put(OTHER, b"value", 60)
    stubborn = find_file(folder, KEY)
    stubborn.unlink()
    stubborn.mkdir(mode=0o700)
    set_age(stubborn, DAY + 60)
    clock.step(61)
    with capture_logs() as lines:
        assert state.sweep() == 1
        assert state.sweep() == 0
    assert [line["event"] for line in lines] == ["store.record_unreadable"]
    assert not find_file(folder, OTHER).exists()
