"""What a worker remembers about access tokens, under their SHA-256: never the tokens themselves."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Generic, TypeVar

Verdict = TypeVar("Verdict")


def hash_token(token: str) -> bytes:
    """Returns the name under which a verdict on `token` is kept."""
    return sha256(token.encode("ascii")).digest()


@dataclass(frozen=True, slots=True)
class _Held(Generic[Verdict]):
    verdict: Verdict
    kept_at: float
    until: float


class AccessTokenCache(Generic[Verdict]):
    """Bounded: what was not asked for the longest goes first."""

    def __init__(self, *, max_entries: int, clock: Callable[[], float]) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._held: OrderedDict[bytes, _Held[Verdict]] = OrderedDict()
        self._changing = threading.Lock()

    def find(self, token_hash: bytes) -> Verdict | None:
        """Returns the verdict on a token while it holds."""
        with self._changing:
            held = self._held.get(token_hash)
            if held is None:
                return None
            # A clock that was set back must not make a verdict hold longer.
            if not held.kept_at <= self._clock() < held.until:
                del self._held[token_hash]
                return None
            self._held.move_to_end(token_hash)
            return held.verdict

    def keep(self, token_hash: bytes, verdict: Verdict, until: float) -> None:
        """Keeps a verdict until that time (epoch seconds)."""
        now = self._clock()
        if until <= now:
            return
        with self._changing:
            self._held[token_hash] = _Held(verdict, now, until)
            self._held.move_to_end(token_hash)
            while len(self._held) > self._max_entries:
                self._held.popitem(last=False)
