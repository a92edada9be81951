"""Waiting for a gevent socket: for bytes, for its end, for no longer than was said, and only while somebody waits."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
import gevent.socket
import gevent.ssl
import pytest
from gevent.event import Event

from app.services.green_sockets import GreenSocket, is_green

Pair = tuple[GreenSocket, gevent.socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = gevent.socket.socketpair()
    green = GreenSocket(ours)
    yield green, theirs
    green.close()
    ours.close()
    theirs.close()


def test_bytes_that_come_later_end_the_wait(pair: Pair) -> None:
    green, theirs = pair
    gevent.spawn(theirs.send, b"hello")
    assert green.receive(100, 10) == b"hello"


def test_one_wait_follows_another(pair: Pair) -> None:
    green, theirs = pair
    for number in range(100):
        gevent.spawn(theirs.send, b"%d" % number)
        assert green.receive(100, None if number % 2 else 10) == b"%d" % number


def test_bytes_that_are_left_are_found_by_the_next_wait(pair: Pair) -> None:
    green, theirs = pair
    theirs.send(b"hello")
    assert green.receive(2, 10) == b"he"
    gevent.sleep(0)  # the loop sees that there is more, and nobody who waits for it
    gevent.sleep(0)
    assert green.receive(100, 10) == b"llo"


@pytest.mark.parametrize("how", [gevent.socket.SHUT_WR, gevent.socket.SHUT_RDWR])
def test_the_end_is_an_empty_answer(pair: Pair, how: int) -> None:
    green, theirs = pair
    gevent.spawn(theirs.shutdown, how)
    assert green.receive(100, 10) == b""


def test_who_waits_too_long_is_told(pair: Pair) -> None:
    green, theirs = pair
    began_at = time.monotonic()
    with pytest.raises(TimeoutError):
        green.receive(100, 0.05)
    assert 0.04 < time.monotonic() - began_at < 5
    theirs.send(b"late")
    assert green.receive(100, 10) == b"late"


def receive_at_once(pair: Pair, seconds: float) -> None:
    green, theirs = pair
    gevent.spawn(theirs.send, b"x")
    assert green.receive(100, seconds) == b"x"


@pytest.mark.parametrize("seconds", [0.15, None])
def test_a_wait_is_not_ended_by_the_deadline_of_one_before(pair: Pair, seconds: float | None) -> None:
    receive_at_once(pair, 0.02)
    green, theirs = pair
    began_at = time.monotonic()
    if seconds is None:
        gevent.spawn_later(0.1, theirs.send, b"late")
        assert green.receive(100, None) == b"late"
        return
    with pytest.raises(TimeoutError):
        green.receive(100, seconds)
    assert 0.14 < time.monotonic() - began_at < 5


def test_a_wait_may_be_shorter_than_one_before(pair: Pair) -> None:
    receive_at_once(pair, 60)
    began_at = time.monotonic()
    with pytest.raises(TimeoutError):
        pair[0].receive(100, 0.05)
    assert 0.04 < time.monotonic() - began_at < 5
    receive_at_once(pair, 60)


def test_a_deadline_of_nobody_ends_nothing(pair: Pair) -> None:
    receive_at_once(pair, 0.01)
    gevent.sleep(0.03)
    receive_at_once(pair, 0.01)
    with pytest.raises(TimeoutError):
        pair[0].receive(100, 0.01)


def test_many_waits_take_one_timer(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    green, _ = pair
    started: list[float] = []
    look_in = green._look_in

    def note(seconds: float) -> None:
        started.append(seconds)
        look_in(seconds)

    monkeypatch.setattr(GreenSocket, "_look_in", lambda _, seconds: note(seconds))
    for _ in range(20):
        receive_at_once(pair, 30)
    assert started == [30]


def test_a_closed_socket_has_no_timer(pair: Pair) -> None:
    receive_at_once(pair, 0.01)
    timer = pair[0]._timer
    assert timer.active
    pair[0].close()
    assert not timer.active


def test_a_second_who_waits_is_refused_and_the_first_waits_on(pair: Pair) -> None:
    green, theirs = pair
    first = gevent.spawn(green.receive, 100, 10)
    gevent.sleep(0)
    with pytest.raises(RuntimeError):
        green.receive(100, 10)
    theirs.send(b"for the first")
    assert first.get(timeout=10) == b"for the first"


def test_a_wait_can_be_killed_and_the_socket_used_on(pair: Pair) -> None:
    green, theirs = pair
    waits = Event()

    def wait() -> None:
        waits.set()
        green.receive(100, 10)

    waiter = gevent.spawn(wait)
    waits.wait(10)
    waiter.kill()
    theirs.send(b"hello")
    assert green.receive(100, 10) == b"hello"


def test_who_waits_when_the_socket_is_closed_is_told(pair: Pair) -> None:
    green, _ = pair
    gevent.spawn(green.close)
    with pytest.raises(OSError, match="closed"):
        green.receive(100, None)
    with pytest.raises(OSError, match="closed"):
        green.receive(100, 10)


def test_others_go_on_while_one_waits(pair: Pair) -> None:
    green, theirs = pair
    steps = []

    def work() -> None:
        for step in range(3):
            steps.append(step)
            gevent.sleep(0)
        theirs.send(b"done")

    gevent.spawn(work)
    assert green.receive(100, 10) == b"done"
    assert steps == [0, 1, 2]


def test_what_can_be_read_is_seen_without_reading_it(pair: Pair) -> None:
    green, theirs = pair
    assert not green.is_readable()
    theirs.send(b"x")
    assert green.is_readable()
    assert green.receive(10, 10) == b"x"
    assert not green.is_readable()
    theirs.close()
    assert green.is_readable()


def test_only_plain_gevent_sockets_are_green(pair: Pair) -> None:
    _, theirs = pair
    assert is_green(theirs)
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    a, b = gevent.socket.socketpair()
    with b, context.wrap_socket(a, server_side=True, do_handshake_on_connect=False) as wrapped:
        assert not is_green(wrapped)
    assert not is_green(object())
