"""Locks between processes, threads and greenlets of one machine, by `flock(2)`.

The kernel lets go of a lock when its holder dies, however it dies. A lock belongs to an open file description, so each
attempt opens the file anew; that is what makes two greenlets of one process exclude each other. A blocking `flock`
would stop every greenlet of the worker: we ask without blocking and sleep in between.

A lock file may be unlinked, by its holder only and while the lock is held. Whoever then gets the lock on the unlinked
file sees that it has no name any more and opens the new one; so two can never hold what bears one name.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from app.services.state_store.private_files import FILE_MODE

FOLDER_LOCK_NAME = "lock"

_FOLDER_WAIT_SECONDS = 5.0
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.025
_PAUSE_GROWTH = 1.5


@dataclass(frozen=True, slots=True)
class FileLock:
    """A lock that is held until `release`."""

    path: Path
    descriptor: int

    def release(self, *, remove_file: bool = False) -> None:
        """Lets the lock go, first unlinking its file if told to. Does not fail: closing alone releases."""
        if remove_file:
            with suppress(OSError):
                self.path.unlink()
        # A process forked meanwhile shares the description: closing ours alone would leave the lock held.
        with suppress(OSError):
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


def acquire_file_lock(path: Path, wait_seconds: float) -> FileLock | None:
    """Returns the lock, or None when others held it all the time. Raises `OSError` when the file cannot be opened."""
    give_up_at = time.monotonic() + wait_seconds
    pause_seconds = _FIRST_PAUSE_SECONDS
    while (lock := _try_to_lock(path)) is None:
        remaining_seconds = give_up_at - time.monotonic()
        if remaining_seconds <= 0:
            return None
        time.sleep(min(pause_seconds, remaining_seconds))
        pause_seconds = min(pause_seconds * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS)
    return lock


@contextmanager
def hold_folder_lock(folder: Path) -> Iterator[None]:
    """Keeps every other greenlet and process from changing what is in the folder. Raises `TimeoutError` after five
    seconds, and `FileNotFoundError` when there is no such folder."""
    lock = acquire_file_lock(folder / FOLDER_LOCK_NAME, _FOLDER_WAIT_SECONDS)
    if lock is None:
        raise TimeoutError("another process kept the folder locked")
    try:
        yield
    finally:
        lock.release()


def _try_to_lock(path: Path) -> FileLock | None:
    while True:
        descriptor = os.open(path, _FLAGS, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return FileLock(path, descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
