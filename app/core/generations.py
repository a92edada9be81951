"""A memory with bounds for what can be worked out again: in number and in time.

Two generations: new entries go to the younger one, and when that is full or old enough it becomes the older one, whose
entries go. No order has to be kept for each look, and what is in use comes back with its next use.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Generations(Generic[Key, Value]):
    """Safe between threads as far as that nobody sees a wrong value; who comes too late may find none."""

    def __init__(self, most: int, seconds: float, monotonic: Callable[[], float]) -> None:
        """`most` entries in each generation, which a new one follows after `seconds` with the next entry, or when
        `age` is called."""
        self._most = most
        self._seconds = seconds
        self._monotonic = monotonic
        self._younger: dict[Key, Value] = {}
        self._older: dict[Key, Value] = {}
        self._began_at = monotonic()
        self.turns = 0
        """How many generations have begun since the first."""

    def find(self, key: Key) -> Value | None:
        value = self._younger.get(key)
        return value if value is not None else self._older.get(key)

    def keep(self, key: Key, value: Value) -> None:
        self.age()
        if len(self._younger) >= self._most:
            self._turn()
        self._younger[key] = value

    def age(self) -> None:
        """Begins a new generation if it is time."""
        if self._monotonic() - self._began_at > self._seconds:
            self._turn()

    def _turn(self) -> None:
        self._older, self._younger, self._began_at = self._younger, {}, self._monotonic()
        self.turns += 1

    def __len__(self) -> int:
        return len(self._younger) + len(self._older)
