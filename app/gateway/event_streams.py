"""Server-sent event streams: answers without an end of their own, which a worker that stops has to give one.

A page whose stream has ended asks again by itself (`EventSource`), and reaches another worker. So streams are told at
once: they end whole, and between two events, so that none is lost half-way. One that stands in the middle of an event
is ended when it is told once more, a second later; a page drops what it has of an event then (HTML, section 9.2.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from app.core.headers import HeaderView
from app.gateway.messages import HeaderLines
from app.services.upstream_client import UpstreamBrokenOffError

_ENDS_OF_EVENTS = (b"\n\n", b"\n\r\n", b"\r\r")
_LONGEST_END = 3


def is_event_stream(method: str, headers: HeaderLines) -> bool:
    """Whether an answer is one, going by its header lines.

    Only what an `EventSource` could have asked for, and would ask for again: a GET. What answers a POST has an end of
    its own, and so has one that declares its length; ended early it would look whole. Where events are compressed
    nobody sees where one ends.
    """
    view = HeaderView(headers)
    media_type = (view.get("content-type") or "").partition(";")[0].strip(" \t").lower()
    has_plain_events = media_type == "text/event-stream" and view.get("content-encoding") is None
    return method == "GET" and has_plain_events and view.get("content-length") is None


class EventStreams:
    """All that are open in this worker."""

    def __init__(self) -> None:
        self._open: set[EventStream] = set()

    def follow(self, body: Iterable[bytes], break_off: Callable[[], None]) -> EventStream:
        """Returns the body to be written instead; it is listed here until `forget`."""
        stream = EventStream(body, break_off)
        self._open.add(stream)
        return stream

    def forget(self, body: Iterable[bytes]) -> None:
        """Of an answer that is over, to its end or not; any other body than one from `follow` is none of ours."""
        if isinstance(body, EventStream):
            self._open.discard(body)

    def tell_going_away(self) -> None:
        """The worker stops. To be called again every second, for as long as it has calls."""
        for stream in tuple(self._open):
            stream.end()


class EventStream:
    """One. The door iterates it; `end` is called from anywhere."""

    def __init__(self, body: Iterable[bytes], break_off: Callable[[], None]) -> None:
        """`break_off` ends the exchange with the backend; the body then raises `UpstreamBrokenOffError`."""
        self._body = body
        self._break_off = break_off
        self._last_bytes = _ENDS_OF_EVENTS[0]
        self._is_told = False
        self._is_ended = False

    def __iter__(self) -> Iterator[bytes]:
        """Yields the pieces of the body, and comes to an end where `end` made one."""
        try:
            for piece in self._body:
                self._last_bytes = (self._last_bytes + piece[-_LONGEST_END:])[-_LONGEST_END:]
                yield piece
                if self._is_told and self._is_between_events:
                    return
        except UpstreamBrokenOffError:
            if not self._is_ended:
                raise

    def end(self) -> None:
        """Ends the stream as soon as it is between two events; told again, in any case. Does not wait."""
        if self._is_told or self._is_between_events:
            self._is_ended = True
            self._break_off()
        self._is_told = True

    @property
    def _is_between_events(self) -> bool:
        return self._last_bytes.endswith(_ENDS_OF_EVENTS)
