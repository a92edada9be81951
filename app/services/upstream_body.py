"""Takes a backend's body out of its framing (RFC 9112 §6.3, §7.1), bytes in, bytes out.

Each framing answers three questions: which bytes of what came belong to the body, is it complete, and did more come
than belongs to it. The last makes a connection unfit for another call: the surplus would be read as the next answer.
"""

from __future__ import annotations

import re
from typing import Protocol

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*")
MAX_CHUNK_LINE_BYTES = 4096
MAX_TRAILER_BYTES = 16384


class MalformedBodyError(Exception):
    """The body breaks its own framing."""


class BodyFraming(Protocol):
    """How far one body has been read."""

    is_complete: bool
    has_surplus: bool
    """Bytes came that belong to no answer."""

    def take(self, received: bytes) -> bytes:
        """Returns the body's bytes among `received`; may be empty. Raises `MalformedBodyError`."""

    def end(self) -> None:
        """The backend has closed. Raises `MalformedBodyError` unless the body is complete now."""


class NoBody:
    """HEAD, 204, 304, and a Content-Length of 0."""

    __slots__ = ("has_surplus", "is_complete")

    def __init__(self) -> None:
        self.is_complete = True
        self.has_surplus = False

    def take(self, received: bytes) -> bytes:
        self.has_surplus = bool(received)
        return b""

    def end(self) -> None:
        return


class LengthBody:
    """A body of a declared length, which is not 0."""

    __slots__ = ("_remaining_bytes", "has_surplus", "is_complete")

    def __init__(self, length: int) -> None:
        self._remaining_bytes = length
        self.is_complete = False
        self.has_surplus = False

    def take(self, received: bytes) -> bytes:
        remaining_bytes = self._remaining_bytes - len(received)
        if remaining_bytes > 0:
            self._remaining_bytes = remaining_bytes
            return received
        self.is_complete = True
        self._remaining_bytes = 0
        if remaining_bytes == 0:
            return received
        self.has_surplus = True
        return received[:remaining_bytes]

    def end(self) -> None:
        if not self.is_complete:
            raise MalformedBodyError("the backend closed before the declared length")


class UntilCloseBody:
    """A body without a declared end: all that comes until the backend closes."""

    __slots__ = ("has_surplus", "is_complete")

    def __init__(self) -> None:
        self.is_complete = False
        self.has_surplus = False

    def take(self, received: bytes) -> bytes:
        return received

    def end(self) -> None:
        self.is_complete = True


class ChunkedBody:
    """Chunked framing, read strictly: CRLF only, a bounded size, extensions skipped, trailers skipped (RFC 9112 §7.1).

    All data chunks among the bytes of one `take` come out as one piece, so many small chunks cost one write.
    """

    __slots__ = ("_is_in_trailers", "_pending", "_remaining_bytes", "_trailer_bytes", "has_surplus", "is_complete")

    def __init__(self) -> None:
        self._pending = b""
        """Bytes of a line that has not ended yet."""
        self._remaining_bytes = 0
        """Of the current chunk, the CRLF behind its data included; 0 between chunks."""
        self._is_in_trailers = False
        self._trailer_bytes = 0
        self.is_complete = False
        self.has_surplus = False

    def take(self, received: bytes) -> bytes:
        if self._pending:
            received = self._pending + received
            self._pending = b""
        pieces: list[bytes] = []
        position = 0
        while position < len(received):
            if self.is_complete:
                self.has_surplus = True
                break
            if self._remaining_bytes:
                position = self._take_data(received, position, pieces)
            else:
                position = self._take_line(received, position)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end(self) -> None:
        if not self.is_complete:
            raise MalformedBodyError("the backend closed before the last chunk")

    def _take_data(self, received: bytes, position: int, pieces: list[bytes]) -> int:
        data_bytes = self._remaining_bytes - 2
        if data_bytes > 0:
            piece = received[position : position + data_bytes]
            pieces.append(piece)
            self._remaining_bytes -= len(piece)
            return position + len(piece)
        wanted = b"\r\n"[-self._remaining_bytes :]
        found = received[position : position + len(wanted)]
        if not wanted.startswith(found):
            raise MalformedBodyError("a chunk is longer than its size says")
        self._remaining_bytes -= len(found)
        return position + len(found)

    def _take_line(self, received: bytes, position: int) -> int:
        end = received.find(b"\n", position)
        if end < 0:
            self._pending = received[position:]
            self._check_line_length(len(self._pending))
            return len(received)
        line = received[position:end]
        self._check_line_length(len(line))
        if not line.endswith(b"\r"):
            raise MalformedBodyError("a line of the chunked framing ends in a bare LF")
        if self._is_in_trailers:
            self._read_trailer_line(line[:-1])
        else:
            self._read_chunk_line(line[:-1])
        return end + 1

    def _check_line_length(self, length: int) -> None:
        limit = MAX_TRAILER_BYTES - self._trailer_bytes if self._is_in_trailers else MAX_CHUNK_LINE_BYTES
        if length > limit:
            raise MalformedBodyError("a line of the chunked framing is too long")

    def _read_chunk_line(self, line: bytes) -> None:
        found = _CHUNK_LINE.fullmatch(line)
        if not found:
            raise MalformedBodyError("a chunk size is malformed")
        size = int(found[1], 16)
        if size:
            self._remaining_bytes = size + 2
        else:
            self._is_in_trailers = True

    def _read_trailer_line(self, line: bytes) -> None:
        if not line:
            self.is_complete = True
        elif not _TRAILER_LINE.fullmatch(line):
            raise MalformedBodyError("a trailer line is malformed")
        self._trailer_bytes += len(line) + 2
