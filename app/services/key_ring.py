"""The keys under which records lie in the store: AES-256-GCM (NIST SP 800-38D), the first key seals, all open.

A key file holds one key a line: 32 random bytes in base64. To change the key without losing a session, first add the
new one as the last line everywhere, then move it to the top everywhere, and drop the old one once everything sealed
with it is over.

Sealed bytes are `version (1) | key id (8) | nonce (12) | ciphertext and tag`. What a record is sealed for (`bound_to`,
usually its key in the store) is authenticated with it: moved under another name, it does not open. The nonce is random;
SP 800-38D §8.3 allows 2³² seals under one key, which is four years of 30 a second.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.services.state_store.private_files import (
    OTHERS_MAY_ANYTHING,
    OTHERS_MAY_WRITE,
    UnsafePermissionsError,
    create_private_file,
)
from app.settings import Settings

KEY_BYTES = 32

_VERSION = b"\x01"
_KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_HEAD_BYTES = len(_VERSION) + _KEY_ID_BYTES
_BODY_OFFSET = _HEAD_BYTES + _NONCE_BYTES
_LARGEST_FILE_BYTES = 1 << 16


class KeyFileError(Exception):
    """The key file is missing, unreadable or holds something else than keys. Never repeats what it holds."""


class SealBrokenError(Exception):
    """The sealed bytes were changed, belong to another record, or were sealed with a key that is not in the ring."""


class KeyRing:
    """Seals and opens; holds no other state and may be shared by everybody."""

    __slots__ = ("_ciphers", "_keys", "_sealing_key_id")

    def __init__(self, keys: list[bytes]) -> None:
        """`keys`: at least one, 32 bytes each. The first seals."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a key ring needs keys of {KEY_BYTES} bytes")
        self._keys = tuple(keys)
        self._ciphers = {_build_key_id(key): AESGCM(key) for key in keys}
        self._sealing_key_id = _build_key_id(keys[0])

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Reads a key file. Raises `KeyFileError`, or `UnsafePermissionsError` when others can get at the keys."""
        return cls(_parse_keys(_read_key_file(path), path))

    def seal(self, plaintext: bytes, bound_to: str) -> bytes:
        head = _VERSION + self._sealing_key_id
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = self._ciphers[self._sealing_key_id]
        return head + nonce + cipher.encrypt(nonce, plaintext, _build_associated_text(head, bound_to))

    def derive_keys(self, purpose: str) -> tuple[bytes, ...]:
        """Returns for each key of the ring, in its order, one for another use than sealing (NIST SP 800-108 §4.1)."""
        label = b"derived key\0" + purpose.encode()
        return tuple(hmac.digest(key, label, "sha256") for key in self._keys)

    def is_sealed_by_first(self, sealed: bytes) -> bool:
        """What another key sealed does not open any more once that key is dropped."""
        return sealed.startswith(_VERSION + self._sealing_key_id)

    def open(self, sealed: bytes, bound_to: str) -> bytes:
        """Raises `SealBrokenError`."""
        head, nonce, body = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:_BODY_OFFSET], sealed[_BODY_OFFSET:]
        if head[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
            raise SealBrokenError("it is not sealed in a way this version knows")
        cipher = self._ciphers.get(head[1:])
        if cipher is None:
            raise SealBrokenError("it was sealed with a key that is not in the key file")
        try:
            return cipher.decrypt(nonce, body, _build_associated_text(head, bound_to))
        except InvalidTag:
            raise SealBrokenError("it was changed, or belongs to another record") from None

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._ciphers)} keys>"


def load_or_create_key_ring(path: Path) -> KeyRing:
    """Reads the key file, making one with a fresh key (0600) when there is none.

    Several workers may do so at once: one file comes to be, whole, and all of them read that one.
    """
    if not path.exists():
        _create_key_file(path)
    return KeyRing.load(path)


def choose_key_file(settings: Settings) -> Path:
    """The one that seals what lies in the store: the deployer's, or with the directory store one beside it."""
    if settings.tokens.data_key_file:
        return Path(settings.tokens.data_key_file)
    return build_default_key_file(Path(settings.session.directory))


def build_default_key_file(state_directory: Path) -> Path:
    """Where the key file of a directory store lies when the settings name none: beside the directory."""
    directory = state_directory.absolute()
    return directory.with_name(f"{directory.name}.key")


def _create_key_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    create_private_file(temporary, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
    try:
        _sync(temporary)
        with suppress(FileExistsError):  # another worker was first
            os.link(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink()


def _sync(path: Path) -> None:
    """A key that sealed something must not be lost with the power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_key_file(path: Path) -> bytes:
    """Follows links: Kubernetes mounts a secret as one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check_key_file(path, os.fstat(descriptor))
            return os.read(descriptor, _LARGEST_FILE_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be read: {error.strerror}.") from error


def _check_key_file(path: Path, found: os.stat_result) -> None:
    """Our own file must be closed to everybody else. One that root put there for us, as container platforms do with
    secrets, may be readable: we could not change that, and nobody else runs there. Writable it must never be."""
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(f"The key file {path} is not a regular file.")
    if found.st_uid not in {os.geteuid(), 0}:
        raise UnsafePermissionsError(
            f"The key file {path} belongs to user id {found.st_uid}; it must belong to {os.geteuid()} or to root."
        )
    forbidden = OTHERS_MAY_ANYTHING if found.st_uid == os.geteuid() else OTHERS_MAY_WRITE
    if found.st_mode & forbidden:
        raise UnsafePermissionsError(
            f"The key file {path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}). Run: chmod 0600 {path}"
        )


def _parse_keys(content: bytes, path: Path) -> list[bytes]:
    lines = [(number, line.strip()) for number, line in enumerate(content.splitlines(), start=1) if line.strip()]
    if not lines:
        raise KeyFileError(f"The key file {path} is empty; wanted: {KEY_BYTES} random bytes in base64, one key a line.")
    return [_parse_key(line, number, path) for number, line in lines]


def _parse_key(line: bytes, number: int, path: Path) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES or len(set(key)) < KEY_BYTES // 4:
        raise KeyFileError(
            f"Line {number} of the key file {path} is no key; wanted: {KEY_BYTES} random bytes in base64 "
            f"(openssl rand -base64 {KEY_BYTES})."
        )
    return key


def _build_key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"key id of a data key\0" + key).digest()[:_KEY_ID_BYTES]


def _build_associated_text(head: bytes, bound_to: str) -> bytes:
    return head + bound_to.encode()
