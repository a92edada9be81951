"""How a record lies in its file: pure packing and unpacking, no I/O.

    4 bytes   the second (rounded up) at which the record is over: cachelib's own header, so that cachelib, and any
              later version of ours, can tell what is over without knowing the rest
    1 byte    version of what follows
    8 bytes   the exact time at which it is over (lifetimes may be shorter than a second)
    16 bytes  BLAKE2b over version, time, key and value
    the rest  the value

The digest shows half a file, a flipped bit, and a file that was copied over another's name. It is no signature: whoever
may write to the folder could also read every key beside it.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass

_VERSION = 1
_OVER_AT_SECOND = struct.Struct("I")  # as cachelib.file packs it
_HEAD = struct.Struct("=Bd")
_DIGEST_BYTES = 16
_VALUE_OFFSET = _OVER_AT_SECOND.size + _HEAD.size + _DIGEST_BYTES
_LAST_SECOND = 2**32 - 1

HEADER_BYTES = _OVER_AT_SECOND.size


class UnreadableFrameError(Exception):
    """The file is damaged, belongs to another key, or is of a later version. The message says which."""


@dataclass(frozen=True, slots=True)
class Frame:
    value: bytes
    expires_at: float


def build_frame(key: str, value: bytes, expires_at: float) -> bytes:
    head = _HEAD.pack(_VERSION, expires_at)
    return build_header(expires_at) + head + _build_digest(key, head, value) + value


def build_header(expires_at: float) -> bytes:
    return _OVER_AT_SECOND.pack(min(max(math.ceil(expires_at), 1), _LAST_SECOND))


def parse_frame(key: str, content: bytes) -> Frame:
    """Raises `UnreadableFrameError`. Does not judge whether the record is over."""
    if len(content) < _VALUE_OFFSET:
        raise UnreadableFrameError("it is cut short")
    version, expires_at = _HEAD.unpack_from(content, _OVER_AT_SECOND.size)
    if version > _VERSION:
        raise UnreadableFrameError("it was written by a later version")
    head = content[_OVER_AT_SECOND.size : _OVER_AT_SECOND.size + _HEAD.size]
    value = content[_VALUE_OFFSET:]
    if content[_VALUE_OFFSET - _DIGEST_BYTES : _VALUE_OFFSET] != _build_digest(key, head, value):
        raise UnreadableFrameError("it is damaged, or belongs under another name")
    return Frame(value, expires_at)


def parse_header(content: bytes) -> int | None:
    """Returns the second at which the record is over, or None when there is no such thing in the file."""
    if len(content) < _OVER_AT_SECOND.size:
        return None
    over_at_second: int = _OVER_AT_SECOND.unpack_from(content)[0]
    return over_at_second or None  # cachelib's "never", which we do not write, and what a lost disk block reads as


def _build_digest(key: str, head: bytes, value: bytes) -> bytes:
    digest = hashlib.blake2b(head, digest_size=_DIGEST_BYTES)
    encoded_key = key.encode("ascii")
    digest.update(len(encoded_key).to_bytes(4, "big") + encoded_key + value)
    return digest.digest()
