"""What is known of a request whose connection was lost decides whether it may be made again."""

from __future__ import annotations

import socket
import time

import pytest

from app.services.upstream_connection import UpstreamConnection, WaitLimits
from app.services.upstream_exchange import ConnectionLostError, Exchange
from app.services.upstream_upload import begin_upload
from tests.unit.services.upstream.calls import PiecesBody

LIMITS = WaitLimits(1.0, None, time.monotonic)


def test_a_connection_that_takes_no_byte_was_sent_nothing() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    connection = UpstreamConnection(ours)
    exchange = Exchange(connection)
    with pytest.raises(ConnectionLostError) as loss:
        exchange.send(b"POST / HTTP/1.1\r\n\r\n", begin_upload("POST", PiecesBody([b"abc"], 3)), LIMITS)
    assert not loss.value.was_anything_sent
    connection.close()


def test_a_connection_that_ends_after_taking_the_request_may_have_been_heard() -> None:
    ours, theirs = socket.socketpair()
    connection = UpstreamConnection(ours)
    exchange = Exchange(connection)
    exchange.send(b"POST / HTTP/1.1\r\n\r\n", begin_upload("POST", PiecesBody([b"abc"], 3)), LIMITS)
    assert exchange.is_sent
    theirs.close()
    with pytest.raises(ConnectionLostError) as loss:
        exchange.read_head(LIMITS)
    assert loss.value.was_anything_sent
    connection.close()
