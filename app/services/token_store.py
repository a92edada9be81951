"""Tokens in the store, sealed: a user's in a record of their own beside the session, services' by what they are for.

A token record says where it belongs as part of the seal, so that one copied over another's name does not open.
"""

from __future__ import annotations

import hashlib

import msgspec
import structlog

from app.services.key_ring import KeyRing, SealBrokenError
from app.services.session_store.keys import build_tokens_record_name, build_tombstone_name
from app.services.state_store import StateStore
from app.services.state_store.complaints import Complaints
from app.services.state_store.versioned import UnreadableRecordError, decode_versioned, encode_versioned

RECORD_VERSION = 1

SERVICE_TOKEN_LIFETIME_SECONDS = 86400
"""How long a service token may lie in the store; whether it is still good is judged from its `expires_at`."""

_log = structlog.get_logger(__name__)


class TokenSet(msgspec.Struct, frozen=True):
    """What a token endpoint answered (RFC 6749 §5.1). `expires_at` in epoch seconds, None when the IdP did not say."""

    access_token: str
    token_type: str
    expires_at: float | None = None
    refresh_token: str | None = None
    id_token: str | None = None
    scope: str = ""

    def __repr__(self) -> str:
        return "<TokenSet>"


class _TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    version: int = RECORD_VERSION
    tokens: TokenSet

    def __repr__(self) -> str:
        return "<_TokenRecord>"


_decoder = msgspec.msgpack.Decoder(_TokenRecord)


class TokenStore:
    """Every method may raise `StoreUnavailableError`."""

    def __init__(self, state: StateStore, key_ring: KeyRing) -> None:
        self._state = state
        self._key_ring = key_ring
        self._complaints = Complaints()

    def save(self, session_key: str, tokens: TokenSet, lifetime_seconds: float) -> bool:
        """Creates or replaces the session's tokens; False when the session has ended, and then nothing stays.

        Looks for the tombstone after writing: an end that comes later removes what was written, and one that came
        before is seen.
        """
        name = build_tokens_record_name(session_key)
        self._state.put(name, self._seal(tokens, name), lifetime_seconds)
        if self._state.find(build_tombstone_name(session_key)) is None:
            return True
        self._state.delete(name)
        return False

    def find(self, session_key: str) -> TokenSet | None:
        """None also when the record was tampered with, or sealed with a key that is gone (said in the log)."""
        return self._find(build_tokens_record_name(session_key))

    def delete(self, session_key: str) -> None:
        self._state.delete(build_tokens_record_name(session_key))

    def find_service_token(self, cache_key: str) -> TokenSet | None:
        return self._find(_build_service_token_name(cache_key))

    def save_service_token(self, cache_key: str, token: TokenSet) -> None:
        name = _build_service_token_name(cache_key)
        self._state.put(name, self._seal(token, name), SERVICE_TOKEN_LIFETIME_SECONDS)

    def _seal(self, tokens: TokenSet, name: str) -> bytes:
        return self._key_ring.seal(encode_versioned(_TokenRecord(tokens=tokens)), bound_to=name)

    def _find(self, name: str) -> TokenSet | None:
        stored = self._state.find(name)
        if stored is None:
            return None
        try:
            plaintext = self._key_ring.open(stored.value, bound_to=name)
            return decode_versioned(plaintext, _decoder, RECORD_VERSION).tokens
        except (SealBrokenError, UnreadableRecordError) as error:
            if self._complaints.is_new(name, str(error)):
                _log.warning("token_record.unreadable", kind=name.partition(":")[0], reason=str(error))
            return None


def _build_service_token_name(cache_key: str) -> str:
    return f"service-token:{hashlib.sha256(cache_key.encode()).hexdigest()}"
