"""Records that say their version."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from app.services.state_store.versioned import (
    UnreadableRecordError,
    UnstorableRecordError,
    decode_versioned,
    encode_versioned,
)


class Note(msgspec.Struct, kw_only=True):
    version: int = 1
    text: object
    mood: str = "calm"


_decoder = msgspec.msgpack.Decoder(Note)


def test_a_record_comes_back_as_it_was() -> None:
    assert decode_versioned(encode_versioned(Note(text="x")), _decoder, 1) == Note(text="x")


def test_a_field_of_a_newer_worker_is_skipped_and_one_it_lacks_has_its_default() -> None:
    value = msgspec.msgpack.encode({"version": 1, "text": "x", "colour": "red"})
    assert decode_versioned(value, _decoder, 1) == Note(text="x", mood="calm")


def test_a_later_version_is_not_read_at_all() -> None:
    value = msgspec.msgpack.encode({"version": 2, "text": {"of": "another shape"}, "mood": 7})
    with pytest.raises(UnreadableRecordError, match="version 2"):
        decode_versioned(value, _decoder, 1)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        b"\x81\xa7version",
        msgspec.msgpack.encode({"text": "x"}),
        msgspec.msgpack.encode({"version": "1", "text": "x"}),
        msgspec.msgpack.encode([1, "x"]),
        msgspec.msgpack.encode({"version": 1, "text": "x", "mood": 7}),
        msgspec.msgpack.encode({"version": 1}),
        b"\x82\xa7version\x01\xa4text" + b"\x91" * 100_000,
        b"\x82\xa7version\x01\xa4text\xa2\xff\xfe",
        pickle.dumps({"version": 1, "text": "x"}),
    ],
    ids=["empty", "reserved", "short", "none", "text", "list", "wrong-type", "lacking", "deep", "not-utf8", "pickle"],
)
def test_what_is_no_such_record_is_unreadable_and_nothing_else(value: bytes) -> None:
    with pytest.raises(UnreadableRecordError):
        decode_versioned(value, _decoder, 1)


@pytest.mark.parametrize("text", [2**80, "\ud800", object()], ids=["huge-number", "lone-surrogate", "object"])
def test_what_cannot_be_kept_is_said_so(text: object) -> None:
    with pytest.raises(UnstorableRecordError):
        encode_versioned(Note(text=text))


def test_what_nests_too_deep_cannot_be_kept() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(UnstorableRecordError):
        encode_versioned(Note(text=nested))
