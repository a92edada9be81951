"""Where a stream of events is ended: between two events at once, in the middle of one when told again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.gateway.event_streams import EventStreams, is_event_stream
from app.services.upstream_client import UpstreamBrokenOffError


class Backend:
    """A body that yields what it was given, and breaks off where it was told to or has no more."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.was_broken_off = False
        self.ends_well = False

    def break_off(self) -> None:
        self.was_broken_off = True

    def __iter__(self) -> Iterator[bytes]:
        while self.pieces and not self.was_broken_off:
            yield self.pieces.pop(0)
        if not self.ends_well:
            raise UpstreamBrokenOffError("the connection is gone")


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", [("Content-Type", "text/event-stream")], True),
        ("GET", [("content-type", "Text/Event-Stream ; charset=utf-8")], True),
        ("GET", [("Content-Type", "text/event-stream"), ("Content-Length", "12")], False),
        ("GET", [("Content-Type", "text/event-stream"), ("Content-Encoding", "gzip")], False),
        ("POST", [("Content-Type", "text/event-stream")], False),
        ("GET", [("Content-Type", "text/plain")], False),
        ("GET", [("Content-Type", "application/x-text/event-stream")], False),
        ("GET", [], False),
    ],
)
def test_an_answer_of_events_without_an_end_is_one(method: str, headers: list[tuple[str, str]], expected: bool) -> None:
    assert is_event_stream(method, headers) is expected


@pytest.mark.parametrize(
    "passed",
    [
        pytest.param([b"data: 1\n\n"], id="lf"),
        pytest.param([b"data: 1\r\n\r\n"], id="crlf"),
        pytest.param([b"data: 1\r\r"], id="cr"),
        pytest.param([b"data: 1\n", b"\n"], id="in-two-pieces"),
        pytest.param([b"data: 1\r\n\r", b"\n"], id="crlf-in-two-pieces"),
        pytest.param([b"data: 1\n\n", b": still here\n\n"], id="comment"),
    ],
)
def test_between_two_events_it_ends_at_once_and_well(passed: list[bytes]) -> None:
    streams, backend = EventStreams(), Backend(*passed, b"data: never\n\n")
    body = iter(streams.follow(backend, backend.break_off))
    received = [next(body) for _ in passed]
    streams.tell_going_away()
    assert backend.was_broken_off
    assert [*received, *body] == passed


def test_before_the_first_event_it_ends_too() -> None:
    backend = Backend(b"data: never\n\n")
    stream = EventStreams().follow(backend, backend.break_off)
    stream.end()
    assert list(stream) == []


@pytest.mark.parametrize("half", [b"data: 1\n", b"data: 1", b"data: 1\r\n", b"\n\ndata: 1"])
def test_an_event_that_has_begun_is_sent_to_its_end(half: bytes) -> None:
    streams, backend = EventStreams(), Backend(half, b"data: 2\n\n", b"data: never\n\n")
    body = iter(streams.follow(backend, backend.break_off))
    received = [next(body)]
    streams.tell_going_away()
    assert not backend.was_broken_off
    assert [*received, *body] == [half, b"data: 2\n\n"]


def test_an_event_that_does_not_come_to_its_end_is_waited_for_once() -> None:
    streams, backend = EventStreams(), Backend(b"data: 1\n", b"data: 2\n", b"data: never\n\n")
    body = iter(streams.follow(backend, backend.break_off))
    received = [next(body)]
    streams.tell_going_away()
    received.append(next(body))
    streams.tell_going_away()
    assert backend.was_broken_off
    assert [*received, *body] == [b"data: 1\n", b"data: 2\n"]


def test_what_the_backend_breaks_off_is_broken_also_where_it_was_to_end() -> None:
    streams, backend = EventStreams(), Backend(b"data: 1\n")
    body = iter(streams.follow(backend, backend.break_off))
    assert next(body) == b"data: 1\n"
    streams.tell_going_away()
    with pytest.raises(UpstreamBrokenOffError):
        next(body)


def test_one_that_is_forgotten_is_told_nothing() -> None:
    streams, backend = EventStreams(), Backend(b"data: 1\n\n")
    backend.ends_well = True
    stream = streams.follow(backend, backend.break_off)
    assert list(stream) == [b"data: 1\n\n"]
    streams.forget(stream)
    streams.tell_going_away()
    assert not backend.was_broken_off
