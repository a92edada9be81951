"""Remembers the header lines of plain requests by their bytes, with what was found in them.

A browser sends the same lines with call after call: only the request line differs, and of those a few come again and
again. Where the bytes are the same, so is everything that follows from them, and none of it is worked out again; what
the steps of a call find out about them is noted beside them (`precedent`). Only heads with a session behind them are
remembered, few of each session, and none that is long: nobody fills this memory.
Request lines are kept with the header lines that they came with, so that no session learns of another's or pushes them
out, and go with them, so that who has logged out is forgotten within two minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from app.core.generations import Generations
from app.gateway.fast_head import HeadLimits, parse_plain_head, parse_plain_request_line
from app.gateway.head_facts import HeadFacts
from app.gateway.messages import Claim
from app.gateway.precedent import Precedent

MOST_REMEMBERED = 1024
"""Of each generation."""
MOST_OF_A_SESSION = 16
"""Of each generation: lines differ with the page, with what is asked for, and with a validator."""
LONGEST_REMEMBERED_BYTES = 2048
MOST_REMEMBERED_LINES = 40
MOST_REQUEST_LINES = 8
"""With the same header lines."""
MOST_REQUEST_LINE_BYTES = 1024
"""Of all of them together."""
GENERATION_SECONDS = 60.0

_Key = tuple[str, bytes]
"""The address of the socket's other end, and the header lines with the empty line behind them."""


class _RequestLine:
    def __init__(self, method: str, raw_target: str, claim: Claim, precedent: Precedent) -> None:
        self.method = method
        self.raw_target = raw_target
        self.claim = claim
        self.precedent = precedent

    def __repr__(self) -> str:
        """A query may hold a code or a state."""
        return f"<_RequestLine {self.method}>"


class _Known:
    def __init__(self, facts: HeadFacts, *, wants_close: bool) -> None:
        self.facts = facts
        self.wants_close = wants_close
        self.request_lines: dict[bytes, _RequestLine] = {}

    def __repr__(self) -> str:
        return f"<_Known {len(self.request_lines)}>"


class ReadHead:
    """A plain request without a body that a route takes, and what its header lines say."""

    def __init__(
        self,
        method: str,
        raw_target: str,
        claim: Claim,
        facts: HeadFacts,
        *,
        wants_close: bool,
        size: int,
        key: _Key | None = None,
        precedent: Precedent | None = None,
    ) -> None:
        self.method = method
        self.raw_target = raw_target
        self.claim = claim
        """What the route table says of the target."""
        self.facts = facts
        self.wants_close = wants_close
        self.size = size
        """Bytes; what was received behind them belongs to the next request."""
        self.key = key
        """Of lines that are not remembered yet, and could be."""
        self.precedent = precedent
        """Where the header lines were known; of a request line that is too long to be kept it is new each time."""

    def __repr__(self) -> str:
        """Cookies are among what it holds."""
        return f"<ReadHead {self.method}>"


class KnownHeads:
    """One a worker."""

    def __init__(
        self,
        limits: HeadLimits,
        read: Callable[[list[tuple[str, str]], str], HeadFacts],
        claim: Callable[[str], Claim | None],
        monotonic: Callable[[], float],
    ) -> None:
        """`read` tells what header lines say that come from an address, `claim` what the route table says of a raw
        target."""
        self._limits = limits
        self._read = read
        self._claim = claim
        self._of_sessions: Counter[str | None] = Counter()
        self._counted_turn = 0
        self._known: Generations[_Key, _Known] = Generations(MOST_REMEMBERED, GENERATION_SECONDS, monotonic)

    def parse(self, received: bytes, peer_address: str) -> ReadHead | None:
        """As `parse_plain_head`, and None too for what no route takes."""
        line_end = received.find(b"\r\n")
        size = received.find(b"\r\n\r\n", line_end) + 4
        # A head that is not all here yields no lines, and nothing is known by none.
        key = (peer_address, received[line_end:size] if 0 <= line_end < size else b"")
        known = self._known.find(key)
        if known is not None:
            line = received[:line_end]
            request = known.request_lines.get(line)
            if request is not None:
                return _build_head(known, request, size)
            parsed = parse_plain_request_line(line, self._limits)
            if parsed is not None:
                method, raw_target = parsed
                claim = self._claim(raw_target)
                if claim is None:
                    return None
                request = _RequestLine(method, raw_target, claim, Precedent())
                _remember(known.request_lines, line, request)
                return _build_head(known, request, size)
        head = parse_plain_head(received, self._limits)
        claim = self._claim(head.raw_target) if head is not None else None
        if head is None or claim is None:
            return None
        # Else these bytes are not all of the header lines, whatever the parser takes for the end of one.
        is_all = head.size == size and b"\n" not in received[:line_end] and len(key[1]) <= LONGEST_REMEMBERED_BYTES
        return ReadHead(
            head.method,
            head.raw_target,
            claim,
            self._read(head.headers, peer_address),
            wants_close=head.wants_close,
            size=head.size,
            key=key if is_all else None,
        )

    def keep(self, head: ReadHead) -> None:
        """After the call: remembers its lines where a session was found behind them."""
        facts = head.facts
        if head.key is None or not facts.has_session or len(facts.lines) > MOST_REMEMBERED_LINES:
            return
        if self._counted_turn != self._known.turns:
            self._counted_turn = self._known.turns
            self._of_sessions.clear()
        if self._of_sessions[facts.session_key] < MOST_OF_A_SESSION:
            self._of_sessions[facts.session_key] += 1
            self._known.keep(head.key, _Known(facts, wants_close=head.wants_close))

    def age(self) -> None:
        """To be called now and then, so that lines are forgotten also where no others come."""
        self._known.age()

    def __len__(self) -> int:
        return len(self._known)


def _build_head(known: _Known, request: _RequestLine, size: int) -> ReadHead:
    return ReadHead(
        request.method,
        request.raw_target,
        request.claim,
        known.facts,
        wants_close=known.wants_close,
        size=size,
        precedent=request.precedent,
    )


def _remember(lines: dict[bytes, _RequestLine], line: bytes, request: _RequestLine) -> None:
    """Those that came first go first."""
    if len(line) > MOST_REQUEST_LINE_BYTES:
        return
    while len(lines) >= MOST_REQUEST_LINES or sum(map(len, lines)) + len(line) > MOST_REQUEST_LINE_BYTES:
        del lines[next(iter(lines))]
    lines[line] = request
