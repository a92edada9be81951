"""A body comes out of its framing the same however the bytes were cut, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.upstream_body import (
    MAX_CHUNK_LINE_BYTES,
    MAX_TRAILER_BYTES,
    BodyFraming,
    ChunkedBody,
    LengthBody,
    MalformedBodyError,
    NoBody,
    UntilCloseBody,
)


def take_all(framing: BodyFraming, pieces: list[bytes]) -> bytes:
    return b"".join(framing.take(piece) for piece in pieces)


def cut(content: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(content) + 1) for place in places} | {len(content)})
    return [content[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
extensions = st.sampled_from([b"", b";a", b";a=b", b' ; a="b c"', b"\t;\xff"])
trailers = st.sampled_from([b"", b"A: b\r\n", b"A:\r\nExpires: never\r\n"])
places = st.lists(st.integers(min_value=0, max_value=600), max_size=12)


@given(chunks=chunks, extension=extensions, trailer=trailers, places=places, upper=st.booleans())
def test_chunks_come_out_the_same_wherever_the_bytes_are_cut(
    chunks: list[bytes], extension: bytes, trailer: bytes, places: list[int], upper: bool
) -> None:
    size_format = b"%X" if upper else b"%x"
    wire = b"".join(size_format % len(chunk) + extension + b"\r\n" + chunk + b"\r\n" for chunk in chunks)
    wire += b"000" + extension + b"\r\n" + trailer + b"\r\n"
    framing = ChunkedBody()
    assert take_all(framing, cut(wire, places)) == b"".join(chunks)
    assert framing.is_complete
    assert not framing.has_surplus
    framing.end()


@given(chunks=chunks, places=places, end=st.integers(min_value=0, max_value=400))
def test_chunks_that_break_off_are_never_complete(chunks: list[bytes], places: list[int], end: int) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    framing = ChunkedBody()
    came = take_all(framing, cut(wire[: end % len(wire)], places))
    assert b"".join(chunks).startswith(came)
    assert not framing.is_complete
    with pytest.raises(MalformedBodyError):
        framing.end()


@given(
    wire=st.lists(st.sampled_from([b"0", b"5", b"a", b"\r", b"\n", b"\r\n", b";", b" ", b":", b"-"])).map(b"".join),
    places=places,
)
def test_what_is_refused_does_not_depend_on_where_the_bytes_are_cut(wire: bytes, places: list[int]) -> None:
    def judge(pieces: list[bytes]) -> tuple[bytes, bool, bool] | None:
        framing = ChunkedBody()
        try:
            came = take_all(framing, pieces)
        except MalformedBodyError:
            return None
        return came, framing.is_complete, framing.has_surplus

    assert judge(cut(wire, places)) == judge([wire])


HOSTILE_CHUNKS = {
    "H20-bare-lf-size": b"5\nhello\r\n0\r\n\r\n",
    "H20-bare-lf-data": b"5\r\nhello\n0\r\n\r\n",
    "H20-other-bytes-behind-data": b"5\r\nhelloXX0\r\n\r\n",
    "H20-lf-cr-behind-data": b"5\r\nhello\n\r0\r\n\r\n",
    "H20-bare-lf-end": b"5\r\nhello\r\n0\r\n\n",
    "H20-bare-cr-size": b"5\rX\r\nhello\r\n0\r\n\r\n",
    "H20-no-size": b"\r\nhello\r\n",
    "H20-plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "H20-minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "H20-0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "H20-underscore": b"1_0\r\nhello\r\n0\r\n\r\n",
    "H20-leading-space": b" 5\r\nhello\r\n0\r\n\r\n",
    "H20-trailing-space": b"5 \r\nhello\r\n0\r\n\r\n",
    "H20-not-hex": b"g\r\nhello\r\n0\r\n\r\n",
    "H20-16-digits": b"1000000000000000\r\nhello",
    "H20-many-zeros": b"0000000000000005\r\nhello\r\n0\r\n\r\n",
    "H20-nul-in-extension": b"5;\0\r\nhello\r\n0\r\n\r\n",
    "H20-too-short": b"4\r\nhello\r\n0\r\n\r\n",
    "H20-too-long": b"6\r\nhello\r\n0\r\n\r\n",
    "H20-long-size-line": b"5;" + b"a" * MAX_CHUNK_LINE_BYTES + b"\r\nhello\r\n0\r\n\r\n",
    "H20-endless-size-line": b"5;" + b"a" * MAX_CHUNK_LINE_BYTES,
    "trailer-no-colon": b"0\r\nabc\r\n\r\n",
    "trailer-folded": b"0\r\nA: b\r\n c\r\n\r\n",
    "trailer-nul": b"0\r\nA: \0\r\n\r\n",
    "trailer-bare-lf": b"0\r\nA: b\n\r\n",
    "trailer-endless-line": b"0\r\nA: " + b"b" * MAX_TRAILER_BYTES,
    "trailer-endless": b"0\r\n" + b"A: b\r\n" * MAX_TRAILER_BYTES,
}


@pytest.mark.parametrize("wire", HOSTILE_CHUNKS.values(), ids=HOSTILE_CHUNKS.keys())
@pytest.mark.parametrize("piece_bytes", [1, 7, 1000000])
def test_malformed_chunks_are_refused(wire: bytes, piece_bytes: int) -> None:
    framing = ChunkedBody()
    pieces = [wire[start : start + piece_bytes] for start in range(0, len(wire), piece_bytes)]
    with pytest.raises(MalformedBodyError):
        take_all(framing, pieces)
    assert not framing.is_complete


def test_many_small_chunks_come_out_as_one_piece() -> None:
    assert ChunkedBody().take(b"1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n") == b"abcdef"


@pytest.mark.parametrize("surplus", [b"H", b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n"])
def test_surplus_behind_the_last_chunk_is_noticed(surplus: bytes) -> None:
    framing = ChunkedBody()
    assert framing.take(b"5\r\nhello\r\n0\r\n\r\n" + surplus) == b"hello"
    assert framing.is_complete
    assert framing.has_surplus


@given(body=st.binary(min_size=1, max_size=300), surplus=st.binary(max_size=20), places=places)
def test_a_length_is_kept_exactly(body: bytes, surplus: bytes, places: list[int]) -> None:
    framing = LengthBody(len(body))
    came = b""
    for piece in cut(body + surplus, places):
        if framing.is_complete:
            break
        came += framing.take(piece)
    assert came == body
    assert framing.is_complete
    framing.end()


def test_surplus_behind_a_length_is_noticed() -> None:
    framing = LengthBody(5)
    assert framing.take(b"helloX") == b"hello"
    assert framing.has_surplus


def test_a_length_that_is_not_reached_is_malformed() -> None:
    framing = LengthBody(5)
    framing.take(b"hell")
    assert not framing.is_complete
    with pytest.raises(MalformedBodyError):
        framing.end()


def test_no_body_takes_nothing() -> None:
    framing = NoBody()
    assert framing.is_complete
    assert framing.take(b"") == b""
    assert not framing.has_surplus
    assert framing.take(b"x") == b""
    assert framing.has_surplus


def test_only_the_end_completes_a_body_without_length() -> None:
    framing = UntilCloseBody()
    assert framing.take(b"abc") == b"abc"
    assert not framing.is_complete
    framing.end()
    assert framing.is_complete
