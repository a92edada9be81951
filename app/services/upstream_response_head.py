"""Reads the head of a backend's answer and settles how its body is framed (RFC 9112 §6.3).

`gunicorn_h1c` parses in C but is lenient: it takes a bare LF, a status of 099, two spaces in the status line, and
gives a folded line as a header without a name. All of that is refused here, for what is lenient on one hop is a
smuggled answer on the next. Of two framing lines none is picked: the answer is refused.
"""

from __future__ import annotations

import re

from gunicorn_h1c import IncompleteError, ParseError, parse_response

from app.core.errors import UpstreamBadResponseError

MAX_HEAD_BYTES = 65536
MAX_HEADERS = 200
_STATUS_LINE_START = b"HTTP/1."
_MAX_LENGTH_DIGITS = 18
_MAX_REMEMBERED_NAMES = 2048
_MAX_REMEMBERED_LENGTH = 64

_PLAIN, _CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION, _KEEP_ALIVE = range(5)
_KINDS = {
    b"content-length": _CONTENT_LENGTH,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"connection": _CONNECTION,
    b"keep-alive": _KEEP_ALIVE,
}
_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout=(\d{1,6})(?:$|[,;\s])", re.IGNORECASE)

_known_names: dict[bytes, tuple[str, int]] = {}


class ResponseHead:
    """A judged head."""

    def __init__(
        self,
        status: int,
        reason: str,
        headers: list[tuple[str, str]],
        *,
        content_length: int | None,
        is_chunked: bool,
        is_persistent: bool,
        keep_alive_seconds: int | None,
        size: int,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        """The lines as they came."""
        self.content_length = content_length
        """As declared; to HEAD and in a 304 it describes a body that does not come (RFC 9110 §8.6)."""
        self.is_chunked = is_chunked
        self.is_persistent = is_persistent
        """Whether the backend will take another request on this connection (RFC 9112 §9.3)."""
        self.keep_alive_seconds = keep_alive_seconds
        """How long the backend says it keeps an idle connection (RFC 2068 §19.7.1.1)."""
        self.size = size
        """Bytes of the head, its empty line included."""

    def has_body(self, method: str) -> bool:
        return method != "HEAD" and self.status not in {204, 304} and self.status >= 200


def parse_response_head(received: bytes, already_searched: int = 0) -> ResponseHead | None:
    """Returns None when the head is not complete. Raises `UpstreamBadResponseError`.

    `already_searched` is the length of what an earlier call found incomplete; it spares searching that again.
    """
    try:
        parsed = parse_response(received, already_searched)
    except IncompleteError:
        _check_beginning(received)
        return None
    except ParseError:
        raise _refuse("its head does not parse") from None
    size: int = parsed["consumed"]
    lines: list[tuple[bytes, bytes]] = parsed["headers"]
    _check_lines(received, size, len(lines))
    return _build_head(parsed["status"], parsed["message"], parsed["minor_version"], lines, size)


def _check_beginning(received: bytes) -> None:
    """Refuses at once what can become no head, so that nobody waits for the rest of it."""
    if not received.startswith(_STATUS_LINE_START[: len(received)]):
        raise _refuse("it does not begin with an HTTP/1 status line")
    if len(received) >= MAX_HEAD_BYTES:
        raise _refuse("its head is too large")


def _check_lines(received: bytes, size: int, header_count: int) -> None:
    if size > MAX_HEAD_BYTES or header_count > MAX_HEADERS:
        raise _refuse("its head is too large")
    if received.count(b"\r\n", 0, size) != header_count + 2:
        raise _refuse("a line of its head ends in a bare LF")
    if received[8:9] != b" " or not received[9:12].isdigit():
        raise _refuse("its status line is malformed")


def _build_head(
    status: int, reason: bytes, minor_version: int, lines: list[tuple[bytes, bytes]], size: int
) -> ResponseHead:
    # RFC 9110 §15: a status outside 100 to 599 is invalid and is to be treated as a server error.
    if not 100 <= status <= 599:
        raise _refuse("its status is outside 100 to 599")
    headers = []
    content_length: int | None = None
    keep_alive_seconds: int | None = None
    is_chunked = False
    is_persistent = minor_version >= 1
    for raw_name, raw_value in lines:
        name, kind = _known_names.get(raw_name) or _learn_name(raw_name)
        headers.append((name, raw_value.decode("latin-1")))
        if kind == _PLAIN:
            continue
        if kind == _CONTENT_LENGTH:
            if content_length is not None:
                raise _refuse("it has two Content-Length lines")
            content_length = _parse_content_length(raw_value)
        elif kind == _TRANSFER_ENCODING:
            if is_chunked or raw_value.lower() != b"chunked":
                raise _refuse("its Transfer-Encoding is not chunked alone")
            is_chunked = True
        elif kind == _CONNECTION:
            is_persistent = is_persistent and not _says_close(raw_value)
        elif found := _KEEP_ALIVE_TIMEOUT.search(raw_value):
            keep_alive_seconds = int(found[1])
    if is_chunked and (content_length is not None or minor_version == 0):
        # RFC 9112 §6.1: with both, or in HTTP/1.0, the framing is faulty.
        raise _refuse("its Transfer-Encoding contradicts its Content-Length or its version")
    if status == 204:
        # RFC 9110 §8.6: a 204 has no length; one that claims bytes may yet send them.
        is_persistent = is_persistent and not is_chunked and not content_length
        content_length = None
    return ResponseHead(
        status,
        reason.decode("latin-1"),
        headers,
        content_length=content_length,
        is_chunked=is_chunked,
        is_persistent=is_persistent,
        keep_alive_seconds=keep_alive_seconds,
        size=size,
    )


def _learn_name(raw_name: bytes) -> tuple[str, int]:
    if not raw_name:
        raise _refuse("its head holds a folded line")
    learnt = (raw_name.decode("latin-1"), _KINDS.get(raw_name.lower(), _PLAIN))
    if len(_known_names) < _MAX_REMEMBERED_NAMES and len(raw_name) <= _MAX_REMEMBERED_LENGTH:
        _known_names[raw_name] = learnt
    return learnt


def _parse_content_length(raw_value: bytes) -> int:
    if not raw_value.isdigit() or len(raw_value) > _MAX_LENGTH_DIGITS:
        raise _refuse("its Content-Length is not a number")
    return int(raw_value)


def _says_close(raw_value: bytes) -> bool:
    lowered = raw_value.lower()
    return b"close" in lowered and b"close" in {token.strip(b" \t") for token in lowered.split(b",")}


def _refuse(what: str) -> UpstreamBadResponseError:
    return UpstreamBadResponseError(internal_reason=f"the backend's answer was refused: {what}")
