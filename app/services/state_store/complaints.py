"""What is wrong with a record is said once, not at every call that meets it."""

from __future__ import annotations

from collections.abc import Hashable

_MOST_REMEMBERED = 1024


class Complaints:
    """Remembers, in bounded memory, what was already said; forgets all of it when there is too much."""

    def __init__(self) -> None:
        self._said: set[Hashable] = set()

    def is_new(self, *what: Hashable) -> bool:
        """Whether this was not said before; from now on it was."""
        if what in self._said:
            return False
        if len(self._said) >= _MOST_REMEMBERED:
            self._said.clear()
        self._said.add(what)
        return True
