"""What is remembered of header lines holds for the same bytes only, and reads them as who has never met them does."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings

from app.core.request_target import RequestTarget
from app.core.routes import RouteMatch
from app.gateway import known_heads
from app.gateway.fast_head import HeadLimits, parse_plain_head
from app.gateway.head_facts import HeadFacts
from app.gateway.known_heads import (
    GENERATION_SECONDS,
    LONGEST_REMEMBERED_BYTES,
    MOST_OF_A_SESSION,
    MOST_REMEMBERED_LINES,
    MOST_REQUEST_LINE_BYTES,
    MOST_REQUEST_LINES,
    KnownHeads,
    ReadHead,
)
from app.gateway.messages import Claim
from app.gateway.precedent import CallerPrecedent, Precedent
from tests.unit.gateway.test_fast_head import LIMITS, NOT_PLAIN, PLAIN, requests

PEER = "192.0.2.7"
USUAL = b"GET /a HTTP/1.1\r\nHost: a\r\nCookie: s=1\r\n\r\n"
USUAL_LINES = USUAL[USUAL.index(b"\r\n") :]


class Reader:
    """Notes which lines had to be read, from whom."""

    def __init__(self) -> None:
        self.read: list[tuple[list[tuple[str, str]], str]] = []

    def __call__(self, lines: list[tuple[str, str]], peer: str) -> HeadFacts:
        self.read.append((lines, peer))
        unread: Any = None
        return HeadFacts(
            lines=lines,
            headers=unread,
            metadata=unread,
            correlation_id="",
            traceparent="",
            forwarded_for=peer,
            client_address=peer,
            own_origin=None,
        )


def claim_all(raw_target: str) -> Claim:
    """A route table that takes every target."""
    route: Any = SimpleNamespace(id="a")
    return Claim(RequestTarget(raw_target, None), RouteMatch(route, {}), raw_target)


def build(
    reader: Callable[[list[tuple[str, str]], str], HeadFacts],
    now: Callable[[], float] = float,
    *,
    claim: Callable[[str], Claim | None] = claim_all,
) -> KnownHeads:
    return KnownHeads(LIMITS, reader, claim, now)


def call(
    heads: KnownHeads, received: bytes, peer: str = PEER, *, has_session: bool = True, session_key: str = ""
) -> ReadHead | None:
    """As a worker does: reads a head, finds a session behind it or none, and hands the head back."""
    head = heads.parse(received, peer)
    if head is not None:
        head.facts.has_session = has_session
        head.facts.session_key = session_key or head.facts.session_key or f"session {len(heads)}"
        heads.keep(head)
    return head


def describe(head: Any) -> object:
    if head is None:
        return None
    lines = head.facts.lines if isinstance(head, ReadHead) else head.headers
    return head.method, head.raw_target, lines, head.wants_close, head.size


def test_lines_that_come_again_are_not_read_again() -> None:
    reader = Reader()
    heads = build(reader)
    first = call(heads, USUAL)
    second = call(heads, USUAL.replace(b"GET /a", b"DELETE /b?c"))
    assert first is not None
    assert second is not None
    assert second.facts is first.facts
    assert (second.method, second.raw_target) == ("DELETE", "/b?c")
    assert len(reader.read) == 1


@pytest.mark.parametrize(
    ("received", "peer"),
    [
        pytest.param(USUAL.replace(b"s=1", b"s=2"), PEER, id="another-cookie"),
        pytest.param(USUAL.replace(b"Host: a", b"host: a"), PEER, id="another-spelling"),
        pytest.param(USUAL.replace(b"\r\n\r\n", b"\r\nX: a\r\n\r\n"), PEER, id="one-line-more"),
        pytest.param(USUAL, "192.0.2.8", id="another-peer"),
    ],
)
def test_lines_that_differ_are_read(received: bytes, peer: str) -> None:
    reader = Reader()
    heads = build(reader)
    call(heads, USUAL)
    head = call(heads, received, peer)
    assert head is not None
    assert head.facts.client_address == peer
    assert len(reader.read) == 2


class Table:
    """A route table that takes everything but `/flask`. Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, raw_target: str) -> Claim | None:
        self.asked.append(raw_target)
        return claim_all(raw_target) if raw_target != "/flask" else None


def test_a_request_line_that_comes_again_needs_no_route_table() -> None:
    table = Table()
    heads = build(Reader(), claim=table)
    first, second, third = (call(heads, USUAL) for _ in range(3))
    assert (first, second, third).count(None) == 0
    assert table.asked == ["/a", "/a"], "the first call comes with lines that nobody knows yet"
    assert second is not None
    assert third is not None
    assert third.claim is second.claim
    assert describe(third) == describe(parse_plain_head(USUAL, LIMITS))


@pytest.mark.parametrize("known", [True, False])
def test_what_no_route_takes_is_left_alone_and_not_remembered(*, known: bool) -> None:
    """A callback's code and state among it."""
    table, reader = Table(), Reader()
    heads = build(reader, claim=table)
    if known:
        call(heads, USUAL)
    received = USUAL.replace(b"/a", b"/flask")
    assert [call(heads, received) for _ in range(4)] == [None] * 4
    assert table.asked[known:] == ["/flask"] * 4
    assert len(reader.read) == known, "nobody wants to know what its lines say"
    assert len(heads) == known
    assert not known or count_remembered(heads, USUAL) == 0


@pytest.mark.parametrize(
    "line",
    [
        b"GET /a?b HTTP/1.1",
        b"HEAD /a HTTP/1.1",
        b"GET /A HTTP/1.1",
        b"GET /%61 HTTP/1.1",
        b"GET  /a HTTP/1.1",
        b"GET /a HTTP/1.",
        b"GET /a",
        b"GET /",
    ],
)
def test_another_request_line_is_read_anew(line: bytes) -> None:
    table = Table()
    heads = build(Reader(), claim=table)
    for _ in range(3):
        call(heads, USUAL)
    received = line + USUAL_LINES
    head, plain = heads.parse(received, PEER), parse_plain_head(received, LIMITS)
    assert describe(head) == describe(plain)
    assert table.asked[2:] == ([plain.raw_target] if plain is not None else [])


def test_request_lines_of_others_are_not_looked_at() -> None:
    """So a session learns nothing of what another one asked for, not even from how long it takes."""
    table = Table()
    heads = build(Reader(), claim=table)
    mine, others = USUAL, USUAL.replace(b"s=1", b"s=2")
    for received in (mine, mine, mine, others, others):
        call(heads, received)
    assert len(table.asked) == 4


def test_one_session_cannot_push_out_the_request_lines_of_another() -> None:
    table = Table()
    heads = build(Reader(), claim=table)
    for _ in range(2):
        call(heads, USUAL)
    for number in range(10 * known_heads.MOST_REMEMBERED):
        call(heads, USUAL.replace(b"s=1", b"s=2").replace(b"/a", b"/%d" % number))
    table.asked.clear()
    call(heads, USUAL)
    assert table.asked == []


def count_remembered(heads: KnownHeads, received: bytes) -> int:
    known = heads._known.find((PEER, received[received.index(b"\r\n") :]))
    assert known is not None
    return len(known.request_lines)


def test_request_lines_are_kept_within_bounds() -> None:
    heads = build(Reader(), claim=Table())
    for number in range(3 * MOST_REQUEST_LINES):
        call(heads, USUAL.replace(b"/a", b"/%d" % number))
        assert count_remembered(heads, USUAL) <= MOST_REQUEST_LINES
    assert count_remembered(heads, USUAL) == MOST_REQUEST_LINES


def test_the_request_lines_of_last_are_kept() -> None:
    table = Table()
    heads = build(Reader(), claim=table)
    lines = [USUAL.replace(b"/a", b"/%d" % number) for number in range(MOST_REQUEST_LINES + 1)]
    for received in (USUAL, *lines):
        call(heads, received)
    table.asked.clear()
    for received in lines[1:]:
        call(heads, received)
    assert table.asked == []
    call(heads, lines[0])
    assert table.asked == ["/0"]


def test_request_lines_are_kept_within_so_many_bytes() -> None:
    table = Table()
    heads = build(Reader(), claim=table)
    call(heads, USUAL)
    third = MOST_REQUEST_LINE_BYTES // 3
    for number in range(3):
        call(heads, USUAL.replace(b"/a", b"/%d" % number + b"a" * third))
    assert count_remembered(heads, USUAL) == 2


def test_a_long_request_line_is_not_kept() -> None:
    table = Table()
    heads = build(Reader(), claim=table)
    for _ in range(2):
        call(heads, USUAL)
    long = USUAL.replace(b"/a", b"/" + b"a" * MOST_REQUEST_LINE_BYTES)
    for _ in range(3):
        call(heads, long)
    assert len(table.asked) == 5
    assert count_remembered(heads, USUAL) == 1, "and drives out no other"


def test_request_lines_go_two_minutes_after_a_session_has_ended_whatever_is_called_meanwhile() -> None:
    now, table = [0.0], Table()
    heads = build(Reader(), lambda: now[0], claim=table)
    for _ in range(2):
        call(heads, USUAL)
    for _ in range(24):  # each is refused, and still finds the lines of the session that was
        now[0] += GENERATION_SECONDS / 10
        heads.age()
        head = heads.parse(USUAL, PEER)
        assert head is not None
        if head.key is not None:  # read anew: nobody is found behind it any more
            head.facts.has_session = False
        heads.keep(head)
    assert len(heads) == 0
    table.asked.clear()
    assert heads.parse(USUAL, PEER) is not None
    assert table.asked == ["/a"]


def test_no_query_is_in_a_repr() -> None:
    route: Any = SimpleNamespace(id="a")
    claim = Claim(RequestTarget("/a", "code=secret"), RouteMatch(route, {"path": "secret"}), "/a?code=secret")
    precedent = Precedent()
    precedent.of_caller = CallerPrecedent(("secret",))
    line = known_heads._RequestLine("GET", "/a?code=secret", claim, precedent)
    known = known_heads._Known(Reader()([], PEER), wants_close=False)
    known.request_lines[b"secret"] = line
    assert "secret" not in repr([line, claim, known, precedent, precedent.of_caller, claim.match])


def test_lines_without_a_session_behind_them_are_not_kept() -> None:
    reader = Reader()
    heads = build(reader)
    call(heads, USUAL, has_session=False)
    call(heads, USUAL, has_session=False)
    assert len(reader.read) == 2


def test_long_lines_are_not_kept() -> None:
    reader = Reader()
    heads = build(reader)
    received = USUAL.replace(b"s=1", b"s=" + b"1" * LONGEST_REMEMBERED_BYTES)
    call(heads, received)
    call(heads, received)
    assert len(reader.read) == 2


def test_many_lines_are_not_kept() -> None:
    reader = Reader()
    heads = build(reader)
    received = USUAL.replace(b"\r\n\r\n", b"\r\nX: a" * MOST_REMEMBERED_LINES + b"\r\n\r\n")
    call(heads, received)
    call(heads, received)
    assert len(reader.read) == 2


def test_one_session_cannot_fill_the_memory() -> None:
    heads = build(Reader())
    for number in range(10 * MOST_OF_A_SESSION):
        call(heads, USUAL.replace(b"s=1", b"s=1; pad=%d" % number), session_key="mine")
    assert len(heads) == MOST_OF_A_SESSION
    call(heads, USUAL, session_key="another's")
    assert len(heads) == MOST_OF_A_SESSION + 1


def test_lines_are_forgotten_when_nobody_calls_any_more() -> None:
    now = [0.0]
    heads = build(Reader(), lambda: now[0])
    for number in range(2 * MOST_OF_A_SESSION):
        call(heads, USUAL.replace(b"s=1", b"s=%d" % number), session_key="mine")
    for _ in range(2):
        now[0] += GENERATION_SECONDS + 1
        heads.age()
    assert len(heads) == 0
    call(heads, USUAL, session_key="mine")
    assert len(heads) == 1, "what a session may leave behind is counted anew"


def test_nothing_secret_is_shown() -> None:
    head = call(build(Reader()), USUAL)
    assert "s=1" not in repr(head)
    assert "Cookie" not in repr(head)


def test_what_is_kept_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_heads, "MOST_REMEMBERED", 10)
    heads = build(Reader())
    for number in range(100):
        call(heads, USUAL.replace(b"s=1", b"s=%d" % number))
    assert len(heads) <= 20


@pytest.mark.parametrize("received", PLAIN + NOT_PLAIN)
def test_a_head_that_is_known_reads_as_one_that_is_not(received: bytes) -> None:
    heads = build(Reader())
    expected = describe(parse_plain_head(received, LIMITS))
    for _ in range(3):
        assert describe(call(heads, received)) == expected


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /a HTTP/1.1\n",
        b"GET /a HTTP/1.1\nX: y",
        b"GET /a HTTP/1.1\n\n",
        b"GET /a HTTP/1.1\n\r\nGET /b HTTP/1.1",
        b"GET /a",
        b"GET /a HTTP/1.0",
        b"POST /a HTTP/1.1",
        b"GET //a HTTP/1.1",
        b"GET /a HTTP/1.1\r",
        b"GET /\xe4 HTTP/1.1",
        b"\r\nGET /a HTTP/1.1",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1",
        b"",
    ],
)
def test_known_lines_behind_any_other_beginning_mean_nothing(beginning: bytes) -> None:
    heads = build(Reader())
    assert call(heads, USUAL) is not None
    received = beginning + USUAL_LINES
    assert describe(call(heads, received)) == describe(parse_plain_head(received, LIMITS))


@settings(max_examples=400, deadline=None)
@given(requests(), requests())
def test_whatever_comes_behind_whatever_is_read_as_if_it_came_first(first: bytes, second: bytes) -> None:
    heads = build(Reader())
    call(heads, first)
    _, _, lines = first.partition(b"\r\n")
    begin, _, _ = second.partition(b"\r\n")
    for received in (first, second, begin + b"\r\n" + lines, second + first):
        assert describe(call(heads, received)) == describe(parse_plain_head(received, LIMITS))


def test_limits_hold_for_known_lines_too() -> None:
    heads = KnownHeads(HeadLimits(20, 100, 8190), Reader(), claim_all, float)
    assert call(heads, USUAL) is not None
    assert call(heads, b"GET /" + b"a" * 20 + b" HTTP/1.1" + USUAL_LINES) is None
