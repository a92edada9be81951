"""The body of a request that gunicorn's parser has framed, read in the pieces that arrive.

gunicorn's own `Body.read(n)` waits for all n bytes, takes a body that ends early for a complete one, and leaves
`Expect: 100-continue` to whoever reads. So its readers are asked for what they have, one piece at a time, and kept
right about what is left: gunicorn drops that before it reads the next request.
"""

from __future__ import annotations

from typing import Any

from gunicorn.http import errors as parse_errors
from gunicorn.http.body import ChunkedReader, LengthReader

from app.core.errors import BadRequestError

LARGEST_DROPPED_BYTES = 64 * 1024
"""An unread rest up to here is read away, so that the connection can go on; a larger one ends it."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class WorkerBody:
    """A `RequestBody`. `paced_socket` bounds how slowly the client may send."""

    def __init__(self, req: Any, paced_socket: Any) -> None:
        self._request = req
        self._reader = req.body.reader
        self._socket = paced_socket
        self._rest = b""
        """Of a chunk that was larger than what was asked for."""
        self._awaits_continue = bool(req._expected_100_continue)
        self.length: int | None = self._reader.length if isinstance(self._reader, LengthReader) else None

    def read(self, max_bytes: int) -> bytes:
        unreader = self._request.unreader
        direct_socket, unreader.sock = unreader.sock, self._socket
        try:
            if self._awaits_continue:
                self._send_continue()
            return self._read_length(max_bytes) if self.length is not None else self._read_chunk(max_bytes)
        except BadRequestError:
            self._fail()
            raise
        except TimeoutError:
            self._fail()
            raise BadRequestError("The request body did not arrive in time.") from None
        except OSError:
            self._fail()
            raise BadRequestError("The connection broke while the request body was read.") from None
        except parse_errors.ParseException as error:
            self._fail()
            raise BadRequestError("The request body is malformed.", internal_reason=type(error).__name__) from None
        finally:
            unreader.sock = direct_socket

    @property
    def can_be_dropped(self) -> bool:
        """Whether what was not read of it is small, known and on its way."""
        if self._request.body.failed or self._awaits_continue:
            return False  # who was not told to send may send nothing, or the next request
        if isinstance(self._reader, ChunkedReader):
            return self._reader.parser is None
        is_small: bool = self._reader.length <= LARGEST_DROPPED_BYTES
        return is_small

    @property
    def is_read(self) -> bool:
        """Whether the client has nothing more of it to send."""
        if isinstance(self._reader, ChunkedReader):
            return self._reader.parser is None
        is_at_end: bool = self._reader.length == 0
        return is_at_end

    def _read_length(self, max_bytes: int) -> bytes:
        wanted = min(max_bytes, self._reader.length)
        if not wanted:
            return b""
        received: bytes = self._request.unreader.read(None, read_ahead=wanted)
        if len(received) > wanted:
            self._request.unreader.unread(received[wanted:])
            received = received[:wanted]
        if not received:
            raise BadRequestError("The request body ended before its declared length.")
        self._reader.length -= len(received)
        return received

    def _read_chunk(self, max_bytes: int) -> bytes:
        while not self._rest and self._reader.parser is not None:
            try:
                self._rest = next(self._reader.parser)
            except StopIteration:
                self._reader.parser = None
        piece, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return piece

    def _send_continue(self) -> None:
        """RFC 9110 §10.1.1: only when the body is wanted, and not when some of it is here already."""
        self._awaits_continue = False
        if self._request.unreader.buf.getbuffer().nbytes:
            return
        self._socket.sendall(_CONTINUE)

    def _fail(self) -> None:
        """Where the next request would begin is not known any more."""
        self._request.body.failed = True


def has_body(req: Any) -> bool:
    """Whether a request carries a body; one of length 0 is none."""
    return not isinstance(req.body.reader, LengthReader) or req.body.reader.length > 0


def is_plainly_framed(req: Any) -> bool:
    """Whether a request is framed in a way that can be passed on: gunicorn takes the chunks away and leaves a further
    transfer coding in them as it is (RFC 9112 §6.1)."""
    codings = [value for name, value in req.headers if name == "TRANSFER-ENCODING"]
    return not codings or [value.strip(" \t").lower() for value in codings] == ["chunked"]
