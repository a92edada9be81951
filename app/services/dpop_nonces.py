"""The DPoP nonces that servers gave, one per origin, the newest only (RFC 9449 §8.2).

Kept in each worker's memory: a worker without one hears it with the first refusal, and that costs one more exchange.
The authorization server and resource servers have a memory each, since the same origin may give different ones as
each (RFC 9449 §9).
"""

from __future__ import annotations

import threading

from app.core.dpop import find_nonce

_MAX_ORIGINS = 256


class NonceMemory:
    """Safe to share between greenlets and threads. Bounded: the origin that is longest without news is forgotten."""

    def __init__(self, max_origins: int = _MAX_ORIGINS) -> None:
        self._max_origins = max_origins
        self._nonces: dict[str, str] = {}
        self._changing = threading.Lock()

    def find(self, origin: str) -> str | None:
        return self._nonces.get(origin)

    def note(self, origin: str, values: list[str]) -> bool:
        """Takes the values of an answer's `DPoP-Nonce` lines; tells whether they held a nonce that can be used.

        What is malformed changes nothing.
        """
        nonce = find_nonce(values)
        if nonce is None:
            return False
        with self._changing:
            self._nonces.pop(origin, None)
            self._nonces[origin] = nonce
            if len(self._nonces) > self._max_origins:
                del self._nonces[next(iter(self._nonces))]
        return True
