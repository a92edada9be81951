"""The files of the directory engine: one a record, in 256 sub-folders, replaced whole or not at all.

From cachelib's `FileSystemCache` come the names (SHA-256 of the key, so that no key can point anywhere), the temporary
suffix and the header that says when a record is over. What touches a file is ours; why is told in
`docs/decisions/0004-directory-store.md`.

Every change of a record is made under the lock of its sub-folder, so that "replace it if it is still there" and
"remove it" cannot cross. Reading needs no lock: a file is only ever replaced by `rename(2)`. Methods raise `OSError`;
the engine turns it into `StoreUnavailableError`.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import structlog
from cachelib import FileSystemCache

from app.services.state_store.complaints import Complaints
from app.services.state_store.file_lock import FOLDER_LOCK_NAME, hold_folder_lock
from app.services.state_store.private_files import (
    FILE_MODE,
    NotAPrivateFileError,
    create_private_file,
    make_private_folder,
    read_private_file,
)
from app.services.state_store.record_frame import (
    UnreadableFrameError,
    build_frame,
    parse_frame,
    parse_header,
)

ABANDONED_AFTER_SECONDS = 3600
"""No write takes this long: a temporary file or lock file as old as this was left by a process that died."""

UNREADABLE_KEPT_SECONDS = 86400
"""How long a file without a readable header stays for somebody to look at."""

_KEY = re.compile(r"[a-z][a-z-]*:[A-Za-z0-9._~:-]{1,256}")
_KNOWN_PATHS = 8192
_NANOSECONDS = 10**9

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FileMark:
    """Tells one write from every other: inode numbers come back, so the time of change is made unique as well."""

    inode: int
    changed_ns: int
    size: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class FileRecord:
    value: bytes
    mark: FileMark


class RecordFiles(FileSystemCache):
    """Creates, reads, replaces and removes record files, and sweeps what is over."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        """Makes the folder and its 256 sub-folders (0700); `UnsafePermissionsError` if others can write there."""
        make_private_folder(folder)
        super().__init__(str(folder), threshold=0, mode=FILE_MODE)
        self._clock = clock
        self._sub_folders = tuple(folder / f"{number:02x}" for number in range(256))
        for sub_folder in self._sub_folders:
            make_private_folder(sub_folder)
        self._locate = lru_cache(maxsize=_KNOWN_PATHS)(self._build_path)
        self._complaints = Complaints()

    def _use_ours(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("cachelib's own access hides I/O errors; use find, replace, create, remove")

    get = set = add = delete = has = clear = _use_ours

    def find(self, key: str) -> FileRecord | None:
        """Returns the record, or None when there is none, it is over, or it cannot be read (said once in the log)."""
        path = self._locate(key)
        try:
            content, found = read_private_file(path)
            frame = parse_frame(key, content)
        except FileNotFoundError:
            path.parent.stat()  # a store whose folders are gone is broken, not empty
            return None
        except (NotAPrivateFileError, UnreadableFrameError) as error:
            self._complain_once(path, str(error))
            return None
        if frame.expires_at <= self._clock():
            return None
        return FileRecord(frame.value, FileMark(found.st_ino, found.st_mtime_ns, found.st_size, frame.expires_at))

    def is_current(self, key: str, mark: FileMark) -> bool:
        """Costs one stat."""
        try:
            found = os.lstat(self._locate(key))  # on the way of every call, and pathlib takes a fifth longer
        except FileNotFoundError:
            return False
        same = (found.st_ino, found.st_mtime_ns, found.st_size) == (mark.inode, mark.changed_ns, mark.size)
        return same and self._clock() < mark.expires_at

    @contextmanager
    def changing(self, key: str) -> Iterator[None]:
        """Keeps every other greenlet and process from changing this record. Raises `TimeoutError` after 5 seconds."""
        with hold_folder_lock(self._locate(key).parent):
            yield

    @contextmanager
    def prepared(self, key: str, value: bytes, expires_at: float) -> Iterator[Path]:
        """Gives a whole, unnamed record: what happens to it is one rename or link. It is gone at the end."""
        path = self._locate(key)
        unique = secrets.token_hex(8)
        temporary = path.with_name(f"{path.name}.{unique}{self._fs_transaction_suffix}")
        frame = build_frame(key, value, expires_at)
        create_private_file(temporary, frame, changed_ns=self._build_unique_time())
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def replace(self, key: str, prepared: Path) -> None:
        """Puts the prepared record in place of whatever is there. Only while `changing`."""
        prepared.replace(self._locate(key))

    def create(self, key: str, prepared: Path) -> bool:
        """Puts the prepared record in place if nothing is there; only while `changing`.

        A record that is over is nothing. One that cannot be read is something: a replayed one-time value must not
        become new because its file was damaged.
        """
        path = self._locate(key)
        if self._has_ended(key):
            path.unlink(missing_ok=True)
        try:
            os.link(prepared, path)
        except FileExistsError:
            return False
        return True

    def remove(self, key: str) -> None:
        """Only while `changing`."""
        self._locate(key).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Removes what is over, and what processes that died left behind; returns how many records that were.

        Lets other greenlets run after each sub-folder.
        """
        removed = 0
        for sub_folder in self._sub_folders:
            removed += self._sweep_sub_folder(sub_folder)
            time.sleep(0)
        return removed

    def _sweep_sub_folder(self, sub_folder: Path) -> int:
        with os.scandir(sub_folder) as entries:
            names = [entry.name for entry in entries if entry.name != FOLDER_LOCK_NAME]
        temporary = {name for name in names if name.endswith(self._fs_transaction_suffix)}
        for name in temporary:
            if self._is_older(sub_folder / name, ABANDONED_AFTER_SECONDS):
                (sub_folder / name).unlink(missing_ok=True)
        return sum(self._remove_if_over(sub_folder / name) for name in names if name not in temporary)

    def _remove_if_over(self, path: Path) -> bool:
        """One file that cannot be read or removed does not keep the others from being swept."""
        try:
            if not self._is_over(path):
                return False
            with hold_folder_lock(path.parent):
                if not self._is_over(path):
                    return False  # replaced since
                path.unlink()
        except OSError as error:
            self._complain_once(path, f"it cannot be swept: {error.strerror}")
            return False
        return True

    def _has_ended(self, key: str) -> bool:
        """Judged to the fraction of a second where the record can be read."""
        path = self._locate(key)
        try:
            return parse_frame(key, read_private_file(path)[0]).expires_at <= self._clock()
        except FileNotFoundError:
            return False
        except (NotAPrivateFileError, UnreadableFrameError):
            return self._is_over(path)

    def _is_over(self, path: Path) -> bool:
        """Judged by the header alone, which stays the same in every version. A file with none is over after a day."""
        try:
            over_at_second = parse_header(read_private_file(path)[0])
        except FileNotFoundError:
            return False
        except NotAPrivateFileError:
            over_at_second = None
        if over_at_second is None:
            return self._is_older(path, UNREADABLE_KEPT_SECONDS)
        return over_at_second <= self._clock()

    def _is_older(self, path: Path, age_seconds: float) -> bool:
        with suppress(FileNotFoundError):
            return self._clock() - path.stat(follow_symlinks=False).st_mtime > age_seconds
        return False

    def _build_path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError("a key is kind:name, in plain ASCII")
        flat = Path(self._get_filename(key))
        return flat.parent / flat.name[:2] / flat.name

    def _build_unique_time(self) -> int:
        """Now, with random nanoseconds: the kernel's clock ticks in milliseconds, and two writes can share a tick."""
        return int(self._clock()) * _NANOSECONDS + secrets.randbelow(_NANOSECONDS)

    def _complain_once(self, path: Path, reason: str) -> None:
        if self._complaints.is_new(path.name, reason):
            _log.warning("store.record_unreadable", file=path.name, reason=reason)
