"""What is known so far about one proxied call; grows from step to step and ends as one access record."""

from __future__ import annotations

import msgspec

from app.core.cross_site import FetchMetadata
from app.core.headers import HeaderView
from app.core.hosts import OwnOrigin
from app.core.identity import Identity
from app.core.request_target import RequestTarget
from app.core.routes import Route
from app.core.websocket import Handshake
from app.gateway.head_facts import HeadFacts
from app.gateway.messages import ProxyRequest
from app.gateway.precedent import CallerPrecedent
from app.services.session_store import SessionRecord


class Call(msgspec.Struct):
    """One call on its way through the pipeline."""

    request: ProxyRequest
    facts: HeadFacts
    request_id: str
    traceparent: str
    is_preflight: bool
    own_origin: OwnOrigin
    """The one that is addressed; the main one until that is known."""
    received_at: float
    """Epoch seconds."""
    started_at: float
    """Seconds of the monotonic clock."""
    has_passed_before: bool = False
    """One with the same bytes passed the checks that look at nothing but the head."""
    target: RequestTarget | None = None
    route: Route | None = None
    session: SessionRecord | None = None
    session_key: str | None = None
    handshake: Handshake | None = None
    """Of a call that asks for a WebSocket."""
    identity: Identity | None = None
    caller_precedent: CallerPrecedent | None = None
    """What is known from calls with the same bytes, by the same caller."""
    presented_token: str | None = None
    """The caller's own access token, on a bearer route."""
    admitted_until: float | None = None
    """Epoch seconds at which that token is over; None where there is none, or its issuer does not tell."""
    decision: str = ""
    """What the decision point said, or had said before: allow, deny; empty where it was not asked."""
    error_code: str = ""
    upstream_seconds: float | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    is_broken_off: bool = False
    """By us, and so no fault of the backend: the client went away, or the worker stops."""
    is_cut_off: bool = False
    """The answer ended before its end: the client went away or the backend broke off."""

    def __repr__(self) -> str:
        """Cookies and tokens are among what it holds."""
        return f"<Call {self.request_id}>"

    @property
    def headers(self) -> HeaderView:
        return self.facts.headers

    @property
    def metadata(self) -> FetchMetadata:
        return self.facts.metadata

    @property
    def client_address(self) -> str:
        return self.facts.client_address

    @property
    def path(self) -> str:
        """The client's path for logs, without its query; empty when it could not be read."""
        return self.target.path if self.target else ""
