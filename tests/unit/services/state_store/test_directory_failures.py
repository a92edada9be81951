"""The directory engine on a disk that refuses, fills up or is gone, and with writers that wait or are killed."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from app.core.errors import StoreUnavailableError
from app.services.state_store import StateStore
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.file_lock import acquire_file_lock
from app.services.state_store.record_files import RecordFiles
from tests.unit.services.state_store.actors import LIFETIME_SECONDS, build_value, start_actors
from tests.unit.services.state_store.directory_files import find_file, folder, list_files, state
from tests.unit.services.state_store.engines import SteppedClock
from tests.unit.services.state_store.support import KEY, OTHER

__all__ = ["folder", "state"]


# The disk refuses


OPERATIONS: dict[str, Callable[[StateStore], object]] = {
    "find": lambda state: state.find(KEY),
    "put": lambda state: state.put(KEY, b"value", 60),
    "add": lambda state: state.add(OTHER, b"value", 60),
    "take": lambda state: state.take(KEY),
    "delete": lambda state: state.delete(KEY),
    "increment": lambda state: state.increment("limit:x", 60),
    "add_member": lambda state: state.add_member("sessions-of-user:x", "m", 60),
    "remove_member": lambda state: state.remove_member("sessions-of-user:x", "m"),
    "members": lambda state: state.members("sessions-of-user:x"),
    "lock": lambda state: state.lock("refresh:x", wait_seconds=0).__enter__(),
    "check": lambda state: state.check(),
}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_what_the_disk_refuses_is_a_store_that_does_not_answer(
    state: DirectoryStateStore,
    monkeypatch: pytest.MonkeyPatch,
    operation: Callable[[StateStore], object],
    number: int,
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number), "/a/path/of/ours")

    state.put(KEY, b"value", 60)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(StoreUnavailableError) as caught:
            operation(state)
    assert os.strerror(number) in caught.value.internal_reason
    assert "/a/path" not in caught.value.internal_reason
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"value"


def test_a_disk_that_fills_up_in_the_middle_of_a_write_leaves_the_old_record_and_no_debris(
    state: DirectoryStateStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.put(KEY, b"old", 60)
    original, written = os.write, 0

    def fill_up(descriptor: int, content: bytes) -> int:
        nonlocal written
        if written >= 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        written += original(descriptor, bytes(content)[:50])
        return 50

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill_up)
        with pytest.raises(StoreUnavailableError):
            state.put(KEY, b"new" * 100, 60)
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"old"
    assert list_files(folder) == {find_file(folder, KEY)}


def test_a_write_that_the_disk_takes_in_pieces_comes_back_whole(
    state: DirectoryStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, content: original(descriptor, bytes(content)[:7]))
        state.put(KEY, build_value(7), 60)
    found = state.find(KEY)
    assert found is not None
    assert found.value == build_value(7)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_a_store_whose_folder_is_gone_is_broken_not_empty(
    state: DirectoryStateStore, folder: Path, operation: Callable[[StateStore], object]
) -> None:
    folder.rename(folder.with_name("away"))
    folder.mkdir()  # as the mount point of a disk that is not mounted
    with pytest.raises(StoreUnavailableError):
        operation(state)
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.with_name("away").rename(folder)
    operation(state)


def test_a_record_that_stays_locked_is_a_store_that_does_not_answer(
    state: DirectoryStateStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.state_store.file_lock._FOLDER_WAIT_SECONDS", 0.02)
    state.put(KEY, b"value", 60)
    stuck = acquire_file_lock(find_file(folder, KEY).parent / "lock", wait_seconds=0)
    assert stuck is not None
    with pytest.raises(StoreUnavailableError):
        state.delete(KEY)
    assert state.find(KEY) is not None, "readers do not wait for writers"
    stuck.release()
    state.delete(KEY)
    assert state.find(KEY) is None


def test_a_record_cannot_be_deleted_between_the_look_and_the_replacement(
    state: DirectoryStateStore, folder: Path, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = DirectoryStateStore(folder, clock)
    deletion = threading.Thread(target=other.delete, args=(KEY,))
    original = RecordFiles.replace

    def replace_slowly(files: RecordFiles, key: str, prepared: Path) -> None:
        deletion.start()
        deletion.join(timeout=0.1)
        assert deletion.is_alive(), "the deletion did not wait"
        original(files, key, prepared)

    state.put(KEY, b"old", 60)
    old = state.find(KEY)
    assert old is not None
    monkeypatch.setattr(RecordFiles, "replace", replace_slowly)
    assert state.put_if_current(KEY, old.mark, b"late", 60) is True
    deletion.join()
    assert state.find(KEY) is None


# Killed at the worst moment


@pytest.mark.parametrize(
    ("system_call", "action"), [("write", "put"), ("replace", "put"), ("write", "add"), ("link", "add")]
)
def test_a_write_that_was_killed_leaves_nothing_that_reads_as_something(
    folder: Path, system_call: str, action: str
) -> None:
    state = DirectoryStateStore(folder, time.time)
    with start_actors(1) as [actor]:
        actor.send("directory", str(folder), "die_before", system_call, action, KEY)
        assert actor.wait() == -9
    assert state.find(KEY) is None
    assert len(list_files(folder)) == 1, "the process was killed somewhere else"
    assert state.add(KEY, b"value", LIFETIME_SECONDS) is True


def test_a_replacement_that_was_killed_leaves_the_old_record(folder: Path) -> None:
    state = DirectoryStateStore(folder, time.time)
    state.put(KEY, b"old", 60)
    with start_actors(1) as [actor]:
        actor.send("directory", str(folder), "die_before", "replace", "put", KEY)
        assert actor.wait() == -9
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"old"
    state.put(KEY, b"new", 60)
