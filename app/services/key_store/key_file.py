"""How the keys are written down: one JSON document with every key and its state.

New fields come with a default and need no new version: an older worker skips them.
"""

from __future__ import annotations

from typing import Any

import msgspec
from joserfc.jwk import JWKRegistry

from app.services.key_store.signing_key import Algorithm, KeyState, SigningKey

FORMAT_VERSION = 1


class KeyFileDamagedError(Exception):
    """The text is not what was written. The message says how, and nothing of what it holds."""


class _StoredKey(msgspec.Struct, frozen=True):
    kid: str
    algorithm: Algorithm
    state: KeyState
    created_at: float
    private_jwk: dict[str, Any]
    state_since: float | None = None

    def __repr__(self) -> str:
        return f"_StoredKey(kid={self.kid!r})"


class _KeyFile(msgspec.Struct, frozen=True):
    version: int
    keys: tuple[_StoredKey, ...]


def encode_keys(keys: tuple[SigningKey, ...]) -> bytes:
    stored = tuple(
        _StoredKey(
            kid=key.kid,
            algorithm=key.algorithm,
            state=key.state,
            created_at=key.created_at,
            state_since=key.state_since,
            private_jwk=dict(key.private_key.as_dict(private=True)),
        )
        for key in keys
    )
    return msgspec.json.format(msgspec.json.encode(_KeyFile(FORMAT_VERSION, stored)))


def parse_keys(content: bytes) -> tuple[SigningKey, ...]:
    """Returns the keys, of which exactly one is current; raises `KeyFileDamagedError`."""
    try:
        parsed = msgspec.json.decode(content, type=_KeyFile)
        if parsed.version == FORMAT_VERSION:
            return _check_states(tuple(_build_signing_key(stored) for stored in parsed.keys))
    except KeyFileDamagedError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, its text may hold a private key
        raise KeyFileDamagedError(f"is damaged ({type(error).__name__})") from None
    raise KeyFileDamagedError(f"has format {parsed.version}, and this version of the BFF reads {FORMAT_VERSION}")


def _check_states(keys: tuple[SigningKey, ...]) -> tuple[SigningKey, ...]:
    currents = sum(key.state == "current" for key in keys)
    if currents != 1:
        raise KeyFileDamagedError(f"holds {'more than one' if currents else 'no'} current signing key")
    return keys


def _build_signing_key(stored: _StoredKey) -> SigningKey:
    key = JWKRegistry.import_key(stored.private_jwk)
    if not key.is_private or key.thumbprint() != stored.kid:
        raise ValueError("the key is not what its name says")
    since = stored.created_at if stored.state_since is None else stored.state_since
    return SigningKey(stored.kid, stored.algorithm, stored.state, stored.created_at, since, key)
