"""Decisions that all workers and machines may use, in Redis (`cache.shared`), behind each worker's own memory.

What lies in the store is believed only if we wrote it for this very question in this very scope: a record carries an
HMAC over its name, which is a hash of both, and over the time at which it is over. Who can write to the store can take
decisions away, and put one back within its own lifetime, but cannot make, change or prolong one.

A store that fails here costs a question to the decision point and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from app.core.errors import StoreUnavailableError
from app.observability import logs
from app.services.decision_cache import Scope
from app.services.key_ring import KeyRing
from app.services.pdp_answers import Decision
from app.services.state_store import StateStore

_PURPOSE = "decisions"
_MAC_BYTES = hashlib.sha256().digest_size
_FORMAT = b"1"

log = logs.get_logger(__name__)


class _Record(msgspec.Struct, frozen=True, array_like=True):
    is_allowed: bool
    reason: str
    acr_values: tuple[str, ...]
    until: float
    """Seconds since the epoch."""


_decoder = msgspec.msgpack.Decoder(_Record)


@dataclass(frozen=True, slots=True)
class SharedDecision:
    decision: Decision
    seconds_left: float


class SharedDecisions:
    """One a worker."""

    def __init__(
        self,
        state: StateStore,
        key_ring: KeyRing,
        *,
        ttl_allow_seconds: float,
        ttl_deny_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._keys = key_ring.derive_keys(_PURPOSE)
        self._ttl_seconds = {True: ttl_allow_seconds, False: ttl_deny_seconds}
        self._clock = clock

    def find(self, scope: Scope, key: bytes) -> SharedDecision | None:
        """Returns what some worker was answered and how long that still holds; never longer than we would have it."""
        name = _build_name(scope, key)
        try:
            stored = self._state.find(name)
        except StoreUnavailableError as error:
            log.warning("pdp.shared_cache_unavailable", reason=error.internal_reason)
            return None
        record = self._open(name, stored.value) if stored is not None else None
        if record is None:
            return None
        seconds_left = min(record.until - self._clock(), self._ttl_seconds[record.is_allowed])
        if seconds_left <= 0:
            return None
        return SharedDecision(Decision(record.is_allowed, record.reason, record.acr_values), seconds_left)

    def keep(self, scope: Scope, key: bytes, decision: Decision) -> None:
        """Tells the others, unless the decision says itself that it is none to last."""
        seconds = self._ttl_seconds[decision.is_allowed]
        if seconds <= 0 or not decision.is_lasting:
            return
        name = _build_name(scope, key)
        record = _Record(decision.is_allowed, decision.reason, decision.acr_values, self._clock() + seconds)
        packed = msgspec.msgpack.encode(record)
        try:
            self._state.put(name, _sign(self._keys[0], name, packed) + packed, seconds)
        except StoreUnavailableError as error:
            log.warning("pdp.shared_cache_unavailable", reason=error.internal_reason)

    def _open(self, name: str, value: bytes) -> _Record | None:
        mac, packed = value[:_MAC_BYTES], value[_MAC_BYTES:]
        if not any(hmac.compare_digest(_sign(key, name, packed), mac) for key in self._keys):
            log.warning("pdp.shared_decision_refused", reason="it was not written by us for this question")
            return None
        return _decoder.decode(packed)


def _build_name(scope: Scope, key: bytes) -> str:
    """Different scopes have different names, wherever a separator may stand in one of their parts."""
    return f"decision:{hashlib.sha256(msgspec.json.encode(scope) + key).hexdigest()}"


def _sign(key: bytes, name: str, packed: bytes) -> bytes:
    """Names are all of one length, so nothing of one can be read as the other."""
    return hmac.digest(key, _FORMAT + name.encode("ascii") + packed, "sha256")
