"""Bodies on their way through: counted and limited, never held as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from app.core.errors import BodyTooLargeError
from app.gateway.call import Call
from app.gateway.messages import RequestBody
from app.services.upstream_client import UpstreamBrokenOffError, UpstreamResponse


class LimitedBody:
    """A request body that is refused once more than `max_bytes` have come, declared or not."""

    def __init__(self, body: RequestBody, max_bytes: int, call: Call) -> None:
        self._body = body
        self._max_bytes = max_bytes
        self._call = call
        if body.length is not None and body.length > max_bytes:
            raise self._build_refusal()

    @property
    def length(self) -> int | None:
        return self._body.length

    def read(self, max_bytes: int) -> bytes:
        piece = self._body.read(max_bytes)
        self._call.bytes_in += len(piece)
        if self._call.bytes_in > self._max_bytes:
            raise self._build_refusal()
        return piece

    def _build_refusal(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"The request body is larger than the {self._max_bytes} bytes this route takes.")


class ReadBody:
    """A request body that had to be read before it is sent on; the same bytes go on."""

    def __init__(self, content: bytes) -> None:
        self._rest = memoryview(content)
        self.length: int | None = len(content)

    def read(self, max_bytes: int) -> bytes:
        piece = bytes(self._rest[:max_bytes])
        self._rest = self._rest[len(piece) :]
        return piece


class AnswerBody:
    """A backend's answer, passed on as it comes."""

    __slots__ = ("_call", "_upstream")

    def __init__(self, upstream: UpstreamResponse, call: Call) -> None:
        self._upstream = upstream
        self._call = call
        call.is_cut_off = True  # until its end has been seen

    def __iter__(self) -> Iterator[bytes]:
        if self._upstream.is_whole_at_hand:
            piece = self._upstream.take_piece_at_hand()
            self._call.bytes_out = len(piece)
            if piece:
                yield piece
            self._call.is_cut_off = False
            return
        try:
            for piece in self._upstream.iter_body():
                self._call.bytes_out += len(piece)
                yield piece
        except UpstreamBrokenOffError:
            if not self._call.is_broken_off and not self._call.error_code:
                self._call.error_code = "upstream_bad_response"
            raise
        self._call.is_cut_off = False
