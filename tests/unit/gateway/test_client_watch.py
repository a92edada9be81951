"""A client that goes away is noticed although nothing is written; one that stays is left alone."""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from app.gateway.client_watch import STEP_SECONDS, ClientWatch
from tests.support.under_gevent import IS_UNDER_GEVENT

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    with client, served:
        yield client, served


def watch(served: socket.socket) -> tuple[ClientWatch, threading.Event]:
    gone = threading.Event()
    watched = ClientWatch(served, gone.set)
    watched.start()
    return watched, gone


def test_a_client_that_closes_is_noticed(pair: Pair) -> None:
    _, gone = watch(pair[1])
    pair[0].close()
    assert gone.wait(10)


def test_a_client_that_resets_is_noticed(pair: Pair) -> None:
    _, gone = watch(pair[1])
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair[0].close()
    assert gone.wait(10)


def test_a_client_that_closes_its_sending_half_is_taken_for_gone(pair: Pair) -> None:
    _, gone = watch(pair[1])
    pair[0].shutdown(socket.SHUT_WR)
    assert gone.wait(10)


def test_a_client_that_sends_its_next_request_is_still_there(pair: Pair) -> None:
    pair[0].sendall(b"GET / HTTP/1.1\r\n")
    began = time.process_time()
    _, gone = watch(pair[1])
    assert not gone.wait(2 * STEP_SECONDS)
    assert time.process_time() - began < STEP_SECONDS, "the watch does not look again and again"
    assert pair[1].recv(100) == b"GET / HTTP/1.1\r\n", "the watch takes nothing"


def test_after_the_answer_nobody_is_told(pair: Pair) -> None:
    watched, gone = watch(pair[1])
    watched.stop()
    pair[0].close()
    assert not gone.wait(2 * STEP_SECONDS)


def test_a_client_with_a_descriptor_beyond_what_select_takes_is_left_alone_until_it_goes(pair: Pair) -> None:
    with socket.socket(fileno=fcntl.fcntl(pair[1].fileno(), fcntl.F_DUPFD, 1024)) as high:
        _, gone = watch(high)
        assert not gone.wait(0.2)
        pair[0].close()
        assert gone.wait(10)


def test_a_thread_waits_but_under_gevent_nobody(pair: Pair) -> None:
    """Run under gevent too, by `test_under_gevent`."""
    before = threading.active_count()
    watched, gone = watch(pair[1])
    assert threading.active_count() == before + (not IS_UNDER_GEVENT)
    pair[0].close()
    assert gone.wait(10)
    watched.stop()
