"""Gives back locks that nobody holds: granted in a reply that was lost, or not let go because Redis was away.

Redis would keep such a lock until its lease is over, and whoever wants it would wait for that long. As soon as Redis
answers again the lock is deleted, if by its token it is still ours; nobody else's is touched. A command that was given
up may also arrive late, for a Redis that was paused works off what it was sent. So that a lock is not ours is believed
only when Redis has said so for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from app.core.errors import StoreUnavailableError
from app.services.state_store.redis_engine.caller import RedisCaller
from app.services.state_store.redis_engine.scripts import RELEASE, build_script_command

MOST_KEPT = 1000
LATE_SECONDS = 2.0
_PAUSE_SECONDS = 0.2

_Lock = tuple[str, bytes]
"""Key and token."""


class LockReturns:
    """One a worker. Its thread (a greenlet under gevent) runs only while there is something to give back."""

    def __init__(
        self,
        caller: RedisCaller,
        *,
        late_seconds: float = LATE_SECONDS,
        most_kept: int = MOST_KEPT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`late_seconds`: how late a command may arrive; `most_kept`: beyond it the oldest wait for their lease."""
        self._caller = caller
        self._late_seconds = late_seconds
        self._most_kept = most_kept
        self._monotonic = monotonic
        self._believed_at: dict[_Lock, float] = {}
        """When Redis's word that a lock is not ours will be believed; infinite before it has said so."""
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def note(self, key: str, token: bytes) -> None:
        """From now on nobody here holds this lock. Does not wait."""
        with self._changing:
            self._believed_at[key, token] = float("inf")
            while len(self._believed_at) > self._most_kept:
                del self._believed_at[next(iter(self._believed_at))]
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="redis-lock-returns", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Leaves what is left to its lease; does not wait."""
        self._stopping.set()

    def __len__(self) -> int:
        return len(self._believed_at)

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            for lock in list(self._believed_at):
                if self._stopping.is_set():
                    return
                self._try(lock)
            with self._changing:
                if not self._believed_at:
                    self._thread = None
                    return

    def _try(self, lock: _Lock) -> None:
        try:
            was_ours = self._caller.call("release", build_script_command(RELEASE, *lock))
        except StoreUnavailableError:
            return
        now = self._monotonic()
        with self._changing:
            believed_at = self._believed_at.pop(lock, now)
            if not was_ours and now < believed_at:
                self._believed_at[lock] = min(believed_at, now + self._late_seconds)
