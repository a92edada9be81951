"""The directory engine: state on one machine's disk, shared by all its workers.

The folder must lie on a local file system of the machine: rename, link and `flock` have to mean what POSIX says, which
NFS and SMB do not promise. Nothing is synced to disk: a process that is killed loses at most its own write, and a
machine that loses power may lose the last seconds, each record for itself.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from app.core.errors import StoreUnavailableError
from app.services.state_store.agenda_files import AgendaFiles
from app.services.state_store.file_lock import FileLock, acquire_file_lock
from app.services.state_store.interface import DEFAULT_LEASE_SECONDS, Claim, StoredRecord
from app.services.state_store.private_files import make_private_folder
from app.services.state_store.record_files import ABANDONED_AFTER_SECONDS, FileMark, FileRecord, RecordFiles

_P = ParamSpec("_P")
_R = TypeVar("_R")

_LOCK_FOLDER = "locks"
_PROBE_LIFETIME_SECONDS = 60
_Members = dict[str, float]  # member → when its membership ends
_members_decoder = msgspec.msgpack.Decoder(_Members)


def _unavailable_on_io_error(operation: Callable[_P, _R]) -> Callable[_P, _R]:
    """What the disk refuses is a store that does not answer; it never looks like a record that is not there."""

    @wraps(operation)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return operation(*args, **kwargs)
        except OSError as error:
            reason = f"{operation.__name__}: {error.strerror or error}"
            raise StoreUnavailableError(internal_reason=reason) from error

    return guarded


@dataclass(frozen=True, slots=True)
class _Hold:
    """The kernel keeps a lock for as long as we have it open: it cannot be lost."""

    was_had: bool

    def __bool__(self) -> bool:
        return self.was_had

    def is_held(self) -> bool:
        return self.was_had


class DirectoryStateStore:
    """`StateStore` in a directory. `clock` gives epoch seconds. There are no replicas, so `durable` means nothing."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        """Makes the directory if need be. Raises `UnsafePermissionsError` when it is not safely ours, or `OSError`."""
        self._clock = clock
        root = directory.resolve()
        self._files = RecordFiles(root, clock)
        self._agendas = AgendaFiles(root, clock)
        self._locks = root / _LOCK_FOLDER
        make_private_folder(self._locks)

    def start(self) -> None:
        """Nothing runs beside the calls."""

    def close(self) -> None:
        """Nothing is kept open."""

    @_unavailable_on_io_error
    def find(self, key: str) -> StoredRecord | None:
        found = self._files.find(key)
        return StoredRecord(found.value, found.mark) if found else None

    def find_together(self, *keys: str) -> tuple[StoredRecord | None, ...]:
        return tuple(self.find(key) for key in keys)

    @_unavailable_on_io_error
    def is_current(self, key: str, mark: Hashable) -> bool:
        return isinstance(mark, FileMark) and self._files.is_current(key, mark)

    def confirm(self, marks: Mapping[str, Hashable]) -> dict[str, Hashable]:
        return {key: mark for key, mark in marks.items() if self.is_current(key, mark)}

    def hears_changes(self) -> bool:
        """Nothing has to be heard: `is_current` looks."""
        return True

    @_unavailable_on_io_error
    def put(self, key: str, value: bytes, lifetime_seconds: float, *, durable: bool = False) -> None:  # noqa: ARG002
        with self._files.prepared(key, value, self._clock() + lifetime_seconds) as prepared, self._files.changing(key):
            self._files.replace(key, prepared)

    @_unavailable_on_io_error
    def put_if_current(
        self,
        key: str,
        mark: Hashable,
        value: bytes,
        lifetime_seconds: float,
        *,
        durable: bool = False,  # noqa: ARG002
    ) -> bool:
        with self._files.prepared(key, value, self._clock() + lifetime_seconds) as prepared, self._files.changing(key):
            if not isinstance(mark, FileMark) or not self._files.is_current(key, mark):
                return False
            self._files.replace(key, prepared)
            return True

    @_unavailable_on_io_error
    def add(self, key: str, value: bytes, lifetime_seconds: float, *, durable: bool = False) -> bool:  # noqa: ARG002
        with self._files.prepared(key, value, self._clock() + lifetime_seconds) as prepared, self._files.changing(key):
            return self._files.create(key, prepared)

    @_unavailable_on_io_error
    def take(self, key: str) -> bytes | None:
        with self._files.changing(key):
            found = self._files.find(key)
            if not found:
                return None
            self._files.remove(key)
            return found.value

    @_unavailable_on_io_error
    def delete(self, key: str, *, durable: bool = False) -> None:  # noqa: ARG002
        with self._files.changing(key):
            self._files.remove(key)

    @_unavailable_on_io_error
    def increment(self, key: str, lifetime_seconds: float) -> int:
        with self._files.changing(key):
            found = self._files.find(key)
            count = int(found.value) + 1 if found else 1
            expires_at = found.mark.expires_at if found else self._clock() + lifetime_seconds
            self._replace(key, b"%d" % count, expires_at)
            return count

    @_unavailable_on_io_error
    def add_member(self, key: str, member: str, lifetime_seconds: float) -> None:
        with self._files.changing(key):
            members = self._read_members(self._files.find(key))
            members[member] = self._clock() + lifetime_seconds
            self._replace_members(key, members)

    @_unavailable_on_io_error
    def remove_member(self, key: str, member: str) -> None:
        with self._files.changing(key):
            members = self._read_members(self._files.find(key))
            if members.pop(member, None) is None:
                return
            if members:
                self._replace_members(key, members)
            else:
                self._files.remove(key)

    @_unavailable_on_io_error
    def members(self, key: str) -> frozenset[str]:
        return frozenset(self._read_members(self._files.find(key)))

    @contextmanager
    def lock(
        self,
        name: str,
        wait_seconds: float,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,  # noqa: ARG002
    ) -> Iterator[_Hold]:
        held = self._acquire(name, wait_seconds)
        try:
            yield _Hold(held is not None)
        finally:
            if held:
                held.release(remove_file=True)

    @_unavailable_on_io_error
    def schedule(self, agenda: str, member: str, delay_seconds: float) -> None:
        self._agendas.schedule(agenda, member, delay_seconds)

    @_unavailable_on_io_error
    def claim_due(self, agenda: str, *, limit: int, lease_seconds: float) -> tuple[Claim, ...]:
        return self._agendas.claim_due(agenda, limit, lease_seconds)

    @_unavailable_on_io_error
    def settle(self, agenda: str, claim: Claim, *, again_in_seconds: float | None = None) -> None:
        self._agendas.settle(agenda, claim, again_in_seconds)

    @_unavailable_on_io_error
    def sweep(self) -> int:
        removed = self._files.sweep()
        for path in self._locks.iterdir():
            self._remove_abandoned_lock(path)
        return removed

    @_unavailable_on_io_error
    def check(self) -> None:
        key, value = f"probe:{secrets.token_hex(16)}", secrets.token_bytes(16)
        if not self.add(key, value, _PROBE_LIFETIME_SECONDS) or self.take(key) != value:
            raise StoreUnavailableError(internal_reason="a record that was written did not come back")

    @_unavailable_on_io_error
    def _acquire(self, name: str, wait_seconds: float) -> FileLock | None:
        return acquire_file_lock(self._locks / hashlib.sha256(name.encode()).hexdigest(), wait_seconds)

    def _remove_abandoned_lock(self, path: Path) -> None:
        try:
            age_seconds = self._clock() - path.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return
        if age_seconds > ABANDONED_AFTER_SECONDS and (lock := acquire_file_lock(path, wait_seconds=0)):
            lock.release(remove_file=True)

    def _read_members(self, found: FileRecord | None) -> _Members:
        if not found:
            return {}
        now = self._clock()
        members = _members_decoder.decode(found.value)
        return {member: ends_at for member, ends_at in members.items() if ends_at > now}

    def _replace_members(self, key: str, members: _Members) -> None:
        self._replace(key, msgspec.msgpack.encode(members), max(members.values()))

    def _replace(self, key: str, value: bytes, expires_at: float) -> None:
        with self._files.prepared(key, value, expires_at) as prepared:
            self._files.replace(key, prepared)
