"""A request's body on its way out: framed, exactly as long as declared, one piece in memory at a time (RFC 9112 §6)."""

from __future__ import annotations

from app.core.errors import BadRequestError
from app.services.upstream_messages import RequestBody

FIRST_PIECE_BYTES = 65536

_METHODS_THAT_EXPECT_A_BODY = frozenset({"POST", "PUT", "PATCH"})
_LAST_CHUNK = b"0\r\n\r\n"


class Upload:
    """`first_piece` is read ahead, so that a small request goes out in one write and can be repeated as long as
    nothing was sent."""

    __slots__ = ("_body", "_is_chunked", "_remaining_bytes", "first_piece", "framing", "is_whole")

    def __init__(self, framing: str, body: RequestBody | None) -> None:
        self.framing = framing
        """The header line that frames the body, or empty."""
        self._body = body
        self._is_chunked = body is not None and body.length is None
        self._remaining_bytes = 0 if body is None else body.length or 0
        self.is_whole = body is None
        """Whether there is nothing behind what was read so far."""
        self.first_piece = b"" if body is None else self.read(FIRST_PIECE_BYTES)

    @property
    def has_body(self) -> bool:
        return self._body is not None

    def read(self, max_bytes: int) -> bytes:
        """Returns the next framed bytes, b"" when there are no more.

        Raises what reading the body raises, and `BadRequestError` when the body does not keep to its declared length.
        """
        if self._body is None or self.is_whole:
            return b""
        if self._is_chunked:
            return self._read_chunk(self._body, max_bytes)
        wanted_bytes = min(max_bytes, self._remaining_bytes)
        piece = self._body.read(wanted_bytes)
        if not 0 < len(piece) <= wanted_bytes:
            raise BadRequestError("The request body does not have its declared length.")
        self._remaining_bytes -= len(piece)
        self.is_whole = not self._remaining_bytes
        return piece

    def _read_chunk(self, body: RequestBody, max_bytes: int) -> bytes:
        piece = body.read(max_bytes)
        if piece:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        self.is_whole = True
        return _LAST_CHUNK


_NOTHING = Upload("", None)
_NOTHING_AND_SAYS_SO = Upload("Content-Length: 0", None)


def begin_upload(method: str, body: RequestBody | None) -> Upload:
    """Reads the body's first piece; may wait for the client and raises what the body's `read` raises."""
    if body is None or body.length == 0:
        # RFC 9110 §8.6: a method that expects a body says that it has none.
        says_so = body is not None or method in _METHODS_THAT_EXPECT_A_BODY
        return _NOTHING_AND_SAYS_SO if says_so else _NOTHING
    if body.length is None:
        return Upload("Transfer-Encoding: chunked", body)
    return Upload(f"Content-Length: {body.length}", body)
