"""The BFF's signing keys: made at first start, kept in one private file, published as a JWKS (RFC 7517).

The file holds every key with its state, so that rotation only has to add to it; it is always replaced as a whole.
Several processes may start at once on an empty directory: each makes a key, one link(2) wins, all load that one.
A key file that others may read is no secret any more and is refused, not repaired.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from app.observability import audit

Algorithm = Literal["ES256", "PS256", "RS256", "Ed25519"]
KeyState = Literal["next", "current", "retired"]

FILE_NAME = "signing-keys.json"
FORMAT_VERSION = 1
_RSA_BITS = 3072
"""NIST SP 800-57: 128 bits of security, as the elliptic-curve keys have."""
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"})


class KeyStoreError(Exception):
    """The keys cannot be used as they are; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and what is known about it; its repr shows nothing secret."""

    kid: str
    """RFC 7638 thumbprint: the same key has the same name everywhere."""
    algorithm: Algorithm
    state: KeyState
    created_at: float
    private_key: Key = field(repr=False)

    @property
    def public_jwk(self) -> dict[str, str]:
        """The public half for the JWKS. Built from named members, so that no private one can slip in."""
        members = self.private_key.as_dict(private=False) | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}
        return {name: str(value) for name, value in members.items() if name in _PUBLIC_MEMBERS}


class _StoredKey(msgspec.Struct, frozen=True):
    kid: str
    algorithm: Algorithm
    state: KeyState
    created_at: float
    private_jwk: dict[str, Any]

    def __repr__(self) -> str:
        return f"_StoredKey(kid={self.kid!r})"


class _KeyFile(msgspec.Struct, frozen=True):
    version: int
    keys: tuple[_StoredKey, ...]


class KeyStore:
    """The keys as loaded at start; nothing changes them while the process lives."""

    def __init__(self, keys: tuple[SigningKey, ...]) -> None:
        self._keys = keys
        self._current = next(key for key in keys if key.state == "current")

    @property
    def current(self) -> SigningKey:
        """The key to sign with."""
        return self._current

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Returns the JWK Set (RFC 7517 §5) of every published key, the current one first."""
        ordered = sorted(self._keys, key=lambda key: (key.state != "current", -key.created_at))
        return {"keys": [key.public_jwk for key in ordered]}


def load_or_create_key_store(directory: Path, *, algorithm: Algorithm, clock: Callable[[], float]) -> KeyStore:
    """Opens the keys in `directory`, which is made, with a first key, when it is not there.

    Raises `KeyStoreError` for a file that others may read, that is damaged, or whose current key is of another kind.
    """
    path = directory / FILE_NAME
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_directory(directory)
        if not path.exists():
            _create_file(path, algorithm, clock())
        keys = _load_file(path)
    except OSError as error:
        raise KeyStoreError(f"The signing keys in {directory} cannot be used: {error.strerror}.") from None
    current = next((key for key in keys if key.state == "current"), None)
    if current is None:
        raise KeyStoreError(f"{path} holds no current signing key.")
    if current.algorithm != algorithm:
        raise KeyStoreError(
            f"{path} holds a key for {current.algorithm}, but keys.algorithm is {algorithm}. "
            "Set keys.algorithm back, or move the file away to have a new key made."
        )
    return KeyStore(keys)


def generate_private_key(algorithm: Algorithm) -> Key:
    """Makes a new private key for `algorithm`."""
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", private=True)
    if algorithm == "Ed25519":
        return OKPKey.generate_key("Ed25519", private=True)
    return RSAKey.generate_key(_RSA_BITS, private=True)


def _create_file(path: Path, algorithm: Algorithm, now: float) -> None:
    key = generate_private_key(algorithm)
    kid = key.thumbprint()
    stored = _StoredKey(kid, algorithm, "current", now, dict(key.as_dict(private=True)))
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp makes it 0600
            file.write(msgspec.json.format(msgspec.json.encode(_KeyFile(FORMAT_VERSION, (stored,)))))
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename, a link never replaces what another process put there a moment ago.
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink()
    audit.record("key.created", kid=kid, algorithm=algorithm)


def _load_file(path: Path) -> tuple[SigningKey, ...]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _check_file(path, os.fstat(descriptor))
        content = file.read()
    try:
        parsed = msgspec.json.decode(content, type=_KeyFile)
        if parsed.version == FORMAT_VERSION:
            return tuple(_build_signing_key(stored) for stored in parsed.keys)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, its text may hold a private key
        raise KeyStoreError(f"{path} is damaged ({type(error).__name__}). Restore it, or move it away.") from None
    raise KeyStoreError(f"{path} has format {parsed.version}; this version of the BFF reads {FORMAT_VERSION}.")


def _build_signing_key(stored: _StoredKey) -> SigningKey:
    key = JWKRegistry.import_key(stored.private_jwk)
    if not key.is_private or key.thumbprint() != stored.kid:
        raise ValueError("the key is not what its name says")
    return SigningKey(stored.kid, stored.algorithm, stored.state, stored.created_at, key)


def _check_directory(directory: Path) -> None:
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o022:
        raise KeyStoreError(
            f"Others may write to {directory} (mode {mode:04o}), and so replace the signing keys. "
            f"Run: chmod 700 {directory}"
        )


def _check_file(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise KeyStoreError(f"{path} is not a regular file.")
    if mode & 0o077:
        raise KeyStoreError(
            f"Others may read the signing keys in {path} (mode {mode:04o}). If nobody did, run: chmod 600 {path}; "
            "else move the file away to have a new key made."
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyStoreError(f"{path} belongs to another user (uid {status.st_uid}).")
