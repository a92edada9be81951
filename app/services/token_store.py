"""Tokens in the store, sealed: a user's in a record of their own beside the session, services' by what they are for.

A token record says where it belongs as part of the seal, so that one copied over another's name does not open. What a
newer worker added to it stays when an older one renews the tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from app.observability import audit
from app.services.key_ring import KeyRing, SealBrokenError
from app.services.session_store.keys import build_tokens_record_name, build_tombstone_name
from app.services.session_store.local_copies import LocalCopies
from app.services.state_store import StateStore, StoredRecord
from app.services.state_store.complaints import Complaints
from app.services.state_store.versioned import UnreadableRecordError, decode_versioned, encode_versioned

RECORD_VERSION = 1

SERVICE_TOKEN_LIFETIME_SECONDS = 86400
"""How long a service token may lie in the store; whether it is still good is judged from its `expires_at`."""

_PROBE_BYTES = 4096
_PROBE_LIFETIME_SECONDS = 1

_log = structlog.get_logger(__name__)


class ServiceAccessToken(msgspec.Struct, frozen=True):
    """A user's access token for one service, audience and scope. `expires_at` as in `TokenSet`."""

    access_token: str
    expires_at: float | None = None
    obtained_at: float = 0.0
    is_bound: bool = False
    """To the session's key (RFC 9449)."""

    def __repr__(self) -> str:
        return "<ServiceAccessToken>"


class TokenSet(msgspec.Struct, frozen=True):
    """What a token endpoint answered (RFC 6749 §5.1). `expires_at` in epoch seconds, None when the IdP did not say."""

    access_token: str
    token_type: str
    expires_at: float | None = None
    refresh_token: str | None = None
    id_token: str | None = None
    scope: str = ""
    obtained_at: float = 0.0
    for_services: dict[str, ServiceAccessToken] = msgspec.field(default_factory=dict)
    """Further access tokens that the same refresh token gave, by what they are for (`TokenTarget.key`)."""
    dpop_key: str | None = None
    """The private key that those of type `DPoP` are bound to (`DpopKey.text`)."""

    def __repr__(self) -> str:
        return "<TokenSet>"


class _TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    version: int = RECORD_VERSION
    tokens: TokenSet

    def __repr__(self) -> str:
        return "<_TokenRecord>"


_decoder = msgspec.msgpack.Decoder(_TokenRecord)
_map_decoder = msgspec.msgpack.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class StoredTokens:
    """A session's tokens, the mark of the very write that put them there, and what they were read from."""

    tokens: TokenSet
    mark: Hashable
    plaintext: bytes = field(repr=False)


class TokenStore:
    """Every method may raise `StoreUnavailableError`."""

    def __init__(
        self,
        state: StateStore,
        key_ring: KeyRing,
        *,
        clock: Callable[[], float],
        local_cache_seconds: float = 0.0,
    ) -> None:
        """`local_cache_seconds`: how long `find` may trust this worker's own copy."""
        self._state = state
        self._key_ring = key_ring
        self._clock = clock
        self.copies: LocalCopies[TokenSet] = LocalCopies(state.is_current, max_age_seconds=local_cache_seconds)
        self._complaints = Complaints()

    def save(self, session_key: str, tokens: TokenSet, lifetime_seconds: float) -> bool:
        """Creates or replaces the session's tokens; False when the session has ended, and then nothing stays.

        Looks for the tombstone after writing: an end that comes later removes what was written, and one that came
        before is seen.
        """
        name = build_tokens_record_name(session_key)
        self.copies.drop(name)
        self._state.put(name, self._seal(tokens, name), lifetime_seconds, durable=True)
        if self._state.find(build_tombstone_name(session_key)) is None:
            return True
        self._state.delete(name)
        return False

    def replace(self, session_key: str, stored: StoredTokens, tokens: TokenSet, lifetime_seconds: float) -> bool:
        """Puts `tokens` in the place of `stored`; False, and nothing is written, when that is no longer what is there.

        So an older answer never overwrites a newer one, and what ended stays ended.
        """
        name = build_tokens_record_name(session_key)
        self.copies.drop(name)
        sealed = self._key_ring.seal(_encode_changed(stored, tokens), bound_to=name)
        return self._state.put_if_current(name, stored.mark, sealed, lifetime_seconds, durable=True)

    def check_room(self, session_key: str) -> None:
        """Raises `StoreUnavailableError` unless tokens could be written at this moment, where the session's are."""
        self._state.put(f"probe:{session_key}", bytes(_PROBE_BYTES), _PROBE_LIFETIME_SECONDS)

    def find(self, session_key: str) -> TokenSet | None:
        """None also when the record was tampered with, or sealed with a key that is gone (said in the log)."""
        name = build_tokens_record_name(session_key)
        now = self._clock()
        copy = self.copies.find(name, now)
        if copy is not None:
            return copy
        return self._keep(name, self._read(name), now)

    def keep_read(self, session_key: str, stored: StoredRecord) -> None:
        """Takes in what somebody has just read together with the session, so that `find` need not ask again."""
        name = build_tokens_record_name(session_key)
        self._keep(name, self._open(name, stored), self._clock())

    def find_stored(self, session_key: str) -> StoredTokens | None:
        """As `find`, but what is in the store at this moment, for `replace`."""
        return self._read(build_tokens_record_name(session_key))

    def delete(self, session_key: str) -> None:
        name = build_tokens_record_name(session_key)
        self.copies.drop(name)
        self._state.delete(name)

    def find_service_token(self, cache_key: str) -> TokenSet | None:
        stored = self._read(_build_service_token_name(cache_key))
        return stored.tokens if stored else None

    def save_service_token(self, cache_key: str, token: TokenSet) -> None:
        name = _build_service_token_name(cache_key)
        self._state.put(name, self._seal(token, name), SERVICE_TOKEN_LIFETIME_SECONDS)

    def _seal(self, tokens: TokenSet, name: str) -> bytes:
        return self._key_ring.seal(encode_versioned(_TokenRecord(tokens=tokens)), bound_to=name)

    def _keep(self, name: str, stored: StoredTokens | None, now: float) -> TokenSet | None:
        if stored is None:
            return None
        self.copies.keep(name, stored.tokens, stored.mark, now)
        return stored.tokens

    def _read(self, name: str) -> StoredTokens | None:
        stored = self._state.find(name)
        return self._open(name, stored) if stored else None

    def _open(self, name: str, stored: StoredRecord) -> StoredTokens | None:
        try:
            plaintext = self._key_ring.open(stored.value, bound_to=name)
            tokens = decode_versioned(plaintext, _decoder, RECORD_VERSION).tokens
            return StoredTokens(tokens, stored.mark, plaintext)
        except (SealBrokenError, UnreadableRecordError) as error:
            if self._complaints.is_new(name, str(error)):
                kind = name.partition(":")[0]
                _log.warning("token_record.unreadable", kind=kind, reason=str(error))
                audit.record("record.refused", kind=kind, reason=str(error))
            return None


def _encode_changed(stored: StoredTokens, tokens: TokenSet) -> bytes:
    """Keeps fields that are not known here, of the record, of the token set, and of each service's token that stays."""
    before = _map_decoder.decode(stored.plaintext)
    record = {**before, **msgspec.to_builtins(_TokenRecord(tokens=tokens))}
    record["tokens"] = {**before["tokens"], **record["tokens"]}
    for_services = record["tokens"]["for_services"]
    for target in for_services:
        if tokens.for_services[target] == stored.tokens.for_services.get(target):
            for_services[target] = before["tokens"]["for_services"][target]
    return encode_versioned(record)


def _build_service_token_name(cache_key: str) -> str:
    return f"service-token:{hashlib.sha256(cache_key.encode()).hexdigest()}"
