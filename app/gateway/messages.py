"""What goes into the pipeline and what comes out of it, free of WSGI and of gunicorn.

Both front doors build a `ProxyRequest` and write a `ProxyResponse`; everything between is the same code.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Protocol

from app.core.request_target import RequestTarget
from app.core.routes import RouteMatch
from app.gateway.head_facts import HeadFacts
from app.gateway.precedent import Precedent

HeaderLines = list[tuple[str, str]]
"""Header lines in the order received; names as they came, values decoded as latin-1."""


def do_nothing() -> None:
    """Stands where nothing is to be done."""


class RequestBody(Protocol):
    """The client's body, read once, never buffered as a whole."""

    @property
    def length(self) -> int | None:
        """Declared length in bytes; None when it comes chunked."""

    def read(self, max_bytes: int) -> bytes:
        """Returns 1 to `max_bytes` bytes as soon as some are there, b"" at the end.

        Raises `BadRequestError` when the body stops before its declared end or stays silent for too long.
        """


class Claim:
    """What a door already knows of a call that the route table claims (`Pipeline.claim`)."""

    def __init__(self, target: RequestTarget, match: RouteMatch, upstream_target: str) -> None:
        self.target = target
        self.match = match
        self.upstream_target = upstream_target
        """What the backend is asked for."""

    def __repr__(self) -> str:
        """A query may hold a code or a state."""
        return f"<Claim {self.match.route.id}>"


class ProxyRequest:
    """One call as a door received it. `raw_target` holds the wire text of the request line, latin-1 decoded."""

    def __init__(
        self,
        method: str,
        raw_target: str,
        headers: HeaderLines,
        body: RequestBody | None,
        peer_address: str,
        peer_scheme: str,
        claim: Claim | None = None,
        facts: HeadFacts | None = None,
        precedent: Precedent | None = None,
        *,
        can_tunnel: bool = False,
    ) -> None:
        self.method = method
        self.raw_target = raw_target
        self.headers = headers
        self.body = body
        self.peer_address = peer_address
        """The address of the socket's other end, without its port."""
        self.peer_scheme = peer_scheme
        """`http` or `https`: what the socket itself spoke."""
        self.claim = claim
        """What `raw_target` was read as, where the door had to know."""
        self.facts = facts
        """What `headers` say, where the door knows it from before."""
        self.precedent = precedent
        """For calls with the same head, where the door remembers such."""
        self.can_tunnel = can_tunnel
        """Whether the door can hand over the client's socket, and the client speaks a version that can switch."""

    def __repr__(self) -> str:
        """Cookies and tokens are among what it holds."""
        return f"<ProxyRequest {self.method}>"


class ProxyResponse:
    """One answer. The door writes `headers` and iterates `body`, then calls `close` exactly once, whatever happened."""

    def __init__(
        self,
        status: int,
        reason: str,
        headers: HeaderLines,
        body: Iterable[bytes] = (),
        close: Callable[[], None] = do_nothing,
        *,
        has_piece_at_hand: bool = False,
        is_whole_at_hand: bool = False,
        tunnel: Callable[[socket.socket, bytes], None] | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.close = close
        self.break_off: Callable[[], None] | None = None
        """For an answer that may be silent for long: ends it at once, from any thread, when the client has gone."""
        self.has_piece_at_hand = has_piece_at_hand
        """The first piece of the body comes without waiting, so the head need not leave before it."""
        self.is_whole_at_hand = is_whole_at_hand
        """That piece is all of the body; without one the body is empty."""
        self.tunnel = tunnel
        """Of a 101: called by the door, instead of a body, once the head is written, with the client's socket and what
        came behind the request's head. Returns when both are of no more use; the connection then ends."""
        self.cut_client: Callable[[], None] = do_nothing
        """Set by the door: ends the client's connection at once, from any thread, while the answer is being written."""
