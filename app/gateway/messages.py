"""What goes into the pipeline and what comes out of it, free of WSGI and of gunicorn.

Both front doors build a `ProxyRequest` and write a `ProxyResponse`; everything between is the same code.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

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


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What a door already knows of a call that the route table claims (`Pipeline.claim`)."""

    target: RequestTarget
    match: RouteMatch
    upstream_target: str
    """What the backend is asked for."""

    def __repr__(self) -> str:
        """A query may hold a code or a state."""
        return f"<Claim {self.match.route.id}>"


class ProxyRequest(msgspec.Struct):
    """One call as a door received it. `raw_target` holds the wire text of the request line, latin-1 decoded."""

    method: str
    raw_target: str
    headers: HeaderLines
    body: RequestBody | None
    peer_address: str
    """The address of the socket's other end, without its port."""
    peer_scheme: str
    """`http` or `https`: what the socket itself spoke."""
    claim: Claim | None = None
    """What `raw_target` was read as, where the door had to know."""
    facts: HeadFacts | None = None
    """What `headers` say, where the door knows it from before."""
    precedent: Precedent | None = None
    """For calls with the same head, where the door remembers such."""
    can_tunnel: bool = False
    """Whether the door can hand over the client's socket, and the client speaks a version that can switch."""

    def __repr__(self) -> str:
        """Cookies and tokens are among what it holds."""
        return f"<ProxyRequest {self.method}>"


class ProxyResponse(msgspec.Struct):
    """One answer. The door writes `headers` and iterates `body`, then calls `close` exactly once, whatever happened."""

    status: int
    reason: str
    headers: HeaderLines
    body: Iterable[bytes] = ()
    close: Callable[[], None] = do_nothing
    break_off: Callable[[], None] | None = None
    """For an answer that may be silent for long: ends it at once, from any thread, when the client has gone."""
    has_piece_at_hand: bool = False
    """The first piece of the body comes without waiting, so the head need not leave before it."""
    is_whole_at_hand: bool = False
    """That piece is all of the body; without one the body is empty."""
    tunnel: Callable[[socket.socket, bytes], None] | None = None
    """Of a 101: called by the door, instead of a body, once the head is written, with the client's socket and what came
    behind the request's head. Returns when both are of no more use; the connection then ends."""
    cut_client: Callable[[], None] = do_nothing
    """Set by the door: ends the client's connection at once, from any thread, while the answer is being written."""
