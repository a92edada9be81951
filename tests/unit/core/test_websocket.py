"""Both halves of the opening handshake, as tables, and frames followed wherever the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import BadRequestError, UpstreamBadResponseError
from app.core.headers import HeaderView
from app.core.websocket import FrameTracker, Handshake, build_accept, build_close_frame, check_switch, find_handshake

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The example of RFC 6455 §1.3."""

GOOD_REQUEST = {
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
GOOD_ANSWER = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": ACCEPT}


def find(*more: tuple[str, str], **changes: str | None) -> Handshake | None:
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    merged = {**GOOD_REQUEST, **changed}
    return find_handshake(HeaderView([*((name, value) for name, value in merged.items() if value is not None), *more]))


def test_a_whole_handshake_is_found() -> None:
    offers = [
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Sec-WebSocket-Protocol", "graphql-ws"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, x-other"),
    ]
    assert find(*offers, Upgrade="WebSocket") == Handshake(
        KEY, frozenset({"chat", "superchat", "graphql-ws"}), frozenset({"permessage-deflate", "x-other"})
    )


@pytest.mark.parametrize("upgrade", [None, "h2c", "TLS/1.0", "websocketx", ""])
def test_what_asks_for_no_websocket_is_no_handshake(upgrade: str | None) -> None:
    assert find(Upgrade=upgrade) is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"Connection": None}, id="no-connection"),
        pytest.param({"Connection": "close"}, id="another-connection"),
        pytest.param({"Sec_WebSocket_Version": None}, id="no-version"),
        pytest.param({"Sec_WebSocket_Version": "8"}, id="old-version"),
        pytest.param({"Sec_WebSocket_Key": None}, id="no-key"),
        pytest.param({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ"}, id="unpadded-key"),
        pytest.param({"Sec_WebSocket_Key": "dGhlIHNhbXBsZQ=="}, id="short-key"),
        pytest.param({"Sec_WebSocket_Key": "not base64 at all!!!!!!!"}, id="no-base64"),
        pytest.param({"Sec_WebSocket_Key": "\xe9" * 24}, id="no-ascii"),
    ],
)
def test_half_a_handshake_is_refused(changes: dict[str, str | None]) -> None:
    with pytest.raises(BadRequestError):
        find(**changes)


def test_two_keys_are_refused_and_so_are_two_versions() -> None:
    for name in ("Sec-WebSocket-Key", "Sec-WebSocket-Version"):
        with pytest.raises(BadRequestError):
            find((name, GOOD_REQUEST[name]))


def test_who_speaks_another_version_is_told_which_one_is_spoken() -> None:
    with pytest.raises(BadRequestError) as refusal:
        find(Sec_WebSocket_Version="8")
    assert refusal.value.headers == (("Sec-WebSocket-Version", "13"),)


def switch(*more: tuple[str, str], **changes: str | None) -> None:
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    merged = {**GOOD_ANSWER, **changed}
    handshake = Handshake(KEY, frozenset({"chat"}), frozenset({"permessage-deflate"}))
    check_switch(handshake, [*((name, value) for name, value in merged.items() if value is not None), *more])


def test_the_accept_is_that_of_the_rfc() -> None:
    assert build_accept(KEY) == ACCEPT


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], id="plain"),
        pytest.param([("Sec-WebSocket-Protocol", "chat")], id="offered-protocol"),
        pytest.param([("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover")], id="extension"),
    ],
)
def test_the_answer_to_the_handshake_is_believed(more: list[tuple[str, str]]) -> None:
    switch(*more)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        pytest.param({"Sec_WebSocket_Accept": None}, [], id="no-accept"),
        pytest.param({"Sec_WebSocket_Accept": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, [], id="another-accept"),
        pytest.param({}, [("Sec-WebSocket-Accept", ACCEPT)], id="two-accepts"),
        pytest.param({"Upgrade": None}, [], id="no-upgrade"),
        pytest.param({"Upgrade": "h2c"}, [], id="another-protocol"),
        pytest.param({"Connection": None}, [], id="no-connection"),
        pytest.param({}, [("Sec-WebSocket-Protocol", "admin")], id="protocol-nobody-offered"),
        pytest.param({}, [("Sec-WebSocket-Protocol", "CHAT")], id="protocol-in-capitals"),
        pytest.param({}, [("Sec-WebSocket-Protocol", "chat, chat")], id="two-protocols"),
        pytest.param({}, [("Sec-WebSocket-Extensions", "x-webkit-deflate-frame")], id="extension-nobody-offered"),
    ],
)
def test_any_other_answer_is_refused(changes: dict[str, str | None], more: list[tuple[str, str]]) -> None:
    with pytest.raises(UpstreamBadResponseError):
        switch(*more, **changes)


def build_frame(payload_bytes: int, *, opcode: int = 0x2, is_masked: bool = False) -> bytes:
    mask_bit = 0x80 if is_masked else 0
    if payload_bytes < 126:
        head = bytes([0x80 | opcode, mask_bit | payload_bytes])
    elif payload_bytes < 65536:
        head = bytes([0x80 | opcode, mask_bit | 126]) + payload_bytes.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, mask_bit | 127]) + payload_bytes.to_bytes(8, "big")
    return head + (b"mask" if is_masked else b"") + bytes(payload_bytes)


FRAMES = st.lists(
    st.builds(build_frame, st.sampled_from([0, 1, 125, 126, 127, 65535, 65536]), is_masked=st.booleans()), max_size=4
)


@given(FRAMES, st.lists(st.integers(min_value=0, max_value=200_000), max_size=6))
def test_frames_are_followed_wherever_the_bytes_are_cut(frames: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(frames)
    ends = {0}
    for frame in frames:
        ends.add(max(ends) + len(frame))
    tracker, position = FrameTracker(), 0
    for cut in sorted({min(cut, len(wire)) for cut in cuts} | {len(wire)}):
        tracker.take(wire[position:cut])
        position = cut
        assert tracker.is_between_frames == (cut in ends)
    assert not tracker.has_closed


@pytest.mark.parametrize("mask", [b"", b"mask"])
def test_a_close_frame_is_known_for_one(mask: bytes) -> None:
    tracker = FrameTracker()
    frame = build_close_frame(1008, "session_expired", mask=mask)
    for index in range(len(frame)):
        tracker.take(frame[index : index + 1])
    assert tracker.has_closed
    assert tracker.is_between_frames


def test_a_server_says_goodbye_in_plain_and_a_client_masked() -> None:
    assert build_close_frame(1008, "no") == b"\x88\x04\x03\xf0no"
    assert build_close_frame(1001, "", mask=b"\x01\x02\x03\x04") == b"\x88\x82\x01\x02\x03\x04\x02\xeb"
