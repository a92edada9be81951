"""The directory engine: what lies on the disk, who may see it, and what happens when the disk or a file is bad."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import pytest
from cachelib import FileSystemCache
from structlog.testing import capture_logs

from app.core.errors import StoreUnavailableError
from app.services.state_store import StateStore
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.file_lock import acquire_file_lock, hold_folder_lock
from app.services.state_store.private_files import UnsafePermissionsError
from app.services.state_store.record_files import RecordFiles
from app.services.state_store.record_frame import build_header
from tests.unit.services.state_store.actors import LIFETIME_SECONDS, build_value, start_actors
from tests.unit.services.state_store.engines import NOON, SteppedClock

KEY = "session:" + "a" * 64
OTHER = "session:" + "b" * 64
HOUR, DAY = 3600, 86400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def state(folder: Path, clock: SteppedClock) -> DirectoryStateStore:
    return DirectoryStateStore(folder, clock)


def find_file(folder: Path, key: str) -> Path:
    name = hashlib.sha256(key.encode()).hexdigest()
    return folder / name[:2] / name


def list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def set_age(path: Path, seconds: float) -> None:
    os.utime(path, (NOON - seconds, NOON - seconds), follow_symlinks=False)


# Who may see it


def test_files_are_0600_and_folders_0700_whatever_the_umask(folder: Path, clock: SteppedClock) -> None:
    before = os.umask(0)
    try:
        state = DirectoryStateStore(folder, clock)
        state.put(KEY, b"value", 60)
        state.add(OTHER, b"value", 60)
        with state.lock("refresh:x", wait_seconds=0):
            found = [folder, *folder.rglob("*")]
            modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in found}
    finally:
        os.umask(before)
    assert modes == {(True, 0o700), (False, 0o600)}


def test_no_key_and_no_id_is_the_name_of_a_file(state: StateStore, folder: Path) -> None:
    state.put(KEY, b"value", 60)
    assert "a" * 64 not in "".join(map(str, folder.rglob("*")))


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(folder: Path, clock: SteppedClock, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(UnsafePermissionsError, match="chmod 0700"):
        DirectoryStateStore(folder, clock)


def test_a_sub_folder_that_others_can_write_to_is_refused(folder: Path, clock: SteppedClock) -> None:
    DirectoryStateStore(folder, clock)
    (folder / "a0").chmod(0o777)
    with pytest.raises(UnsafePermissionsError, match="a0"):
        DirectoryStateStore(folder, clock)


def test_a_sub_folder_that_is_a_link_is_refused(folder: Path, clock: SteppedClock, tmp_path: Path) -> None:
    DirectoryStateStore(folder, clock)
    elsewhere = tmp_path / "elsewhere"
    (folder / "a0").rename(elsewhere)
    (folder / "a0").symlink_to(elsewhere)
    with pytest.raises(UnsafePermissionsError, match="not a folder"):
        DirectoryStateStore(folder, clock)


def test_a_folder_of_somebody_else_is_refused(
    folder: Path, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UnsafePermissionsError, match="belongs to user id"):
        DirectoryStateStore(folder, clock)


def test_a_folder_that_is_a_file_is_refused(folder: Path, clock: SteppedClock) -> None:
    folder.write_bytes(b"")
    with pytest.raises(UnsafePermissionsError, match="not a folder"):
        DirectoryStateStore(folder, clock)


# One bad file is one lost record


def _write_half(file: Path, _: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _write_head_only(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes()[:10])


def _empty(file: Path, _: Path) -> None:
    file.write_bytes(b"")


def _zero(file: Path, _: Path) -> None:
    file.write_bytes(bytes(len(file.read_bytes())))


def _flip_a_bit_of_the_value(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _prolong_its_life(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[10] ^= 1
    file.write_bytes(content)


def _append(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")


def _copy_another_over_it(file: Path, other: Path) -> None:
    shutil.copy2(other, file)


def _make_it_a_link_to_another(file: Path, other: Path) -> None:
    file.unlink()
    file.symlink_to(other)


def _make_it_a_link_to_itself_elsewhere(file: Path, _: Path) -> None:
    moved = file.with_name("moved")
    file.rename(moved)
    file.symlink_to(moved)


def _make_it_a_dangling_link(file: Path, _: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def _make_it_a_fifo(file: Path, _: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def _make_it_a_folder(file: Path, _: Path) -> None:
    file.unlink()
    file.mkdir(mode=0o700)


def _open_it_to_others(file: Path, _: Path) -> None:
    file.chmod(0o644)


def _give_it_a_later_version(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4] = 99
    file.write_bytes(content)


BAD_FILES = {
    "L23-half": _write_half,
    "L23-head-only": _write_head_only,
    "L23-empty": _empty,
    "L23-zeros": _zero,
    "L23-symlink-to-another": _make_it_a_link_to_another,
    "L23-symlink-to-itself": _make_it_a_link_to_itself_elsewhere,
    "L23-symlink-dangling": _make_it_a_dangling_link,
    "L23-fifo": _make_it_a_fifo,
    "L23-folder": _make_it_a_folder,
    "L23-0644": _open_it_to_others,
    "L24-bit-flipped": _flip_a_bit_of_the_value,
    "L24-life-prolonged": _prolong_its_life,
    "L24-appended": _append,
    "L24-foreign": _copy_another_over_it,
    "later-version": _give_it_a_later_version,
}


@pytest.mark.parametrize("spoil", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_one_lost_record(
    state: DirectoryStateStore, folder: Path, spoil: Callable[[Path, Path], None]
) -> None:
    state.put(KEY, b"value", 60)
    state.put(OTHER, b"other", 60)
    spoil(find_file(folder, KEY), find_file(folder, OTHER))
    set_age(find_file(folder, KEY), 0)

    with capture_logs() as lines:
        assert state.find(KEY) is None
        assert state.find(KEY) is None
        assert state.take(KEY) is None
        assert state.add(KEY, b"new", 60) is False, "a replayed one-time value became new"
    assert [(line["event"], line["log_level"]) for line in lines] == [("store.record_unreadable", "warning")]
    assert b"value" not in repr(lines).encode()

    other = state.find(OTHER)
    assert other is not None
    assert other.value == b"other"


@pytest.mark.parametrize(
    "spoil",
    [spoil for name, spoil in BAD_FILES.items() if name != "L23-folder"],
    ids=[name for name in BAD_FILES if name != "L23-folder"],
)
def test_a_bad_file_can_be_replaced_and_deleted(
    state: DirectoryStateStore, folder: Path, spoil: Callable[[Path, Path], None]
) -> None:
    state.put(KEY, b"value", 60)
    state.put(OTHER, b"other", 60)
    spoil(find_file(folder, KEY), find_file(folder, OTHER))
    state.put(KEY, b"new", 60)
    found = state.find(KEY)
    assert found is not None
    assert found.value == b"new"
    spoil(find_file(folder, KEY), find_file(folder, OTHER))
    state.delete(KEY)
    assert state.add(KEY, b"again", 60) is True
    other = state.find(OTHER)
    assert other is not None
    assert other.value == b"other", "a link was followed"


def test_a_record_of_a_later_version_is_left_alone_until_it_is_over(
    state: DirectoryStateStore, folder: Path, clock: SteppedClock
) -> None:
    state.put(KEY, b"value", 60)
    file = find_file(folder, KEY)
    _give_it_a_later_version(file, file)
    content = file.read_bytes()
    with capture_logs() as lines:
        state.find(KEY)
    assert lines[0]["reason"] == "it was written by a later version"
    state.take(KEY)
    state.sweep()
    assert file.read_bytes() == content
    clock.step(61)
    assert state.sweep() == 1
    assert not file.exists()


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


# Sweeping


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


@pytest.mark.parametrize(
    "spoil",
    [_empty, _zero, _make_it_a_dangling_link, _open_it_to_others],
    ids=["empty", "zeros", "link", "0644"],
)
def test_a_file_that_says_no_time_goes_after_a_day(
    state: DirectoryStateStore, folder: Path, spoil: Callable[[Path, Path], None]
) -> None:
    state.put(KEY, b"value", 60)
    file = find_file(folder, KEY)
    spoil(file, file)
    set_age(file, DAY - 60)
    state.sweep()
    assert os.path.lexists(file)
    set_age(file, DAY + 60)
    assert state.sweep() == 1
    assert not os.path.lexists(file)


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


# What is cachelib's


def test_cachelib_can_tell_which_records_of_ours_are_there(folder: Path) -> None:
    state = DirectoryStateStore(folder, time.time)
    state.put(KEY, b"value", 60)
    file = find_file(folder, KEY)
    cache = FileSystemCache(str(file.parent), threshold=0)
    assert cache.has(KEY)
    file.write_bytes(build_header(time.time() - 10) + file.read_bytes()[4:])
    assert not cache.has(KEY)


@pytest.mark.parametrize("name", ["get", "set", "add", "delete", "has", "clear", "inc", "get_many"])
def test_nothing_of_cachelib_that_hides_errors_can_be_used(folder: Path, clock: SteppedClock, name: str) -> None:
    files = RecordFiles(folder, clock)
    with pytest.raises(NotImplementedError):
        getattr(files, name)(KEY, b"value")
