"""A worker's own copies of sessions and tokens, so that calls in quick succession do not read and decode them again.

A copy is used for `max_age_seconds` at most, and only while the store says that the record is still the same one: with
a directory that is one stat, which makes an ended session end at once for everybody.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import msgspec

_MOST_COPIES = 10_000
_CLOCK_WAS_SET_BACK_SECONDS = 60.0
"""A copy from further in the future than any read takes will not be used for a long time."""

Record = TypeVar("Record")


class Copy(msgspec.Struct, Generic[Record]):
    record: Record
    mark: Hashable
    copied_at: float
    was_used: bool = False
    """Since it was made."""


class LocalCopies(Generic[Record]):
    """Bounded in number and in age: the copy that was made first goes first, and those that are too old to be used go
    with the next one that is made, or the next look for aging ones, so that what a worker holds is what was in use a
    moment ago."""

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
            copy.was_used = True
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
            if len(self._copies) > self._most_copies:
                del self._copies[next(iter(self._copies))]
            self._drop_outdated(now)

    def list_aging(self, now: float) -> dict[str, Copy[Record]]:
        """Returns those that were used and have half of their time behind them."""
        aging = {}
        with self._changing:
            self._drop_outdated(now)
            for name, copy in self._copies.items():
                if now - copy.copied_at < self._max_age_seconds / 2:
                    break
                if copy.was_used:
                    aging[name] = copy
        return aging

    def renew(self, name: str, copy: Copy[Record], mark: Hashable, now: float) -> None:
        """The record was still the same at `now`; unless something else became of the copy meanwhile, it is as good as
        one made then."""
        with self._changing:
            if self._copies.get(name) is copy:
                del self._copies[name]
                self._copies[name] = Copy(copy.record, mark, now)

    def drop(self, name: str) -> None:
        with self._changing:
            self._copies.pop(name, None)

    def _is_young(self, copy: Copy[Record], now: float) -> bool:
        return 0 <= now - copy.copied_at < self._max_age_seconds

    def _drop_outdated(self, now: float) -> None:
        for name in tuple(itertools.takewhile(lambda name: self._is_outdated(self._copies[name], now), self._copies)):
            del self._copies[name]

    def _is_outdated(self, copy: Copy[Record], now: float) -> bool:
        """`now` may be a while ago, from before a slow read: what was copied since is not outdated by that."""
        age = now - copy.copied_at
        return age >= self._max_age_seconds or age < -_CLOCK_WAS_SET_BACK_SECONDS

    def __len__(self) -> int:
        return len(self._copies)
