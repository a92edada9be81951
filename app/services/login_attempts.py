"""Logins that have begun and not yet come back: one sealed record each, found by a hash of the state.

The record is bound to the browser by a secret that only this browser's login cookie holds. Looking does not use a
record up, so that a callback opened elsewhere cannot spoil the login it was stolen from (L1). Taking it does (L2).
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256

import msgspec

from app.core.errors import LoginStateInvalidError
from app.services.key_ring import KeyRing, SealBrokenError
from app.services.state_store.interface import StateStore

LIFETIME_SECONDS = 600
FORMAT_VERSION = 1


class LoginAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """What the BFF must still know when the browser comes back."""

    version: int = FORMAT_VERSION
    started_at: float
    browser_secret_hash: str
    nonce: str
    code_verifier: str
    redirect_uri: str
    return_to: str
    previous_session_key: str | None = None
    """The session that was live when the login began; the callback ends it (L8, L9). A Strict cookie does not come
    back with the provider's redirect, so it has to be remembered here."""
    max_age_seconds: int | None = None
    required_acr_values: tuple[str, ...] = ()
    """One of these must be the `acr` of the ID token; empty: whatever the provider does will do."""

    issuer: str = ""
    """The provider it was begun at; empty in one that an older version wrote."""
    dpop_key: str | None = None
    """The private key that the login's tokens are to be bound to (`DpopKey.text`); the provider knows it already."""

    def __repr__(self) -> str:
        return f"LoginAttempt(started_at={self.started_at}, ***)"


def make_secret() -> str:
    """Returns 256 random bits, for a state, a nonce, a code verifier (RFC 7636 §4.1) or a browser's secret."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Returns what may be kept or shown of a secret."""
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class LoginAttemptStore:
    """Keeps attempts for ten minutes."""

    def __init__(self, state_store: StateStore, key_ring: KeyRing) -> None:
        self._state_store = state_store
        self._key_ring = key_ring

    def save(self, state: str, attempt: LoginAttempt) -> None:
        """Keeps a new attempt."""
        key = _build_key(state)
        sealed = self._key_ring.seal(msgspec.msgpack.encode(attempt), key)
        self._state_store.put(key, sealed, LIFETIME_SECONDS)

    def check_browser(self, state: str, browser_secret: str) -> LoginAttempt:
        """Returns the attempt if it was begun by the browser that holds `browser_secret`; uses nothing up."""
        key = _build_key(state)
        record = self._state_store.find(key)
        if record is None:
            raise LoginStateInvalidError(internal_reason="no such login is pending")
        attempt = self._open(key, record.value)
        if not hmac.compare_digest(attempt.browser_secret_hash, hash_secret(browser_secret)):
            raise LoginStateInvalidError(internal_reason="the login was begun in another browser")
        return attempt

    def take(self, state: str) -> LoginAttempt:
        """Removes and returns the attempt; of several callers at once only one gets it."""
        key = _build_key(state)
        sealed = self._state_store.take(key)
        if sealed is None:
            raise LoginStateInvalidError(internal_reason="the login was used already")
        return self._open(key, sealed)

    def _open(self, key: str, sealed: bytes) -> LoginAttempt:
        try:
            attempt = msgspec.msgpack.decode(self._key_ring.open(sealed, key), type=LoginAttempt)
        except (SealBrokenError, msgspec.MsgspecError) as error:
            raise LoginStateInvalidError(internal_reason="the pending login cannot be read") from error
        if attempt.version != FORMAT_VERSION:
            raise LoginStateInvalidError(internal_reason="the pending login is of another version")
        return attempt


def _build_key(state: str) -> str:
    return f"login:{hash_secret(state)}"
