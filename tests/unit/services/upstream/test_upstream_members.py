"""Several equal backends: who fails is left alone, is tried again by one call, and costs no caller an answer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.core.errors import BffError, UpstreamTimeoutError, UpstreamUnreachableError
from app.services import upstream_members
from app.services.upstream_client import UpstreamResponse
from app.services.upstream_connection import Origin, UpstreamConnection, open_connection
from tests.support.raw_backend import OK_ANSWER, Conversation, RawBackend, answering_always, find_closed_port
from tests.unit.services.upstream.calls import Caller, build_service, post

GARBAGE = b"no HTTP at all\r\n\r\n"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Moody:
    """A backend that answers well or badly, as it is told."""

    def __init__(self) -> None:
        self.answer = OK_ANSWER

    def __call__(self, conversation: Conversation) -> None:
        while True:
            conversation.read_request()
            conversation.send(self.answer)


@contextmanager
def two_backends(
    clock: Clock, first: Moody, second: Moody, **changes: Any
) -> Iterator[tuple[Caller, list[RawBackend]]]:
    with ExitStack() as parts:
        backends = [parts.enter_context(RawBackend(script)) for script in (first, second)]
        caller = Caller(build_service(*(backend.url for backend in backends), **changes), clock)
        parts.callback(caller.client.close)
        yield caller, backends


def count_requests(backends: list[RawBackend]) -> list[int]:
    return [len(backend.requests) for backend in backends]


def test_who_takes_no_connection_is_not_asked_again_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = Clock(), []

    def connect(origin: Origin, *rest: Any) -> UpstreamConnection:
        asked.append(origin.port)
        return open_connection(origin, *rest)

    monkeypatch.setattr(upstream_members, "open_connection", connect)
    with RawBackend(answering_always(OK_ANSWER)) as backend:
        dead_port = find_closed_port()
        dead_url = f"http://127.0.0.1:{dead_port}"
        caller = Caller(build_service(dead_url, backend.url, retry=1, breaker_failures=0), clock)
        with capture_logs() as events:
            for _ in range(6):
                assert caller.fetch(post(b"x")) == (200, b"ok")
        set_aside = [event for event in events if event["event"] == "upstream.member_set_aside"]
        assert [event["backend"] for event in set_aside] == [dead_url.removeprefix("http://")]
        assert asked.count(dead_port) == 1
        clock.now += 31
        for _ in range(6):
            assert caller.fetch() == (200, b"ok")
        assert asked.count(dead_port) == 2, "one trial, and no more after it failed"
        caller.client.close()


def test_who_gives_no_answers_is_set_aside_after_as_many_in_a_row_as_open_the_breaker() -> None:
    clock, bad, good = Clock(), Moody(), Moody()
    bad.answer = GARBAGE
    with two_backends(clock, bad, good, breaker_failures=2) as (caller, backends):
        statuses = [fetch_status(caller) for _ in range(12)]
        assert statuses.count(502) == 2, "a request that may have been processed is not made again elsewhere"
        assert count_requests(backends) == [2, 10]


def test_who_answers_its_trial_is_back() -> None:
    clock, first, second = Clock(), Moody(), Moody()
    first.answer = GARBAGE
    with two_backends(clock, first, second, breaker_failures=1, retry=0) as (caller, backends):
        assert [fetch_status(caller) for _ in range(4)] == [502, 200, 200, 200]
        first.answer = OK_ANSWER
        clock.now += 30
        with capture_logs() as events:
            assert [fetch_status(caller) for _ in range(6)] == [200] * 6
        assert [event["event"] for event in events] == ["upstream.member_returned"]
        assert count_requests(backends) == [4, 6]


def test_only_one_call_is_the_trial() -> None:
    clock, asked, may_answer = Clock(), threading.Event(), threading.Event()
    is_well = threading.Event()

    def slow(conversation: Conversation) -> None:
        while True:
            conversation.read_request()
            if is_well.is_set():
                asked.set()
                may_answer.wait(10)
                conversation.send(OK_ANSWER)
            else:
                conversation.send(GARBAGE)

    with RawBackend(slow) as one, RawBackend(answering_always(OK_ANSWER)) as other:
        caller = Caller(build_service(one.url, other.url, breaker_failures=1, retry=0), clock)
        assert [fetch_status(caller) for _ in range(2)] == [502, 200]
        is_well.set()
        clock.now += 30
        trial = threading.Thread(target=caller.fetch)
        trial.start()
        assert asked.wait(10)
        for _ in range(4):
            assert caller.fetch() == (200, b"ok")
        assert (len(one.requests), len(other.requests)) == (2, 5)
        may_answer.set()
        trial.join(10)
        assert caller.fetch() == (200, b"ok")
        caller.client.close()


def test_only_when_all_are_set_aside_do_failures_open_the_circuit_of_the_service() -> None:
    clock, first, second = Clock(), Moody(), Moody()
    first.answer = second.answer = GARBAGE
    with two_backends(clock, first, second, breaker_failures=2, retry=0) as (caller, backends):
        assert [fetch_status(caller) for _ in range(6)] == [502] * 5 + [503]
        assert sum(count_requests(backends)) == 5
        first.answer = second.answer = OK_ANSWER
        clock.now += 31
        assert [fetch_status(caller) for _ in range(4)] == [200] * 4


def test_without_a_breaker_all_that_are_down_are_tried_and_the_first_that_is_back_serves() -> None:
    clock = Clock()
    ports = [find_closed_port(), find_closed_port()]
    caller = Caller(build_service(*(f"http://127.0.0.1:{port}" for port in ports), retry=1), clock)
    for _ in range(3):
        with pytest.raises(UpstreamUnreachableError):
            caller.fetch()
    with RawBackend(answering_always(OK_ANSWER), listen_port=ports[1]) as backend:
        for _ in range(4):
            assert caller.fetch() == (200, b"ok")
        assert len(backend.requests) == 4
    caller.client.close()


def test_a_slow_answer_is_not_asked_for_at_another_backend() -> None:
    def be_silent(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.wait_for_end()

    with RawBackend(be_silent) as one, RawBackend(answering_always(OK_ANSWER)) as other:
        caller = Caller(build_service(one.url, other.url, retry=5, read_timeout_seconds=0.2))
        with pytest.raises(UpstreamTimeoutError):
            caller.fetch()
        assert (len(one.requests), len(other.requests)) == (1, 0)
        caller.client.close()


def test_a_backend_whose_connections_are_all_in_use_leaves_the_call_to_the_next() -> None:
    def hold(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na")
        conversation.wait_for_end()

    limits = {"max_connections": 1, "connect_timeout_seconds": 0.1}
    with RawBackend(hold) as one, RawBackend(answering_always(OK_ANSWER)) as other:
        caller = Caller(build_service(one.url, other.url, **limits))
        with contextlib.closing(open_at(caller, one)):
            for _ in range(4):
                assert caller.fetch() == (200, b"ok")
        assert len(one.requests) == 1
        caller.client.close()


def open_at(caller: Caller, backend: RawBackend) -> UpstreamResponse:
    """Opens calls until one is at `backend`."""
    while True:
        response = caller.open()
        if backend.requests:
            return response
        response.close()


def fetch_status(caller: Caller) -> int:
    try:
        return caller.fetch()[0]
    except BffError as refusal:
        return refusal.status
