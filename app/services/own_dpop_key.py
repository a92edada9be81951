"""The key that the BFF's own tokens are bound to: one for all workers and machines, sealed in the store.

A token is kept together with its key, so tokens outlive a change of this one: when its time is over, or when it was
sealed under a key that has left the ring, the next token is simply bound to a new one.
"""

from __future__ import annotations

from app.core.errors import ServiceTokenUnavailableError
from app.services.dpop_key import DpopKey, DpopKeyError, generate_dpop_key, parse_dpop_key
from app.services.key_ring import KeyRing, SealBrokenError
from app.services.state_store import StateStore

RECORD_NAME = "dpop-key:own"
LIFETIME_SECONDS = 30 * 86_400
LOCK_WAIT_SECONDS = 5


class OwnDpopKey:
    """Keeps no copy: it is asked for once in a token's life."""

    def __init__(self, state_store: StateStore, key_ring: KeyRing) -> None:
        self._state_store = state_store
        self._key_ring = key_ring

    def get(self) -> DpopKey:
        """Returns the key, made by the first who asks.

        Raises `StoreUnavailableError`, or `ServiceTokenUnavailableError` when somebody else does not get done with it.
        """
        key = self._find()
        if key is not None:
            return key
        with self._state_store.lock("own-dpop-key", LOCK_WAIT_SECONDS) as is_ours:
            key = self._find()
            if key is not None:
                return key
            if not is_ours:
                raise ServiceTokenUnavailableError(internal_reason="the making of the DPoP key does not end")
            key = generate_dpop_key()
            sealed = self._key_ring.seal(key.text.encode(), bound_to=RECORD_NAME)
            self._state_store.put(RECORD_NAME, sealed, LIFETIME_SECONDS, durable=True)
            return key

    def _find(self) -> DpopKey | None:
        record = self._state_store.find(RECORD_NAME)
        if record is None:
            return None
        try:
            return parse_dpop_key(self._key_ring.open(record.value, bound_to=RECORD_NAME).decode())
        except (SealBrokenError, DpopKeyError, UnicodeDecodeError):
            return None
