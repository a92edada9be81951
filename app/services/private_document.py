"""A small document that holds secrets, is changed seldom, and must never be lost: the signing keys, for one.

It lies in a private file, or in the shared store, sealed, where several machines work on it. Either way a change is
made under a lock on what is there at that moment, and takes the place of the whole document at once: a reader sees the
old one or the new one, and whoever is killed in the middle leaves the old one.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from app.core.errors import StoreUnavailableError
from app.services.key_ring import KeyRing, SealBrokenError
from app.services.state_store import StateStore
from app.services.state_store.file_lock import hold_folder_lock
from app.services.state_store.private_files import OTHERS_MAY_ANYTHING, OTHERS_MAY_WRITE

Edit = Callable[[bytes | None], bytes | None]
"""Is given the document, or None when there is none, and returns what is to be there instead; None: leave it."""

_NEW_PREFIX = ".new-"
_TEN_YEARS_SECONDS = 3650 * 86_400
"""Records in the shared store have a lifetime; this one begins anew with every change."""
_LOCK_SECONDS = 10.0


class PrivateDocumentError(Exception):
    """The document cannot be used as it is; the message says what to do about it, and nothing of what it holds."""


class PrivateDocument(Protocol):
    """Both methods raise `PrivateDocumentError`, or `StoreUnavailableError` while the shared store does not answer."""

    @property
    def place(self) -> str:
        """What and where it is, to begin a sentence with."""

    def read(self) -> bytes | None:
        """Returns the document, or None when there is none yet."""

    def change(self, edit: Edit) -> bytes | None:
        """Lets `edit` change the document, alone; returns what is there afterwards."""


class DocumentFile:
    """A file (0600) in a folder that nobody else can write to; survives the loss of power."""

    def __init__(self, path: Path, *, holds: str) -> None:
        """`holds` says in sentences what is in there, such as `the signing keys`."""
        self._path = path
        self._holds = holds

    @property
    def place(self) -> str:
        return str(self._path)

    def read(self) -> bytes | None:
        try:
            return self._read()
        except OSError as error:
            raise self._build_error(error) from None

    def change(self, edit: Edit) -> bytes | None:
        folder = self._path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_folder()
            with hold_folder_lock(folder):
                content = self._read()
                changed = edit(content)
                if changed is None:
                    return content
                self._replace(changed)
                return changed
        except OSError as error:
            raise self._build_error(error) from None

    def _read(self) -> bytes | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            self._check_folder()
            self._check_file(os.fstat(descriptor))
            return file.read()

    def _replace(self, content: bytes) -> None:
        folder = self._path.parent
        for left_over in folder.glob(f"{_NEW_PREFIX}*"):  # by one that was killed; we hold the lock
            left_over.unlink()
        descriptor, name = tempfile.mkstemp(prefix=_NEW_PREFIX, dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:  # mkstemp makes it 0600
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).rename(self._path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
        _sync_folder(folder)

    def _check_folder(self) -> None:
        folder = self._path.parent
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & OTHERS_MAY_WRITE:
            raise PrivateDocumentError(
                f"Others may write to {folder} (mode {mode:04o}), and so replace {self._holds}. Run: chmod 700 {folder}"
            )

    def _check_file(self, status: os.stat_result) -> None:
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            raise PrivateDocumentError(f"{self._path} is not a regular file.")
        if mode & OTHERS_MAY_ANYTHING:
            raise PrivateDocumentError(
                f"Others may read {self._holds} in {self._path} (mode {mode:04o}). If nobody did, run: "
                f"chmod 600 {self._path}; else stop the BFF and move the file away: the next start makes a new one."
            )
        if status.st_uid not in (os.geteuid(), 0):
            raise PrivateDocumentError(f"{self._path} belongs to another user (uid {status.st_uid}).")

    def _build_error(self, error: OSError) -> PrivateDocumentError:
        holds = self._holds[0].upper() + self._holds[1:]
        return PrivateDocumentError(f"{holds} in {self._path.parent} cannot be used: {error.strerror or error}.")


class SealedDocument:
    """A record in the shared store, sealed under the key ring that seals tokens."""

    def __init__(self, name: str, state_store: StateStore, key_ring: KeyRing, *, holds: str) -> None:
        self._name = f"document:{name}"
        self._state_store = state_store
        self._key_ring = key_ring
        self._holds = holds

    @property
    def place(self) -> str:
        return f"The record of {self._holds} in Redis"

    def read(self) -> bytes | None:
        stored = self._state_store.find(self._name)
        return self._open(stored.value) if stored else None

    def change(self, edit: Edit) -> bytes | None:
        with self._state_store.lock(self._name, _LOCK_SECONDS, _LOCK_SECONDS) as hold:
            if not hold:
                raise StoreUnavailableError(internal_reason=f"the lock for {self._holds} was not to be had")
            stored = self._state_store.find(self._name)
            content = self._open(stored.value) if stored else None
            changed = edit(content)
            if changed is None:
                return content
            sealed = self._key_ring.seal(changed, bound_to=self._name)
            # Not even a lock that was lost meanwhile lets two write: the second is refused here.
            if stored:
                written = self._state_store.put_if_current(
                    self._name, stored.mark, sealed, _TEN_YEARS_SECONDS, durable=True
                )
            else:
                written = self._state_store.add(self._name, sealed, _TEN_YEARS_SECONDS, durable=True)
            if not written:
                raise StoreUnavailableError(internal_reason=f"somebody else changed {self._holds} at the same time")
            return changed

    def _open(self, sealed: bytes) -> bytes:
        try:
            return self._key_ring.open(sealed, bound_to=self._name)
        except SealBrokenError as error:
            raise PrivateDocumentError(
                f"{self.place} cannot be opened: {error}. All machines need the same keys in tokens.data_key_file."
            ) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
