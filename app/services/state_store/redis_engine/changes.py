"""What this process knows of changes to records, so that a copy can be judged without asking Redis.

Every change counts up a position. A read notes the position at which it began. A copy is current while its record has
not changed since then, or the newest change of it was the very write that the copy holds; so a read that began before a
change is not believed after it, and the echo of a write does not spoil a copy made of it.

Bounded: of the oldest changes only the position is kept, and what was read before that counts as changed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

_MOST_CHANGES = 20_000
_UNKNOWN = b""


@dataclass(frozen=True)
class _Change:
    position: int
    head: bytes
    """What the record begins with since; empty: it is gone, or not known yet."""


class Changes:
    def __init__(self, most_changes: int = _MOST_CHANGES) -> None:
        self._most_changes = most_changes
        self._changes: dict[str, _Change] = {}
        self._noting = threading.Lock()
        self._position = 0
        self._forgotten_position = 0

    @property
    def position(self) -> int:
        """To be taken before a read begins."""
        return self._position

    def note(self, key: str, head: bytes = _UNKNOWN) -> None:
        with self._noting:
            self._position += 1
            self._changes.pop(key, None)
            self._changes[key] = _Change(self._position, head)
            while len(self._changes) > self._most_changes:
                oldest = next(iter(self._changes))
                # First the position: whoever looks in between without the lock finds one or the other.
                self._forgotten_position = self._changes[oldest].position
                del self._changes[oldest]

    def forget_all(self) -> None:
        """Word of changes may have been missed: nothing that was read until now is current."""
        with self._noting:
            self._position += 1
            self._forgotten_position = self._position
            self._changes.clear()

    def is_current(self, key: str, read_at_position: int, head: bytes) -> bool:
        change = self._changes.get(key)
        if read_at_position < self._forgotten_position:
            return False
        return change is None or change.position <= read_at_position or change.head == head != _UNKNOWN
