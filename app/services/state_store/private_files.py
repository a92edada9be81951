"""Files and folders that hold secrets: made closed to everybody else, refused when they are open.

Every open is made with `O_NOFOLLOW` (a link put in a record's place is not followed), and `O_NONBLOCK` when reading (a
FIFO in its place cannot hold us). A mode is given when a file is made, never mended afterwards: between the two there
would be a moment in which it is open.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_MAY_ANYTHING = stat.S_IRWXG | stat.S_IRWXO

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_STEP_BYTES = 1 << 16


class UnsafePermissionsError(Exception):
    """A file or folder that holds secrets is open to others, or belongs to somebody else. Says what to do about it."""


class NotAPrivateFileError(Exception):
    """What lies under this name is not a file of our own that nobody else can read or write."""


def make_private_folder(folder: Path) -> None:
    """Makes the folder (0700) unless it is there, and checks it with `check_private_folder`."""
    with suppress(FileExistsError):
        folder.mkdir(mode=FOLDER_MODE, parents=True)
    check_private_folder(folder)


def check_private_folder(folder: Path) -> None:
    """Raises `UnsafePermissionsError` unless the folder is a real one, our own, and only we can write to it."""
    found = folder.stat(follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafePermissionsError(f"{folder} is not a folder.")
    if found.st_uid != os.geteuid():
        raise UnsafePermissionsError(
            f"{folder} belongs to user id {found.st_uid}, but this process runs as {os.geteuid()}. "
            f"Give it to that user (chown) or choose another folder."
        )
    if found.st_mode & OTHERS_MAY_WRITE:
        raise UnsafePermissionsError(
            f"{folder} can be written to by others (mode {stat.S_IMODE(found.st_mode):04o}). Run: chmod 0700 {folder}"
        )


def read_private_file(path: Path) -> tuple[bytes, os.stat_result]:
    """Returns the content and the stat of the very file it came from.

    Raises `FileNotFoundError` when there is none, `NotAPrivateFileError` for a link, a folder, a FIFO or a file that
    is open to others, and `OSError` for what the disk says.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotAPrivateFileError("it is a link") from error
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotAPrivateFileError("it is not a regular file")
        if found.st_uid != os.geteuid() or found.st_mode & OTHERS_MAY_ANYTHING:
            raise NotAPrivateFileError("it is open to others, or belongs to somebody else")
        return _read_all(descriptor, found.st_size), found
    finally:
        os.close(descriptor)


def create_private_file(path: Path, content: bytes, *, changed_ns: int | None = None) -> None:
    """Creates a file (0600) that must not exist yet; removes it again when it cannot be written whole.

    `changed_ns` becomes its time of change.
    """
    descriptor = os.open(path, _CREATE_FLAGS, FILE_MODE)
    try:
        try:
            _write_all(descriptor, content)
            if changed_ns is not None:
                os.utime(descriptor, ns=(changed_ns, changed_ns))
        finally:
            os.close(descriptor)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def _read_all(descriptor: int, expected_bytes: int) -> bytes:
    content = os.read(descriptor, expected_bytes + 1)
    if len(content) == expected_bytes:
        return content
    pieces = [content]
    while piece := os.read(descriptor, _READ_STEP_BYTES):
        pieces.append(piece)
    return b"".join(pieces)


def _write_all(descriptor: int, content: bytes) -> None:
    """A disk that fills up takes a part first and says so only at the next write."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
