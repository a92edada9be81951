"""How a record lies in Redis: pure packing and unpacking.

    1 byte    version of what follows
    8 bytes   random: tells this write from every other
    8 bytes   the time at which the record is over, by the writer's clock: it bounds copies; Redis expires the record
    16 bytes  BLAKE2b over all of it and the key
    the rest  the value

The digest shows a value that was damaged, or copied over another's name. It is no signature: whoever may write to Redis
could make one.
"""

from __future__ import annotations

import hashlib
import secrets
import struct

import msgspec

VERSION = 1
_HEAD = struct.Struct(">B8sd")
_STAMP_BYTES = 8
_DIGEST_BYTES = 16
_VALUE_OFFSET = _HEAD.size + _DIGEST_BYTES

HEAD_BYTES = 1 + _STAMP_BYTES
"""Version and random part: as much as is needed to know a write again."""


class UnreadableFrameError(Exception):
    """What lies there is damaged, belongs to another key, or is of a later version. The message says which."""


class RedisMark(msgspec.Struct, frozen=True):
    """Tells one write from every other, and when it was read."""

    head: bytes
    read_at_position: int
    expires_at: float


class Frame(msgspec.Struct, frozen=True):
    head: bytes
    value: bytes
    expires_at: float


def build_frame(key: str, value: bytes, expires_at: float) -> bytes:
    head = _HEAD.pack(VERSION, secrets.token_bytes(_STAMP_BYTES), expires_at)
    return head + _build_digest(key, head, value) + value


def parse_frame(key: str, content: bytes) -> Frame:
    """Raises `UnreadableFrameError`. Does not judge whether the record is over."""
    if content[:1] > bytes([VERSION]):
        raise UnreadableFrameError("it was written by a later version")
    if len(content) < _VALUE_OFFSET:
        raise UnreadableFrameError("it is cut short")
    head, value = content[: _HEAD.size], content[_VALUE_OFFSET:]
    version, _, expires_at = _HEAD.unpack(head)
    if version != VERSION or content[_HEAD.size : _VALUE_OFFSET] != _build_digest(key, head, value):
        raise UnreadableFrameError("it is damaged, or belongs under another name")
    return Frame(content[:HEAD_BYTES], value, expires_at)


def _build_digest(key: str, head: bytes, value: bytes) -> bytes:
    digest = hashlib.blake2b(head, digest_size=_DIGEST_BYTES)
    encoded_key = key.encode("ascii")
    digest.update(len(encoded_key).to_bytes(4, "big") + encoded_key + value)
    return digest.digest()
