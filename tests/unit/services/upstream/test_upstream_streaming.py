"""Bodies flow: the first byte at once, the last one known to be the last, and no more in memory than a piece."""

from __future__ import annotations

import threading
import tracemalloc

import pytest

from app.core.errors import UpstreamBadResponseError
from app.services.upstream_client import UpstreamBrokenOffError, UpstreamRequest, UpstreamResponse
from tests.support.raw_backend import WAIT_SECONDS, Conversation, RawBackend, answering
from tests.unit.services.upstream.calls import Caller, calling

MEBIBYTE = 1048576
STREAM = UpstreamRequest("GET", "/feed", [], streaming=True)
FEED_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

FRAMED_FEEDS = {
    "chunked": (FEED_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"9\r\ndata: 1\n\n\r\n", b"0\r\n\r\n"),
    "until-close": (FEED_HEAD + b"\r\n", b"data: 1\n\n", b""),
    "length": (FEED_HEAD + b"Content-Length: 18\r\n\r\n", b"data: 1\n\n", b""),
}


@pytest.mark.parametrize(("head", "event", "end"), FRAMED_FEEDS.values(), ids=FRAMED_FEEDS.keys())
def test_each_event_of_a_feed_is_there_before_the_next_is_sent(head: bytes, event: bytes, end: bytes) -> None:
    """B6: the backend sends the second event only after the first was seen, so buffering would stall."""
    seen = threading.Semaphore(0)

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head)
        for _ in range(2):
            assert seen.acquire(timeout=WAIT_SECONDS)
            conversation.send(event)
        assert seen.acquire(timeout=WAIT_SECONDS)
        conversation.send(end)

    with RawBackend(script) as backend, calling(backend) as caller:
        response = caller.open(STREAM)
        seen.release()
        received = []
        for piece in response.iter_body():
            received.append(piece)
            seen.release()
        response.close()
        assert received == [b"data: 1\n\n"] * 2


WHOLE_ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello world!",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nhello\r\n7\r\n world!\r\n0\r\nA: b\r\n\r\n",
    "behind-an-interim": b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello world!",
}


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("answer", WHOLE_ANSWERS.values(), ids=WHOLE_ANSWERS.keys())
def test_an_answer_cut_at_any_byte_is_never_taken_for_a_whole_one(answer: bytes, end: str) -> None:
    cuts = iter(range(len(answer) + 1))

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(answer[: next(cuts)])
        if end == "reset":
            conversation.reset()

    head_end = answer.rindex(b"200 OK")
    head_end = answer.index(b"\r\n\r\n", head_end) + 4
    with RawBackend(script) as backend, calling(backend) as caller:
        for cut in range(len(answer)):
            outcome, received = fetch_what_comes(caller)
            assert outcome == ("refused" if cut < head_end else "broken off"), cut
            assert b"hello world!".startswith(received)
        assert fetch_what_comes(caller) == ("whole", b"hello world!")


def fetch_what_comes(caller: Caller) -> tuple[str, bytes]:
    try:
        response = caller.open()
    except UpstreamBadResponseError:
        return "refused", b""
    received = b""
    try:
        for piece in response.iter_body():
            received += piece
    except UpstreamBrokenOffError:
        return "broken off", received
    finally:
        response.close()
    return "whole", received


def test_an_answer_in_single_bytes_comes_whole() -> None:
    """B5: every split of head and body is met on the way."""
    answer = WHOLE_ANSWERS["chunked"]

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        for place in range(len(answer)):
            conversation.send(answer[place : place + 1])

    with RawBackend(script) as backend, calling(backend) as caller:
        for _ in range(20):
            assert caller.fetch() == (200, b"hello world!")


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_a_large_download_streams_in_bounded_memory(is_chunked: bool) -> None:
    """B5."""
    piece = b"x" * MEBIBYTE
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % (50 * MEBIBYTE)

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        for _ in range(50):
            conversation.send(b"100000\r\n" if is_chunked else b"")
            conversation.send(piece)
            conversation.send(b"\r\n" if is_chunked else b"")
        conversation.send(b"0\r\n\r\n" if is_chunked else b"")

    with RawBackend(script) as backend, calling(backend) as caller:
        tracemalloc.start()
        try:
            response = caller.open()
            received_bytes = sum(map(len, response.iter_body()))
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        response.close()
        assert received_bytes == 50 * MEBIBYTE
        assert peak_bytes < 8 * MEBIBYTE


def test_a_backend_waits_for_a_reader_who_does_not_read() -> None:
    """B5: back-pressure instead of memory."""
    sent_bytes = 0

    def script(conversation: Conversation) -> None:
        nonlocal sent_bytes
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\n")
        conversation.socket.settimeout(0.2)
        try:
            while sent_bytes < 100 * MEBIBYTE:
                sent_bytes += conversation.socket.send(b"x" * MEBIBYTE)
        except TimeoutError:
            is_stuck.set()

    is_stuck = threading.Event()
    with RawBackend(script) as backend, calling(backend) as caller:
        response = caller.open()
        assert is_stuck.wait(WAIT_SECONDS)
        assert sum(map(len, response.iter_body())) == sent_bytes < 50 * MEBIBYTE
        response.close()


def read_to_the_end(response: UpstreamResponse, outcomes: list[object], has_begun: threading.Event) -> None:
    try:
        for _ in response.iter_body():
            has_begun.set()
    except UpstreamBrokenOffError as error:
        outcomes.append(error)


def hold_feed_open(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(FEED_HEAD + b"\r\ndata: 1\n\n")
    conversation.wait_for_end()


def test_closing_from_elsewhere_ends_a_read_and_reaches_the_backend() -> None:
    has_ended = threading.Event()

    def script(conversation: Conversation) -> None:
        hold_feed_open(conversation)
        has_ended.set()

    with RawBackend(script) as backend, calling(backend) as caller:
        response = caller.open(STREAM)
        outcomes: list[object] = []
        has_begun = threading.Event()
        reader = threading.Thread(target=read_to_the_end, args=(response, outcomes, has_begun))
        reader.start()
        assert has_begun.wait(WAIT_SECONDS)
        response.close()
        reader.join(WAIT_SECONDS)
        assert [type(outcome) for outcome in outcomes] == [UpstreamBrokenOffError]
        assert has_ended.wait(WAIT_SECONDS)
        response.close()
        assert caller.client.count_connections(caller.service) == 0


def test_reading_after_closing_breaks_off() -> None:
    with RawBackend(hold_feed_open) as backend, calling(backend) as caller:
        response = caller.open(STREAM)
        pieces = response.iter_body()
        next(pieces)
        response.close()
        with pytest.raises(UpstreamBrokenOffError):
            next(pieces)
        assert caller.client.count_connections(caller.service) == 0


@pytest.mark.parametrize("end", ["unread", "part", "whole"])
def test_closing_twice_is_closing_once(end: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000000
    with RawBackend(answering(answer, keep_open=True)) as backend, calling(backend, max_connections=1) as caller:
        response = caller.open()
        pieces = response.iter_body()
        if end != "unread":
            next(pieces)
        if end == "whole":
            list(pieces)
        for _ in range(3):
            response.close()
        assert caller.client.count_connections(caller.service) == (1 if end == "whole" else 0)
