"""Judges both halves of a WebSocket opening handshake (RFC 6455 §4) and reads frames just far enough to end well (§5).

The client's key goes to the backend as it is, and the answer is checked against it: who answers 101 without having
understood what was asked must not get a tunnel. Extensions and subprotocols are agreed between the two ends; a backend
may only choose from what the client offered.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha1

from app.core.errors import BadRequestError, UpstreamBadResponseError
from app.core.headers import HeaderView

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16
_VERSION = "13"

GOING_AWAY = 1001
POLICY_VIOLATION = 1008

_CLOSE_OPCODE = 0x8
_FINAL = 0x80
_MASKED = 0x80


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a client offers."""

    key: str = field(repr=False)
    protocols: frozenset[str]
    extensions: frozenset[str]
    """Names only; parameters are between the two ends."""


def find_handshake(headers: HeaderView) -> Handshake | None:
    """Returns the handshake that a request opens with, None when it asks for none.

    Raises `BadRequestError` for one that is not whole (RFC 6455 §4.2.1). Any other protocol in `Upgrade` is ignored, as
    RFC 9110 §7.8 lets a server do.
    """
    if "websocket" not in _split_names(headers.get_all("upgrade")):
        return None
    if "upgrade" not in _split_names(headers.get_all("connection")):
        raise BadRequestError("A WebSocket handshake needs `Connection: Upgrade`.")
    if headers.get_all("sec-websocket-version") != [_VERSION]:
        raise BadRequestError(
            "Only version 13 of the WebSocket protocol is spoken here.", headers=[("Sec-WebSocket-Version", _VERSION)]
        )
    keys = headers.get_all("sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise BadRequestError("The WebSocket handshake has no good key.")
    return Handshake(
        key=keys[0],
        protocols=frozenset(_split(headers.get_all("sec-websocket-protocol"))),
        extensions=_name_extensions(headers.get_all("sec-websocket-extensions")),
    )


def check_switch(handshake: Handshake, answer_lines: Sequence[tuple[str, str]]) -> None:
    """Raises `UpstreamBadResponseError` unless a 101 is the answer to this very handshake (RFC 6455 §4.1)."""
    headers = HeaderView(answer_lines)
    if _split_names(headers.get_all("upgrade")) != ["websocket"]:
        raise _refuse("it switched to another protocol")
    if "upgrade" not in _split_names(headers.get_all("connection")):
        raise _refuse("it has no `Connection: Upgrade`")
    if headers.get_all("sec-websocket-accept") != [build_accept(handshake.key)]:
        raise _refuse("its Sec-WebSocket-Accept does not belong to the key")
    protocols = _split(headers.get_all("sec-websocket-protocol"))
    if len(protocols) > 1 or not handshake.protocols.issuperset(protocols):
        raise _refuse("it chose a subprotocol that was not offered")
    if not handshake.extensions.issuperset(_name_extensions(headers.get_all("sec-websocket-extensions"))):
        raise _refuse("it chose an extension that was not offered")


def build_accept(key: str) -> str:
    """RFC 6455 §4.2.2; SHA-1 shows understanding here, and protects nothing."""
    return b64encode(sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode("ascii")


def build_close_frame(code: int, reason: str, *, mask: bytes = b"") -> bytes:
    """RFC 6455 §5.5.1. `reason` is short ASCII; a client's frames have a `mask` of four bytes (§5.3)."""
    payload = code.to_bytes(2, "big") + reason.encode("ascii")
    head = bytes([_FINAL | _CLOSE_OPCODE, len(payload) | (_MASKED if mask else 0)])
    if not mask:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


class FrameTracker:
    """Follows the frames of one direction without looking into them: where one ends, a close frame may follow."""

    __slots__ = ("_head", "_payload_bytes_left", "has_closed")

    def __init__(self) -> None:
        self._head = b""
        self._payload_bytes_left = 0
        self.has_closed = False
        """Whether a close frame has passed: nothing may follow it (RFC 6455 §5.5.1)."""

    @property
    def is_between_frames(self) -> bool:
        return not self._payload_bytes_left and not self._head

    def take(self, passed: bytes) -> None:
        position, end = 0, len(passed)
        while position < end:
            if self._payload_bytes_left:
                skipped = min(self._payload_bytes_left, end - position)
                self._payload_bytes_left -= skipped
                position += skipped
            else:
                position = self._take_head(passed, position)

    def _take_head(self, passed: bytes, position: int) -> int:
        """Takes what there is of a frame's head; returns the position behind that."""
        wanted_bytes = self._count_head_bytes() - len(self._head)
        taken = passed[position : position + wanted_bytes]
        self._head += taken
        if len(self._head) == self._count_head_bytes():
            self._begin_payload()
        return position + len(taken)

    def _count_head_bytes(self) -> int:
        """Of the whole head, once its first two bytes are there."""
        if len(self._head) < 2:
            return 2
        length = self._head[1] & 0x7F
        length_bytes = {126: 2, 127: 8}.get(length, 0)
        return 2 + length_bytes + (4 if self._head[1] & _MASKED else 0)

    def _begin_payload(self) -> None:
        length = self._head[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(self._head[2 : 4 if length == 126 else 10], "big")
        if self._head[0] & 0x0F == _CLOSE_OPCODE:
            self.has_closed = True
        self._payload_bytes_left = length
        self._head = b""


def _is_key(value: str) -> bool:
    try:
        return len(b64decode(value, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _split(values: Sequence[str]) -> list[str]:
    return [item for value in values for part in value.split(",") if (item := part.strip(" \t"))]


def _split_names(values: Sequence[str]) -> list[str]:
    return [item.lower() for item in _split(values)]


def _name_extensions(values: Sequence[str]) -> frozenset[str]:
    return frozenset(item.partition(";")[0].strip(" \t").lower() for item in _split(values))


def _refuse(what: str) -> UpstreamBadResponseError:
    return UpstreamBadResponseError(internal_reason=f"the answer to a WebSocket handshake was refused: {what}")
