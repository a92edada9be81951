"""A worker's own copies of sessions and tokens, so that calls in quick succession do not read and decode them again.

A copy is used for `max_age_seconds` at most, and only while the store says that the record is still the same one: with
a directory that is one stat, which makes an ended session end at once for everybody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import msgspec

_MOST_COPIES = 10_000

Record = TypeVar("Record")


class Copy(msgspec.Struct, Generic[Record], frozen=True):
    record: Record
    mark: Hashable
    copied_at: float


class LocalCopies(Generic[Record]):
    """Bounded in number and in age: the copy that was made first goes first, and those that are too old to be used go
    with the next one that is made, so that what a worker holds is what was in use a moment ago."""

    def __init__(
        self, is_current: Callable[[str, Hashable], bool], *, max_age_seconds: float, most_copies: int = _MOST_COPIES
    ) -> None:
        self._is_current = is_current
        self._max_age_seconds = max_age_seconds
        self._most_copies = most_copies
        self._copies: dict[str, Copy[Record]] = {}
        self._changing = threading.Lock()

    def find(self, name: str, now: float) -> Record | None:
        copy = self._copies.get(name)
        if copy is None:
            return None
        if self._is_young(copy, now) and self._is_current(name, copy.mark):
            return copy.record
        self.drop(name)
        return None

    def get(self, name: str) -> Copy[Record] | None:
        """As it was made, for whoever judges for himself whether it is still good."""
        return self._copies.get(name)

    def keep(self, name: str, record: Record, mark: Hashable, now: float) -> None:
        if self._max_age_seconds <= 0:
            return
        with self._changing:
            self._copies.pop(name, None)
            self._copies[name] = Copy(record, mark, now)
            while len(self._copies) > self._most_copies or not self._is_young(self._get_first(), now):
                del self._copies[next(iter(self._copies))]

    def drop(self, name: str) -> None:
        with self._changing:
            self._copies.pop(name, None)

    def _is_young(self, copy: Copy[Record], now: float) -> bool:
        return 0 <= now - copy.copied_at < self._max_age_seconds

    def _get_first(self) -> Copy[Record]:
        return next(iter(self._copies.values()))

    def __len__(self) -> int:
        return len(self._copies)
