"""Other processes that use a store: each receives commands over a pipe, one at a time, and answers so.

A test that wants them to act at the same moment sends the command to all first and reads the answers afterwards.

They are forked from one process that has imported all they need, as each of them would take a second to do so.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, cast

from app.services.state_store import StateStore
from tests.unit.services.state_store.engines import ENGINES

LIFETIME_SECONDS = 60

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


class Actor:
    """Another process, seen from the test."""

    def __init__(self) -> None:
        self._pipe, its_end = _processes.Pipe()
        self._process = _processes.Process(target=_act, args=(its_end,))
        self._process.start()
        its_end.close()

    def send(self, engine: str, place: str, action: str, *arguments: object) -> None:
        self._pipe.send((engine, place, action, *arguments))

    def answer(self) -> Any:
        """Fails when the process is gone."""
        return self._pipe.recv()

    def answers(self) -> Iterator[Any]:
        """What a process that is gone had said."""
        while True:
            try:
                yield self._pipe.recv()
            except (EOFError, OSError):
                return

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.join()

    def wait(self) -> int:
        self._process.join(timeout=60)
        assert self._process.exitcode is not None
        return self._process.exitcode

    def close(self) -> None:
        self.kill()
        self._pipe.close()


@contextmanager
def start_actors(count: int) -> Iterator[list[Actor]]:
    """Gives them once all are ready to act."""
    actors = [Actor() for _ in range(count)]
    try:
        for actor in actors:
            assert actor.answer() == "ready"
        yield actors
    finally:
        for actor in actors:
            actor.close()


def act_at_once(actors: Sequence[Actor], engine: str, place: str, action: str, *arguments: object) -> list[Any]:
    for actor in actors:
        actor.send(engine, place, action, *arguments)
    return [actor.answer() for actor in actors]


def build_value(number: int) -> bytes:
    """A value that shows whether it is whole: its number, again and again, in a length of its own."""
    return (b"%08d" % number) * (1 + number % 97 * 8)


def is_whole(value: bytes) -> bool:
    number = int(value[:8])
    return value == build_value(number)


def take_each(store: StateStore, keys: list[str]) -> list[str]:
    return [key for key in keys if store.take(key) is not None]


def add_each(store: StateStore, keys: list[str]) -> list[str]:
    return [key for key in keys if store.add(key, b"mine", LIFETIME_SECONDS)]


def increment_often(store: StateStore, key: str, times: int) -> list[int]:
    return [store.increment(key, LIFETIME_SECONDS) for _ in range(times)]


def join_set(store: StateStore, key: str, members: list[str]) -> None:
    for member in members:
        store.add_member(key, f"{os.getpid()}-{member}", LIFETIME_SECONDS)


def write_often(store: StateStore, key: str, times: int) -> None:
    for number in range(times):
        store.put(key, build_value(number), LIFETIME_SECONDS)


def read_until(store: StateStore, key: str, stop_key: str) -> dict[str, int]:
    counts = {"whole": 0, "torn": 0, "missing": 0}
    while store.find(stop_key) is None:
        found = store.find(key)
        counts["missing" if found is None else "whole" if is_whole(found.value) else "torn"] += 1
    return counts


def add_up_under_lock(store: StateStore, name: str, key: str, times: int) -> None:
    """Reads, adds and writes back: an addition is lost whenever two do so at once."""
    for _ in range(times):
        with store.lock(name, wait_seconds=60) as held:
            assert held
            found = store.find(key)
            store.put(key, b"%d" % (int(found.value) + 1 if found else 1), LIFETIME_SECONDS)


def replace_what_is_there(store: StateStore, keys: list[str]) -> int:
    found = [(key, store.find(key)) for key in keys]
    return sum(store.put_if_current(key, old.mark, b"late", LIFETIME_SECONDS) for key, old in found if old)


def delete_each(store: StateStore, keys: list[str]) -> None:
    for key in keys:
        store.delete(key)


def schedule_each(store: StateStore, agenda: str, members: list[str]) -> None:
    for member in members:
        store.schedule(agenda, member, 0)


def claim_all(store: StateStore, agenda: str, limit: int) -> list[str]:
    """Until nothing more is due."""
    members: list[str] = []
    while claims := store.claim_due(agenda, limit=limit, lease_seconds=LIFETIME_SECONDS):
        members += [claim.member for claim in claims]
    return members


def settle_until(store: StateStore, agenda: str, stop_key: str) -> list[str]:
    members: list[str] = []
    while store.find(stop_key) is None:
        for claim in store.claim_due(agenda, limit=5, lease_seconds=LIFETIME_SECONDS):
            store.settle(agenda, claim)
            members.append(claim.member)
    return members


def claim_and_stand_still(store: StateStore, agenda: str, lease_seconds: float) -> Iterator[list[str]]:
    """Until killed."""
    yield [claim.member for claim in store.claim_due(agenda, limit=10, lease_seconds=lease_seconds)]
    signal.pause()


def hold_lock(store: StateStore, name: str, lease_seconds: float) -> Iterator[bool]:
    """Until killed."""
    with store.lock(name, wait_seconds=60, lease_seconds=lease_seconds) as held:
        yield bool(held)
        signal.pause()


def write_endlessly(store: StateStore, key: str) -> Iterator[int]:
    """Says each number once it is written."""
    number = 0
    while True:
        store.put(key, build_value(number), LIFETIME_SECONDS)
        yield number
        number += 1


def die_before(store: StateStore, system_call: str, action: str, key: str) -> None:
    """Is killed where the action is about to call `os.<system_call>`; in `write`, after half of it."""
    original = getattr(os, system_call)

    def die(*arguments: Any, **_: Any) -> None:
        if system_call == "write":
            descriptor, content = arguments
            original(descriptor, bytes(content)[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, system_call, die)
    cast(Callable[[str, bytes, float], object], getattr(store, action))(key, build_value(7), LIFETIME_SECONDS)


def die_before_scheduling(store: StateStore, system_call: str, agenda: str, member: str) -> None:
    """Is killed where it is about to call `os.<system_call>`."""
    setattr(os, system_call, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    store.schedule(agenda, member, 0)


_ACTIONS: tuple[Callable[..., object], ...] = (
    take_each,
    add_each,
    increment_often,
    join_set,
    write_often,
    read_until,
    add_up_under_lock,
    replace_what_is_there,
    delete_each,
    schedule_each,
    claim_all,
    settle_until,
    claim_and_stand_still,
    hold_lock,
    write_endlessly,
    die_before,
    die_before_scheduling,
)


def _act(pipe: Connection) -> None:
    """What each of them does until it is killed."""
    actions = {action.__name__: action for action in _ACTIONS}
    pipe.send("ready")
    while True:
        engine, place, action, *arguments = pipe.recv()
        answer = actions[action](ENGINES[engine].open(place, time.time), *arguments)
        for said in answer if isinstance(answer, Iterator) else [answer]:
            pipe.send(said)
