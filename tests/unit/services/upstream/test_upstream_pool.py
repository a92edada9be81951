"""A slot is never lost and never given twice, whatever happens to who waits for it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from app.core.errors import UpstreamBusyError, UpstreamUnreachableError
from app.services.upstream_connection import UpstreamConnection
from app.services.upstream_pool import UpstreamPool

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
