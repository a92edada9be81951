"""The directory engine: who may see what lies on the disk, and which folders are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.services.state_store import StateStore
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.private_files import UnsafePermissionsError
from tests.unit.services.state_store.directory_files import folder, state
from tests.unit.services.state_store.engines import SteppedClock
from tests.unit.services.state_store.support import KEY, OTHER

__all__ = ["folder", "state"]


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
