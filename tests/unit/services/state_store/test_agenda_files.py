"""The agendas of the directory engine: what lies on the disk, and what happens when the disk is bad."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from app.core.errors import StoreUnavailableError
from app.services.state_store import Claim
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.file_lock import acquire_file_lock
from tests.unit.services.state_store.actors import start_actors
from tests.unit.services.state_store.engines import SteppedClock

AGENDA = "token-refresh"
ALICE, BOB = "a" * 64, "b" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def state(folder: Path, clock: SteppedClock) -> DirectoryStateStore:
    return DirectoryStateStore(folder, clock)


def claim_members(state: DirectoryStateStore, limit: int = 10) -> list[str]:
    return sorted(claim.member for claim in state.claim_due(AGENDA, limit=limit, lease_seconds=60))


def build_folder_name(member: str) -> str:
    return hashlib.sha256(member.encode()).hexdigest()[:2]


def list_entries(folder: Path) -> list[Path]:
    return [path for path in (folder / "agendas").rglob("*") if path.is_file() and path.name != "lock"]


def test_files_are_0600_and_folders_0700_whatever_the_umask(state: DirectoryStateStore, folder: Path) -> None:
    before = os.umask(0)
    try:
        state.schedule(AGENDA, ALICE, 0)
        state.claim_due(AGENDA, limit=1, lease_seconds=60)
    finally:
        os.umask(before)
    found = [folder / "agendas", *(folder / "agendas").rglob("*")]
    assert {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in found} == {(True, 0o700), (False, 0o600)}


def test_a_member_is_one_empty_file_through_all_its_changes(state: DirectoryStateStore, folder: Path) -> None:
    for _ in range(3):
        state.schedule(AGENDA, ALICE, 0)
        (claim,) = state.claim_due(AGENDA, limit=1, lease_seconds=60)
        state.settle(AGENDA, claim, again_in_seconds=5)
        assert [path.stat().st_size for path in list_entries(folder)] == [0]


def test_a_sweep_leaves_an_agenda_alone(state: DirectoryStateStore, clock: SteppedClock) -> None:
    state.schedule(AGENDA, ALICE, 0)
    clock.step(30 * 86400)
    state.sweep()
    assert claim_members(state) == [ALICE]


@pytest.mark.parametrize(
    "name",
    ["x", "lock.old", f"{1:017d}-{ALICE}", f"{1:016d}-1234abcd-{ALICE}", f"{1:017d}-1234abcd-", "-" * 40, "9" * 90],
)
def test_a_file_that_somebody_put_there_is_no_member(state: DirectoryStateStore, folder: Path, name: str) -> None:
    state.schedule(AGENDA, ALICE, 0)
    (entry,) = list_entries(folder)
    (entry.parent / name).touch()
    (folder / "agendas" / AGENDA / "not-a-folder").touch()
    assert claim_members(state) == [ALICE]


def test_a_claim_of_a_file_elsewhere_touches_nothing(state: DirectoryStateStore, folder: Path) -> None:
    state.schedule(AGENDA, ALICE, 0)
    (folder / "treasure").touch()
    state.settle(AGENDA, Claim(ALICE, "../../../treasure"))
    assert (folder / "treasure").exists()
    assert claim_members(state) == [ALICE]


def test_members_of_one_folder_are_told_apart_when_one_name_ends_in_the_other(
    state: DirectoryStateStore, folder: Path
) -> None:
    number = next(
        number for number in range(10_000) if build_folder_name(f"y{number}") == build_folder_name(f"x-y{number}")
    )
    state.schedule(AGENDA, f"x-y{number}", 0)
    state.schedule(AGENDA, f"y{number}", 60)
    assert claim_members(state) == [f"x-y{number}"]


# A killed process


def test_who_is_killed_while_it_plans_anew_leaves_the_old_time(folder: Path) -> None:
    shared = DirectoryStateStore(folder, time.time)
    shared.schedule(AGENDA, ALICE, 3600)
    with start_actors(1) as [actor]:
        actor.send("directory", str(folder), "die_before_scheduling", "rename", AGENDA, ALICE)
        assert actor.wait() < 0
    assert claim_members(shared) == []
    assert len(list_entries(folder)) == 1
    shared.schedule(AGENDA, ALICE, 0)
    assert claim_members(shared) == [ALICE]


# A bad disk

OPERATIONS: dict[str, Callable[[DirectoryStateStore], object]] = {
    "schedule": lambda state: state.schedule(AGENDA, BOB, 0),
    "claim_due": lambda state: state.claim_due(AGENDA, limit=1, lease_seconds=60),
    "settle": lambda state: state.settle(AGENDA, Claim(ALICE, "1")),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_a_folder_that_is_gone_is_a_store_that_does_not_answer(
    state: DirectoryStateStore, folder: Path, operation: Callable[[DirectoryStateStore], object]
) -> None:
    state.schedule(AGENDA, ALICE, 0)
    folder.rename(folder.with_name("away"))
    with pytest.raises(StoreUnavailableError):
        operation(state)
    assert not folder.exists()
    folder.with_name("away").rename(folder)
    operation(state)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_an_empty_folder_is_no_store_either(
    state: DirectoryStateStore, folder: Path, operation: Callable[[DirectoryStateStore], object]
) -> None:
    state.schedule(AGENDA, ALICE, 0)
    shutil.rmtree(folder)
    folder.mkdir()  # as the mount point of a disk that is not mounted
    with pytest.raises(StoreUnavailableError):
        operation(state)
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_said_and_what_was_planned_stays(
    state: DirectoryStateStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.schedule(AGENDA, ALICE, 0)

    def refuse(path: Path, content: bytes) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("app.services.state_store.agenda_files.create_private_file", refuse)
    with pytest.raises(StoreUnavailableError) as refused:
        state.schedule(AGENDA, BOB, 0)
    assert refused.value.internal_reason == "schedule: No space left on device"
    assert claim_members(state) == [ALICE]


def test_an_agenda_that_others_can_write_to_is_refused(state: DirectoryStateStore, folder: Path) -> None:
    (folder / "agendas" / AGENDA).mkdir()
    (folder / "agendas" / AGENDA).chmod(0o777)
    with pytest.raises(StoreUnavailableError) as refused:
        state.schedule(AGENDA, ALICE, 0)
    assert "chmod 0700" in refused.value.internal_reason


def test_one_folder_that_stays_locked_keeps_nothing_else_from_being_claimed(
    state: DirectoryStateStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.state_store.file_lock._FOLDER_WAIT_SECONDS", 0.02)
    state.schedule(AGENDA, ALICE, 0)
    (entry,) = list_entries(folder)
    stuck = acquire_file_lock(entry.parent / "lock", wait_seconds=0)
    assert stuck is not None
    with pytest.raises(StoreUnavailableError):
        state.claim_due(AGENDA, limit=1, lease_seconds=60)
    state.schedule(AGENDA, BOB, 0)
    assert claim_members(state) == [BOB]
    stuck.release()
    assert claim_members(state) == [ALICE]
