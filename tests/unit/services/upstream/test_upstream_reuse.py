"""Connections are kept, bounded and shared; what was closed under our hands is tried again only where that is safe."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from app.core.errors import UpstreamBadResponseError, UpstreamBusyError
from app.services.upstream_client import UpstreamRequest
from tests.support.raw_backend import (
    OK_ANSWER,
    WAIT_SECONDS,
    Conversation,
    RawBackend,
    answering,
    answering_always,
    find_closed_port,
)
from tests.unit.services.upstream.calls import Caller, build_service, calling, post


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_calls_one_after_another_share_a_connection() -> None:
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend) as caller:
        for _ in range(5):
            assert caller.fetch(post(b"x")) == (200, b"ok")
        assert backend.connection_count == 1


def test_the_connection_is_free_as_soon_as_the_body_is_complete() -> None:
    """Before `close`, so a slow reader of the last piece holds nobody up."""
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend, max_connections=1) as caller:
        first = caller.open()
        assert caller.fetch() == (200, b"ok")
        assert b"".join(first.iter_body()) == b"ok"
        first.close()
        assert backend.connection_count == 1


def test_an_answer_that_was_not_read_to_its_end_costs_its_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10000000
    with RawBackend(answering(answer)) as backend, calling(backend) as caller:
        for _ in range(2):
            caller.open().close()
        assert backend.connection_count == 2
        assert caller.client.count_connections(caller.service) == 0


def test_the_last_connection_used_is_the_first_used_again() -> None:
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend) as caller:
        open_both_at_once(caller, backend)
        before = [len(recording) for recording in backend.recordings]
        for _ in range(3):
            caller.fetch()
        after = [len(recording) for recording in backend.recordings]
        assert sum(now > then for then, now in zip(before, after, strict=True)) == 1


def open_both_at_once(caller: Caller, backend: RawBackend) -> None:
    """Leaves two idle connections behind."""
    body = HeldBody()
    thread = threading.Thread(target=caller.fetch, args=(UpstreamRequest("PUT", "/", [], body),))
    thread.start()
    backend.wait_for_connections(1)
    caller.fetch()
    body.go_on.set()
    thread.join(WAIT_SECONDS)
    assert backend.connection_count == 2


class HeldBody:
    """Gives one byte, and the second once told to."""

    def __init__(self) -> None:
        self.length = 2
        self.go_on = threading.Event()
        self._reads = 0

    def read(self, max_bytes: int) -> bytes:
        self._reads += 1
        if self._reads == 2:
            assert self.go_on.wait(WAIT_SECONDS)
        return b"x"


def test_a_connection_idle_for_too_long_is_not_used_again() -> None:
    clock = Clock()
    with RawBackend(answering_always(OK_ANSWER)) as backend:
        caller = Caller(build_service(backend.url), clock)
        caller.fetch()
        clock.now += 30
        caller.fetch()
        assert backend.connection_count == 1
        clock.now += 31
        caller.fetch()
        assert backend.connection_count == 2
        caller.client.close()


def test_idle_connections_that_nobody_needs_any_more_are_closed() -> None:
    clock = Clock()
    with RawBackend(answering_always(OK_ANSWER)) as backend:
        caller = Caller(build_service(backend.url), clock)
        open_both_at_once(caller, backend)
        assert caller.client.count_connections(caller.service) == 2
        for _ in range(2):
            clock.now += 20
            caller.fetch()
        assert caller.client.count_connections(caller.service) == 1
        caller.client.close()


def test_a_connection_is_given_up_before_the_backend_said_it_would_close_it() -> None:
    clock = Clock()
    answer = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n"
    with RawBackend(answering_always(answer)) as backend:
        caller = Caller(build_service(backend.url), clock)
        caller.fetch()
        clock.now += 4
        caller.fetch()
        assert backend.connection_count == 1
        clock.now += 4.5
        caller.fetch()
        assert backend.connection_count == 2
        caller.client.close()


@pytest.mark.parametrize(
    "surprise", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"], ids=["end", "H20-bytes"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_on_which_something_happened_while_idle_is_not_used(surprise: bytes, method: str) -> None:
    go_on, is_done = threading.Event(), threading.Event()

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(OK_ANSWER)
        if backend.connection_count > 1:
            return
        assert go_on.wait(WAIT_SECONDS)
        conversation.send(surprise)
        conversation.socket.close()
        is_done.set()

    with RawBackend(script) as backend, calling(backend) as caller:
        caller.fetch()
        go_on.set()
        assert is_done.wait(WAIT_SECONDS)
        assert caller.fetch(UpstreamRequest(method, "/", [])) == (200, b"ok")
        assert len(backend.requests) == 2


class ClosesOnReuse:
    """Closes its first connection on the second request there, as a server does whose idle time is just over."""

    def __init__(self, *, resets: bool = False) -> None:
        self._resets = resets
        self._connections = 0

    def __call__(self, conversation: Conversation) -> None:
        self._connections += 1
        if self._connections > 1:
            answering_always(OK_ANSWER)(conversation)
        conversation.read_request()
        conversation.send(OK_ANSWER)
        conversation.read_request()
        if self._resets:
            conversation.reset()


@pytest.mark.parametrize("resets", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_an_idempotent_call_without_a_body_is_made_again(method: str, resets: bool) -> None:
    with RawBackend(ClosesOnReuse(resets=resets)) as backend, calling(backend) as caller:
        caller.fetch()
        assert caller.fetch(UpstreamRequest(method, "/", []))[0] == 200
        assert [request.request_line.split()[0] for request in backend.requests] == [b"GET", *[method.encode()] * 2]
        assert backend.connection_count == 2


@pytest.mark.parametrize("resets", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize(
    "build_request",
    [
        lambda: post(b"x"),
        lambda: UpstreamRequest("POST", "/", []),
        lambda: UpstreamRequest("PATCH", "/", []),
        lambda: post(b"x", method="PUT"),
        lambda: post(method="PUT", is_chunked=True),
    ],
    ids=["post", "post-no-body", "patch-no-body", "put", "put-chunked"],
)
def test_a_call_that_may_have_been_processed_is_not_made_again(
    build_request: Callable[[], UpstreamRequest], resets: bool
) -> None:
    with RawBackend(ClosesOnReuse(resets=resets)) as backend, calling(backend) as caller:
        caller.fetch()
        with pytest.raises(UpstreamBadResponseError):
            caller.fetch(build_request())
        assert len(backend.requests) == 2
        assert backend.connection_count == 1


def test_no_retry_means_none() -> None:
    with RawBackend(ClosesOnReuse()) as backend, calling(backend, retry=0) as caller:
        caller.fetch()
        with pytest.raises(UpstreamBadResponseError):
            caller.fetch()
        assert len(backend.requests) == 2


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 2", b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=["head", "interim"])
def test_a_call_whose_answer_had_begun_is_not_made_again(beginning: bytes) -> None:
    """Not even an idempotent one: it was heard."""
    with RawBackend(answering(OK_ANSWER, beginning)) as backend, calling(backend) as caller:
        caller.fetch()
        with pytest.raises(UpstreamBadResponseError):
            caller.fetch()
        assert len(backend.requests) == 2


def test_a_fresh_connection_that_is_closed_is_no_reason_to_try_again() -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()

    with RawBackend(script) as backend, calling(backend, retry=5) as caller:
        with pytest.raises(UpstreamBadResponseError):
            caller.fetch()
        assert len(backend.requests) == 1


def test_a_retry_does_not_rely_on_another_kept_connection() -> None:
    """After a restart of the backend all kept connections are as dead as the first."""

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(OK_ANSWER)
        conversation.read_request()
        if backend.connection_count > 2:
            conversation.send(OK_ANSWER)

    with RawBackend(script) as backend, calling(backend, max_connections=2) as caller:
        open_both_at_once(caller, backend)
        assert caller.fetch() == (200, b"ok")
        assert backend.connection_count == 3


def test_a_retry_on_another_address_is_made_when_none_can_be_reached() -> None:
    with RawBackend(answering_always(OK_ANSWER)) as backend:
        dead_url = f"http://127.0.0.1:{find_closed_port()}"
        caller = Caller(build_service(dead_url, backend.url, retry=1))
        for _ in range(4):
            assert caller.fetch(post(b"x")) == (200, b"ok")
        assert len(backend.requests) == 4
        assert backend.connection_count == 1
        caller.client.close()


def test_calls_take_turns_between_addresses() -> None:
    with RawBackend(answering_always(OK_ANSWER)) as one, RawBackend(answering_always(OK_ANSWER)) as other:
        caller = Caller(build_service(one.url, other.url))
        for _ in range(6):
            caller.fetch()
        assert (len(one.requests), len(other.requests)) == (3, 3)
        assert one.requests[0].get_all("Host") == [b"127.0.0.1:%d" % one.port]
        assert other.requests[0].get_all("Host") == [b"127.0.0.1:%d" % other.port]
        caller.client.close()


def hold(conversation: Conversation) -> None:
    """Begins an answer and lets it hang until the other end is gone."""
    conversation.read_request()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na")
    conversation.wait_for_end()


def test_no_more_connections_are_opened_than_allowed() -> None:
    with RawBackend(hold) as backend, calling(backend, max_connections=2, connect_timeout_seconds=0.1) as caller:
        responses = [caller.open(), caller.open()]
        with pytest.raises(UpstreamBusyError):
            caller.open()
        assert backend.connection_count == 2
        for response in responses:
            response.close()


def test_who_waits_gets_the_next_connection_that_comes_free() -> None:
    answers: list[tuple[int, bytes]] = []
    with RawBackend(answering_always(OK_ANSWER)) as backend, calling(backend, max_connections=1) as caller:
        body = HeldBody()
        holder = threading.Thread(target=caller.fetch, args=(UpstreamRequest("PUT", "/", [], body),))
        holder.start()
        backend.wait_for_connections(1)
        waiters = [threading.Thread(target=lambda: answers.append(caller.fetch())) for _ in range(5)]
        for waiter in waiters:
            waiter.start()
        body.go_on.set()
        for thread in [holder, *waiters]:
            thread.join(WAIT_SECONDS)
        assert answers == [(200, b"ok")] * 5
        assert backend.connection_count == 1


def test_a_broken_connection_leaves_its_place_to_who_waits() -> None:
    answers: list[int] = []
    with RawBackend(hold) as backend, calling(backend, max_connections=1) as caller:
        first = caller.open()

        def wait_and_close() -> None:
            response = caller.open()
            answers.append(response.status)
            response.close()

        waiter = threading.Thread(target=wait_and_close)
        waiter.start()
        first.close()
        waiter.join(WAIT_SECONDS)
        assert answers == [200]
        assert caller.client.count_connections(caller.service) == 0


def test_many_callers_at_once_keep_within_the_bound_and_get_their_own_answers() -> None:
    """Each answer repeats its own request's path: a mixed-up connection would show."""

    def script(conversation: Conversation) -> None:
        while True:
            path = conversation.read_request().request_line.split()[1]
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    def call(number: int) -> None:
        for turn in range(25):
            path = f"/{number}/{turn}"
            if caller.fetch(UpstreamRequest("GET", path, [])) != (200, path.encode()):
                mixed_up.append(path)

    mixed_up: list[str] = []
    with RawBackend(script) as backend, calling(backend, max_connections=3) as caller:
        threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_SECONDS)
        assert mixed_up == []
        assert len(backend.requests) == 16 * 25
        assert backend.connection_count <= 3


def test_closing_the_client_closes_what_is_idle_and_keeps_nothing_more() -> None:
    has_ended = threading.Semaphore(0)

    def script(conversation: Conversation) -> None:
        try:
            answering_always(OK_ANSWER)(conversation)
        finally:
            has_ended.release()

    with RawBackend(script) as backend, calling(backend) as caller:
        caller.fetch()
        body = HeldBody()
        under_way = threading.Thread(target=caller.fetch, args=(UpstreamRequest("PUT", "/", [], body),))
        under_way.start()
        caller.client.close()
        body.go_on.set()
        under_way.join(WAIT_SECONDS)
        assert caller.fetch() == (200, b"ok")
        assert caller.client.count_connections(caller.service) == 0
        for _ in range(backend.connection_count):
            assert has_ended.acquire(timeout=WAIT_SECONDS)
