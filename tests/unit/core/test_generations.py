"""Two generations: what is in use stays, what nobody asks for goes, and there are never more than twice as many."""

from __future__ import annotations

from app.core.generations import Generations


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_entry_outlives_the_turn_after_it_and_not_the_next() -> None:
    memory: Generations[str, int] = Generations(2, 60, Clock())
    memory.keep("a", 1)
    memory.keep("b", 2)
    memory.keep("c", 3)
    assert (memory.find("a"), memory.find("b"), memory.find("c")) == (1, 2, 3)
    memory.keep("d", 4)
    memory.keep("e", 5)
    assert (memory.find("a"), memory.find("c"), memory.find("e")) == (None, 3, 5)
    assert len(memory) == 3


def test_a_generation_that_is_old_enough_is_followed_by_another() -> None:
    clock = Clock()
    memory: Generations[str, int] = Generations(1000, 60, clock)
    memory.keep("a", 1)
    for step in range(2):
        clock.now += 61
        memory.keep(f"b{step}", 2)
    assert memory.find("a") is None
    assert memory.find("b0") == 2


def test_what_is_unknown_is_not_there() -> None:
    memory: Generations[str, int] = Generations(2, 60, Clock())
    assert memory.find("a") is None
    assert len(memory) == 0


def test_without_new_entries_it_ages_when_told() -> None:
    clock = Clock()
    memory: Generations[str, int] = Generations(1000, 60, clock)
    memory.keep("a", 1)
    memory.age()
    assert memory.find("a") == 1
    for _ in range(2):
        clock.now += 61
        memory.age()
    assert (memory.find("a"), len(memory), memory.turns) == (None, 0, 2)
