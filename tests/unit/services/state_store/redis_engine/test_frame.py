from __future__ import annotations

import pytest

from app.services.state_store.redis_engine.frame import (
    HEAD_BYTES,
    VERSION,
    UnreadableFrameError,
    build_frame,
    parse_frame,
)

KEY = "session:" + "a" * 64


@pytest.mark.parametrize("value", [b"", b"\x00\xff", b"x" * 100_000])
def test_a_frame_gives_back_what_was_put_in(value: bytes) -> None:
    frame = parse_frame(KEY, build_frame(KEY, value, 1234.5))
    assert (frame.value, frame.expires_at) == (value, 1234.5)


def test_no_two_frames_begin_alike() -> None:
    frames = [build_frame(KEY, b"same", 1234.5) for _ in range(100)]
    assert len({frame[:HEAD_BYTES] for frame in frames}) == 100
    assert parse_frame(KEY, frames[0]).head == frames[0][:HEAD_BYTES]


def test_every_flipped_byte_is_seen() -> None:
    content = build_frame(KEY, b"value", 1234.5)
    for index in range(len(content)):
        damaged = content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]
        with pytest.raises(UnreadableFrameError):
            parse_frame(KEY, damaged)


def test_half_a_frame_is_seen() -> None:
    content = build_frame(KEY, b"value", 1234.5)
    for length in range(len(content)):
        with pytest.raises(UnreadableFrameError):
            parse_frame(KEY, content[:length])


def test_a_frame_under_another_name_is_refused() -> None:
    with pytest.raises(UnreadableFrameError, match="another name"):
        parse_frame("session:" + "b" * 64, build_frame(KEY, b"value", 1234.5))


def test_a_later_version_is_told_from_damage() -> None:
    with pytest.raises(UnreadableFrameError, match="later version"):
        parse_frame(KEY, bytes([VERSION + 1]) + b"whatever follows")
