"""A backend that is down, slow or broken: each has its own refusal, in bounded time, and is left alone in the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from app.core.errors import (
    BadRequestError,
    BffError,
    CircuitOpenError,
    UpstreamBadResponseError,
    UpstreamBusyError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from app.services.upstream_client import UpstreamBrokenOffError, UpstreamRequest
from tests.support.raw_backend import OK_ANSWER, Conversation, RawBackend, answering, answering_always, find_closed_port
from tests.unit.services.upstream.calls import Caller, PiecesBody, build_service, calling

TIMES_OUT = pytest.raises(UpstreamTimeoutError)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "base_url",
    [
        f"http://127.0.0.1:{find_closed_port()}",
        f"http://[::1]:{find_closed_port()}",
        "http://no-such-name.invalid",
        f"http://{'a' * 64}.invalid",
    ],
    ids=["refused", "refused-ipv6", "no-such-name", "no-possible-name"],
)
def test_a_backend_that_cannot_be_reached_is_unreachable(base_url: str) -> None:
    caller = Caller(build_service(base_url))
    with pytest.raises(UpstreamUnreachableError) as refusal:
        caller.fetch()
    assert "127.0.0.1" not in refusal.value.detail
    assert caller.client.count_connections(caller.service) == 0


@contextmanager
def full_backlog() -> Iterator[str]:
    """A listener that accepts nobody and whose queue is full: a further connection attempt goes unanswered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.settimeout(0.05)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for filler in fillers:
            filler.close()


def test_a_backend_that_does_not_take_the_connection_in_time_is_a_timeout() -> None:
    with full_backlog() as base_url:
        caller = Caller(build_service(base_url, connect_timeout_seconds=0.2))
        with pytest.raises(UpstreamTimeoutError):
            caller.fetch()
        assert caller.client.count_connections(caller.service) == 0


def be_silent(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.wait_for_end()


def test_a_backend_that_is_silent_is_a_timeout() -> None:
    with RawBackend(be_silent) as backend, calling(backend, read_timeout_seconds=0.2) as caller:
        with pytest.raises(UpstreamTimeoutError):
            caller.fetch()
        assert backend.connection_count == 1
        assert caller.client.count_connections(caller.service) == 0


def drip(conversation: Conversation, piece: bytes, pause: threading.Event) -> None:
    """Sends `piece` again and again, slowly, until the other end has closed."""
    while not pause.wait(0.02):
        conversation.send(piece)


def test_a_head_that_only_drips_is_a_timeout() -> None:
    """Each drop comes within the read timeout; the head as a whole does not."""

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
        drip(conversation, b"x", threading.Event())

    with RawBackend(script) as backend, calling(backend, read_timeout_seconds=0.3) as caller, TIMES_OUT:
        caller.fetch()


def test_a_body_that_stops_is_broken_off_after_the_read_timeout() -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        conversation.wait_for_end()

    with RawBackend(script) as backend, calling(backend, read_timeout_seconds=0.2) as caller:
        response = caller.open()
        pieces = response.iter_body()
        assert next(pieces) == b"hel"
        with pytest.raises(UpstreamBrokenOffError):
            next(pieces)
        response.close()
        assert caller.client.count_connections(caller.service) == 0


def drip_body(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    drip(conversation, b"x", threading.Event())


def test_a_body_that_drips_is_broken_off_after_the_total_timeout() -> None:
    with RawBackend(drip_body) as backend, calling(backend, total_timeout_seconds=0.3) as caller:
        response = caller.open()
        with pytest.raises(UpstreamBrokenOffError):
            list(response.iter_body())
        response.close()


def test_an_answer_that_does_not_begin_within_the_total_timeout_is_a_timeout() -> None:
    with RawBackend(be_silent) as backend, calling(backend, total_timeout_seconds=0.2) as caller, TIMES_OUT:
        caller.fetch()


def test_a_slow_client_does_not_look_like_a_slow_backend() -> None:
    """Otherwise one client could open the circuit for all."""

    def dawdle() -> Iterator[bytes]:
        for _ in range(5):
            threading.Event().wait(0.05)
            yield b"x"

    limits = {"total_timeout_seconds": 0.1, "read_timeout_seconds": 0.1}
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend, **limits) as caller:
        assert caller.fetch(UpstreamRequest("POST", "/", [], PiecesBody(dawdle(), 5))) == (200, b"ok")
        assert caller.fetch(UpstreamRequest("POST", "/", [], PiecesBody(dawdle()))) == (200, b"ok")


def test_a_stream_may_be_silent_and_long_once_it_has_begun() -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        threading.Event().wait(0.5)
        conversation.send(b"second")

    limits = {"read_timeout_seconds": 0.2, "total_timeout_seconds": 0.3}
    with RawBackend(script) as backend, calling(backend, **limits) as caller:
        assert caller.fetch(UpstreamRequest("GET", "/", [], streaming=True)) == (200, b"firstsecond")
        with pytest.raises(UpstreamBrokenOffError):
            caller.fetch()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_backend_that_closes_without_an_answer_gave_a_bad_one(end: str) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        if end == "reset":
            conversation.reset()

    with RawBackend(script) as backend, calling(backend) as caller, pytest.raises(UpstreamBadResponseError):
        caller.fetch()


def test_no_refusal_tells_the_browser_where_the_backend_is_or_what_was_sent() -> None:
    secret = UpstreamRequest("GET", "/?code=secret-value", [("Authorization", "Bearer secret-value")])
    closed_port = find_closed_port()
    caller = Caller(build_service(f"http://127.0.0.1:{closed_port}"))
    with pytest.raises(UpstreamUnreachableError) as refusal:
        caller.fetch(secret)
    assert str(closed_port) in refusal.value.internal_reason
    for text in (refusal.value.detail, str(refusal.value), repr(refusal.value)):
        assert str(closed_port) not in text
    assert "secret-value" not in refusal.value.internal_reason + repr(secret)


def test_a_backend_that_fails_in_a_row_is_left_alone_and_tried_again_later() -> None:
    clock = Clock()
    is_well = threading.Event()

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(OK_ANSWER if is_well.is_set() else b"garbage")

    with RawBackend(script) as backend:
        caller = Caller(build_service(backend.url, breaker_failures=3, breaker_reset_seconds=30), clock)
        with capture_logs() as events:
            for _ in range(3):
                with pytest.raises(UpstreamBadResponseError):
                    caller.fetch()
        assert [event["event"] for event in events] == ["upstream.circuit_opened"]
        with pytest.raises(CircuitOpenError) as refusal:
            caller.fetch()
        assert refusal.value.headers == (("Retry-After", "30"),)
        assert len(backend.requests) == 3
        clock.now += 30
        with pytest.raises(UpstreamBadResponseError):
            caller.fetch()
        with pytest.raises(CircuitOpenError):
            caller.fetch()
        clock.now += 30
        is_well.set()
        with capture_logs() as events:
            for _ in range(2):
                assert caller.fetch() == (200, b"ok")
        assert [event["event"] for event in events] == ["upstream.circuit_closed"]
        caller.client.close()


@contextmanager
def failing_backend(kind: str) -> Iterator[tuple[str, dict[str, float]]]:
    if kind == "unreachable":
        yield f"http://127.0.0.1:{find_closed_port()}", {}
    elif kind == "connect-timeout":
        with full_backlog() as base_url:
            yield base_url, {"connect_timeout_seconds": 0.1}
    else:
        script = be_silent if kind == "silent" else answering(b"garbage")
        with RawBackend(script) as backend:
            yield backend.url, {"read_timeout_seconds": 0.1}


@pytest.mark.parametrize("kind", ["unreachable", "connect-timeout", "silent", "garbage"])
def test_every_way_to_give_no_answer_counts_as_a_failure(kind: str) -> None:
    with failing_backend(kind) as (base_url, limits):
        caller = Caller(build_service(base_url, breaker_failures=2, **limits))
        for _ in range(2):
            with pytest.raises(BffError) as refusal:
                caller.fetch()
            assert not isinstance(refusal.value, CircuitOpenError)
        with pytest.raises(CircuitOpenError):
            caller.fetch()


@pytest.mark.parametrize("status", [b"500", b"503", b"404"])
def test_an_error_that_the_backend_answers_is_not_a_failure(status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b" No\r\nContent-Length: 0\r\n\r\n"
    with RawBackend(answering_always(answer)) as backend, calling(backend, breaker_failures=1) as caller:
        for _ in range(3):
            assert caller.fetch() == (int(status), b"")


def test_our_own_refusals_are_not_the_backends_failures() -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na")
        conversation.wait_for_end()

    limits = {"max_connections": 1, "connect_timeout_seconds": 0.1, "breaker_failures": 1}
    with RawBackend(script) as backend, calling(backend, **limits) as caller:
        with pytest.raises(BadRequestError):
            caller.fetch(UpstreamRequest("GET", "bad", []))
        with pytest.raises(BadRequestError):
            caller.fetch(UpstreamRequest("POST", "/", [], PiecesBody([], 5)))
        response = caller.open()
        with pytest.raises(UpstreamBusyError):
            caller.fetch()
        response.close()
        caller.open().close()
