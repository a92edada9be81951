"""Records as msgpack maps that say their format version; nothing is pickled.

The version is read before anything else. New fields come with a default and need no new version: older workers skip
them. A version is raised only when an older worker could not read the record rightly; it leaves such a record alone.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

_Record = TypeVar("_Record", bound=msgspec.Struct)


class UnreadableRecordError(Exception):
    """The record is of a later version, or no such record at all. The message says which, never what it holds."""


class UnstorableRecordError(Exception):
    """A value in the record cannot be kept, such as a whole number of more than 64 bits."""


class _VersionOnly(msgspec.Struct):
    version: int


_version_decoder = msgspec.msgpack.Decoder(_VersionOnly)


def encode_versioned(record: msgspec.Struct | dict[str, object]) -> bytes:
    """`record` has a field `version`. Raises `UnstorableRecordError`."""
    try:
        return msgspec.msgpack.encode(record)
    except (OverflowError, RecursionError, TypeError, ValueError) as error:
        raise UnstorableRecordError(type(error).__name__) from error


def decode_versioned(value: bytes, decoder: msgspec.msgpack.Decoder[_Record], known_version: int) -> _Record:
    """Raises `UnreadableRecordError`."""
    try:
        version = _version_decoder.decode(value).version
        if version > known_version:
            raise UnreadableRecordError(f"it is of version {version}, and this one knows {known_version}")
        return decoder.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UnreadableRecordError("it is not a record of this kind") from None
