"""Remembers the header lines of plain requests by their bytes, with what was found in them.

A browser sends the same lines with call after call: only the request line differs, and that comes again, too. Where the
bytes are the same, so is everything that follows from them, and none of it is worked out again. Only heads with a
session behind them are remembered, few of each session, and none that is long: nobody fills this memory, and who has
logged out is forgotten within two minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from app.core.generations import Generations
from app.gateway.fast_head import HeadLimits, parse_plain_head, parse_plain_request_line
from app.gateway.head_facts import HeadFacts
from app.gateway.messages import Claim

MOST_REMEMBERED = 1024
"""Of each generation."""
MOST_OF_A_SESSION = 16
"""Of each generation: lines differ with the page, with what is asked for, and with a validator."""
LONGEST_REMEMBERED_BYTES = 2048
MOST_REMEMBERED_LINES = 40
LONGEST_REQUEST_LINE_BYTES = 512
GENERATION_SECONDS = 60.0

_Key = tuple[str, bytes]
"""The address of the socket's other end, and the header lines with the empty line behind them."""


class _Known(msgspec.Struct):
    facts: HeadFacts
    wants_close: bool


class _KnownRequestLine(msgspec.Struct, frozen=True):
    method: str
    raw_target: str
    claim: Claim

    def __repr__(self) -> str:
        """A query may hold a code or a state."""
        return f"<_KnownRequestLine {self.method}>"


class ReadHead(msgspec.Struct):
    """A plain request without a body, and what its header lines say."""

    method: str
    raw_target: str
    facts: HeadFacts
    wants_close: bool
    size: int
    """Bytes; what was received behind them belongs to the next request."""
    key: _Key | None = None
    """Of lines that are not remembered yet, and could be."""
    request_line: bytes = b""
    """One that is not remembered yet, and could be."""
    claim: Claim | None = None
    """What the route table says of the target, once it was asked."""

    def __repr__(self) -> str:
        """Cookies are among what it holds."""
        return f"<ReadHead {self.method}>"


class KnownHeads:
    """One a worker."""

    def __init__(
        self,
        limits: HeadLimits,
        read: Callable[[list[tuple[str, str]], str], HeadFacts],
        monotonic: Callable[[], float],
    ) -> None:
        """`read` tells what header lines say that come from an address."""
        self._limits = limits
        self._read = read
        self._of_sessions: Counter[str | None] = Counter()
        self._counted_turn = 0
        self._known: Generations[_Key, _Known] = Generations(MOST_REMEMBERED, GENERATION_SECONDS, monotonic)
        self._request_lines: Generations[bytes, _KnownRequestLine] = Generations(
            MOST_REMEMBERED, GENERATION_SECONDS, monotonic
        )

    def parse(self, received: bytes, peer_address: str) -> ReadHead | None:
        """As `parse_plain_head`."""
        line_end = received.find(b"\r\n")
        size = received.find(b"\r\n\r\n", line_end) + 4
        key = (peer_address, received[line_end:size])
        known = self._known.find(key)
        if known is not None:
            head = self._read_request_line(received[:line_end], known, size)
            if head is not None:
                return head
        plain = parse_plain_head(received, self._limits)
        if plain is None:
            return None
        # Else these bytes are not all of the header lines, whatever the parser takes for the end of one.
        is_all = plain.size == size and b"\n" not in received[:line_end] and len(key[1]) <= LONGEST_REMEMBERED_BYTES
        facts = self._read(plain.headers, peer_address)
        return ReadHead(plain.method, plain.raw_target, facts, plain.wants_close, plain.size, key if is_all else None)

    def _read_request_line(self, line: bytes, lines: _Known, size: int) -> ReadHead | None:
        known = self._request_lines.find(line)
        if known is not None:
            return ReadHead(known.method, known.raw_target, lines.facts, lines.wants_close, size, claim=known.claim)
        parsed = parse_plain_request_line(line, self._limits)
        if parsed is None:
            return None
        kept = line if len(line) <= LONGEST_REQUEST_LINE_BYTES else b""
        return ReadHead(*parsed, lines.facts, lines.wants_close, size, request_line=kept)

    def keep(self, head: ReadHead) -> None:
        """After the call: remembers its lines where a session was found behind them."""
        facts = head.facts
        if head.request_line and head.claim is not None and facts.has_session:
            self._request_lines.keep(head.request_line, _KnownRequestLine(head.method, head.raw_target, head.claim))
        if head.key is None or not facts.has_session or len(facts.lines) > MOST_REMEMBERED_LINES:
            return
        if self._counted_turn != self._known.turns:
            self._counted_turn = self._known.turns
            self._of_sessions.clear()
        if self._of_sessions[facts.session_key] < MOST_OF_A_SESSION:
            self._of_sessions[facts.session_key] += 1
            self._known.keep(head.key, _Known(facts, head.wants_close))

    def age(self) -> None:
        """To be called now and then, so that lines are forgotten also where no others come."""
        self._known.age()
        self._request_lines.age()

    def __len__(self) -> int:
        return len(self._known)
