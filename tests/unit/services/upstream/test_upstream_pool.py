"""A slot is never lost and never given twice, whatever happens to who waits for it."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.core.errors import UpstreamBusyError, UpstreamUnreachableError
from app.services.upstream_connection import UpstreamConnection
from app.services.upstream_pool import UpstreamPool, _Waiter

WAIT_SECONDS = 20.0


class Opener:
    """Opens connections whose other ends it keeps."""

    def __init__(self) -> None:
        self.other_ends: list[socket.socket] = []
        self.is_down = False

    def __call__(self) -> UpstreamConnection:
        if self.is_down:
            raise UpstreamUnreachableError
        ours, theirs = socket.socketpair()
        self.other_ends.append(theirs)
        return UpstreamConnection(ours)


@pytest.fixture
def opener() -> Iterator[Opener]:
    opener = Opener()
    yield opener
    for other_end in opener.other_ends:
        other_end.close()


def build_pool(opener: Opener, max_connections: int = 1, wait_seconds: float = WAIT_SECONDS) -> UpstreamPool:
    return UpstreamPool(opener, max_connections, wait_seconds, lambda: 1000.0)


def test_a_connection_that_cannot_be_opened_takes_no_slot(opener: Opener) -> None:
    pool = build_pool(opener, wait_seconds=0.01)
    opener.is_down = True
    for _ in range(3):
        with pytest.raises(UpstreamUnreachableError):
            pool.take()
    opener.is_down = False
    pool.discard(pool.take())
    assert pool.open_connections == 0


def test_a_connection_discarded_twice_frees_one_slot(opener: Opener) -> None:
    pool = build_pool(opener, max_connections=2, wait_seconds=0.01)
    first, second = pool.take(), pool.take()
    pool.discard(first)
    pool.discard(first)
    assert pool.open_connections == 1
    third = pool.take()
    with pytest.raises(UpstreamBusyError):
        pool.take()
    pool.discard(second)
    pool.discard(third)


def test_who_gave_up_waiting_is_not_handed_anything(opener: Opener) -> None:
    pool = build_pool(opener, wait_seconds=0.01)
    held = pool.take()
    with pytest.raises(UpstreamBusyError):
        pool.take()
    pool.give_back(held)
    assert pool.idle_connections == 1
    assert pool.take() is held
    pool.discard(held)


class Killed(BaseException):
    """What a greenlet that is killed sees where it waits."""


@pytest.mark.parametrize("gives_back", [True, False], ids=["connection", "slot"])
def test_who_is_killed_in_line_takes_nothing_along(
    opener: Opener, gives_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = build_pool(opener)
    held = pool.take()

    class KilledOnceServed(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            (pool.give_back if gives_back else pool.discard)(held)
            assert super().wait(timeout)
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(threading, "Event", KilledOnceServed)
        with pytest.raises(Killed):
            pool.take()
    assert pool.open_connections == 0
    pool.discard(pool.take())


def test_who_is_killed_in_line_leaves_the_line(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = build_pool(opener)
    held = pool.take()

    class KilledInLine(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(threading, "Event", KilledInLine)
        with pytest.raises(Killed):
            pool.take()
    pool.give_back(held)
    assert pool.idle_connections == 1
    pool.close()


def test_a_closed_pool_keeps_nothing(opener: Opener) -> None:
    pool = build_pool(opener, max_connections=2)
    idle, used = pool.take(), pool.take()
    pool.give_back(idle)
    pool.close()
    assert (pool.open_connections, pool.idle_connections) == (1, 0)
    pool.give_back(used)
    assert (pool.open_connections, pool.idle_connections) == (0, 0)


def test_a_fresh_connection_leaves_idle_ones_alone_where_there_is_room(opener: Opener) -> None:
    pool = build_pool(opener, max_connections=2)
    idle = pool.take()
    pool.give_back(idle)
    fresh = pool.take(must_be_fresh=True)
    assert fresh is not idle
    assert (pool.open_connections, pool.idle_connections) == (2, 1)
    pool.discard(fresh)
    pool.close()


def test_a_fresh_connection_takes_the_place_of_an_idle_one_where_there_is_no_room(opener: Opener) -> None:
    pool = build_pool(opener)
    idle = pool.take()
    pool.give_back(idle)
    fresh = pool.take(must_be_fresh=True)
    assert fresh is not idle
    assert pool.open_connections == 1
    pool.discard(fresh)


class Meanwhile(deque[Any]):
    """Something else happens right before or after the first item is put to the others."""

    def __init__(
        self, *, before: Callable[[], object] | None = None, after: Callable[[], object] | None = None
    ) -> None:
        super().__init__()
        self._before = before
        self._after = after

    def append(self, item: Any) -> None:
        before, self._before = self._before, None
        after, self._after = self._after, None
        if before is not None:
            before()
        super().append(item)
        if after is not None:
            after()


def test_who_comes_in_line_as_a_connection_is_given_back_is_served(opener: Opener) -> None:
    pool = build_pool(opener)
    connection = pool.take()
    waiters: deque[Any] = pool._waiters
    waiter = _Waiter()
    pool._idle = Meanwhile(before=lambda: waiters.append(waiter))
    pool.give_back(connection)
    assert waiter.served.is_set()
    assert waiter.connection is connection
    pool.discard(connection)


def test_who_comes_in_line_after_a_connection_was_given_back_takes_it(opener: Opener) -> None:
    pool = build_pool(opener, wait_seconds=0.01)
    connection = pool.take()
    connection.rest(1000.0)
    pool._waiters = Meanwhile(before=lambda: pool._idle.append(connection))
    assert pool.take() is connection
    assert not pool._waiters
    pool.discard(connection)


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_comes_back_as_the_pool_is_closed_is_closed(opener: Opener, when: str) -> None:
    pool = build_pool(opener)
    connection = pool.take()
    pool._idle = Meanwhile(**{when: pool.close})
    pool.give_back(connection)
    assert (pool.open_connections, pool.idle_connections) == (0, 0)
    assert opener.other_ends[0].recv(1) == b""
